//! `tinymlaas device …`.

use contract::RelayId;
use contract::api::{DeviceView, ModelView};
use contract::command::{Action, Command, Observe, Source};
use contract::state::{Device, DeviceStatus};

use super::follow::follow_shown;
use crate::args::{Context, DeviceVerb, Target};
use crate::client::api::Api;
use crate::exit::Failure;
use crate::output;

/// Headings of a table of devices, see [`row`].
pub const HEADINGS: &[&str] = &["DEVICE", "BOARD", "STATUS", "MODEL", "ARTIFACT", "PORT"];

/// One verb about devices.
pub async fn run(context: &Context, verb: DeviceVerb) -> Result<(), Failure> {
    let (target, action): (Target, fn(contract::DeviceId) -> Action) = match verb {
        DeviceVerb::List => return list(context).await,
        DeviceVerb::Show(target) => return show(context, &target).await,
        DeviceVerb::Restart(target) => (target, |device| Action::Restart { device }),
        DeviceVerb::Erase(target) => (target, |device| Action::Erase { device }),
        DeviceVerb::Identify(target) => (target, |device| Action::Identify { device }),
        DeviceVerb::SelfTest(target) => (target, |device| Action::SelfTest { device }),
        DeviceVerb::Evaluate(target) => return evaluate(context, &target).await,
        DeviceVerb::SetBoard { target, board } => {
            let view = Api::new(context)?.find_device(&target.device).await?;
            let command = Command::new(Action::SetBoard { device: view.state.device, board });
            return follow_shown(context, &view.relay, &command).await.map(drop);
        }
        DeviceVerb::Observe { target, off, interval_ms, serial, text, baud } => {
            let view = Api::new(context)?.find_device(&target.device).await?;
            let source = match (&text, serial) {
                (Some(_), _) => Source::Text,
                (None, true) => Source::Serial,
                (None, false) => Source::Samples,
            };
            let observe = Observe { enabled: !off, source, interval_ms, pattern: text, baud };
            let command = Command::new(Action::Observe { device: view.state.device, observe });
            return follow_shown(context, &view.relay, &command).await.map(drop);
        }
    };
    let view = Api::new(context)?.find_device(&target.device).await?;
    follow_shown(context, &view.relay, &Command::new(action(view.state.device))).await.map(drop)
}

/// Evaluates on the device, and says what the cloud's compiler had measured.
async fn evaluate(context: &Context, target: &Target) -> Result<(), Failure> {
    let api = Api::new(context)?;
    let view = api.find_device(&target.device).await?;
    let command = Command::new(Action::Evaluate { device: view.state.device });
    let last = follow_shown(context, &view.relay, &command).await?;
    if context.json {
        return Ok(());
    }
    let accuracy = last.detail.as_ref().and_then(|detail| detail["accuracy"].as_f64());
    let model = view.state.firmware.and_then(|firmware| firmware.model);
    let (Some(accuracy), Some(model)) = (accuracy, model) else { return Ok(()) };
    let known: ModelView = api.get(&format!("/models/{model}")).await?;
    let (cloud, rows) = known.report.map_or((None, 0), |report| (report.int8_accuracy, report.evaluated));
    let (here, there) = (output::share(Some(accuracy)), output::share(cloud));
    output::print(&format!("  on the device {here}, in the cloud {there} of {rows} held-out rows"))
}

async fn list(context: &Context) -> Result<(), Failure> {
    let devices: Vec<DeviceView> = Api::new(context)?.get("/devices").await?;
    if context.json {
        return output::json(&devices);
    }
    let mut headings = HEADINGS.to_vec();
    headings.extend(["LAST READING", "RIGHT"]);
    let rows: Vec<Vec<String>> = devices
        .iter()
        .map(|view| {
            let mut cells = row(&view.relay, view.online, &view.state);
            cells.push(view.last_reading.as_ref().map_or_else(
                || "-".to_owned(),
                |reading| {
                    let label = reading.prediction.as_ref().map_or("-", |p| p.label.as_str());
                    format!("{label} ({})", output::ago(reading.head.at))
                },
            ));
            cells.push(right(view));
            cells
        })
        .collect();
    output::table(&headings, &rows, "No device yet. 'tinymlaas up' brings a relay with two virtual boards.")
}

/// The cells of one device, see [`HEADINGS`].
pub fn row(relay: &RelayId, online: bool, device: &Device) -> Vec<String> {
    let firmware = device.firmware.as_ref();
    vec![
        format!("{relay}/{}", device.device),
        device.board.clone(),
        status(online, device).to_owned(),
        firmware.and_then(|f| f.model.as_ref()).map_or_else(|| "-".to_owned(), ToString::to_string),
        firmware.map_or_else(|| "-".to_owned(), |f| f.artifact.short().to_owned()),
        device.port.clone(),
    ]
}

/// The word for what a device is doing; a lost relay means lost devices.
fn status(online: bool, device: &Device) -> &'static str {
    if online { word(device.status) } else { word(DeviceStatus::Lost) }
}

/// The word for what a device is doing.
pub fn word(status: DeviceStatus) -> &'static str {
    match status {
        DeviceStatus::Empty => "empty",
        DeviceStatus::Busy => "busy",
        DeviceStatus::Running => "running",
        DeviceStatus::Faulty => "faulty",
        DeviceStatus::Lost => "lost",
    }
}

fn right(view: &DeviceView) -> String {
    if view.labelled == 0 {
        return "-".to_owned();
    }
    // Display only.
    #[allow(clippy::cast_precision_loss)]
    let share = view.correct as f64 / view.labelled as f64;
    format!("{} of {}", output::share(Some(share)), view.labelled)
}

async fn show(context: &Context, target: &Target) -> Result<(), Failure> {
    let view = Api::new(context)?.find_device(&target.device).await?;
    if context.json {
        return output::json(&view);
    }
    let device = &view.state;
    output::print(&format!("{}/{}  {}", view.relay, device.device, status(view.online, device)))?;
    output::print(&format!("board     {}{}", device.board, if device.board_by_hand { " (set by hand)" } else { "" }))?;
    let facts = [
        ("product", &device.product),
        ("maker", &device.manufacturer),
        ("USB id", &device.usb),
        ("serial", &device.serial_number),
    ];
    for (name, text) in facts {
        if let Some(text) = text {
            output::print(&format!("{name:<9} {text}"))?;
        }
    }
    output::print(&format!("port      {}", device.port))?;
    match &device.firmware {
        Some(firmware) => {
            let model = firmware.model.as_ref().map_or_else(|| "?".to_owned(), ToString::to_string);
            let verified = if firmware.verified { "self-test passed" } else { "not verified" };
            output::print(&format!("firmware  {model}, {}, {verified}", firmware.artifact))?;
        }
        None => output::print("firmware  none; install a model with 'tinymlaas install MODEL --device DEVICE'")?,
    }
    if let Some(problem) = &device.problem {
        output::print(&format!("problem   {}: {}", problem.code, problem.message))?;
    }
    output::print(&format!("readings  {}, right {}", view.readings, right(&view)))
}
