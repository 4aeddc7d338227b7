//! Rules of the house that no other tool checks: how long a file may be, what may not stand in one.

use std::path::Path;
use std::process::Command;

use crate::failure::{Failure, Outcome};
use crate::{step, workspace};

/// A Rust file that is longer holds more than one noun or verb.
const MOST_LINES: usize = 600;

/// What may not stand in any text file, and why. Put together from pieces, so that this file has none of it.
const FORBIDDEN: &[(&str, &str)] = &[
    (concat!("/wo", "rk/"), "a path of one machine; say it relative to the checkout or take it from the environment"),
    (concat!("/ro", "ot/."), "a path of one machine; use HOME or a temporary folder"),
    (concat!("index", "-url"), "where packages come from is a setting of a machine, not of the project"),
    (concat!("artifact", "ory."), "a registry of one machine; the project names none"),
    (concat!("<<<<", "<<< "), "an unfinished merge"),
];

/// What may not stand in Rust code besides, and why.
const FORBIDDEN_IN_RUST: &[(&str, &str)] = &[
    (
        concat!("#[ign", "ore"),
        "a test that does not run shows nothing: make it run, or skip it aloud where a part is absent",
    ),
    (concat!("to", "do!("), "unfinished code is not committed"),
    (concat!("unimple", "mented!("), "unfinished code is not committed"),
    (concat!("db", "g!("), "left over from looking for a fault"),
];

/// Checks every file that is, or could be, committed.
pub fn check() -> Outcome {
    let root = workspace::root();
    // A checkout may belong to another user than the one who checks it, as in a container.
    let mut command = Command::new("git");
    command.current_dir(&root).args(["-c", "safe.directory=*"]);
    command.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let output = command.output().map_err(|error| step::not_started(&command, &error))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(Failure::Machine(format!("'git ls-files' does not list the checkout: {}", said.trim())));
    }
    let names = String::from_utf8_lossy(&output.stdout);
    let mut found = Vec::new();
    let mut files = 0;
    for name in names.split('\0').filter(|name| !name.is_empty()) {
        // Binary files are no text; a file that is deleted and not yet committed is gone.
        let Ok(text) = std::fs::read_to_string(root.join(name)) else { continue };
        files += 1;
        found.extend(look(Path::new(name), &text));
    }
    if found.is_empty() {
        step::say(&format!("{files} text files, nothing found"));
        return Ok(());
    }
    Err(Failure::Failed(found.join("\n")))
}

/// What is wrong with one file, a line each.
fn look(name: &Path, text: &str) -> Vec<String> {
    let shown = name.display();
    let mut found = Vec::new();
    let is_rust = name.extension().is_some_and(|extension| extension == "rs");
    if is_rust {
        let lines = text.lines().count();
        if lines > MOST_LINES {
            found.push(format!("{shown}: {lines} lines; split what is over {MOST_LINES}"));
        }
        let is_module = name.components().any(|part| part.as_os_str() == "src");
        if is_module && !text.starts_with("//!") {
            found.push(format!("{shown}:1: begins without '//!': say what lives here and what must not"));
        }
    }
    for (number, line) in text.lines().enumerate() {
        for (word, reason) in FORBIDDEN.iter().chain(if is_rust { FORBIDDEN_IN_RUST } else { &[] }) {
            if stands_in(line, word) {
                found.push(format!("{shown}:{}: '{word}': {reason}", number + 1));
            }
        }
    }
    found
}

/// Whether a line has a word. An absolute path is none where it goes on from another one, as in `src` + path.
fn stands_in(line: &str, word: &str) -> bool {
    let goes_on = |at: usize| {
        line[..at].ends_with(|before: char| before.is_alphanumeric() || ['.', '_', '-', '}', '~'].contains(&before))
    };
    line.match_indices(word).any(|(at, _)| !word.starts_with('/') || !goes_on(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_file_is_found_and_only_rust() {
        let long = format!("//! Long.\n{}", "x\n".repeat(MOST_LINES));
        assert_eq!(look(Path::new("broker/src/guard.rs"), &long).len(), 1);
        assert!(look(Path::new("models/digits/digits.csv"), &long).is_empty());
        let short = format!("//! Short.\n{}", "x\n".repeat(MOST_LINES - 1));
        assert!(look(Path::new("broker/src/guard.rs"), &short).is_empty());
    }

    #[test]
    fn every_forbidden_word_is_found_with_its_line_and_reason() {
        let text = |word: &str| format!("//! First.\nsecond {word} there\n");
        for (word, reason) in FORBIDDEN.iter().chain(FORBIDDEN_IN_RUST) {
            let found = look(Path::new("cli/src/output.rs"), &text(word));
            assert_eq!(found.len(), 1, "{word}: {found:?}");
            let begin = "cli/src/output.rs:2:";
            assert!(found.iter().all(|line| line.starts_with(begin) && line.contains(reason)), "{found:?}");
        }
        for (word, _) in FORBIDDEN {
            assert_eq!(look(Path::new("README.md"), &text(word)).len(), 1, "{word}");
        }
        // Prose may speak of what code may not do.
        for (word, _) in FORBIDDEN_IN_RUST {
            assert_eq!(look(Path::new("README.md"), &text(word)).len(), 0, "{word}");
        }
    }

    #[test]
    fn a_folder_of_ours_is_no_path_of_a_machine() {
        let word = concat!("/wo", "rk/");
        assert!(!stands_in(&format!("`edge-relay/src{word}admit.rs`"), word));
        assert!(!stands_in(&format!("..{word}admit.rs"), word));
        assert!(stands_in(&format!("edge-relay/src{word}admit.rs and {word}main"), word));
        assert!(stands_in(&format!("\"{word}main"), word));
        assert!(stands_in(word, word));
    }

    #[test]
    fn a_module_says_what_it_holds() {
        assert_eq!(look(Path::new("cli/src/output.rs"), "use std::io;\n").len(), 1);
        assert!(look(Path::new("cli/tests/all.rs"), "use std::io;\n").is_empty());
    }
}
