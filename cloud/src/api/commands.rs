//! Commands to relays.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use contract::Code;
use contract::api::CommandView;
use serde::Deserialize;

use super::access::Who;
use super::extract::{Body, Path, Query, limit};
use super::refusal::Refusal;
use crate::audit::Actor;
use crate::services::{Failure, commands};
use crate::shared::Shared;

/// `POST /relays/{relay}/commands`: 202 once it is written down.
pub async fn post(
    State(shared): State<Arc<Shared>>,
    Extension(actor): Extension<Actor>,
    Path(relay): Path<String>,
    Body(body): Body,
) -> Result<(StatusCode, Json<CommandView>), Refusal> {
    let view = commands::accept(&shared, &relay, &body, &actor).await?;
    Ok((StatusCode::ACCEPTED, Json(view)))
}

/// What to list.
#[derive(Debug, Deserialize)]
pub struct Filter {
    relay: Option<String>,
    device: Option<String>,
    limit: Option<u64>,
}

/// `GET /commands`
pub async fn list(
    State(shared): State<Arc<Shared>>,
    Extension(who): Extension<Who>,
    Query(filter): Query<Filter>,
) -> Result<Json<Vec<CommandView>>, Refusal> {
    let reach = who.identity.reach;
    if let Some(relay) = filter.relay.as_deref().filter(|relay| !reach.has(relay)) {
        let shown: String = relay.chars().take(64).flat_map(char::escape_default).collect();
        let message = format!("relay '{shown}' is in none of your groups");
        return Err(Failure::field(Code::FORBIDDEN, "relay", message).into());
    }
    let query = commands::Query { relay: filter.relay, device: filter.device, limit: limit(filter.limit)?, reach };
    Ok(Json(commands::list(&shared, &query).await?))
}

/// `GET /relays/{relay}/commands/{id}`
pub async fn get(
    State(shared): State<Arc<Shared>>,
    Path((relay, id)): Path<(String, String)>,
) -> Result<Json<CommandView>, Refusal> {
    Ok(Json(commands::get(&shared, &relay, &id).await?))
}
