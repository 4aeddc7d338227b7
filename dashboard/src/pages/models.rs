//! `/models`: what can be installed, and how more gets in.

use std::sync::Arc;

use askama::Template;
use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use contract::Code;
use contract::api::{ApiError, DatasetView, ModelView};
use contract::ids::check_plain_name;
use contract::settings::Settings;
use serde::Deserialize;
use serde_json::json;

use super::{MAX_DATASET_BYTES, MAX_MODEL_BYTES, html};
use crate::Shared;
use crate::api::ApiFailure;
use crate::error::PageError;
use crate::session::SessionToken;
use crate::view::Frame;

#[derive(Template)]
#[template(path = "models.html")]
struct ModelsPage {
    frame: Frame,
    models: Vec<ModelView>,
    datasets: Vec<DatasetView>,
}

impl ModelsPage {
    // A script says so at once: a server that refuses a body mid-way is only a cut connection to a browser.
    const MODEL_LIMIT: usize = MAX_MODEL_BYTES;
    const DATASET_LIMIT: usize = MAX_DATASET_BYTES;
}

/// `GET /models`.
pub(crate) async fn page(
    State(shared): State<Arc<Shared>>,
    SessionToken(token): SessionToken,
) -> Result<Response, PageError> {
    let api = shared.api.as_visitor(&token);
    let (me, models, datasets) = tokio::try_join!(api.me(), api.models(), api.datasets())?;
    html(&ModelsPage { frame: Frame::of(me), models, datasets })
}

/// What an upload says of itself; the file is the body. The page's script sends it: a form of files alone would have
/// to be taken apart again here.
#[derive(Debug, Deserialize)]
pub(crate) struct Upload {
    name: String,
    #[serde(default)]
    dataset: String,
    #[serde(default)]
    input_scale: String,
}

/// `POST /upload/model?name=N&dataset=D`: imports and compiles. Answers `{"next": PATH}` or an [`ApiError`].
pub(crate) async fn upload_model(
    State(shared): State<Arc<Shared>>,
    SessionToken(token): SessionToken,
    Query(upload): Query<Upload>,
    onnx: Result<Bytes, BytesRejection>,
) -> Response {
    let import = async {
        let name = checked_name(&upload.name, "model name")?;
        let onnx = within_limit(onnx, MAX_MODEL_BYTES)?;
        let api = shared.api.as_visitor(&token);
        let model = api.import_model(&name, upload.dataset.trim(), onnx).await?;
        // A model that cannot be compiled is stored all the same; its page says why.
        if let Err(failure) = api.compile(&model.model, &Settings::default()).await {
            tracing::debug!(model = %model.model, %failure, "an uploaded model was not compiled");
        }
        Ok(format!("/models/{}", model.model))
    };
    answer(import.await)
}

/// `POST /upload/dataset?name=N&input_scale=X`. Answers as [`upload_model`].
pub(crate) async fn upload_dataset(
    State(shared): State<Arc<Shared>>,
    SessionToken(token): SessionToken,
    Query(upload): Query<Upload>,
    csv: Result<Bytes, BytesRejection>,
) -> Response {
    let store = async {
        let name = checked_name(&upload.name, "dataset name")?;
        let csv = within_limit(csv, MAX_DATASET_BYTES)?;
        let scale = if upload.input_scale.trim().is_empty() { "1" } else { upload.input_scale.trim() };
        shared.api.as_visitor(&token).put_dataset(&name, scale, csv).await?;
        Ok("/models".to_owned())
    };
    answer(store.await)
}

fn checked_name(text: &str, what: &'static str) -> Result<String, ApiFailure> {
    let name = text.trim();
    check_plain_name(what, name).map_err(|invalid| {
        let error =
            ApiError { code: Code::INVALID_FIELD, message: invalid.to_string(), field: Some("name".to_owned()) };
        ApiFailure::Refused(StatusCode::UNPROCESSABLE_ENTITY, error)
    })?;
    Ok(name.to_owned())
}

fn within_limit(body: Result<Bytes, BytesRejection>, limit: usize) -> Result<Bytes, ApiFailure> {
    body.map_err(|rejection| {
        let error = if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            let message = format!("the file is over the limit of {} MB", limit / 1024 / 1024);
            ApiError { code: Code::TOO_LARGE, message, field: Some("file".to_owned()) }
        } else {
            ApiError { code: Code::MALFORMED, message: "the upload was cut off; try again".to_owned(), field: None }
        };
        ApiFailure::Refused(rejection.status(), error)
    })
}

fn answer(outcome: Result<String, ApiFailure>) -> Response {
    match outcome {
        Ok(next) => Json(json!({ "next": next })).into_response(),
        Err(ApiFailure::Refused(status, error)) => (status, Json(error)).into_response(),
        Err(failure) => {
            let error = ApiError { code: Code::UNAVAILABLE, message: failure.to_string(), field: None };
            (StatusCode::BAD_GATEWAY, Json(error)).into_response()
        }
    }
}
