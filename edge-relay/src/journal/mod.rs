//! The journal `relay.db`: what the relay must still know after it was killed at any moment.
//!
//! One connection is the only writer, and readers queue behind it. Every transaction is synced before it returns
//! (WAL, `synchronous=FULL`): what the journal has acknowledged is on the disk. All numbers that must not repeat are
//! kept in rows and never only in memory, so that a caller may be cancelled at any point.

mod commands;
mod devices;
mod migration;
mod outbox;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use sea_orm::SqlxSqliteConnector;
use sea_orm::sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sea_orm::sqlx::{Row as _, query};
use sea_orm_migration::MigratorTrait as _;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::JournalError;

pub use commands::{Accepted, CommandRow};
pub use devices::{DeviceRow, Installed};
pub use outbox::Entry;

type Result<T> = std::result::Result<T, JournalError>;

/// The open journal.
#[derive(Debug)]
pub struct Journal {
    pool: SqlitePool,
    id: String,
}

impl Journal {
    /// Opens the file, making and migrating it as needed.
    ///
    /// # Errors
    /// [`JournalError`].
    pub async fn open(path: &Path) -> Result<Self> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(5))
            .foreign_keys(true)
            .statement_cache_capacity(32)
            .pragma("cache_size", "-512"); // KiB: a relay is small
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .acquire_timeout(Duration::from_secs(60))
            .connect_with(options)
            .await?;
        migration::Migrator::up(&SqlxSqliteConnector::from_sqlx_sqlite_pool(pool.clone()), None).await?;
        let mut journal = Self { pool, id: String::new() };
        journal.id = match journal.meta("journal").await? {
            Some(id) => id,
            None => {
                let id = uuid::Uuid::new_v4().simple().to_string();
                journal.put_meta("journal", &id).await?;
                id
            }
        };
        Ok(journal)
    }

    /// The journal's random id.
    pub fn id(&self) -> &str {
        &self.id
    }

    async fn meta(&self, key: &str) -> Result<Option<String>> {
        let row = query("SELECT value FROM meta WHERE key = ?").bind(key).fetch_optional(&self.pool).await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }

    async fn put_meta(&self, key: &str, value: &str) -> Result<()> {
        query("INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value")
            .bind(key)
            .bind(value)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Counts a connect and returns its epoch, from 1.
    ///
    /// # Errors
    /// [`JournalError`].
    pub async fn next_epoch(&self) -> Result<u64> {
        let epoch = self.number("epoch").await? + 1;
        self.put_meta("epoch", &epoch.to_string()).await?;
        Ok(epoch)
    }

    /// The last version of the state that was published, 0 before the first.
    ///
    /// # Errors
    /// [`JournalError`].
    pub async fn state_version(&self) -> Result<u64> {
        self.number("state_version").await
    }

    /// Keeps the version of the state, before it is published.
    ///
    /// # Errors
    /// [`JournalError`].
    pub async fn keep_state_version(&self, version: u64) -> Result<()> {
        self.put_meta("state_version", &version.to_string()).await
    }

    async fn number(&self, key: &str) -> Result<u64> {
        Ok(self.meta(key).await?.and_then(|text| text.parse().ok()).unwrap_or(0))
    }

    /// The counters as they were kept last.
    ///
    /// # Errors
    /// [`JournalError`].
    pub async fn counters(&self) -> Result<BTreeMap<String, u64>> {
        match self.meta("counters").await? {
            Some(text) => from_json("counters", &text),
            None => Ok(BTreeMap::new()),
        }
    }

    /// Keeps the counters.
    ///
    /// # Errors
    /// [`JournalError`].
    pub async fn keep_counters(&self, counters: &BTreeMap<String, u64>) -> Result<()> {
        self.put_meta("counters", &to_json(counters)).await
    }
}

/// Plain data of ours: writing it as JSON text to memory cannot fail.
fn to_json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

fn from_json<T: DeserializeOwned>(what: &'static str, text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|source| JournalError::Content { what, source })
}
