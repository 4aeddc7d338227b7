//! Why the cloud cannot start or go on.

use std::path::PathBuf;

use thiserror::Error;

use crate::credentials::CredentialError;

/// Why the cloud cannot start or go on.
#[derive(Debug, Error)]
pub enum CloudError {
    /// A file or folder.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried, such as `create`.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The database.
    #[error("the database in {}: {source}", path.display())]
    Database {
        /// Its file.
        path: PathBuf,
        /// Why it failed.
        source: sea_orm::DbErr,
    },
    /// The file of identities.
    #[error(transparent)]
    Credentials(#[from] CredentialError),
    /// The database and the credential file do not come together.
    #[error("the identities of database and credential file do not come together: {0}")]
    Roster(String),
    /// A service ended by itself.
    #[error("a service of the cloud ended unexpectedly: {0}")]
    Service(String),
    /// A file of ours whose content is not what we wrote.
    #[error("{} is damaged: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to do.
        reason: String,
    },
}

impl CloudError {
    /// A closure for `map_err` on file operations.
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}
