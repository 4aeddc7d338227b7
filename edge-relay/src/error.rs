//! Why a relay could not start or had to stop.

use std::path::PathBuf;

/// Why a relay could not start or had to stop. Whoever runs it restarts it: it goes on where it was.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// Another relay works in this folder.
    #[error("another relay runs in {0}: stop it, or give this one a folder of its own")]
    InUse(PathBuf),
    /// A file that must be there is missing.
    #[error("{path} is missing: {help}")]
    Missing {
        /// Which file.
        path: PathBuf,
        /// What to do.
        help: &'static str,
    },
    /// A file or folder cannot be used.
    #[error("{what} {path}: {source}")]
    File {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("{path}: {problem}")]
    Content {
        /// Which file.
        path: PathBuf,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// The journal cannot be read or written.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A part of the relay ended that must not end.
    #[error("the relay's {0} ended unexpectedly; this is a fault of ours")]
    Part(&'static str),
}

/// The journal cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The database failed: most likely the disk is full or the file is damaged.
    #[error("the relay's journal failed ({0}): check that the disk is neither full nor read-only")]
    Database(#[from] sea_orm::sqlx::Error),
    /// The database could not be brought to this version's tables.
    #[error("the relay's journal could not be migrated: {0}")]
    Migration(#[from] sea_orm::DbErr),
    /// A row holds what this version cannot read.
    #[error("the relay's journal holds an unreadable {what}: {source}")]
    Content {
        /// What it should be.
        what: &'static str,
        /// Why it is not.
        source: serde_json::Error,
    },
}
