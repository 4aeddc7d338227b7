//! `/relays/{relay}`: one relay, its machine, its devices, its commands.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;
use contract::api::{CommandView, RelayView};
use contract::ids::RelayId;

use super::overview::DeviceCard;
use super::{html, id};
use crate::Shared;
use crate::error::PageError;
use crate::session::SessionToken;
use crate::view::Frame;

#[derive(Template)]
#[template(path = "relay.html")]
struct RelayPage {
    frame: Frame,
    relay: RelayView,
    cards: Vec<DeviceCard>,
    commands: Vec<CommandView>,
}

/// `GET /relays/{relay}`.
pub(crate) async fn page(
    State(shared): State<Arc<Shared>>,
    SessionToken(token): SessionToken,
    Path(relay): Path<String>,
) -> Result<Response, PageError> {
    let relay: RelayId = id(&relay)?;
    let api = shared.api.as_visitor(&token);
    let (me, relay, devices, commands) =
        tokio::try_join!(api.me(), api.relay(&relay), api.devices(), api.commands(Some(&relay), None, 15))?;
    let cards = devices.into_iter().filter(|device| device.relay == relay.relay).map(DeviceCard::of).collect();
    html(&RelayPage { frame: Frame::of(me), relay, cards, commands })
}
