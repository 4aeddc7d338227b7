//! Around every request: an id in the log and in the answer, and panics that end a request, not the cloud.

use std::panic::AssertUnwindSafe;
use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use contract::Code;
use futures_util::FutureExt as _;
use tracing::Instrument as _;

use super::refusal::Refusal;

/// The header with the request's id.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Observes a request.
pub async fn observe(request: Request, next: Next) -> Response {
    let id = uuid::Uuid::new_v4().simple().to_string();
    let method = request.method().clone();
    // The pattern and not the path: names of things stay out of the log.
    let path = request.extensions().get::<MatchedPath>().map_or("?", MatchedPath::as_str).to_owned();
    let span = tracing::info_span!("request", id = %&id[..8], %method, %path);
    let begun = Instant::now();
    let answer = AssertUnwindSafe(next.run(request)).catch_unwind().instrument(span.clone()).await;
    let mut response = answer.unwrap_or_else(|_| {
        tracing::error!(parent: &span, "a handler panicked");
        let message = format!("a fault of the cloud; its log has the details under {}", &id[..8]);
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, Code::INTERNAL, message).into_response()
    });
    tracing::debug!(parent: &span, status = response.status().as_u16(), ms = begun.elapsed().as_millis(), "answered");
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}
