//! Runs a program as one step of a task: says what runs, how long it took, and what to do when it fails.

use std::ffi::OsStr;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::failure::{Failure, Outcome};

/// Prints a line for people; standard output is left to the programs that are run.
pub fn say(line: &str) {
    eprintln!("{line}");
}

/// `cargo`, the same one that runs this, in the workspace's root.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(crate::workspace::root());
    command
}

/// Runs a program to its end with the terminal as its own.
pub fn run(command: &mut Command) -> Outcome {
    let line = shown(command);
    say(&format!("\n==> {line}"));
    let begin = Instant::now();
    let status = command.status().map_err(|error| not_started(command, &error))?;
    say(&format!("    {} after {}", if status.success() { "done" } else { "failed" }, seconds(begin.elapsed())));
    if status.success() { Ok(()) } else { Err(Failure::Failed(format!("'{line}' ended with {status}"))) }
}

/// Why a program could not be started.
pub fn not_started(command: &Command, error: &std::io::Error) -> Failure {
    Failure::Machine(format!("cannot start '{}': {error}", command.get_program().to_string_lossy()))
}

/// The command line as one would type it.
pub fn shown(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    std::iter::once(program).chain(command.get_args()).map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

/// A duration as people say it: `7.2 s`, `3 min 05 s`.
pub fn seconds(time: Duration) -> String {
    let whole = time.as_secs();
    if whole < 60 { format!("{:.1} s", time.as_secs_f64()) } else { format!("{} min {:02} s", whole / 60, whole % 60) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn durations_read_well() {
        assert_eq!(seconds(Duration::from_millis(7240)), "7.2 s");
        assert_eq!(seconds(Duration::from_secs(185)), "3 min 05 s");
    }

    #[test]
    fn a_failed_step_names_its_command_line() {
        let failure = run(Command::new("/bin/sh").args(["-c", "exit 3"])).unwrap_err();
        assert!(failure.to_string().contains("sh -c exit 3"), "{failure}");
        assert!(matches!(failure, Failure::Failed(_)));
        let failure = run(&mut Command::new("/nonexistent/program")).unwrap_err();
        assert!(matches!(&failure, Failure::Machine(text) if text.contains("/nonexistent/program")), "{failure}");
    }
}
