//! The tasks: one file each, named as it is typed.

mod bench;
mod ci;
mod fuzz;
mod lint;
mod screenshots;
mod test;

use crate::arguments::Arguments;
use crate::failure::{Failure, Outcome};
use crate::step;

struct Task {
    name: &'static str,
    usage: &'static str,
    about: &'static str,
    run: fn(Arguments) -> Outcome,
}

const TASKS: &[Task] = &[
    Task {
        name: "test",
        usage: "test [--no-install] [FILTER…] [-- ARGS]",
        about: "install what tests need (Debian, Ubuntu), then run all of them, or those with FILTER in their name",
        run: test::run,
    },
    Task {
        name: "lint",
        usage: "lint [--install] [--text]",
        about: "rules of the house, formatting (--text: no more than these), clippy, licences and sources of dependencies",
        run: lint::run,
    },
    Task { name: "ci", usage: "ci", about: "lint --install and test, as CI runs them", run: ci::run },
    Task {
        name: "bench",
        usage: "bench [--dev] [NAME] [-- ARGS]",
        about: "measure; without NAME, list what can be measured",
        run: bench::run,
    },
    Task {
        name: "fuzz",
        usage: "fuzz [--seconds N] [CRATE…]",
        about: "property tests with ever new random input, for N seconds (60)",
        run: fuzz::run,
    },
    Task {
        name: "screenshots",
        usage: "screenshots [FOLDER]",
        about: "every page of the dashboard with the demo running: light, dark, phone (target/screenshots)",
        run: screenshots::run,
    },
];

/// Runs what was typed after `cargo xtask`.
pub fn run(typed: &[String]) -> Outcome {
    let Some((name, rest)) = typed.split_first() else {
        println!("{}", list());
        return Ok(());
    };
    if ["help", "--help", "-h"].contains(&name.as_str()) {
        println!("{}", list());
        return Ok(());
    }
    match TASKS.iter().find(|task| task.name == name) {
        Some(task) => (task.run)(Arguments::new(rest)),
        None => Err(Failure::Usage(format!("there is no task '{name}'\n\n{}", list()))),
    }
}

fn list() -> String {
    let width = TASKS.iter().map(|task| task.usage.chars().count()).max().unwrap_or_default();
    let mut text = "The project's tasks, run as 'cargo xtask TASK':\n".to_owned();
    for task in TASKS {
        text.push_str(&format!("\n  {:<width$}  {}", task.usage, task.about));
    }
    text
}

/// Says the names of the steps of a task that has several.
fn heading(text: &str) {
    step::say(&format!("\n### {text}"));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn an_unknown_task_is_named_with_those_that_exist() {
        let failure = run(&["tset".to_owned()]).unwrap_err();
        assert!(matches!(failure, Failure::Usage(_)));
        let text = failure.to_string();
        assert!(text.contains("'tset'"), "{text}");
        for task in TASKS {
            assert!(text.contains(task.about), "{} is not in: {text}", task.name);
        }
    }

    #[test]
    fn usage_begins_with_the_name() {
        for task in TASKS {
            assert_eq!(task.usage.split_whitespace().next(), Some(task.name));
        }
    }

    #[test]
    fn a_mistyped_option_runs_nothing() {
        for task in TASKS {
            let failure = run(&[task.name.to_owned(), "--surely-not".to_owned()]).unwrap_err();
            assert!(matches!(&failure, Failure::Usage(text) if text.contains("--surely-not")), "{}", task.name);
        }
    }
}
