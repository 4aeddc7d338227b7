//! Parts of requests, with our own errors when they cannot be read.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequest, FromRequestParts, Request, State};
use axum::http::header::CONTENT_ENCODING;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::Response;
use contract::Code;
use serde::de::DeserializeOwned;

use super::refusal::Refusal;
use crate::services::Failure;
use crate::shared::Shared;

/// Parameters of the path.
#[derive(Debug)]
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        Ok(Self(axum::extract::Path::from_request_parts(parts, state).await?.0))
    }
}

/// Parameters of the query.
#[derive(Debug)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        Ok(Self(axum::extract::Query::from_request_parts(parts, state).await?.0))
    }
}

/// The body, up to the route's limit. Nothing is decompressed here: what a few bytes can unpack to has no limit.
#[derive(Debug)]
pub struct Body(pub Vec<u8>);

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let encoded = request.headers().get(CONTENT_ENCODING).filter(|encoding| *encoding != "identity");
        if let Some(encoding) = encoded {
            let shown: String = String::from_utf8_lossy(encoding.as_bytes()).chars().take(32).collect();
            let message = format!("the body comes with 'content-encoding: {shown}'; send it as it is, uncompressed");
            return Err(Failure::field(Code::INVALID_FIELD, "content-encoding", message).into());
        }
        Ok(Self(Vec::from(axum::body::Bytes::from_request(request, state).await?)))
    }
}

/// Most rows of one answer.
const MAX_LIMIT: u64 = 1000;

/// The `limit` of a query: 100 where absent.
///
/// # Errors
/// `invalid_field`.
pub fn limit(limit: Option<u64>) -> Result<u64, Failure> {
    match limit {
        None => Ok(100),
        Some(limit) if (1..=MAX_LIMIT).contains(&limit) => Ok(limit),
        Some(limit) => {
            let message = format!("'limit' is {limit}; expected 1 to {MAX_LIMIT}");
            Err(Failure::field(Code::INVALID_FIELD, "limit", message))
        }
    }
}

/// How long an upload waits for its turn.
const TURN: Duration = Duration::from_secs(30);

/// Uploads are held in memory, so only a few come in at a time.
pub async fn one_of_few_uploads(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> Result<Response, Refusal> {
    let turn = tokio::time::timeout(TURN, shared.uploads.acquire()).await;
    let Ok(Ok(_turn)) = turn else {
        let message = "other uploads are underway; try again in a minute";
        return Err(Failure::refuse(Code::UNAVAILABLE, message).into());
    };
    Ok(next.run(request).await)
}
