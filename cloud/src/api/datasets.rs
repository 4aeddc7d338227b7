//! Data sets.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use contract::api::DatasetView;
use serde::Deserialize;

use super::extract::{Body, Path, Query};
use super::refusal::Refusal;
use crate::services::datasets;
use crate::shared::Shared;

/// `GET /datasets`
pub async fn list(State(shared): State<Arc<Shared>>) -> Result<Json<Vec<DatasetView>>, Refusal> {
    Ok(Json(datasets::list(&shared).await?))
}

/// How to read the values.
#[derive(Debug, Deserialize)]
pub struct Reading {
    input_scale: Option<f32>,
}

/// `PUT /datasets/{name}`
pub async fn put(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    Query(reading): Query<Reading>,
    Body(body): Body,
) -> Result<Json<DatasetView>, Refusal> {
    Ok(Json(datasets::put(&shared, &name, reading.input_scale.unwrap_or(1.0), body).await?))
}
