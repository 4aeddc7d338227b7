//! The pages: one module and one template each. A page asks the API for what it shows and holds nothing itself.

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use contract::log::LogLines;

use crate::error::PageError;
use crate::{Shared, assets, headers, live, session};

mod audit;
mod command;
mod device;
mod model;
mod models;
mod overview;
mod people;
mod relay;
mod send;

/// Log lines on one page; the script keeps as many.
const MOST_LINES: usize = 800;

/// The largest model that can be uploaded, in bytes; the API's limit.
const MAX_MODEL_BYTES: usize = 64 * 1024 * 1024;
/// The largest dataset that can be uploaded, in bytes; the API's limit.
const MAX_DATASET_BYTES: usize = 32 * 1024 * 1024;

/// All routes of the dashboard, with its headers and its guard around them.
pub(crate) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/", get(overview::page))
        .route("/login", get(session::login_page).post(session::login))
        .route("/logout", post(session::logout))
        .route("/join", get(session::join_page).post(session::join))
        .route("/people", get(people::page).post(people::change))
        .route("/audit", get(audit::page))
        .route("/audit/export", get(audit::export))
        .route("/relays/{relay}", get(relay::page))
        .route("/relays/{relay}/devices/{device}", get(device::page))
        .route("/commands/{relay}/{command}", get(command::page))
        .route("/commands", post(send::send))
        .route("/models", get(models::page))
        .route("/models/{model}", get(model::page))
        .route("/models/{model}/report.json", get(model::report))
        .route("/models/{model}/compile", post(model::compile))
        .route("/upload/model", post(models::upload_model).layer(DefaultBodyLimit::max(MAX_MODEL_BYTES)))
        .route("/upload/dataset", post(models::upload_dataset).layer(DefaultBodyLimit::max(MAX_DATASET_BYTES)))
        .route("/live", get(live::live))
        .route("/assets/{file}", get(assets::serve))
        .route("/favicon.ico", get(favicon))
        .fallback(no_such_page)
        .layer(from_fn(session::guard))
        .layer(from_fn(headers::secure))
        .with_state(shared)
}

async fn no_such_page() -> PageError {
    PageError::NoSuchPage
}

/// Browsers ask for this name wherever no page has told them another one.
async fn favicon() -> axum::response::Redirect {
    axum::response::Redirect::permanent(&assets::url("logo.svg"))
}

fn html<T: Template>(page: &T) -> Result<Response, PageError> {
    Ok(Html(page.render()?).into_response())
}

/// Turns the API's newest-first batches around, and drops the oldest where a browser would choke on the lines.
fn oldest_first(mut batches: Vec<LogLines>) -> Vec<LogLines> {
    let mut lines = 0;
    batches.retain(|batch| {
        lines += batch.lines.len();
        lines <= MOST_LINES
    });
    batches.reverse();
    batches
}

/// Reads an id out of an address; what is no id names nothing.
fn id<T: std::str::FromStr>(text: &str) -> Result<T, PageError> {
    text.parse().map_err(|_| PageError::NoSuchPage)
}
