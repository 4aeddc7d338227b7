//! Takes options out of what was typed; what is left is positional.

use crate::failure::{Failure, Outcome};

/// What was typed after the task's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arguments {
    left: Vec<String>,
    // Everything after `--`, which is meant for the program that the task starts.
    beyond: Vec<String>,
}

impl Arguments {
    /// Splits at the first `--`.
    pub fn new(typed: &[String]) -> Self {
        let at = typed.iter().position(|word| word == "--").unwrap_or(typed.len());
        let (left, beyond) = typed.split_at(at);
        Self { left: left.to_vec(), beyond: beyond.iter().skip(1).cloned().collect() }
    }

    /// Whether a flag such as `--no-install` was typed; it is taken out.
    pub fn flag(&mut self, name: &str) -> bool {
        let before = self.left.len();
        self.left.retain(|word| word != name);
        self.left.len() != before
    }

    /// The number after an option such as `--seconds`, between 1 and `most`; both words are taken out.
    pub fn number(&mut self, name: &str, most: u64) -> Result<Option<u64>, Failure> {
        let Some(at) = self.left.iter().position(|word| word == name) else { return Ok(None) };
        self.left.remove(at);
        let wrong = |text: &str| Failure::Usage(format!("{name} wants a whole number from 1 to {most}, not '{text}'"));
        if at == self.left.len() {
            return Err(wrong(""));
        }
        let text = self.left.remove(at);
        match text.parse() {
            Ok(number) if (1..=most).contains(&number) => Ok(Some(number)),
            _ => Err(wrong(&text)),
        }
    }

    /// The next positional word. Call it after all options were taken.
    pub fn word(&mut self) -> Option<String> {
        if self.left.is_empty() { None } else { Some(self.left.remove(0)) }
    }

    /// All positional words that are left, and what came after `--`.
    pub fn rest(self) -> Result<(Vec<String>, Vec<String>), Failure> {
        if let Some(option) = self.left.iter().find(|word| word.starts_with('-')) {
            return Err(Failure::Usage(format!("there is no option '{option}' here; 'cargo xtask' lists all tasks")));
        }
        Ok((self.left, self.beyond))
    }

    /// Refuses whatever is left.
    pub fn end(self) -> Outcome {
        match self.rest()? {
            (words, beyond) if words.is_empty() && beyond.is_empty() => Ok(()),
            (words, beyond) => Err(Failure::Usage(format!(
                "'{}' is too much; 'cargo xtask' lists all tasks",
                [words, beyond].concat().join(" ")
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn typed(text: &str) -> Arguments {
        Arguments::new(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn options_may_stand_anywhere_before_the_dashes() {
        let mut arguments = typed("crash --no-install hostile -- --no-install --nocapture");
        assert!(arguments.flag("--no-install"));
        assert!(!arguments.flag("--no-install"));
        let (words, beyond) = arguments.rest().unwrap();
        assert_eq!(words, ["crash", "hostile"]);
        assert_eq!(beyond, ["--no-install", "--nocapture"]);
    }

    #[test]
    fn a_number_has_bounds() {
        let mut arguments = typed("--seconds 30 contract");
        assert_eq!(arguments.number("--seconds", 3600), Ok(Some(30)));
        assert_eq!(arguments.number("--seconds", 3600), Ok(None));
        assert_eq!(arguments.word().as_deref(), Some("contract"));
        for text in ["--seconds", "--seconds 0", "--seconds 3601", "--seconds -1", "--seconds many"] {
            let failure = typed(text).number("--seconds", 3600).unwrap_err();
            assert!(failure.to_string().contains("from 1 to 3600"), "{text}: {failure}");
        }
    }

    #[test]
    fn unknown_options_and_surplus_words_are_named() {
        assert!(typed("--instal").rest().unwrap_err().to_string().contains("--instal"));
        assert!(typed("surplus").end().unwrap_err().to_string().contains("surplus"));
        assert!(typed("-- surplus").end().unwrap_err().to_string().contains("surplus"));
        assert_eq!(typed("").end(), Ok(()));
    }
}
