//! `cargo xtask fuzz`: the crates' property tests, again and again with new random input, for a bounded time.
//!
//! The time is shared evenly between the test programs. Each run of a program draws new random input; the number of
//! cases per test doubles from run to run, except where a test fixes its own. A failing input is written by proptest
//! beside the test (`proptest-regressions/`): commit it, it is tried first from then on.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::heading;
use crate::arguments::Arguments;
use crate::failure::{Failure, Outcome};
use crate::step;
use crate::workspace::{self, Package};

const DEFAULT_SECONDS: u64 = 60;
const MOST_SECONDS: u64 = 7 * 24 * 3600;
const FIRST_CASES: u32 = 16;
const MOST_CASES: u32 = 1_000_000;

/// A test program with the full names of its property tests.
struct Program {
    path: PathBuf,
    folder: PathBuf,
    label: String,
    tests: Vec<String>,
}

/// `fuzz [--seconds N] [CRATE…]`
pub fn run(mut arguments: Arguments) -> Outcome {
    let seconds = arguments.number("--seconds", MOST_SECONDS)?.unwrap_or(DEFAULT_SECONDS);
    let (wanted, beyond) = arguments.rest()?;
    if !beyond.is_empty() {
        return Err(Failure::Usage("nothing may follow '--' here".to_owned()));
    }
    let packages = choose(workspace::packages()?, &wanted)?;

    heading("build");
    let mut programs = Vec::new();
    for package in &packages {
        programs.extend(build(package)?);
    }
    let tests: usize = programs.iter().map(|program| program.tests.len()).sum();
    heading(&format!("{tests} property tests of {} programs for {seconds} s", programs.len()));
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut failed = Vec::new();
    for (index, program) in programs.iter().enumerate() {
        let left = end.saturating_duration_since(Instant::now());
        let share = left / u32::try_from(programs.len() - index).unwrap_or(1);
        if !fuzz(program, Instant::now() + share)? {
            failed.push(program.label.clone());
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(Failure::Failed(format!("failing input found: {}", failed.join(", ")))) }
}

fn choose(packages: Vec<Package>, wanted: &[String]) -> Result<Vec<Package>, Failure> {
    let with: Vec<Package> = packages.into_iter().filter(|package| package.has_properties).collect();
    if let Some(name) = wanted.iter().find(|name| with.iter().all(|package| package.name != **name)) {
        let names: Vec<&str> = with.iter().map(|package| package.name.as_str()).collect();
        return Err(Failure::Usage(format!("'{name}' has no property tests; these have: {}", names.join(", "))));
    }
    Ok(with.into_iter().filter(|package| wanted.is_empty() || wanted.contains(&package.name)).collect())
}

/// Builds a crate's test programs and finds the property tests in them.
fn build(package: &Package) -> Result<Vec<Program>, Failure> {
    let mut names = Vec::new();
    sources(&package.folder, &mut |text| names.extend(property_tests(text)));
    let mut command = step::cargo();
    command.args(["test", "--package", &package.name, "--lib", "--tests", "--no-run", "--message-format", "json"]);
    let output = command.stderr(Stdio::inherit()).output().map_err(|error| step::not_started(&command, &error))?;
    if !output.status.success() {
        return Err(Failure::Failed(format!("'{}' ended with {}", step::shown(&command), output.status)));
    }
    let mut programs = Vec::new();
    for message in String::from_utf8_lossy(&output.stdout).lines() {
        let Ok(message) = serde_json::from_str::<Value>(message) else { continue };
        let (Some(path), true) = (message["executable"].as_str(), message["profile"]["test"] == true) else { continue };
        let tests = list(Path::new(path), &names)?;
        if !tests.is_empty() {
            let target = message["target"]["name"].as_str().unwrap_or_default();
            let label = format!("{} ({target})", package.name);
            programs.push(Program { path: path.into(), folder: package.folder.clone(), label, tests });
        }
    }
    Ok(programs)
}

/// Full names of those tests of a program whose function is one of `names`.
fn list(program: &Path, names: &[String]) -> Result<Vec<String>, Failure> {
    let mut command = Command::new(program);
    let output = command.arg("--list").output().map_err(|error| step::not_started(&command, &error))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let tests = text.lines().filter_map(|line| line.strip_suffix(": test"));
    Ok(tests
        .filter(|test| names.iter().any(|name| test.rsplit("::").next() == Some(name)))
        .map(str::to_owned)
        .collect())
}

/// Runs a program until its time is over; false if a test failed.
fn fuzz(program: &Program, end: Instant) -> Result<bool, Failure> {
    let begin = Instant::now();
    let (mut cases, mut runs) = (FIRST_CASES, 0);
    loop {
        let mut command = Command::new(&program.path);
        command.current_dir(&program.folder).arg("--exact").args(&program.tests);
        command.env("PROPTEST_CASES", cases.to_string()).env("CARGO_MANIFEST_DIR", &program.folder);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|error| step::not_started(&command, &error))?;
        // The harness prints little before its end, so the pipe does not fill up while nobody reads.
        let done = loop {
            match child.try_wait() {
                Ok(Some(status)) => break Some(status.success()),
                Ok(None) if Instant::now() >= end => break None,
                Ok(None) => std::thread::sleep(Duration::from_millis(20)),
                Err(error) => return Err(step::not_started(&command, &error)),
            }
        };
        if done.is_none() {
            let _ = child.kill();
        }
        let output = child.wait_with_output().map_err(|error| step::not_started(&command, &error))?;
        match done {
            Some(true) => runs += 1,
            Some(false) => {
                println!("{}", String::from_utf8_lossy(&output.stdout));
                return Ok(false);
            }
            None => break,
        }
        if Instant::now() >= end {
            break;
        }
        cases = cases.saturating_mul(2).min(MOST_CASES);
    }
    let label = format!("{}: {} tests", program.label, program.tests.len());
    let time = step::seconds(begin.elapsed());
    step::say(&match runs {
        0 => format!("{label}: nothing found in {time}, which was too short for {FIRST_CASES} cases of each"),
        _ => format!("{label}: nothing found in {runs} runs and {time}, the last run with up to {cases} cases of each"),
    });
    Ok(true)
}

/// Calls `read` with the text of every Rust file of a folder.
fn sources(folder: &Path, read: &mut impl FnMut(&str)) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            sources(&path, read);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            read(&std::fs::read_to_string(&path).unwrap_or_default());
        }
    }
}

/// The names of the functions inside `proptest! { … }` blocks. Formatted code closes a block at its own indentation.
fn property_tests(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut end: Option<String> = None;
    for line in text.lines() {
        let code = line.trim_start();
        match &end {
            None if code == "proptest! {" => end = Some(format!("{}}}", &line[..line.len() - code.len()])),
            None => {}
            Some(closing) if line == closing => end = None,
            Some(_) => {
                if let Some((name, _)) = code.strip_prefix("fn ").and_then(|rest| rest.split_once('(')) {
                    names.push(name.to_owned());
                }
            }
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn property_tests_are_told_from_others() {
        let text = "
#[test]
fn plain() {}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn never_panics(bytes in any::<Vec<u8>>()) {
        helper(&bytes);
    }

    #[test]
    fn round_trip(text in \".*\") {}
}

mod tests {
    proptest! {
        #[test]
        fn nested(a in 0..3) {}
    }
    fn helper() {}
}
";
        assert_eq!(property_tests(text), ["never_panics", "round_trip", "nested"]);
    }

    #[test]
    fn a_crate_without_property_tests_is_named() {
        let package = |name: &str, has_properties| Package {
            name: name.into(),
            folder: name.into(),
            benches: vec![],
            has_properties,
            has_examples: false,
        };
        let packages = vec![package("contract", true), package("xtask", false)];
        let text = choose(packages.clone(), &["xtask".into()]).err().map(|failure| failure.to_string());
        assert!(text.is_some_and(|text| text.contains("'xtask'") && text.contains("contract")));
        assert_eq!(choose(packages, &[]).map(|chosen| chosen.len()), Ok(1));
    }
}
