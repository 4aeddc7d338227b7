//! Why a service did not do what it was asked for.

use contract::Code;
use contract::ids::InvalidId;
use contract::wire::Malformed;

/// Why a service did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// What was asked for cannot be done; the asker is told why.
    #[error("{message}")]
    Refused {
        /// Why, for machines.
        code: Code,
        /// Why, and the way out, for people.
        message: String,
        /// The field at fault.
        field: Option<String>,
    },
    /// The database failed.
    #[error("the database: {0}")]
    Database(#[from] sea_orm::DbErr),
    /// A file could not be read or written.
    #[error("a file: {0}")]
    Io(#[from] std::io::Error),
    /// A fault of ours.
    #[error("{0}")]
    Internal(String),
}

impl Failure {
    /// Refuses.
    pub fn refuse(code: Code, message: impl Into<String>) -> Self {
        Self::Refused { code, message: message.into(), field: None }
    }

    /// Refuses, naming a field.
    pub fn field(code: Code, field: &str, message: impl Into<String>) -> Self {
        Self::Refused { code, message: message.into(), field: Some(field.to_owned()) }
    }

    /// What the asker is told. Details of our own faults go to the log, once, here.
    pub fn into_answer(self) -> (Code, String, Option<String>) {
        match self {
            Self::Refused { code, message, field } => (code, message, field),
            other => {
                tracing::error!(error = %other, "a request failed");
                let message = "the cloud could not do this because of a fault of its own; its log has the details";
                (Code::INTERNAL, message.to_owned(), None)
            }
        }
    }
}

impl From<Malformed> for Failure {
    fn from(malformed: Malformed) -> Self {
        Self::Refused { code: malformed.code, message: malformed.message, field: malformed.field }
    }
}

impl From<InvalidId> for Failure {
    fn from(invalid: InvalidId) -> Self {
        Self::refuse(Code::INVALID_FIELD, invalid.to_string())
    }
}

impl From<tokio::task::JoinError> for Failure {
    fn from(error: tokio::task::JoinError) -> Self {
        Self::Internal(format!("a task ended unexpectedly: {error}"))
    }
}
