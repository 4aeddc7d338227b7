//! Relays.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, State};
use contract::api::RelayView;
use contract::{RelayId, Timestamp};
use sea_orm::{EntityTrait, QueryOrder};

use super::access::Who;
use super::extract::Path;
use super::refusal::Refusal;
use crate::db::entity::relays;
use crate::services::{Failure, commands};
use crate::shared::Shared;

/// `GET /relays`
pub async fn list(
    State(shared): State<Arc<Shared>>,
    Extension(who): Extension<Who>,
) -> Result<Json<Vec<RelayView>>, Refusal> {
    let rows = relays::Entity::find().order_by_asc(relays::Column::Name).all(shared.db.read()).await;
    let views: Result<Vec<_>, Failure> =
        rows.map_err(Failure::from)?.into_iter().filter(|row| who.identity.reach.has(&row.name)).map(view).collect();
    Ok(Json(views?))
}

/// `GET /relays/{relay}`
pub async fn get(State(shared): State<Arc<Shared>>, Path(relay): Path<String>) -> Result<Json<RelayView>, Refusal> {
    Ok(Json(view(commands::relay_row(&shared, &relay).await?)?))
}

fn view(row: relays::Model) -> Result<RelayView, Failure> {
    Ok(RelayView {
        relay: RelayId::new(row.name)?,
        online: row.online,
        epoch: row.epoch.cast_unsigned(),
        last_seen: Timestamp::from_micros(row.last_seen),
        state: row.state.as_deref().and_then(|text| serde_json::from_str(text).ok()),
    })
}
