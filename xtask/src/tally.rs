//! Reads what test programs print: passes it on, counts, and keeps what was skipped.
//!
//! A test that cannot run here prints a line `SKIPPED: what and why` and returns. The test harness hides what a passing
//! test prints, so tests run with `--show-output`; the section that this adds is read here and not shown.

/// Counts of a whole run.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Tests that passed, those that skipped themselves among them.
    pub passed: u64,
    /// Tests that failed.
    pub failed: u64,
    /// Tests that are marked to be left out.
    pub ignored: u64,
    /// Test programs that ran to their end.
    pub programs: u64,
    /// Lines of tests that could not run here, each once.
    pub skipped: Vec<String>,
    /// Names of failed tests.
    pub failures: Vec<String>,
    in_successes: bool,
    // What stands under the latest heading "failures:" of a program; the last one is the list of names.
    names: Vec<String>,
}

impl Tally {
    /// Reads a line; whether it is to be shown.
    pub fn read(&mut self, line: &str) -> bool {
        // The marker may follow other text of the same test on one line.
        if let Some(at) = line.find("SKIPPED") {
            let text = line[at..].trim_end().to_owned();
            if !self.skipped.contains(&text) {
                self.skipped.push(text);
            }
        }
        if let Some(name) = line.strip_prefix("    ") {
            self.names.push(name.to_owned());
        }
        if line == "failures:" || line.starts_with("running ") {
            self.names.clear();
        }
        if let Some(result) = line.strip_prefix("test result: ") {
            self.count(result);
            if result.starts_with("FAILED") {
                self.failures.append(&mut self.names);
            }
        }
        if line == "successes:" {
            self.in_successes = true;
        } else if line == "failures:" || line.starts_with("test result: ") {
            self.in_successes = false;
        }
        !self.in_successes
    }

    fn count(&mut self, result: &str) {
        self.programs += 1;
        for part in result.split(['.', ';']) {
            let mut words = part.split_whitespace();
            let (Some(number), Some(what)) = (words.next().and_then(|word| word.parse::<u64>().ok()), words.next())
            else {
                continue;
            };
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }

    /// The closing lines for people.
    pub fn summary(&self, time: &str) -> String {
        let mut text = String::new();
        for name in &self.failures {
            text.push_str(&format!("FAILED  {name}\n"));
        }
        for line in &self.skipped {
            text.push_str(&format!("{line}\n"));
        }
        text.push_str(&format!(
            "{} passed, {} failed, {} ignored, {} said that they could not run here; {} test programs, {time}",
            self.passed,
            self.failed,
            self.ignored,
            self.skipped.len(),
            self.programs,
        ));
        text
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    // As printed by a run of libtest with --show-output.
    const OUTPUT: &str = "
running 3 tests
test firmware::compile ... ok
test firmware::size ... ok
test crash::at_flashing ... FAILED

successes:

---- firmware::size stdout ----
SKIPPED firmware::size: avr-gcc is not installed


successes:
    firmware::compile
    firmware::size

failures:

---- crash::at_flashing stdout ----
the board is stuck

failures:
    crash::at_flashing

test result: FAILED. 2 passed; 1 failed; 4 ignored; 0 measured; 0 filtered out; finished in 0.52s
";

    #[test]
    fn counts_and_keeps_what_matters() {
        let mut tally = Tally::default();
        let shown: Vec<&str> = OUTPUT.lines().filter(|line| tally.read(line)).collect();
        assert_eq!((tally.passed, tally.failed, tally.ignored, tally.programs), (2, 1, 4, 1));
        assert_eq!(tally.skipped, ["SKIPPED firmware::size: avr-gcc is not installed"]);
        assert_eq!(tally.failures, ["crash::at_flashing"]);
        assert!(shown.contains(&"the board is stuck"));
        assert!(shown.iter().any(|line| line.starts_with("test result: FAILED")));
        assert!(!shown.iter().any(|line| line.contains("successes") || line.contains("SKIPPED")));
    }

    #[test]
    fn several_programs_add_up_and_a_skip_is_said_once() {
        let mut tally = Tally::default();
        for _ in 0..2 {
            tally.read("test result: ok. 5 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s");
            tally.read("noise SKIPPED browser: no chromium");
        }
        assert_eq!((tally.passed, tally.programs), (10, 2));
        let summary = tally.summary("1.0 s");
        assert!(summary.starts_with("SKIPPED browser: no chromium\n10 passed, 0 failed"), "{summary}");
    }
}
