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
    /// Names of tests that failed beside the others and passed alone. Each is a fault, of the test or of the product.
    pub flaky: Vec<String>,
    // Programs that began; one that was killed or ended itself never says a result.
    begun: u64,
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
        let begins =
            line.strip_prefix("running ").is_some_and(|rest| rest.ends_with(" tests") || rest.ends_with(" test"));
        self.begun += u64::from(begins);
        if line == "failures:" || begins {
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

    /// Whether every program that began also said how it ended.
    pub fn is_whole(&self) -> bool {
        self.begun == self.programs
    }

    /// Takes in how the failed tests went when they were run once more, alone.
    pub fn tried_again(&mut self, again: Self) {
        let (failed, passed) = std::mem::take(&mut self.failures)
            .into_iter()
            .partition(|name| again.failures.contains(name) || again.passed + again.failed == 0);
        (self.failures, self.flaky) = (failed, passed);
        self.failed = self.failures.len() as u64;
        self.passed += self.flaky.len() as u64;
    }

    /// The closing lines for people.
    pub fn summary(&self, time: &str) -> String {
        let mut text = String::new();
        for name in &self.flaky {
            text.push_str(&format!("FLAKY   {name}: failed beside the others, passed alone; mend it\n"));
        }
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
    fn what_passes_alone_is_called_flaky_and_what_fails_again_fails() {
        let run = |text: &str| {
            let mut tally = Tally::default();
            text.lines().for_each(|line| _ = tally.read(line));
            tally
        };
        let both = "failures:\n    crash::one\n    crash::two\n\ntest result: FAILED. 3 passed; 2 failed; 0 ignored";
        let one = "failures:\n    crash::two\n\ntest result: FAILED. 1 passed; 1 failed; 0 ignored";
        let mut tally = run(both);
        tally.tried_again(run(one));
        assert_eq!((tally.passed, tally.failed), (4, 1));
        assert_eq!(
            (tally.flaky.as_slice(), tally.failures.as_slice()),
            (&["crash::one".to_owned()][..], &["crash::two".to_owned()][..])
        );
        // A second run that ran nothing shows nothing.
        assert!(run(&format!("running 5 tests\n{both}")).is_whole());
        assert!(!run(&format!("running 2 tests\nrunning 5 tests\n{both}")).is_whole());
        let mut tally = run(both);
        tally.tried_again(Tally::default());
        assert_eq!((tally.passed, tally.failed), (3, 2));
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
