//! One batch of messages into the database, in one transaction.

use contract::Timestamp;
use sea_orm::{DatabaseTransaction, DbErr};

use super::batch::Batch;
use super::cache::Cache;
use super::incoming::Incoming;
use super::{cloud_command, command, inventory, presence, published, stream};
use crate::db::Db;

/// How often a relay's `last_seen` is written at most, in µs.
const HEARD_EVERY: i64 = 1_000_000;

/// Writes the messages and commits. On an error nothing of them is written, and the cache has to be dropped.
///
/// # Errors
/// As the database reports them.
pub async fn apply(db: &Db, cache: &mut Cache, messages: &[&Incoming]) -> Result<Batch, DbErr> {
    cache.bound();
    let txn = db.begin().await?;
    let mut batch = Batch::default();
    for message in messages {
        one(&txn, cache, &mut batch, message).await?;
    }
    batch.store(&txn, cache).await?;
    txn.commit().await?;
    Ok(batch)
}

async fn one(txn: &DatabaseTransaction, cache: &mut Cache, batch: &mut Batch, message: &Incoming) -> Result<(), DbErr> {
    match message {
        Incoming::Presence(presence) => presence::apply(txn, cache, batch, presence).await,
        Incoming::State(state) => inventory::apply(txn, cache, batch, state).await,
        Incoming::Command(relay, sent) => command::apply(txn, relay, sent).await,
        Incoming::Stream(message) => {
            let relay = cache.relay(txn, &message.head.relay).await?;
            let now = Timestamp::now().as_micros();
            if now - relay.last_seen >= HEARD_EVERY {
                relay.last_seen = now;
                batch.heard.insert(relay.id, now);
            }
            stream::apply(txn, cache, batch, message).await
        }
        Incoming::Published(sent) => published::apply(txn, sent).await,
        Incoming::CloudCommand(command) => cloud_command::apply(txn, batch, command).await,
    }
}
