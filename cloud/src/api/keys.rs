//! The keys that sign manifests.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, State};
use contract::keys::{KeyView, KeysView};

use super::refusal::Refusal;
use crate::audit::Actor;
use crate::services::keys;
use crate::shared::Shared;

/// `GET /keys`
pub async fn get(State(shared): State<Arc<Shared>>) -> Result<Json<KeysView>, Refusal> {
    Ok(Json(keys::view(&shared).await?))
}

/// `POST /keys/rotate`
pub async fn rotate(
    State(shared): State<Arc<Shared>>,
    Extension(actor): Extension<Actor>,
) -> Result<Json<KeyView>, Refusal> {
    Ok(Json(keys::rotate(&shared, &actor).await?))
}
