//! What arrives over MQTT: persisted in batches, then acknowledged, then acted upon. Nothing here publishes what
//! depends on a message before the message is in the database.

mod apply;
mod batch;
mod cache;
mod cloud_command;
mod command;
mod device;
mod event;
mod incoming;
mod inventory;
mod presence;
mod published;
mod stream;
mod watermark;
mod worker;

pub use watermark::Watermark;
pub use worker::Ingest;

use contract::stream::Stream;
use sea_orm::{ColumnTrait, DbErr, EntityTrait, QueryFilter};

use crate::db::Db;
use crate::db::entity::{journals, watermarks};

/// The stored watermarks of one journal of one relay; none where nothing came yet.
///
/// # Errors
/// As the database reports them.
pub async fn stored_watermarks(db: &Db, relay_id: i64, journal: &str) -> Result<Vec<(Stream, Watermark)>, DbErr> {
    let row = journals::Entity::find()
        .filter(journals::Column::RelayId.eq(relay_id))
        .filter(journals::Column::Journal.eq(journal))
        .one(db.read())
        .await?;
    let Some(row) = row else { return Ok(Vec::new()) };
    let rows = watermarks::Entity::find().filter(watermarks::Column::JournalId.eq(row.id)).all(db.read()).await?;
    Ok(rows.into_iter().filter_map(|row| Some((cache::parse_stream(&row.stream)?, cache::read_mark(&row)))).collect())
}
