//! Commands: what was accepted, where it stands, and what must be known to go on with it.

use contract::artifact::SignedManifest;
use contract::command::Command;
use contract::event::CommandReport;
use contract::ids::CommandId;
use contract::stream::Stream;
use contract::timestamp::Timestamp;
use sea_orm::sqlx::sqlite::{Sqlite, SqliteRow};
use sea_orm::sqlx::{Row as _, Transaction, query};

use super::{Journal, Result, from_json, outbox, to_json};

/// A command as the journal keeps it.
#[derive(Debug, Clone)]
pub struct CommandRow {
    /// The payload as it came, without what contract drops.
    pub body: String,
    /// The last report.
    pub report: CommandReport,
    /// The manifest that the cloud answered with; a resumed command installs exactly this.
    pub manifest: Option<SignedManifest>,
    /// When it was accepted.
    pub accepted_at: Timestamp,
}

/// What became of an attempt to accept a command.
#[derive(Debug)]
pub enum Accepted {
    /// It is new and now in the journal.
    New,
    /// The id was there before.
    Known(Box<CommandRow>),
}

const COLUMNS: &str = "SELECT body, report, manifest, accepted_at FROM commands ";

fn read(row: &SqliteRow) -> Result<CommandRow> {
    let manifest: Option<String> = row.try_get(2)?;
    Ok(CommandRow {
        body: row.try_get(0)?,
        report: from_json("report", row.try_get(1)?)?,
        manifest: manifest.map(|text| from_json("manifest", &text)).transpose()?,
        accepted_at: Timestamp::from_micros(row.try_get(3)?),
    })
}

impl Journal {
    /// Keeps a new command together with the event that says so; a known id changes nothing.
    ///
    /// # Errors
    /// [`crate::error::JournalError`].
    pub async fn accept(
        &self,
        command: &Command,
        report: &CommandReport,
        event: (&str, &str),
        now: Timestamp,
    ) -> Result<Accepted> {
        let mut tx: Transaction<'_, Sqlite> = self.pool.begin().await?;
        let sql = format!("{COLUMNS} WHERE id = ?");
        let known = query(sea_orm::sqlx::AssertSqlSafe(sql)).bind(command.id.as_str()).fetch_optional(&mut *tx).await?;
        if let Some(row) = known {
            return Ok(Accepted::Known(Box::new(read(&row)?)));
        }
        query(
            "INSERT INTO commands (id, body, state, terminal, report, attempts, accepted_at, updated_at) \
             VALUES (?, ?, ?, ?, ?, 0, ?, ?)",
        )
        .bind(command.id.as_str())
        .bind(to_json(command))
        .bind(report.state.as_str())
        .bind(report.state.is_terminal())
        .bind(to_json(report))
        .bind(now.as_micros())
        .bind(now.as_micros())
        .execute(&mut *tx)
        .await?;
        outbox::append(&mut tx, Stream::Events, event.0, event.1).await?;
        tx.commit().await?;
        Ok(Accepted::New)
    }

    /// Keeps where a command stands now, together with the event that says so. A command that has ended stays as it
    /// ended; the return value says whether the report was taken.
    ///
    /// # Errors
    /// [`crate::error::JournalError`].
    pub async fn report(&self, report: &CommandReport, event: (&str, &str), now: Timestamp) -> Result<bool> {
        let mut tx: Transaction<'_, Sqlite> = self.pool.begin().await?;
        let done = query(
            "UPDATE commands SET state = ?, terminal = ?, report = ?, updated_at = ? WHERE id = ? AND terminal = 0",
        )
        .bind(report.state.as_str())
        .bind(report.state.is_terminal())
        .bind(to_json(report))
        .bind(now.as_micros())
        .bind(report.command.as_str())
        .execute(&mut *tx)
        .await?;
        let taken = done.rows_affected() > 0;
        if taken {
            outbox::append(&mut tx, Stream::Events, event.0, event.1).await?;
        }
        tx.commit().await?;
        Ok(taken)
    }

    /// Pins the manifest that a command installs.
    ///
    /// # Errors
    /// [`crate::error::JournalError`].
    pub async fn pin(&self, id: &CommandId, manifest: &SignedManifest) -> Result<()> {
        query("UPDATE commands SET manifest = ? WHERE id = ?")
            .bind(to_json(manifest))
            .bind(id.as_str())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Counts a beginning and returns how many there were.
    ///
    /// # Errors
    /// [`crate::error::JournalError`].
    pub async fn begin_attempt(&self, id: &CommandId) -> Result<u32> {
        let row = query("UPDATE commands SET attempts = attempts + 1 WHERE id = ? RETURNING attempts")
            .bind(id.as_str())
            .fetch_one(&self.pool)
            .await?;
        Ok(u32::try_from(row.try_get::<i64, _>(0)?).unwrap_or(u32::MAX))
    }

    /// The command with that id.
    ///
    /// # Errors
    /// [`crate::error::JournalError`].
    pub async fn command(&self, id: &CommandId) -> Result<Option<CommandRow>> {
        let sql = format!("{COLUMNS} WHERE id = ?");
        let row = query(sea_orm::sqlx::AssertSqlSafe(sql)).bind(id.as_str()).fetch_optional(&self.pool).await?;
        row.as_ref().map(read).transpose()
    }

    /// Commands that have not ended, in the order in which they were accepted.
    ///
    /// # Errors
    /// [`crate::error::JournalError`].
    pub async fn unfinished(&self) -> Result<Vec<CommandRow>> {
        let sql = format!("{COLUMNS} WHERE terminal = 0 ORDER BY accepted_at, rowid");
        let rows = query(sea_orm::sqlx::AssertSqlSafe(sql)).fetch_all(&self.pool).await?;
        rows.iter().map(read).collect()
    }

    /// Forgets the oldest ended commands over `keep`.
    ///
    /// # Errors
    /// [`crate::error::JournalError`].
    pub async fn prune_commands(&self, keep: u64) -> Result<()> {
        query(
            "DELETE FROM commands WHERE terminal = 1 AND rowid NOT IN \
             (SELECT rowid FROM commands WHERE terminal = 1 ORDER BY updated_at DESC LIMIT ?)",
        )
        .bind(i64::try_from(keep).unwrap_or(i64::MAX))
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}
