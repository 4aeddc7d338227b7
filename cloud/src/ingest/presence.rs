//! Birth and death of relays.

use contract::Timestamp;
use contract::presence::{Presence, Status};
use contract::stream::Stream;
use sea_orm::sea_query::Expr;
use sea_orm::{ActiveModelTrait, ColumnTrait, DatabaseTransaction, DbErr, EntityTrait, IntoActiveModel, QueryFilter};

use super::batch::{After, Batch};
use super::cache::Cache;
use crate::db::entity::{commands, relays};

/// How long a relay that has just come has to report on commands that it got from the broker, before the cloud
/// publishes them again, in µs.
const GRACE: i64 = 5_000_000;

/// Whether a presence says something about the relay as it is now.
///
/// Within one journal the epoch decides. Between two journals (the relay's data folder was replaced) there is no order,
/// but a death in another life than the present one is always stale, while a birth is always worth believing.
fn counts(row: &relays::Model, presence: &Presence) -> bool {
    match &row.journal {
        None => true,
        Some(journal) if *journal == presence.journal => presence.epoch.cast_signed() >= row.epoch,
        Some(_) => presence.status == Status::Online,
    }
}

/// Takes in a presence.
pub async fn apply(
    txn: &DatabaseTransaction,
    cache: &mut Cache,
    batch: &mut Batch,
    presence: &Presence,
) -> Result<(), DbErr> {
    let row = cache.relay(txn, &presence.relay).await?;
    if !counts(row, presence) {
        batch.count("stale_presence");
        return Ok(());
    }
    let online = presence.status == Status::Online;
    let new_life = row.journal.as_deref() != Some(presence.journal.as_str());
    let came = online && (!row.online || new_life || presence.epoch.cast_signed() > row.epoch);
    row.online = online;
    row.epoch = presence.epoch.cast_signed();
    row.journal = Some(presence.journal.clone());
    row.presence_at = presence.at.as_micros();
    row.last_seen = Timestamp::now().as_micros();
    let state_known = row.state.is_some() && row.state_epoch == row.epoch && !new_life;
    let relay_id = row.id;
    row.clone().into_active_model().reset_all().update(txn).await?;
    if came {
        commands::Entity::update_many()
            .col_expr(commands::Column::PublishAt, Expr::value(Timestamp::now().as_micros() + GRACE))
            .filter(commands::Column::RelayId.eq(relay_id))
            .filter(commands::Column::PublishAt.is_not_null())
            .filter(commands::Column::Attempts.gt(0))
            .exec(txn)
            .await?;
    }
    if online {
        let journal_id = cache.journal(txn, relay_id, &presence.journal).await?;
        let mut marks = Vec::new();
        for stream in Stream::ALL {
            marks.push((stream, cache.mark(txn, journal_id, stream).await?.clone()));
        }
        let (relay, journal) = (presence.relay.clone(), presence.journal.clone());
        batch.after.push(After::Born { relay, journal, marks, state_known });
    } else {
        batch.after.push(After::Gone { relay: presence.relay.clone() });
    }
    Ok(())
}
