//! Bounds on what is kept: the oldest readings, logs and events go, a few at a time, so that nobody waits for it.

use std::sync::Arc;
use std::time::Duration;

use contract::Timestamp;
use sea_orm::{ColumnTrait, DbErr, EntityTrait, PrimaryKeyToColumn as _, QueryFilter, QueryOrder, QuerySelect};
use tokio_util::sync::CancellationToken;

use crate::db::Db;
use crate::db::entity::{events, logs, readings, sessions};
use crate::shared::Shared;

/// How often to look.
const EVERY: Duration = Duration::from_secs(60);
/// How often counters are stored.
const COUNTERS_EVERY: Duration = Duration::from_secs(2);
/// Most rows of one statement.
const BATCH: i64 = 2_000;

/// Purges and stores counters until `shutdown`.
pub async fn run(shared: Arc<Shared>, shutdown: CancellationToken) {
    let mut purges = tokio::time::interval(EVERY);
    let mut stores = tokio::time::interval(COUNTERS_EVERY);
    loop {
        let done = tokio::select! {
            _ = purges.tick() => purge(&shared).await,
            _ = stores.tick() => shared.counters.store(&shared.db).await,
            () = shutdown.cancelled() => return,
        };
        if let Err(error) = done {
            tracing::error!(%error, "housekeeping");
        }
    }
}

/// Removes what is over the bounds.
///
/// # Errors
/// As the database reports them; the next time goes on.
pub async fn purge(shared: &Shared) -> Result<(), DbErr> {
    let (db, config) = (&shared.db, &shared.config);
    let mut purged = 0;
    purged += bound::<readings::Entity>(db, config.keep_readings).await?;
    purged += bound::<logs::Entity>(db, config.keep_logs).await?;
    purged += bound::<events::Entity>(db, config.keep_events).await?;
    if purged > 0 {
        shared.counters.add("purged", purged);
    }
    let now = Timestamp::now().as_micros();
    sessions::Entity::delete_many().filter(sessions::Column::ExpiresAt.lte(now)).exec(db.write()).await?;
    Ok(())
}

/// Keeps about `keep` rows of a table whose key counts up.
async fn bound<E>(db: &Db, keep: u64) -> Result<u64, DbErr>
where
    E: EntityTrait,
    E::PrimaryKey: sea_orm::PrimaryKeyTrait<ValueType = i64>,
{
    let Some(key) = <E::PrimaryKey as sea_orm::Iterable>::iter().next().map(|key| key.into_column()) else {
        return Ok(0);
    };
    let find = || E::find().select_only().column(key);
    let newest: Option<i64> = find().order_by_desc(key).limit(1).into_tuple().one(db.read()).await?;
    let oldest: Option<i64> = find().order_by_asc(key).limit(1).into_tuple().one(db.read()).await?;
    let (Some(newest), Some(mut oldest)) = (newest, oldest) else { return Ok(0) };
    let end = newest.saturating_sub(i64::try_from(keep).unwrap_or(i64::MAX));
    let mut removed = 0;
    while oldest <= end {
        oldest = oldest.saturating_add(BATCH).min(end + 1);
        removed += E::delete_many().filter(key.lt(oldest)).exec(db.write()).await?.rows_affected;
    }
    Ok(removed)
}
