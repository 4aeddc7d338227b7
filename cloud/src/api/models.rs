//! Models.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use contract::ModelRef;
use contract::api::ModelView;
use contract::settings::Settings;
use serde::Deserialize;

use super::extract::{Body, Path, Query};
use super::refusal::Refusal;
use crate::services::{Failure, compile as compiler, models};
use crate::shared::Shared;

/// `GET /models`
pub async fn list(State(shared): State<Arc<Shared>>) -> Result<Json<Vec<ModelView>>, Refusal> {
    Ok(Json(models::list(&shared).await?))
}

/// `GET /models/{model}`
pub async fn get(State(shared): State<Arc<Shared>>, Path(model): Path<String>) -> Result<Json<ModelView>, Refusal> {
    let row = models::get(&shared, &reference(&model)?).await?;
    Ok(Json(models::view(row)?))
}

/// What is imported.
#[derive(Debug, Deserialize)]
pub struct Import {
    name: String,
    dataset: Option<String>,
}

/// `POST /models`
pub async fn post(
    State(shared): State<Arc<Shared>>,
    Query(import): Query<Import>,
    Body(body): Body,
) -> Result<(StatusCode, Json<ModelView>), Refusal> {
    let imported = models::import(&shared, &import.name, import.dataset.as_deref(), body).await?;
    let status = if imported.new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(imported.model)))
}

/// `POST /models/{model}/compile`: answers when it is done.
pub async fn compile(
    State(shared): State<Arc<Shared>>,
    Path(model): Path<String>,
    Query(settings): Query<Settings>,
) -> Result<Json<ModelView>, Refusal> {
    let model = reference(&model)?;
    // A task of its own: who asked may hang up, the work is of use to the next one.
    let done = tokio::spawn(async move { compiler::compile(&shared, &model, &settings).await });
    let row = done.await.map_err(Failure::from)??;
    Ok(Json(models::view(row)?))
}

fn reference(text: &str) -> Result<ModelRef, Failure> {
    text.parse().map_err(Failure::from)
}
