//! The main job on real data, done through the same doors as everybody's: the HTTP API and MQTT.
//!
//! Every step asks first what is there, so a second start does nothing twice.

use std::time::Duration;

use contract::api::{DatasetView, DeviceView, ModelView};
use contract::command::{Action, Command, Observe, Payload};
use contract::limits::MAX_PACKET_BYTES;
use contract::reading::Reading;
use contract::state::DeviceStatus;
use contract::topic::ROOT;
use contract::{DeviceId, RelayId, State, Topic, wire};
use reqwest::Method;

use crate::args::Context;
use crate::client::api::Api;
use crate::client::mqtt::{Incoming, Mqtt};
use crate::command::follow;
use crate::exit::Failure;
use crate::output::{self, Step};

/// Handwritten digits: see models/digits/README.md for their origin and license.
const DATASET: &[u8] = include_bytes!("../../../models/digits/digits.csv");
/// A small convolutional network that models/digits/train.py trained on them.
const MODEL: &[u8] = include_bytes!("../../../models/digits/digits.onnx");
const NAME: &str = "digits";
/// Pixels are 0 to 16; the network was trained on 0 to 1.
const INPUT_SCALE: &str = "0.0625";
const INSTALL_PATIENCE: Duration = Duration::from_secs(300);
const PREDICTION_PATIENCE: Duration = Duration::from_secs(120);

/// Does the main job.
pub async fn run(context: &Context, relay: &RelayId, boards: u8, api: &Api) -> Result<(), Failure> {
    let model = import(api).await?;
    let model = compile(api, model).await?;
    for number in 1..=boards {
        let device = DeviceId::new(format!("board-{number}")).map_err(|error| Failure::Internal(error.to_string()))?;
        install(context, relay, api, &model, device).await?;
    }
    if boards > 0 {
        live(context, relay).await?;
    }
    Ok(())
}

async fn import(api: &Api) -> Result<ModelView, Failure> {
    let step = Step::begin("import", "handwritten digits");
    let request = api
        .request(Method::PUT, &format!("/datasets/{NAME}"))
        .query(&[("input_scale", INPUT_SCALE)])
        .header("content-type", "text/csv")
        .body(DATASET);
    let dataset: DatasetView = api.send(request).await?;
    let request = api
        .request(Method::POST, "/models")
        .query(&[("name", NAME), ("dataset", NAME)])
        .header("content-type", "application/octet-stream")
        .body(MODEL);
    let model: ModelView = api.send(request).await?;
    step.done(&format!(
        "{}: float ONNX, {}; {} handwritten digits (UCI, CC BY 4.0), {} of them held out",
        model.model,
        output::size(model.size),
        dataset.rows,
        dataset.test_rows
    ));
    Ok(model)
}

async fn compile(api: &Api, model: ModelView) -> Result<ModelView, Failure> {
    let step = Step::begin("compile", "calibrating, quantizing, evaluating");
    let model: ModelView = api.send(api.request(Method::POST, &format!("/models/{}/compile", model.model))).await?;
    let Some(report) = &model.report else {
        step.failed("the cloud compiled it and has no report");
        return Err(Failure::Internal("the compiled model has no report".to_owned()));
    };
    let uno = report.boards.iter().find(|board| board.board == "uno");
    let fit = uno.map_or_else(String::new, |board| {
        format!("; on an Arduino Uno {} flash, {} RAM", output::size(board.flash_bytes), output::size(board.ram_bytes))
    });
    step.done(&format!(
        "int8 C: {} of the held-out digits right (float {}){fit}",
        output::share(report.int8_accuracy),
        output::share(report.float_accuracy),
    ));
    Ok(model)
}

async fn install(
    context: &Context,
    relay: &RelayId,
    api: &Api,
    model: &ModelView,
    device: DeviceId,
) -> Result<(), Failure> {
    let step = Step::begin("install", &format!("{device}"));
    let view: DeviceView = api.get(&format!("/relays/{relay}/devices/{device}")).await?;
    let runs = view.state.firmware.as_ref().is_some_and(|f| Some(&f.artifact) == model.artifact.as_ref() && f.verified);
    if runs && view.state.status == DeviceStatus::Running {
        step.done(&format!("{device} runs {} already", model.model));
        return Ok(());
    }
    let mut mqtt = Mqtt::connect(context, &[Topic::Events(relay.clone()).to_string()]).await?;
    let what = Payload::Model(model.model.clone());
    let command = Command::new(Action::Install { device: device.clone(), what, observe: Some(Observe::default()) });
    let mut path: Vec<&str> = Vec::new();
    let outcome = follow(&mut mqtt, relay, &command, INSTALL_PATIENCE, |_, report| {
        if path.last() != Some(&report.state.as_str()) {
            path.push(report.state.as_str());
        }
        step.update(&format!("{device} {}", path.join(" → ")));
    })
    .await?;
    if outcome.last.state != State::Succeeded {
        let why = format!("{device}: {}: {}", outcome.last.code, outcome.last.message);
        step.failed(&why);
        return Err(Failure::Failed(format!("the install on {why}")));
    }
    step.done(&format!("{device} {} in {:.1} s", path.join(" → "), outcome.took.as_secs_f64()));
    if !outcome.last.message.is_empty() {
        eprintln!("              {}", outcome.last.message);
    }
    Ok(())
}

/// Waits for a prediction of each board.
async fn live(context: &Context, relay: &RelayId) -> Result<(), Failure> {
    let step = Step::begin("live", "waiting for predictions");
    let filter = format!("{ROOT}/relays/{relay}/devices/+/telemetry");
    let mut mqtt = Mqtt::connect(context, &[filter]).await?;
    let first = async {
        loop {
            if let Incoming::Message { payload, .. } = mqtt.next().await?
                && let Ok(reading) = wire::decode::<Reading>(&payload, MAX_PACKET_BYTES)
            {
                return Ok::<_, Failure>(reading);
            }
        }
    };
    let reading = tokio::time::timeout(PREDICTION_PATIENCE, first).await.unwrap_or_else(|_| {
        Err(Failure::TimedOut("the boards run, but no prediction arrived within two minutes".to_owned()))
    })?;
    let said = reading
        .prediction
        .as_ref()
        .map_or_else(|| format!("{:?}", reading.outputs), |p| format!("{} ({:.0} % sure)", p.label, p.score * 100.0));
    let is = reading.expected.as_ref().map_or_else(String::new, |label| format!(" was shown a {label} and"));
    step.done(&format!("{}{is} says {said}", reading.device));
    Ok(())
}
