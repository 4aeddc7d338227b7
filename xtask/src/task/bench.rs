//! `cargo xtask bench NAME`: measurements; each prints its own figures.

use crate::arguments::Arguments;
use crate::failure::{Failure, Outcome};
use crate::step;
use crate::workspace::{self, Package};

/// `bench [--dev] [NAME] [-- ARGS]`
pub fn run(mut arguments: Arguments) -> Outcome {
    // Enough where other programs are what is measured, and much sooner built.
    let profile = if arguments.flag("--dev") { "dev" } else { "bench" };
    let name = arguments.word();
    let (more, beyond) = match &name {
        Some(name) if name.starts_with('-') => {
            return Err(Failure::Usage(format!("there is no option '{name}' here; arguments of a bench follow '--'")));
        }
        _ => arguments.rest()?,
    };
    let packages = workspace::packages()?;
    let Some(name) = name else {
        println!("{}", list(&packages));
        return Ok(());
    };
    let package = choose(&packages, &name)?;
    if package.has_examples {
        // Processes that its benches start.
        step::run(step::cargo().args(["build", "--profile", profile, "--package", &package.name, "--examples"]))?;
    }
    let mut command = step::cargo();
    command.args(["bench", "--profile", profile, "--package", &package.name, "--bench", &name]);
    command.arg("--").args(more).args(beyond);
    step::run(&mut command)
}

fn choose<'a>(packages: &'a [Package], name: &str) -> Result<&'a Package, Failure> {
    packages
        .iter()
        .find(|package| package.benches.iter().any(|bench| bench == name))
        .ok_or_else(|| Failure::Usage(format!("there is no bench '{name}'\n\n{}", list(packages))))
}

fn list(packages: &[Package]) -> String {
    let mut text =
        "Benches, run as 'cargo xtask bench NAME' (optimized, or faster built with --dev; nothing else on the machine, please):".to_owned();
    for package in packages {
        for bench in &package.benches {
            text.push_str(&format!("\n  {bench:<12} {}/benches/{bench}.rs", package.name));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_bench_is_found_by_its_own_name() {
        let package = |name: &str, benches: &[&str]| Package {
            name: name.to_owned(),
            folder: name.into(),
            benches: benches.iter().map(|bench| (*bench).to_owned()).collect(),
            has_properties: false,
            has_examples: false,
        };
        let packages = [package("broker", &["broker"]), package("cli", &["commands"])];
        assert_eq!(choose(&packages, "commands").unwrap().name, "cli");
        let text = choose(&packages, "cli").unwrap_err().to_string();
        assert!(text.contains("'cli'") && text.contains("commands") && text.contains("broker"), "{text}");
    }
}
