//! `/relays/{relay}/devices/{device}`: what runs there, live, and what can be done about it.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderName};
use axum::response::Response;
use contract::api::{CommandView, DeviceView, ModelView};
use contract::command::{Observe, Source};
use contract::ids::{CommandId, DeviceId, RelayId};
use contract::log::LogLines;
use contract::reading::Reading;
use serde::Deserialize;
use serde_json::{Value, json};

use super::command::Progress;
use super::overview::ratio;
use super::{html, id, oldest_first};
use crate::Shared;
use crate::api::{ApiFailure, Visitor};
use crate::error::PageError;
use crate::session::SessionToken;
use crate::view::{Frame, ReadingView};

/// Readings in the chart, and among them in the list.
const CHARTED: u32 = 300;
const LISTED: usize = 24;
const LOG_BATCHES: u32 = 100;
/// A page that only refreshes its small regions says so: chart, list and log are what makes a page heavy.
const LIGHT: HeaderName = HeaderName::from_static("x-refresh-light");

/// Which command the page dwells on.
#[derive(Debug, Deserialize)]
pub(crate) struct Focus {
    command: Option<String>,
}

#[derive(Template)]
#[template(path = "device.html")]
struct DevicePage {
    frame: Frame,
    device: DeviceView,
    /// Newest first.
    readings: Vec<ReadingView>,
    /// Oldest first: see [`points`].
    points: String,
    /// Oldest first.
    logs: Vec<LogLines>,
    commands: Vec<CommandView>,
    models: Vec<ModelView>,
    progress: Option<Progress>,
}

impl DevicePage {
    /// Verbs that need nothing but the device: verb, icon, words.
    const VERBS: [(&'static str, &'static str, &'static str); 4] = [
        ("self_test", "shield", "Self-test"),
        ("evaluate", "pulse", "Evaluate"),
        ("restart", "restart", "Restart"),
        ("identify", "eye", "Identify"),
    ];
    /// Where log lines come from.
    const PHASES: [&'static str; 5] = ["fetch", "build", "flash", "verify", "serial"];

    /// Whether the relay feeds the inputs.
    fn is_fed(&self) -> bool {
        self.observe().source == Source::Samples
    }

    fn is_text(&self) -> bool {
        self.observe().source == Source::Text
    }

    fn pattern(&self) -> String {
        self.observe().pattern.map(String::from).unwrap_or_default()
    }

    fn baud(&self) -> String {
        self.observe().baud.map(|baud| baud.to_string()).unwrap_or_default()
    }

    /// The outputs of a reading as JSON, for the script that draws them.
    fn scores(&self, reading: &ReadingView) -> String {
        serde_json::to_string(&reading.outputs).unwrap_or_default()
    }

    fn accuracy(&self) -> Option<f64> {
        ratio(self.device.correct, self.device.labelled)
    }

    fn observe(&self) -> Observe {
        self.device.state.observe.clone().unwrap_or_default()
    }

    /// Whether `model` is what runs on the device.
    fn runs(&self, model: &ModelView) -> bool {
        let firmware = self.device.state.firmware.as_ref();
        firmware.is_some_and(|firmware| Some(&firmware.artifact) == model.artifact.as_ref())
    }

    /// Models that can be installed.
    fn installable(&self) -> Vec<&ModelView> {
        self.models.iter().filter(|model| model.artifact.is_some()).collect()
    }
}

/// `[[milliseconds since 1970, latency in µs or null, class or null, label, right: 1, wrong: 0, unknown: null, score]]`.
fn points(readings: &[Reading]) -> String {
    let point = |reading: &Reading| {
        let prediction = reading.prediction.as_ref();
        let correct = match (prediction, &reading.expected) {
            (Some(prediction), Some(expected)) => json!(u8::from(prediction.label == *expected)),
            _ => Value::Null,
        };
        json!([
            reading.head.at.as_micros() / 1000,
            reading.latency_us,
            prediction.map(|prediction| prediction.index),
            prediction.map(|prediction| prediction.label.as_str()),
            correct,
            prediction.map(|prediction| prediction.score),
        ])
    };
    Value::Array(readings.iter().rev().map(point).collect()).to_string()
}

/// `GET /relays/{relay}/devices/{device}?command=ID`.
pub(crate) async fn page(
    State(shared): State<Arc<Shared>>,
    SessionToken(token): SessionToken,
    Path((relay, device)): Path<(String, String)>,
    Query(focus): Query<Focus>,
    headers: HeaderMap,
) -> Result<Response, PageError> {
    let (relay, device): (RelayId, DeviceId) = (id(&relay)?, id(&device)?);
    let (charted, batches) = if headers.contains_key(LIGHT) { (1, 1) } else { (CHARTED, LOG_BATCHES) };
    let api = shared.api.as_visitor(&token);
    let (me, view, readings, logs, commands, models) = tokio::try_join!(
        api.me(),
        api.device(&relay, &device),
        api.readings(&relay, &device, charted),
        api.logs(&relay, &device, batches),
        api.commands(Some(&relay), Some(&device), 10),
        api.models(),
    )?;
    let wanted = match focus.command {
        Some(text) => text.parse().ok(),
        None => view.state.command.clone().or_else(|| commands.first().map(|command| command.command.clone())),
    };
    let progress = focused(&api, &relay, wanted).await?;
    let logs = oldest_first(logs);
    html(&DevicePage {
        frame: Frame::of(me),
        points: points(&readings),
        readings: readings.iter().take(LISTED).map(ReadingView::of).collect(),
        device: view,
        logs,
        commands,
        models,
        progress,
    })
}

async fn focused(
    api: &Visitor<'_>,
    relay: &RelayId,
    wanted: Option<CommandId>,
) -> Result<Option<Progress>, ApiFailure> {
    let Some(command) = wanted else {
        return Ok(None);
    };
    match api.command(relay, &command).await {
        Ok(command) => Ok(Some(Progress::of(command))),
        // Just sent by somebody else and not yet stored, or an old link: the page is good without it.
        Err(ApiFailure::Refused(reqwest::StatusCode::NOT_FOUND, _)) => Ok(None),
        Err(failure) => Err(failure),
    }
}
