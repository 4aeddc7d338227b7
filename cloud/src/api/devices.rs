//! Devices.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, State};
use contract::RelayId;
use contract::api::DeviceView;
use contract::state::{Device, DeviceStatus};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder};

use super::access::Who;
use super::extract::Path;
use super::refusal::Refusal;
use crate::db::entity::{devices, relays};
use crate::services::{Failure, commands};
use crate::shared::Shared;

/// `GET /devices`
pub async fn list(
    State(shared): State<Arc<Shared>>,
    Extension(who): Extension<Who>,
) -> Result<Json<Vec<DeviceView>>, Refusal> {
    let reach = &who.identity.reach;
    let rows = devices::Entity::find()
        .find_also_related(relays::Entity)
        .filter(devices::Column::Listed.eq(true))
        .order_by_asc(relays::Column::Name)
        .order_by_asc(devices::Column::Name)
        .all(shared.db.read())
        .await
        .map_err(Failure::from)?;
    let views: Result<Vec<_>, Failure> = rows
        .into_iter()
        .filter_map(|(device, relay)| Some((relay.filter(|relay| reach.has(&relay.name))?, device)))
        .map(|(relay, device)| view(&relay, device))
        .collect();
    Ok(Json(views?))
}

/// `GET /relays/{relay}/devices/{device}`
pub async fn get(
    State(shared): State<Arc<Shared>>,
    Path((relay, device)): Path<(String, String)>,
) -> Result<Json<DeviceView>, Refusal> {
    let relay = commands::relay_row(&shared, &relay).await?;
    let device = commands::device_row(&shared, &relay, &device).await?;
    Ok(Json(view(&relay, device)?))
}

fn view(relay: &relays::Model, row: devices::Model) -> Result<DeviceView, Failure> {
    let known = row.state.as_deref().and_then(|text| serde_json::from_str::<Device>(text).ok());
    let mut state = match known {
        Some(state) => state,
        // It sent readings and its relay has not listed it yet.
        None => Device {
            device: row.name.parse()?,
            board: String::new(),
            board_by_hand: false,
            status: DeviceStatus::Lost,
            port: String::new(),
            product: None,
            manufacturer: None,
            usb: None,
            serial_number: None,
            firmware: None,
            observe: None,
            command: None,
            queued: 0,
            problem: None,
        },
    };
    let online = relay.online;
    if !online || !row.listed {
        state.status = DeviceStatus::Lost;
    }
    Ok(DeviceView {
        relay: RelayId::new(relay.name.clone())?,
        online,
        state,
        last_reading: row.last_reading.as_deref().and_then(|text| serde_json::from_str(text).ok()),
        readings: row.readings.cast_unsigned(),
        correct: row.correct.cast_unsigned(),
        labelled: row.labelled.cast_unsigned(),
    })
}
