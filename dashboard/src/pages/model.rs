//! `/models/{model}`: the compiler's report on one version, board by board, and where it runs.

use std::str::FromStr;
use std::sync::Arc;

use askama::Template;
use axum::Form;
use axum::extract::{Path, State};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Redirect, Response};
use contract::api::{DeviceView, ModelView};
use contract::artifact::{CompileReport, Manifest, SignedManifest};
use contract::ids::ModelRef;
use contract::settings::{Optimize, SettingError, Settings};
use serde::Deserialize;
use serde_json::Value;

use super::overview::ratio;
use super::{html, id};
use crate::Shared;
use crate::api::ApiFailure;
use crate::error::PageError;
use crate::session::SessionToken;
use crate::view::{Frame, share};

/// What is known of an artifact's origin.
struct Origin {
    manifest: Manifest,
    signed: SignedManifest,
}

impl Origin {
    fn of(signed: SignedManifest) -> Option<Self> {
        let manifest = serde_json::from_str(&signed.document).ok()?;
        Some(Self { manifest, signed })
    }

    /// The provenance as names and values.
    fn provenance(&self) -> Vec<(String, String)> {
        let Value::Object(map) = &self.manifest.provenance else {
            return Vec::new();
        };
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        map.iter().map(|(name, value)| (name.clone(), text(value))).collect()
    }
}

/// A cell of the confusion matrix.
struct Cell {
    count: u32,
    /// `hit0` … `hit9` on the diagonal, `miss0` … `miss9` elsewhere, by share of the row.
    heat: String,
}

/// A row of the confusion matrix.
struct ConfusionRow {
    label: String,
    cells: Vec<Cell>,
    total: u64,
    /// Share of the row that is right.
    recall: Option<f64>,
}

#[derive(Template)]
#[template(path = "model.html")]
struct ModelPage {
    frame: Frame,
    model: ModelView,
    origin: Option<Origin>,
    confusion: Vec<ConfusionRow>,
    devices: Vec<DeviceView>,
}

impl ModelPage {
    /// How tight it gets.
    fn tone(&self, used: &u64, total: &u64) -> &'static str {
        if used > total {
            "bad"
        } else if share(used, total) >= 85 {
            "busy"
        } else {
            "good"
        }
    }

    /// What it was compiled with last, for the form.
    fn settings(&self) -> (Optimize, String) {
        let report = self.model.report.as_ref();
        (
            report.map_or_else(Optimize::default, |report| report.optimize),
            report.map(|report| report.mixed.clone()).unwrap_or_default().to_string(),
        )
    }

    /// Whether this version runs on `device`.
    fn runs_on(&self, device: &DeviceView) -> bool {
        let firmware = device.state.firmware.as_ref();
        firmware.is_some_and(|firmware| Some(&firmware.artifact) == self.model.artifact.as_ref())
    }
}

fn confusion(report: &CompileReport) -> Vec<ConfusionRow> {
    let row = |(index, counts): (usize, &Vec<u32>)| {
        let total: u64 = counts.iter().map(|count| u64::from(*count)).sum();
        let cell = |(column, count): (usize, &u32)| {
            let kind = if column == index { "hit" } else { "miss" };
            // Any count at all is visible.
            let level = if *count == 0 { 0 } else { (u64::from(*count) * 9 / total.max(1)).max(1) };
            Cell { count: *count, heat: format!("{kind}{level}") }
        };
        ConfusionRow {
            label: report.labels.get(index).cloned().unwrap_or_else(|| index.to_string()),
            cells: counts.iter().enumerate().map(cell).collect(),
            total,
            recall: ratio(counts.get(index).copied().unwrap_or(0).into(), total),
        }
    };
    report.confusion.iter().enumerate().map(row).collect()
}

/// `GET /models/{model}`.
pub(crate) async fn page(
    State(shared): State<Arc<Shared>>,
    SessionToken(token): SessionToken,
    Path(model): Path<String>,
) -> Result<Response, PageError> {
    let model: ModelRef = id(&model)?;
    let api = shared.api.as_visitor(&token);
    let (me, model, devices) = tokio::try_join!(api.me(), api.model(&model), api.devices())?;
    let origin = match &model.artifact {
        None => None,
        Some(artifact) => match api.manifest(artifact).await {
            Ok(signed) => Origin::of(signed),
            Err(ApiFailure::Refused(reqwest::StatusCode::NOT_FOUND, _)) => None,
            Err(failure) => return Err(failure.into()),
        },
    };
    let confusion = model.report.as_ref().map(confusion).unwrap_or_default();
    html(&ModelPage { frame: Frame::of(me), model, origin, confusion, devices })
}

/// `GET /models/{model}/report.json`: the report as a file.
pub(crate) async fn report(
    State(shared): State<Arc<Shared>>,
    SessionToken(token): SessionToken,
    Path(model): Path<String>,
) -> Result<Response, PageError> {
    let model: ModelRef = id(&model)?;
    let view = shared.api.as_visitor(&token).model(&model).await?;
    let report = view.report.ok_or(PageError::NoSuchPage)?;
    let text = serde_json::to_vec_pretty(&report).unwrap_or_default();
    Ok(download(&format!("{}-report.json", stem(&view.model)), "application/json", text))
}

/// A model's name and version as the beginning of a file's name.
fn stem(model: &ModelRef) -> String {
    model.to_string().replace('@', "-")
}

fn download(name: &str, media_type: &'static str, body: Vec<u8>) -> Response {
    let disposition = format!("attachment; filename=\"{name}\"");
    ([(CONTENT_TYPE, media_type.to_owned()), (CONTENT_DISPOSITION, disposition)], body).into_response()
}

/// What the compile form sends: [`Settings`] as people type them; what is empty stays as it was.
#[derive(Debug, Deserialize)]
pub(crate) struct CompileForm {
    #[serde(default)]
    optimize: String,
    #[serde(default)]
    mixed: String,
}

impl CompileForm {
    fn settings(&self) -> Result<Settings, PageError> {
        Ok(Settings { optimize: setting("Best at", &self.optimize)?, mixed: setting("Float layers", &self.mixed)? })
    }
}

fn setting<T: FromStr<Err = SettingError>>(label: &str, text: &str) -> Result<Option<T>, PageError> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|error| PageError::Form { message: format!("{label}: {error}.") })
}

/// `POST /models/{model}/compile`.
pub(crate) async fn compile(
    State(shared): State<Arc<Shared>>,
    SessionToken(token): SessionToken,
    Path(model): Path<String>,
    Form(form): Form<CompileForm>,
) -> Result<Response, PageError> {
    let model: ModelRef = id(&model)?;
    let model = shared.api.as_visitor(&token).compile(&model, &form.settings()?).await?;
    Ok(Redirect::to(&format!("/models/{}", model.model)).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heat_follows_the_share_of_the_row() {
        let report = CompileReport {
            confusion: vec![vec![9, 1], vec![0, 0]],
            labels: vec!["cat".into()],
            ..CompileReport::default()
        };
        let rows = confusion(&report);
        let heats: Vec<&str> = rows.iter().flat_map(|row| &row.cells).map(|cell| cell.heat.as_str()).collect();
        assert_eq!(heats, ["hit8", "miss1", "miss0", "hit0"]);
        assert_eq!((rows[0].label.as_str(), rows[1].label.as_str()), ("cat", "1"));
        assert_eq!((rows[0].recall, rows[1].recall), (Some(0.9), None));
    }
}
