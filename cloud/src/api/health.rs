//! Whether the cloud works; the one thing that anybody may ask.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use contract::api::Health;

use crate::shared::Shared;

/// `GET /health`: 200 while all is well, else 503 with the same document.
pub async fn get(State(shared): State<Arc<Shared>>) -> (StatusCode, Json<Health>) {
    let (mqtt, database) = (shared.mqtt_works(), shared.db.works().await);
    let status = match (mqtt, database) {
        (true, true) => "ok",
        (false, true) => "no connection to the broker",
        (true, false) => "the database does not answer",
        (false, false) => "neither broker nor database answer",
    };
    let code = if mqtt && database { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let version = env!("CARGO_PKG_VERSION").to_owned();
    (code, Json(Health { status: status.to_owned(), mqtt, database, version }))
}
