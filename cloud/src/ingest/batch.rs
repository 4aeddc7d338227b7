//! Rows gathered from many messages and written with few statements.

use std::collections::{BTreeMap, BTreeSet};

use contract::stream::Stream;
use contract::{CommandId, RelayId};
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, DatabaseTransaction, DbErr, EntityTrait, ExprTrait as _, QueryFilter};

use super::cache::Cache;
use super::watermark::Watermark;
use crate::db::entity::{devices, events, logs, readings, relays};
use crate::services::cloud_commands::CloudTask;

/// What a batch adds to a device.
#[derive(Debug, Default)]
pub struct Tally {
    pub readings: i64,
    pub correct: i64,
    pub labelled: i64,
    /// JSON of the newest reading, where this batch has it.
    pub newest: Option<String>,
}

/// What is done once the batch is in the database.
#[derive(Debug)]
pub enum After {
    /// A stream moved, or was sent again in vain.
    Stored { relay: RelayId, journal: String, stream: Stream, mark: Watermark },
    /// A relay is here; `marks` is what is stored of it.
    Born { relay: RelayId, journal: String, marks: Vec<(Stream, Watermark)>, state_known: bool },
    /// A relay is gone.
    Gone { relay: RelayId },
    /// A relay's inventory arrived.
    Inventory { relay: RelayId },
    /// Something of a relay arrived that it is too late or too early for.
    AskForRebirth { relay: RelayId },
    /// A command to the cloud.
    Cloud(CloudTask),
    /// A relay answered, so the cloud need not see to this command any more.
    Answered { relay: RelayId, command: CommandId },
}

/// Rows and effects of many messages.
#[derive(Debug, Default)]
pub struct Batch {
    pub readings: Vec<readings::ActiveModel>,
    pub logs: Vec<logs::ActiveModel>,
    pub events: Vec<events::ActiveModel>,
    pub tallies: BTreeMap<i64, Tally>,
    pub moved: BTreeSet<(i64, Stream)>,
    /// Key of a relay and when it was heard of, µs.
    pub heard: BTreeMap<i64, i64>,
    pub after: Vec<After>,
    /// Counters to add to once this is stored.
    pub counts: BTreeMap<&'static str, u64>,
}

/// Rows of one statement: SQLite binds at most 32,766 values.
const ROWS: usize = 1000;

impl Batch {
    /// Counts, once this is stored.
    pub fn count(&mut self, name: &'static str) {
        *self.counts.entry(name).or_default() += 1;
    }

    /// Writes everything.
    pub async fn store(&mut self, txn: &DatabaseTransaction, cache: &Cache) -> Result<(), DbErr> {
        for rows in chunks(std::mem::take(&mut self.readings)) {
            readings::Entity::insert_many(rows).on_conflict_do_nothing().exec_without_returning(txn).await?;
        }
        for rows in chunks(std::mem::take(&mut self.logs)) {
            logs::Entity::insert_many(rows).on_conflict_do_nothing().exec_without_returning(txn).await?;
        }
        for rows in chunks(std::mem::take(&mut self.events)) {
            events::Entity::insert_many(rows).on_conflict_do_nothing().exec_without_returning(txn).await?;
        }
        for (id, tally) in &self.tallies {
            let plus = |column: devices::Column, count: i64| Expr::col(column).add(count);
            let mut update = devices::Entity::update_many()
                .col_expr(devices::Column::Readings, plus(devices::Column::Readings, tally.readings))
                .col_expr(devices::Column::Correct, plus(devices::Column::Correct, tally.correct))
                .col_expr(devices::Column::Labelled, plus(devices::Column::Labelled, tally.labelled));
            if let Some(text) = &tally.newest {
                update = update.col_expr(devices::Column::LastReading, Expr::value(text.clone()));
            }
            update.filter(devices::Column::Id.eq(*id)).exec(txn).await?;
        }
        for (id, at) in &self.heard {
            relays::Entity::update_many()
                .col_expr(relays::Column::LastSeen, Expr::value(*at))
                .filter(relays::Column::Id.eq(*id))
                .exec(txn)
                .await?;
        }
        let moved: Vec<_> = self.moved.iter().copied().collect();
        cache.store_marks(txn, &moved).await
    }
}

fn chunks<T>(rows: Vec<T>) -> impl Iterator<Item = Vec<T>> {
    let mut rest = rows.into_iter();
    std::iter::from_fn(move || {
        let chunk: Vec<T> = rest.by_ref().take(ROWS).collect();
        (!chunk.is_empty()).then_some(chunk)
    })
}
