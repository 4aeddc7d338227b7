//! Why a task ends with an exit code that is not 0.

use std::fmt;
use std::process::ExitCode;

/// What a task returns.
pub type Outcome = Result<(), Failure>;

/// Why a task ends with an exit code that is not 0. The text names what to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Failure {
    /// The task ran, and what it checked is not right. Exit code 1.
    Failed(String),
    /// The command line is wrong. Exit code 2.
    Usage(String),
    /// This machine lacks something. Exit code 7, as `tinymlaas` has it.
    Machine(String),
}

impl Failure {
    /// The exit code.
    pub fn code(&self) -> ExitCode {
        ExitCode::from(match self {
            Failure::Failed(_) => 1,
            Failure::Usage(_) => 2,
            Failure::Machine(_) => 7,
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Failed(text) | Failure::Usage(text) | Failure::Machine(text) => f.write_str(text),
        }
    }
}
