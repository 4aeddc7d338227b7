//! `cargo xtask`: the one list of the project's tasks, the same for people and for CI.
//!
//! # Layout
//!
//! - `task/`: one file per task, named as it is typed, and the table of them.
//! - `machine/`: what tests need from this machine: which programs, whether they are here, how they get here.
//! - `browser/`: a Chromium without a window, for screenshots.
//! - `arguments`, `step`, `tally`, `workspace`: what tasks share.
//!
//! Nothing of the product lives here, and the product never calls this.

mod arguments;
mod browser;
mod failure;
mod machine;
mod step;
mod tally;
mod task;
mod workspace;

use std::process::ExitCode;

fn main() -> ExitCode {
    let typed: Vec<String> = std::env::args().skip(1).collect();
    match task::run(&typed) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            step::say(&format!("\nerror: {failure}"));
            failure.code()
        }
    }
}
