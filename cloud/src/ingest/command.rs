//! Commands that are seen on the wire: recorded, so that the history is whole whoever sent them.

use contract::command::Command;
use contract::{RelayId, Timestamp};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, DatabaseTransaction, DbErr, EntityTrait, IntoActiveModel, QueryFilter, Set,
};

use crate::db::entity::{commands, relays};

/// Records a command, unless it is known: the API records its own before they are published. One to a relay that
/// nobody has heard of is recorded once that relay reports on it.
pub async fn apply(txn: &DatabaseTransaction, relay: &RelayId, sent: &Command) -> Result<(), DbErr> {
    let Some(relay) = relays::Entity::find().filter(relays::Column::Name.eq(relay.as_str())).one(txn).await? else {
        return Ok(());
    };
    let relay_id = relay.id;
    let found = commands::Entity::find()
        .filter(commands::Column::RelayId.eq(relay_id))
        .filter(commands::Column::Command.eq(sent.id.as_str()))
        .one(txn)
        .await?;
    let device = sent.action.device().map(|device| device.as_str().to_owned());
    let expires_at = sent.expires_at.map(Timestamp::as_micros);
    let body = Some(sent.to_json().to_string());
    match found {
        Some(row) if row.body.is_some() => {}
        Some(row) => {
            // Its event was faster.
            let mut row = row.into_active_model();
            row.verb = Set(sent.action.verb().into());
            row.device = Set(device);
            row.body = Set(body);
            row.expires_at = Set(expires_at);
            row.update(txn).await?;
        }
        None => {
            let now = Timestamp::now().as_micros();
            let row = commands::ActiveModel {
                relay_id: Set(relay_id),
                command: Set(sent.id.as_str().to_owned()),
                verb: Set(sent.action.verb().into()),
                device: Set(device),
                origin: Set("wire".into()),
                body: Set(body),
                message: Set(String::new()),
                progress: Set(0.0),
                created_at: Set(now),
                updated_at: Set(now),
                expires_at: Set(expires_at),
                event_journal: Set(0),
                event_seq: Set(0),
                attempts: Set(0),
                ..Default::default()
            };
            row.insert(txn).await?;
        }
    }
    Ok(())
}
