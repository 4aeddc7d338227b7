//! Exit codes and the one place that prints a failure.

use std::process::ExitCode;

use contract::api::ApiError;

/// The table that `--help` shows.
pub const TABLE: &str = "\
Exit codes:
  0  done
  1  the command was carried out and did not succeed (failed, rejected, cancelled)
  2  the command line is wrong
  3  the cloud or the broker cannot be reached
  4  the credential is missing or not accepted
  5  there is no such thing
  6  it did not end in time
  7  this machine lacks something (a port, a folder, a compiler)
  8  a fault of ours";

/// Why the program ends with another code than 0.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The fleet or the cloud said no.
    #[error("{0}")]
    Failed(String),
    /// Arguments that contradict each other or the fleet.
    #[error("{0}")]
    Usage(String),
    /// Nobody answers.
    #[error("{0}")]
    Unreachable(String),
    /// No credential, or a wrong one.
    #[error("{0}")]
    Unauthorized(String),
    /// No such relay, device, model or command.
    #[error("{0}")]
    NotFound(String),
    /// It takes too long.
    #[error("{0}")]
    TimedOut(String),
    /// Something on this machine is in the way.
    #[error("{0}")]
    Environment(String),
    /// A fault of ours.
    #[error("{0}")]
    Internal(String),
}

impl Failure {
    /// The exit code, see [`TABLE`].
    pub fn code(&self) -> ExitCode {
        ExitCode::from(match self {
            Failure::Failed(_) => 1,
            Failure::Usage(_) => 2,
            Failure::Unreachable(_) => 3,
            Failure::Unauthorized(_) => 4,
            Failure::NotFound(_) => 5,
            Failure::TimedOut(_) => 6,
            Failure::Environment(_) => 7,
            Failure::Internal(_) => 8,
        })
    }

    /// Writes the sentence to stderr.
    pub fn print(&self) {
        eprintln!("tinymlaas: {self}");
    }

    /// Sorts an answer of the HTTP API into the table.
    pub fn from_api(error: ApiError) -> Self {
        let text = error.message;
        match error.code.as_str() {
            "unauthorized" | "forbidden" => Failure::Unauthorized(text),
            "not_found" | "unknown_model" | "unknown_device" | "unknown_command" | "artifact_not_found" => {
                Failure::NotFound(text)
            }
            "unavailable" => Failure::Unreachable(text),
            "internal" => Failure::Internal(text),
            _ => Failure::Failed(text),
        }
    }
}
