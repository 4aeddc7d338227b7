//! Patterns of text lines, for boards whose firmware is not ours and that print what they find.
//!
//! A pattern is the line as it is printed, with fields in the place of what changes:
//! - `{name}` is a number; directly before a `%` it is divided by 100;
//! - `{=}` is the winning label, text up to what follows in the pattern;
//! - `{}` is text that means nothing.
//!
//! Any white space in a pattern stands for any amount of it in the line, `{{` and `}}` for the braces themselves. The
//! pattern may match anywhere in the line. `Person score: {person}% No person score: {no person}%` reads
//! `Person score: 60.54% No person score: 39.45%` as person = 0.6054, no person = 0.3945.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The longest pattern, in bytes.
pub const MAX_BYTES: usize = 512;
/// Most fields of a pattern.
pub const MAX_FIELDS: usize = 32;
/// The longest label that is read, in bytes; longer ones are cut.
pub const MAX_LABEL_BYTES: usize = 64;

/// A checked pattern.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern {
    text: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// Exactly this.
    Literal(String),
    /// Any amount of white space, at least one.
    Space,
    Number {
        name: String,
        percent: bool,
    },
    Label,
    Any,
}

/// Why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Nothing, or no field that says anything.
    #[error("the pattern has no field: write {{name}} where a number stands, or {{=}} where the label stands")]
    Empty,
    /// Too long.
    #[error("the pattern has {0} bytes; at most {MAX_BYTES}")]
    TooLong(usize),
    /// Too many fields.
    #[error("the pattern has more than {MAX_FIELDS} fields")]
    TooMany,
    /// A brace without its partner.
    #[error("the pattern has a '{{' or '}}' without its partner; a brace that is printed is written twice")]
    Brace,
    /// The same name twice.
    #[error("the pattern has two fields of the name '{0}'")]
    Twice(String),
    /// Two fields with nothing in between.
    #[error("the pattern has two fields with nothing between them, so that nobody can tell where one ends")]
    Touching,
}

/// What a line said.
#[derive(Debug, Clone, PartialEq)]
pub struct Said {
    /// The winning label: the one that was printed, or the name of the largest of several numbers.
    pub label: Option<String>,
    /// The numbers by name, in the pattern's order.
    pub values: Vec<(String, f32)>,
}

impl Said {
    /// Index of the value that belongs to the label, if one does.
    pub fn winner(&self) -> Option<usize> {
        let label = self.label.as_ref()?;
        self.values.iter().position(|(name, _)| name == label)
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        if text.len() > MAX_BYTES {
            return Err(PatternError::TooLong(text.len()));
        }
        let mut parts: Vec<Part> = Vec::new();
        let mut rest = text.trim();
        let literal = |parts: &mut Vec<Part>, c: char| match parts.last_mut() {
            Some(Part::Literal(text)) => text.push(c),
            _ => parts.push(Part::Literal(c.to_string())),
        };
        while let Some(c) = rest.chars().next() {
            let after = &rest[c.len_utf8()..];
            match c {
                '{' | '}' if after.starts_with(c) => {
                    literal(&mut parts, c);
                    rest = &after[1..];
                }
                '{' => {
                    let (name, after) = after.split_once('}').ok_or(PatternError::Brace)?;
                    if name.contains('{') {
                        return Err(PatternError::Brace);
                    }
                    parts.push(match name.trim() {
                        "" => Part::Any,
                        "=" => Part::Label,
                        name => Part::Number { name: name.to_owned(), percent: after.trim_start().starts_with('%') },
                    });
                    rest = after;
                }
                '}' => return Err(PatternError::Brace),
                c if c.is_whitespace() => {
                    parts.push(Part::Space);
                    rest = after.trim_start();
                }
                c => {
                    literal(&mut parts, c);
                    rest = after;
                }
            }
        }
        check(&parts)?;
        Ok(Self { text: text.trim().to_owned(), parts })
    }
}

fn check(parts: &[Part]) -> Result<(), PatternError> {
    let is_field = |part: &Part| matches!(part, Part::Number { .. } | Part::Label | Part::Any);
    let fields = parts.iter().filter(|part| is_field(part)).count();
    if fields > MAX_FIELDS {
        return Err(PatternError::TooMany);
    }
    if !parts.iter().any(|part| matches!(part, Part::Number { .. } | Part::Label)) {
        return Err(PatternError::Empty);
    }
    if parts.windows(2).any(|pair| is_field(&pair[0]) && is_field(&pair[1])) {
        return Err(PatternError::Touching);
    }
    let mut names: Vec<&str> = Vec::new();
    for part in parts {
        let name = match part {
            Part::Number { name, .. } => name.as_str(),
            Part::Label => "=",
            _ => continue,
        };
        if names.contains(&name) {
            return Err(PatternError::Twice(name.to_owned()));
        }
        names.push(name);
    }
    Ok(())
}

impl Pattern {
    /// Reads a line; `None` if the pattern does not match anywhere in it. Takes at most time in
    /// proportion to the square of the line's length: there is no way back within a pattern.
    pub fn read(&self, line: &str) -> Option<Said> {
        line.char_indices().find_map(|(at, _)| self.read_at(&line[at..]))
    }

    fn read_at(&self, line: &str) -> Option<Said> {
        let mut said = Said { label: None, values: Vec::new() };
        let mut rest = line;
        for (number, part) in self.parts.iter().enumerate() {
            match part {
                Part::Literal(text) => rest = rest.strip_prefix(text.as_str())?,
                Part::Space => {
                    let trimmed = rest.trim_start();
                    if trimmed.len() == rest.len() {
                        return None;
                    }
                    rest = trimmed;
                }
                Part::Number { name, percent } => {
                    let (value, after) = decimal(rest)?;
                    // A number that a float32 cannot hold becomes infinite, which travels as null.
                    #[allow(clippy::cast_possible_truncation)]
                    let value = (if *percent { value / 100.0 } else { value }) as f32;
                    said.values.push((name.clone(), value));
                    rest = after;
                }
                Part::Label | Part::Any => {
                    // Up to the first place where what follows begins: no way back, so no pattern is slow.
                    let end = match self.parts[number + 1..] {
                        [] => rest.len(),
                        [Part::Literal(ref text), ..] => rest.find(text.as_str())?,
                        [Part::Space, Part::Literal(ref text), ..] => spaced(rest, text)?,
                        _ => rest.find(char::is_whitespace)?,
                    };
                    if matches!(part, Part::Label) {
                        let label = cut(rest[..end].trim());
                        if label.is_empty() {
                            return None;
                        }
                        said.label = Some(label.to_owned());
                    }
                    rest = &rest[end..];
                }
            }
        }
        if said.label.is_none() && said.values.len() > 1 {
            let best = said.values.iter().max_by(|a, b| a.1.total_cmp(&b.1));
            said.label = best.map(|(name, _)| name.clone());
        }
        Some(said)
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// Where white space with `text` behind it begins.
fn spaced(line: &str, text: &str) -> Option<usize> {
    let is_it = |(at, c): &(usize, char)| c.is_whitespace() && line[*at..].trim_start().starts_with(text);
    line.char_indices().find(is_it).map(|(at, _)| at)
}

/// A decimal number at the beginning, and what follows it.
fn decimal(text: &str) -> Option<(f64, &str)> {
    let text = text.trim_start();
    let bytes = text.as_bytes();
    let digits = |from: usize| bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let sign = usize::from(matches!(bytes.first(), Some(b'+' | b'-')));
    let whole = digits(sign);
    let mut end = sign + whole;
    if bytes.get(end) == Some(&b'.') {
        let fraction = digits(end + 1);
        if whole + fraction == 0 {
            return None;
        }
        end += 1 + fraction;
    } else if whole == 0 {
        return None;
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        let power = digits((end + 1 + sign).min(bytes.len()));
        if power > 0 {
            end += 1 + sign + power;
        }
    }
    let value: f64 = text[..end].parse().ok()?;
    Some((value, &text[end..]))
}

fn cut(label: &str) -> &str {
    let mut end = label.len().min(MAX_LABEL_BYTES);
    while !label.is_char_boundary(end) {
        end -= 1;
    }
    &label[..end]
}

impl TryFrom<String> for Pattern {
    type Error = PatternError;

    fn try_from(text: String) -> Result<Self, PatternError> {
        text.parse()
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.text
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn read(pattern: &str, line: &str) -> Option<Said> {
        pattern.parse::<Pattern>().unwrap().read(line)
    }

    #[test]
    fn the_person_detector_of_the_earlier_system() {
        let pattern = "Person score: {person}% No person score: {no person}%";
        let said = read(pattern, "Person score: 60.54% No person score: 39.45%").unwrap();
        assert_eq!(said.values, [("person".to_owned(), 0.6054), ("no person".to_owned(), 0.3945)]);
        assert_eq!(said.label.as_deref(), Some("person"));
        assert_eq!(said.winner(), Some(0));
        // Wherever in a line, with whatever white space.
        assert!(read(pattern, "[12] Person  score:\t1% No person score: 99%, 3 fps").is_some());
        assert!(read(pattern, "Person score: x% No person score: 39.45%").is_none());
        assert!(read(pattern, "Person score: 60.54%").is_none());
    }

    #[test]
    fn labels_that_are_printed_and_text_that_means_nothing() {
        let said = read("Detected: {=} ({score})", "Detected: yes please (0.93) at 12:00").unwrap();
        assert_eq!((said.label.as_deref(), said.values[0].1, said.winner()), (Some("yes please"), 0.93, None));
        let said = read("t={} ms, sine {y}", "t=12 or so ms, sine -1.5e-1").unwrap();
        assert_eq!((said.label, said.values[0].1), (None, -0.15));
        let said = read("heard {=}", "heard on").unwrap();
        assert_eq!(said.label.as_deref(), Some("on"));
        assert!(read("heard {=}", "heard  ").is_none());
        assert_eq!(read("{{{a}}}", "{5}").unwrap().values[0].1, 5.0);
    }

    #[test]
    fn numbers_as_boards_print_them() {
        for (text, value) in
            [("1", 1.0), ("-1.", -1.0), ("+.5", 0.5), ("1e3", 1000.0), ("2e", 2.0), ("3.25E-2x", 0.0325)]
        {
            assert_eq!(decimal(text).map(|(value, _)| value), Some(value), "{text}");
        }
        for text in ["", ".", "-", "x", "e5", "-.e1"] {
            assert_eq!(decimal(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused_with_a_reason() {
        use PatternError::{Brace, Empty, TooLong, TooMany, Touching, Twice};
        for (text, error) in [
            ("", Empty),
            ("just text {}", Empty),
            ("{a", Brace),
            ("a} {b}", Brace),
            ("{a{b}}", Brace),
            ("{a}{b}", Touching),
            ("{a} {a}", Twice("a".to_owned())),
            ("{=} {=}", Twice("=".to_owned())),
        ] {
            assert_eq!(text.parse::<Pattern>().unwrap_err(), error, "{text}");
        }
        assert_eq!("x".repeat(513).parse::<Pattern>().unwrap_err(), TooLong(513));
        let many: String = (0..33).map(|n| format!("{{f{n}}} ")).collect();
        assert_eq!(many.parse::<Pattern>().unwrap_err(), TooMany);
    }

    #[test]
    fn a_long_line_that_almost_matches_takes_no_time() {
        let pattern: Pattern = "{} a {} a {} a {} a {} a {} a {n}b".parse().unwrap();
        assert_eq!(pattern.read(&"a ".repeat(2_000)), None);
        assert!("ä {=} ß".parse::<Pattern>().unwrap().read("ä ß ä ä ß").is_some());
    }
}
