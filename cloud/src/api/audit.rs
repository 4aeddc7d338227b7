//! The audit log.

use std::sync::Arc;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use contract::api::AuditView;
use contract::{Code, Timestamp};
use futures_util::stream;
use serde::Deserialize;

use super::extract::{Query, limit};
use super::refusal::Refusal;
use crate::audit::{self, Query as Wanted};
use crate::services::Failure;
use crate::shared::Shared;

/// Lines that an export reads at a time.
const BATCH: u64 = 1000;

/// What to look for.
#[derive(Debug, Deserialize)]
pub struct Filter {
    actor: Option<String>,
    action: Option<String>,
    target: Option<String>,
    result: Option<String>,
    source: Option<String>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    before: Option<i64>,
    limit: Option<u64>,
    format: Option<String>,
}

impl Filter {
    fn wanted(&self) -> Wanted {
        // An empty field of a form is no filter.
        let text = |field: &Option<String>| field.clone().filter(|text| !text.is_empty());
        Wanted {
            actor: text(&self.actor),
            action: text(&self.action),
            target: text(&self.target),
            result: text(&self.result),
            source: text(&self.source),
            since: self.since,
            until: self.until,
            before: self.before,
        }
    }
}

/// `GET /audit`
pub async fn list(
    State(shared): State<Arc<Shared>>,
    Query(filter): Query<Filter>,
) -> Result<Json<Vec<AuditView>>, Refusal> {
    let rows = audit::list(&shared.db, &filter.wanted(), limit(filter.limit)?).await;
    Ok(Json(rows.map_err(Failure::from)?))
}

/// The form of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    JsonLines,
    Csv,
}

/// `GET /audit/export`
pub async fn export(State(shared): State<Arc<Shared>>, Query(filter): Query<Filter>) -> Result<Response, Refusal> {
    let (format, content_type, name) = match filter.format.as_deref() {
        None | Some("jsonl" | "") => (Format::JsonLines, "application/x-ndjson", "audit.jsonl"),
        Some("csv") => (Format::Csv, "text/csv; charset=utf-8", "audit.csv"),
        Some(_) => {
            let message = "'format' is 'jsonl' or 'csv'";
            return Err(Failure::field(Code::INVALID_FIELD, "format", message).into());
        }
    };
    let wanted = filter.wanted();
    // One batch after the other, so that a long log is never whole in memory.
    let lines = stream::try_unfold(Some(0), move |after: Option<i64>| {
        let (shared, wanted) = (Arc::clone(&shared), wanted.clone());
        async move {
            let Some(after) = after else { return Ok::<_, sea_orm::DbErr>(None) };
            let rows = audit::batch(&shared.db, &wanted, after, BATCH).await?;
            let mut text = String::new();
            if after == 0 && format == Format::Csv {
                text.push_str(HEADINGS);
            }
            for row in &rows {
                match format {
                    Format::JsonLines => text.push_str(&serde_json::to_string(row).unwrap_or_default()),
                    Format::Csv => text.push_str(&csv(row)),
                }
                text.push('\n');
            }
            let next = rows.last().map(|row| row.id).filter(|_| rows.len() as u64 == BATCH);
            Ok(Some((Bytes::from(text), next)))
        }
    });
    let headers = [
        (header::CONTENT_TYPE, content_type.to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")),
    ];
    Ok((headers, Body::from_stream(lines)).into_response())
}

const HEADINGS: &str = "id,at,actor,role,source,address,action,target,result,detail\n";

fn csv(row: &AuditView) -> String {
    let detail = row.detail.as_ref().map(ToString::to_string).unwrap_or_default();
    let (id, at) = (row.id.to_string(), row.at.to_string());
    let address = row.address.as_deref().unwrap_or("");
    [&id, &at, &row.actor, &row.role, &row.source, address, &row.action, &row.target, &row.result, &detail]
        .map(|field: &str| quote(field))
        .join(",")
}

/// A field in quotes. What a spreadsheet would take for a formula begins with an apostrophe: names are anybody's.
fn quote(field: &str) -> String {
    let guard = if field.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
    format!("\"{guard}{}\"", field.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::quote;

    #[test]
    fn fields_stay_fields() {
        assert_eq!(quote("plain"), "\"plain\"");
        assert_eq!(quote("a\"b,c\nd"), "\"a\"\"b,c\nd\"");
        assert_eq!(quote("=HYPERLINK()"), "\"'=HYPERLINK()\"");
    }
}
