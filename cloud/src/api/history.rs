//! What a device sent, newest first, page by page. Documents are passed on as they came, with the fields that this
//! version does not know.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use sea_orm::{ColumnTrait, Condition, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use serde::Deserialize;
use serde_json::Value;

use super::extract::{Path, Query, limit};
use super::refusal::Refusal;
use crate::db::entity::{devices, journals, logs, readings};
use crate::services::{Failure, commands};
use crate::shared::Shared;

/// The query of both paths.
#[derive(Debug, Deserialize)]
pub struct Page {
    before: Option<u64>,
    journal: Option<String>,
    limit: Option<u64>,
    command: Option<String>,
}

/// `GET /relays/{relay}/devices/{device}/readings`
pub async fn readings(
    State(shared): State<Arc<Shared>>,
    Path((relay, device)): Path<(String, String)>,
    Query(page): Query<Page>,
) -> Result<Json<Vec<Value>>, Refusal> {
    use readings::Column as C;
    let (limit, device) = (limit(page.limit)?, device_of(&shared, &relay, &device).await?);
    let newest = readings::Entity::find()
        .select_only()
        .column(C::JournalId)
        .filter(C::DeviceId.eq(device.id))
        .order_by_desc(C::JournalId)
        .limit(1)
        .into_tuple()
        .one(shared.db.read());
    let before = before(&shared, &device, &page, newest).await?;
    let mut find = readings::Entity::find().filter(C::DeviceId.eq(device.id));
    if let Some((journal, seq)) = before {
        find = find.filter(earlier(C::JournalId, C::Seq, journal, seq));
    }
    let find = find.order_by_desc(C::JournalId).order_by_desc(C::Seq).limit(limit);
    let rows = find.all(shared.db.read()).await.map_err(Failure::from)?;
    Ok(Json(documents(rows.into_iter().map(|row| row.body))))
}

/// `GET /relays/{relay}/devices/{device}/logs`
pub async fn logs(
    State(shared): State<Arc<Shared>>,
    Path((relay, device)): Path<(String, String)>,
    Query(page): Query<Page>,
) -> Result<Json<Vec<Value>>, Refusal> {
    use logs::Column as C;
    let (limit, device) = (limit(page.limit)?, device_of(&shared, &relay, &device).await?);
    let newest = logs::Entity::find()
        .select_only()
        .column(C::JournalId)
        .filter(C::DeviceId.eq(device.id))
        .order_by_desc(C::JournalId)
        .limit(1)
        .into_tuple()
        .one(shared.db.read());
    let before = before(&shared, &device, &page, newest).await?;
    let mut find = logs::Entity::find().filter(C::DeviceId.eq(device.id));
    if let Some((journal, seq)) = before {
        find = find.filter(earlier(C::JournalId, C::Seq, journal, seq));
    }
    if let Some(command) = &page.command {
        find = find.filter(C::Command.eq(command.as_str()));
    }
    let find = find.order_by_desc(C::JournalId).order_by_desc(C::Seq).limit(limit);
    let rows = find.all(shared.db.read()).await.map_err(Failure::from)?;
    Ok(Json(documents(rows.into_iter().map(|row| row.body))))
}

async fn device_of(shared: &Shared, relay: &str, device: &str) -> Result<devices::Model, Failure> {
    let relay = commands::relay_row(shared, relay).await?;
    commands::device_row(shared, &relay, device).await
}

/// Journal and number that the page ends before.
async fn before(
    shared: &Shared,
    device: &devices::Model,
    page: &Page,
    newest: impl Future<Output = Result<Option<i64>, DbErr>>,
) -> Result<Option<(i64, i64)>, Failure> {
    let Some(seq) = page.before else { return Ok(None) };
    let seq = i64::try_from(seq).unwrap_or(i64::MAX);
    let journal = match &page.journal {
        None => newest.await?,
        Some(journal) => journals::Entity::find()
            .filter(journals::Column::RelayId.eq(device.relay_id))
            .filter(journals::Column::Journal.eq(journal.as_str()))
            .one(shared.db.read())
            .await?
            .map(|row| row.id),
    };
    // A journal that nothing came from has nothing before anything.
    Ok(Some((journal.unwrap_or(0), seq)))
}

fn earlier<C: ColumnTrait>(journal: C, seq: C, at_journal: i64, at_seq: i64) -> Condition {
    Condition::any().add(journal.lt(at_journal)).add(Condition::all().add(journal.eq(at_journal)).add(seq.lt(at_seq)))
}

fn documents(rows: impl Iterator<Item = String>) -> Vec<Value> {
    rows.filter_map(|body| serde_json::from_str(&body).ok()).collect()
}
