//! `/audit`: who did what.

use std::sync::Arc;

use askama::Template;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use contract::api::AuditView;
use futures_util::stream;
use serde::Deserialize;

use super::html;
use crate::Shared;
use crate::api::path_segment;
use crate::error::PageError;
use crate::session::SessionToken;
use crate::view::Frame;

/// Lines of a page.
const LINES: usize = 100;

/// What to look for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Filter {
    actor: String,
    action: String,
    target: String,
    source: String,
    result: String,
    before: String,
    format: String,
}

impl Filter {
    fn pairs(&self) -> Vec<(&'static str, String)> {
        [
            ("actor", &self.actor),
            ("action", &self.action),
            ("target", &self.target),
            ("source", &self.source),
            ("result", &self.result),
        ]
        .into_iter()
        .map(|(name, value)| (name, value.trim().to_owned()))
        .filter(|(_, value)| !value.is_empty())
        .collect()
    }
}

#[derive(Template)]
#[template(path = "audit.html")]
struct AuditPage {
    frame: Frame,
    lines: Vec<AuditView>,
    /// The filter as the beginning of a query.
    query: String,
    /// Where the next page begins.
    older: Option<i64>,
    filter: Filter,
}

/// `GET /audit`.
pub(crate) async fn page(
    State(shared): State<Arc<Shared>>,
    SessionToken(token): SessionToken,
    Query(filter): Query<Filter>,
) -> Result<Response, PageError> {
    let api = shared.api.as_visitor(&token);
    let mut pairs = filter.pairs();
    let query = pairs.iter().map(|(name, value)| format!("{name}={}&", path_segment(value))).collect();
    if let Ok(before) = filter.before.parse::<i64>() {
        pairs.push(("before", before.to_string()));
    }
    pairs.push(("limit", LINES.to_string()));
    let (me, lines) = tokio::try_join!(api.me(), api.audit(&pairs))?;
    let older = lines.last().map(|line| line.id).filter(|_| lines.len() == LINES);
    html(&AuditPage { frame: Frame::of(me), lines, query, older, filter })
}

/// `GET /audit/export`: passes the API's export on as it comes.
pub(crate) async fn export(
    State(shared): State<Arc<Shared>>,
    SessionToken(token): SessionToken,
    Query(filter): Query<Filter>,
) -> Result<Response, PageError> {
    let mut pairs = filter.pairs();
    let format = if filter.format == "csv" { "csv" } else { "jsonl" };
    pairs.push(("format", format.to_owned()));
    let export = shared.api.as_visitor(&token).audit_export(&pairs).await?;
    let chunks = stream::try_unfold(export, |mut export| async move {
        let chunk = export.chunk().await?;
        Ok::<_, reqwest::Error>(chunk.map(|chunk| (chunk, export)))
    });
    let headers = [
        (
            header::CONTENT_TYPE,
            if format == "csv" { "text/csv; charset=utf-8" } else { "application/x-ndjson" }.to_owned(),
        ),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"audit.{format}\"")),
    ];
    Ok((headers, Body::from_stream(chunks)).into_response())
}
