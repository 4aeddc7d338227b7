//! The database: one writer, several readers.
//!
//! SQLite allows one writer at a time, so all writes share one connection and queue for it here instead of meeting
//! as `SQLITE_BUSY`; transactions on it begin IMMEDIATE. Readers see the last committed state (WAL) and never wait.
//!
//! `synchronous=FULL`: with WAL, NORMAL already survives a killed process, but may lose the last transactions in a
//! power cut, and by then a relay may have been told to forget what they held. Writes are batched, so that is a few
//! syncs a second.

pub mod entity;
mod migration;

use std::path::Path;
use std::time::Duration;

use sea_orm::sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous};
use sea_orm::{
    ConnectOptions, Database, DatabaseConnection, DatabaseTransaction, DbErr, SqliteTransactionMode,
    TransactionOptions, TransactionTrait,
};
use sea_orm_migration::MigratorTrait;

use crate::error::CloudError;

/// Connections that only read.
const READERS: u32 = 4;

/// The open database.
#[derive(Debug, Clone)]
pub struct Db {
    read: DatabaseConnection,
    write: DatabaseConnection,
}

impl Db {
    /// Opens the SQLite file, making and migrating it as needed.
    ///
    /// # Errors
    /// [`CloudError::Database`].
    pub async fn open(path: &Path) -> Result<Self, CloudError> {
        let failed = |source| CloudError::Database { path: path.to_owned(), source };
        let write = connect(path, 1, false).await.map_err(failed)?;
        migration::Migrator::up(&write, None).await.map_err(failed)?;
        let read = connect(path, READERS, true).await.map_err(failed)?;
        Ok(Self { read, write })
    }

    /// For queries.
    pub const fn read(&self) -> &DatabaseConnection {
        &self.read
    }

    /// For single statements that change something. Never while holding a transaction of [`Db::begin`]: there is one
    /// connection, so that would wait for itself.
    pub const fn write(&self) -> &DatabaseConnection {
        &self.write
    }

    /// For several statements that change something together.
    ///
    /// # Errors
    /// As the database reports them.
    pub async fn begin(&self) -> Result<DatabaseTransaction, DbErr> {
        let options = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        self.write.begin_with_options(options).await
    }

    /// Whether it answers.
    pub async fn works(&self) -> bool {
        self.read.ping().await.is_ok()
    }

    /// Closes all connections; the write-ahead log is folded into the file.
    pub async fn close(self) {
        for connection in [self.read, self.write] {
            if let Err(error) = connection.close().await {
                tracing::warn!(%error, "closing the database");
            }
        }
    }
}

async fn connect(path: &Path, connections: u32, read_only: bool) -> Result<DatabaseConnection, DbErr> {
    let path = path.to_owned();
    let mut options = ConnectOptions::new("sqlite::memory:");
    options
        .max_connections(connections)
        .min_connections(1)
        // A disk that is busy for a minute is slow, and no reason to fail.
        .acquire_timeout(Duration::from_secs(120))
        .sqlx_logging(false)
        .test_before_acquire(false)
        .map_sqlx_sqlite_opts(move |options| {
            // The path is set here and not in the URL, where it would have to be escaped.
            options
                .in_memory(false)
                .shared_cache(false)
                .filename(&path)
                .create_if_missing(!read_only)
                .read_only(read_only)
                .journal_mode(SqliteJournalMode::Wal)
                .synchronous(SqliteSynchronous::Full)
                .foreign_keys(true)
                .busy_timeout(Duration::from_secs(10))
                .statement_cache_capacity(256)
        });
    Database::connect(options).await
}
