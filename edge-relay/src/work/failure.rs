//! How a command ends without success.

use contract::Code;
use contract::lifecycle::State;
use serde_json::Value;

use crate::error::JournalError;

/// A terminal state other than success, with its reasons.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// The state.
    pub state: State,
    /// Why, for machines.
    pub code: Code,
    /// Why, for people, and the way out.
    pub message: String,
    /// More.
    pub detail: Option<Value>,
}

impl Failure {
    /// Failed.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { state: State::Failed, code, message: message.into(), detail: None }
    }

    /// Never begun: the command itself is at fault.
    pub fn rejected(code: Code, message: impl Into<String>) -> Self {
        Self { state: State::Rejected, ..Self::new(code, message) }
    }

    /// Stopped on request.
    pub fn cancelled() -> Self {
        Self { state: State::Cancelled, ..Self::new(Code::CANCELLED, "cancelled on request") }
    }

    /// It took longer than it may.
    pub fn timed_out() -> Self {
        let message = "the command took longer than its timeout_s; nothing of it runs any more";
        Self { state: State::TimedOut, ..Self::new(Code::TIMED_OUT, message) }
    }

    /// The disk failed.
    pub fn storage(what: &str, error: &std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                Self::new(Code::STORAGE_FULL, format!("the relay's disk is full ({what}); make room and try again"))
            }
            _ => Self::new(Code::INTERNAL, format!("{what}: {error}")),
        }
    }
}

/// Why a job stops.
#[derive(Debug)]
pub enum Halt {
    /// The command ends.
    Failure(Failure),
    /// The relay has to end: nothing can be promised without the journal.
    Fatal(JournalError),
}

impl From<Failure> for Halt {
    fn from(failure: Failure) -> Self {
        Halt::Failure(failure)
    }
}

impl From<JournalError> for Halt {
    fn from(error: JournalError) -> Self {
        Halt::Fatal(error)
    }
}
