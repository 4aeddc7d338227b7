//! `cargo xtask lint`: what can be checked without running the product.

use super::heading;
use crate::arguments::Arguments;
use crate::failure::{Failure, Outcome};
use crate::step;

mod house;

/// The version of cargo-deny that CI uses.
const CARGO_DENY: &str = "0.20.2";

/// `lint [--install] [--text]`
pub fn run(mut arguments: Arguments) -> Outcome {
    let install = arguments.flag("--install");
    let text = arguments.flag("--text");
    arguments.end()?;
    // Everything is checked before anything is said to be wrong: one run shows it all.
    let checks: [(&str, &dyn Fn() -> Outcome); 4] = [
        ("rules of the house", &house::check),
        ("formatting", &|| step::run(step::cargo().args(["fmt", "--all", "--check"]))),
        ("clippy", &|| {
            step::run(step::cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))
        }),
        ("dependencies: bans, licences, sources", &|| deny(install)),
    ];
    let mut wrong = Vec::new();
    // The first two need no compiler.
    for (name, check) in checks.iter().take(if text { 2 } else { checks.len() }) {
        heading(name);
        if let Err(failure) = check() {
            step::say(&format!("{failure}"));
            wrong.push((*name, failure));
        }
    }
    heading("summary");
    match wrong.len() {
        0 => {
            step::say("nothing to object to");
            Ok(())
        }
        // A machine that lacks a tool is told apart from code that is not right.
        _ => {
            let names: Vec<&str> = wrong.iter().map(|(name, _)| *name).collect();
            let text = format!("not right: {}", names.join("; "));
            let machine = wrong.iter().all(|(_, failure)| matches!(failure, Failure::Machine(_)));
            Err(if machine { Failure::Machine(text) } else { Failure::Failed(text) })
        }
    }
}

fn deny(install: bool) -> Outcome {
    if installed().is_none() {
        let how = format!("cargo install cargo-deny --locked --version {CARGO_DENY}");
        if !install {
            return Err(Failure::Machine(format!(
                "cargo-deny is not installed; 'cargo xtask lint --install' gets it, or type:\n  {how}"
            )));
        }
        step::run(step::cargo().args(["install", "cargo-deny", "--locked", "--version", CARGO_DENY]))?;
    }
    step::run(step::cargo().args(["deny", "check", "bans", "licenses", "sources"]))
}

/// The version of the cargo-deny that is here. Another one than CI's is as good for a look.
fn installed() -> Option<String> {
    let output = step::cargo().args(["deny", "--version"]).output().ok().filter(|output| output.status.success())?;
    let version = version(&String::from_utf8_lossy(&output.stdout))?;
    if version != CARGO_DENY {
        step::say(&format!("cargo-deny {version} is installed; CI uses {CARGO_DENY}"));
    }
    Some(version)
}

fn version(output: &str) -> Option<String> {
    output.trim().strip_prefix("cargo-deny ").map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read() {
        assert_eq!(version("cargo-deny 0.20.2\n").as_deref(), Some("0.20.2"));
        assert_eq!(version("error: no such command: `deny`"), None);
    }
}
