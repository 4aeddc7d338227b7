//! `cargo xtask test`: everything that can be tested, with real parts.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::Stdio;
use std::time::Instant;

use super::heading;
use crate::arguments::Arguments;
use crate::failure::{Failure, Outcome};
use crate::tally::Tally;
use crate::{machine, step};

/// When more than these fail, the code is broken and not the luck of a busy machine.
const MOST_AGAIN: usize = 5;

/// `test [--no-install] [FILTER…] [-- ARGS]`
pub fn run(mut arguments: Arguments) -> Outcome {
    let no_install = arguments.flag("--no-install");
    let (filters, beyond) = arguments.rest()?;
    let begin = Instant::now();

    heading("what the tests need");
    let missing = machine::missing();
    if no_install {
        for need in &missing {
            let program = need.program.unwrap_or("files");
            step::say(&format!("MISSING {program} of the package {}: {}", need.package, need.why));
        }
    } else {
        machine::install(&missing)?;
    }

    heading("build the programs and their tests");
    // The whole workspace in one go: the end-to-end tests start the binary that this builds.
    step::run(step::cargo().args(["test", "--workspace", "--no-run"]))?;

    heading("contract snapshots, units, integration, end to end with real processes, browser");
    let mut tally = Tally::default();
    let mut outcome = test(&filters, &beyond, &mut tally);
    let failed = tally.failures.clone();
    if outcome.is_err() && tally.is_whole() && (1..=MOST_AGAIN).contains(&failed.len()) {
        heading("what failed, once more and one by one");
        let mut again = Tally::default();
        let alone = [beyond, vec!["--exact".to_owned(), "--test-threads=1".to_owned()]].concat();
        outcome = test(&failed, &alone, &mut again);
        tally.tried_again(again);
    }
    heading("summary");
    step::say(&tally.summary(&step::seconds(begin.elapsed())));
    for need in if no_install { missing.as_slice() } else { &[] } {
        step::say(&format!("MISSING, so not everything was tested: {}", need.package));
    }
    outcome?;
    if !filters.is_empty() && tally.passed == 0 {
        return Err(Failure::Failed(format!("no test has '{}' in its name", filters.join("' or '"))));
    }
    Ok(())
}

fn test(filters: &[String], beyond: &[String], tally: &mut Tally) -> Outcome {
    let mut command = step::cargo();
    // --no-fail-fast: one run says everything that is wrong.
    command.args(["test", "--workspace", "--no-fail-fast", "--", "--show-output"]).args(filters).args(beyond);
    step::say(&format!("==> {}", step::shown(&command)));
    let mut child = command.stdout(Stdio::piped()).spawn().map_err(|error| step::not_started(&command, &error))?;
    if let Some(output) = child.stdout.take() {
        let mut reader = BufReader::new(output);
        let mut line = Vec::new();
        // Bytes, not strings: a test may print anything.
        while reader.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
            let text = String::from_utf8_lossy(&line);
            if tally.read(text.trim_end_matches('\n')) {
                // Nobody reading is no reason to stop testing.
                let _ = std::io::stdout().lock().write_all(text.as_bytes());
            }
            line.clear();
        }
    }
    let status = child.wait().map_err(|error| step::not_started(&command, &error))?;
    match (status.success(), tally.failed) {
        (true, _) => Ok(()),
        (false, 0) => Err(Failure::Failed(format!("the tests ended with {status}"))),
        (false, failed) => Err(Failure::Failed(format!("{failed} tests failed"))),
    }
}
