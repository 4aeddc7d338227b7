//! Publishes commands that the API accepted, again and again until the relay answers or the command expires. Ids make
//! the repeats harmless.

use std::sync::Arc;
use std::time::Duration;

use contract::{Code, Timestamp};
use sea_orm::sea_query::{Expr, Query};
use sea_orm::{ColumnTrait, Condition, DbErr, EntityTrait, ExprTrait as _, QueryFilter, QueryOrder, QuerySelect};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::commands::topic;
use crate::db::entity::{commands, relays};
use crate::mqtt::Publisher;
use crate::shared::Shared;

/// How often to look for what is due.
const TICK: Duration = Duration::from_secs(1);
/// Most commands in one go.
const BATCH: u64 = 200;
/// The pause doubles this many times.
const DOUBLINGS: u32 = 4;

/// Publishes until `shutdown`.
pub async fn run(shared: Arc<Shared>, publisher: Publisher, shutdown: CancellationToken) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(TICK) => {}
            () = shared.outbox.notified() => {}
            () = shutdown.cancelled() => return,
        }
        if !publisher.is_connected() {
            continue;
        }
        if let Err(error) = publish_due(&shared, &publisher).await {
            tracing::error!(%error, "cannot read the commands that wait");
        }
    }
}

/// A command is published once at once, as the broker may keep it for a relay that is away; again only while its relay
/// is there to answer.
async fn publish_due(shared: &Shared, publisher: &Publisher) -> Result<(), DbErr> {
    let now = Timestamp::now().as_micros();
    let online = Query::select()
        .column(relays::Column::Id)
        .from(relays::Entity)
        .and_where(Expr::col(relays::Column::Online).eq(true))
        .to_owned();
    let due = commands::Entity::find()
        .find_also_related(relays::Entity)
        .filter(commands::Column::PublishAt.lte(now))
        .filter(
            Condition::any()
                .add(commands::Column::Attempts.eq(0))
                .add(commands::Column::ExpiresAt.lte(now))
                .add(commands::Column::RelayId.in_subquery(online)),
        )
        .order_by_asc(commands::Column::Id)
        .limit(BATCH)
        .all(shared.db.read())
        .await?;
    for (command, relay) in due {
        let Some(topic) = relay.and_then(|relay| topic(&relay.name)) else { continue };
        let body: Option<Value> = command.body.as_deref().and_then(|body| serde_json::from_str(body).ok());
        let mut change = commands::Entity::update_many()
            .filter(commands::Column::Id.eq(command.id))
            // Answered meanwhile: then nothing is to be done any more.
            .filter(commands::Column::PublishAt.is_not_null());
        if command.expires_at.is_some_and(|end| end <= now) {
            // The state is the relay's to report; this says only that nobody waits for it any more.
            let message = "the relay did not answer before 'expires_at'";
            change = change
                .col_expr(commands::Column::PublishAt, Expr::value(None::<i64>))
                .col_expr(commands::Column::Code, Expr::value(Code::EXPIRED.as_str()))
                .col_expr(commands::Column::Message, Expr::value(message))
                .col_expr(commands::Column::UpdatedAt, Expr::value(now));
        } else {
            let Some(body) = body else { continue };
            if !publisher.publish(&topic, &body).await {
                return Ok(());
            }
            if command.attempts > 0 {
                shared.counters.add("commands_republished", 1);
                tracing::info!(command = %command.command, attempts = command.attempts, "published a command again");
            }
            let doublings = Ord::min(command.attempts.cast_unsigned(), DOUBLINGS);
            let pause = i64::try_from(shared.config.republish_after.as_micros()).unwrap_or(i64::MAX) << doublings;
            change = change
                .col_expr(commands::Column::Attempts, Expr::col(commands::Column::Attempts).add(1))
                .col_expr(commands::Column::PublishAt, Expr::value(now.saturating_add(pause)));
        }
        change.exec(shared.db.write()).await?;
    }
    Ok(())
}
