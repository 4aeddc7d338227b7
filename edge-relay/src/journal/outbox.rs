//! The outbox: messages of the three streams until a host confirms them.

use std::collections::BTreeMap;

use contract::stream::{Stream, Sync};
use sea_orm::sqlx::sqlite::{Sqlite, SqliteConnection};
use sea_orm::sqlx::{Row as _, Transaction, query};

use super::{Journal, Result};

/// One message in the outbox.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its number.
    pub seq: u64,
    /// Its topic.
    pub topic: String,
    /// Its JSON object without what is only known when it is sent.
    pub body: String,
}

fn number(stream: Stream) -> i64 {
    match stream {
        Stream::Events => 0,
        Stream::Logs => 1,
        Stream::Telemetry => 2,
    }
}

/// Appends within a transaction of somebody else's.
pub(super) async fn append(db: &mut SqliteConnection, stream: Stream, topic: &str, body: &str) -> Result<()> {
    let row = query("UPDATE streams SET next = next + 1 WHERE stream = ? RETURNING next - 1")
        .bind(number(stream))
        .fetch_one(&mut *db)
        .await?;
    let seq: i64 = row.try_get(0)?;
    query("INSERT INTO outbox (stream, seq, topic, body) VALUES (?, ?, ?, ?)")
        .bind(number(stream))
        .bind(seq)
        .bind(topic)
        .bind(body)
        .execute(&mut *db)
        .await?;
    Ok(())
}

async fn ends(db: &mut SqliteConnection, stream: Stream) -> Result<(u64, u64)> {
    let sql = "SELECT coalesce((SELECT min(seq) FROM outbox WHERE stream = s.stream), next), next \
               FROM streams s WHERE stream = ?";
    let row = query(sql).bind(number(stream)).fetch_one(&mut *db).await?;
    Ok((row.try_get::<i64, _>(0)?.unsigned_abs(), row.try_get::<i64, _>(1)?.unsigned_abs()))
}

async fn forget(db: &mut SqliteConnection, stream: Stream, through: u64) -> Result<u64> {
    let through = i64::try_from(through).unwrap_or(i64::MAX);
    let done = query("DELETE FROM outbox WHERE stream = ? AND seq <= ?")
        .bind(number(stream))
        .bind(through)
        .execute(&mut *db)
        .await?;
    Ok(done.rows_affected())
}

impl Journal {
    /// Appends messages in order, all or none, then drops the oldest over the bound of each stream.
    /// Returns how many were dropped, per stream.
    ///
    /// # Errors
    /// [`crate::error::JournalError`].
    pub async fn append(
        &self,
        messages: &[(Stream, String, String)],
        bound: impl Fn(Stream) -> u64,
    ) -> Result<BTreeMap<Stream, u64>> {
        let mut dropped = BTreeMap::new();
        let mut tx: Transaction<'_, Sqlite> = self.pool.begin().await?;
        for (stream, topic, body) in messages {
            append(&mut tx, *stream, topic, body).await?;
        }
        for stream in Stream::ALL {
            let (floor, next) = ends(&mut tx, stream).await?;
            let surplus = (next - floor).saturating_sub(bound(stream));
            if surplus > 0 {
                dropped.insert(stream, forget(&mut tx, stream, floor + surplus - 1).await?);
            }
        }
        tx.commit().await?;
        Ok(dropped)
    }

    /// The lowest number still held and the next number to be given.
    ///
    /// # Errors
    /// [`crate::error::JournalError`].
    pub async fn ends(&self, stream: Stream) -> Result<(u64, u64)> {
        ends(&mut *self.pool.acquire().await?, stream).await
    }

    /// Up to `limit` messages from `from` on.
    ///
    /// # Errors
    /// [`crate::error::JournalError`].
    pub async fn page(&self, stream: Stream, from: u64, limit: u32) -> Result<Vec<Entry>> {
        let sql = "SELECT seq, topic, body FROM outbox WHERE stream = ? AND seq >= ? ORDER BY seq LIMIT ?";
        let rows = query(sql)
            .bind(number(stream))
            .bind(i64::try_from(from).unwrap_or(i64::MAX))
            .bind(i64::from(limit))
            .fetch_all(&self.pool)
            .await?;
        rows.into_iter()
            .map(|row| {
                Ok(Entry {
                    seq: row.try_get::<i64, _>(0)?.unsigned_abs(),
                    topic: row.try_get(1)?,
                    body: row.try_get(2)?,
                })
            })
            .collect()
    }

    /// Forgets what a host has confirmed. A host that counts in another journal confirms nothing, and nobody can
    /// confirm what was never sent. Returns whether anything was forgotten.
    ///
    /// # Errors
    /// [`crate::error::JournalError`].
    pub async fn confirm(&self, sync: &Sync) -> Result<bool> {
        if sync.journal.as_deref() != Some(self.id()) || sync.through.is_empty() {
            return Ok(false);
        }
        let mut tx: Transaction<'_, Sqlite> = self.pool.begin().await?;
        let mut count = 0;
        for (stream, through) in &sync.through {
            count += forget(&mut tx, *stream, *through).await?;
        }
        tx.commit().await?;
        Ok(count > 0)
    }
}
