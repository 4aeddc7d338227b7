//! The other verbs.

use std::sync::Arc;
use std::time::Duration;

use contract::Code;
use contract::command::{Action, Observe, Payload, Source};
use contract::lifecycle::State;
use contract::log::Phase;
use contract::state::DeviceStatus;
use firmware::message::HostMessage;
use firmware::session::Ask;
use serde_json::{Value, json};

use super::run::Done;
use super::{Failure, Halt, Ticket, install};
use crate::boards::BoardType;
use crate::device::line::at_board;
use crate::device::worker::Worker;
use crate::fetch;
use crate::relay::Relay;
use crate::serial::talk::{self, Condition, Verdict};
use crate::serial::{Fault, Programmer};

/// The device's board type.
pub(super) fn board(worker: &Worker) -> Result<BoardType, Failure> {
    let name = worker.row().board;
    worker.relay.boards.get(&name).cloned().ok_or_else(|| {
        let known = worker.relay.boards.names();
        Failure::new(
            Code::UNKNOWN_BOARD,
            format!(
                "'{}' is of board type '{name}': say what it is with 'set_board'; this relay knows {known}",
                worker.slot.name
            ),
        )
    })
}

/// Waits until the device is connected.
pub(super) async fn connected(worker: &mut Worker, ticket: &Ticket) -> Result<(), Halt> {
    let name = worker.slot.name.clone();
    let patience = worker.relay.config.timeouts.device.as_secs();
    ticket
        .guard(async {
            if worker.wait_for_device().await {
                return Ok(());
            }
            let message = format!("'{name}' is not connected and did not come back within {patience} s");
            Err(Failure::new(Code::DEVICE_LOST, message).into())
        })
        .await
}

/// A verdict for reports.
pub(super) fn summary(verdict: &Verdict) -> Value {
    let mean = verdict.latency_us.checked_div(verdict.vectors as u64);
    let mut summary = json!({ "vectors": verdict.vectors, "wrong": verdict.wrong.len(), "latency_us": mean });
    if let Some(left) = verdict.stack_left {
        summary["stack_left_bytes"] = json!(left);
    }
    summary
}

/// What a verdict that is not good says.
pub(super) fn differs(verdict: &Verdict) -> String {
    match &verdict.problem {
        Some(problem) => format!("the self-test failed: {problem}"),
        None => format!(
            "the self-test failed: {} of {} answers differ from the reference, {} were refused",
            verdict.wrong.len(),
            verdict.vectors,
            verdict.refused
        ),
    }
}

/// The programmer of the device's board.
pub(super) fn programmer(worker: &Worker) -> Result<Box<dyn Programmer>, Failure> {
    let board = board(worker)?;
    worker.relay.programmer(&board).ok_or_else(|| {
        let (name, programmer) = (board.board, board.programmer);
        let message = format!("this relay has no programmer '{programmer}', which board '{name}' needs");
        Failure::new(Code::NOT_SUPPORTED, message)
    })
}

fn failure(fault: &Fault, otherwise: Code) -> Failure {
    Failure::new(fault.code(otherwise), fault.to_string())
}

/// `build`.
pub(super) async fn build(relay: &Arc<Relay>, ticket: &Ticket, board: &str, what: &Payload) -> Result<Done, Halt> {
    let Some(board) = relay.boards.get(board) else {
        let message = format!("no board type '{board}'; known are {}", relay.boards.names());
        return Err(Failure::new(Code::UNKNOWN_BOARD, message).into());
    };
    ticket
        .guard(async {
            let artifact = fetch::artifact(relay, ticket, what, &board.board).await?;
            let image = relay.builder.image(relay, ticket, &artifact, board).await?;
            Ok((format!("{} is built for '{}'", artifact.manifest.model, board.board), Some(image.detail)))
        })
        .await
}

/// `erase`.
pub(super) async fn erase(worker: &mut Worker, ticket: &Arc<Ticket>) -> Result<Done, Halt> {
    let programmer = programmer(worker)?;
    if !programmer.can_erase() {
        let name = worker.row().board;
        let message = format!("the programmer of board '{name}' cannot erase; install another model instead");
        return Err(Failure::new(Code::NOT_SUPPORTED, message).into());
    }
    connected(worker, ticket).await?;
    let (relay, device) = (worker.relay.clone(), worker.slot.name.clone());
    ticket.advance(&relay, State::Flashing, 0.1, "erasing").await?;
    let work = (Phase::Flash, 0.1, 0.9);
    if !programmer.is_atomic() {
        worker.note(|facts| facts.row.unsettled = true).await?;
    }
    at_board(&relay, ticket, &device, &mut worker.line, work, move |line, ear| programmer.erase(line, ear))
        .await?
        .map_err(|fault| failure(&fault, Code::FLASH_FAILED))?;
    worker
        .note(|facts| {
            facts.row.previous = facts.row.firmware.take().filter(|old| old.image.is_some());
            facts.row.observe = None;
            facts.row.unsettled = false;
            facts.status = DeviceStatus::Empty;
            facts.problem = None;
        })
        .await?;
    Ok(("the board has no firmware any more".to_owned(), None))
}

/// `restart`.
pub(super) async fn restart(worker: &mut Worker, ticket: &Arc<Ticket>) -> Result<Done, Halt> {
    let programmer = programmer(worker)?;
    connected(worker, ticket).await?;
    let (relay, device) = (worker.relay.clone(), worker.slot.name.clone());
    ticket.advance(&relay, State::Verifying, 0.1, "restarting").await?;
    let work = (Phase::Verify, 0.1, 0.9);
    let condition = at_board(&relay, ticket, &device, &mut worker.line, work, move |line, ear| {
        programmer.reset(line, ear)?;
        talk::condition(line, programmer.as_ref(), ear)
    })
    .await?
    .map_err(|fault| failure(&fault, Code::DEVICE_LOST))?;
    match condition {
        Condition::Running(info) => {
            let detail =
                json!({ "artifact": info.artifact, "boot_count": info.boot_count, "uptime_ms": info.uptime_ms });
            Ok((format!("restarted, start number {}", info.boot_count), Some(detail)))
        }
        Condition::Empty | Condition::Foreign => Err(no_firmware().into()),
        Condition::Silent(text) => Err(Failure::new(Code::SELF_TEST_FAILED, format!("restarted, but {text}")).into()),
    }
}

pub(super) fn no_firmware() -> Failure {
    Failure::new(Code::NO_FIRMWARE, "there is no firmware of ours on the board; install a model first")
}

/// `identify`.
pub(super) async fn identify(worker: &mut Worker, ticket: &Arc<Ticket>) -> Result<Done, Halt> {
    board(worker)?;
    let programmer = programmer(worker)?;
    connected(worker, ticket).await?;
    let (relay, device) = (worker.relay.clone(), worker.slot.name.clone());
    let asked = at_board(&relay, ticket, &device, &mut worker.line, (Phase::Serial, 0.0, 1.0), move |line, ear| {
        programmer.hello(line, ear)?; // it may have to start first
        let mut ask = Ask::new(HostMessage::Identify, Duration::from_millis(500), 4);
        line.run(&mut ask, &mut |event| ear.hear(event))
    })
    .await?;
    match asked {
        Ok(_) => Ok(("the board shows itself".to_owned(), None)),
        Err(Fault::Session(firmware::session::SessionError::Refused { .. })) => Err(no_firmware().into()),
        Err(fault) => Err(failure(&fault, Code::NO_FIRMWARE).into()),
    }
}

/// `self_test`.
pub(super) async fn self_test(worker: &mut Worker, ticket: &Arc<Ticket>) -> Result<Done, Halt> {
    let board = board(worker)?;
    let relay = worker.relay.clone();
    let installed = worker.row().firmware.ok_or_else(no_firmware)?;
    let what = Payload::Artifact(installed.firmware.artifact.clone());
    let artifact = ticket.guard(fetch::artifact(&relay, ticket, &what, &board.board)).await?;
    connected(worker, ticket).await?;
    ticket.advance(&relay, State::Verifying, 0.3, "comparing the board's answers with the golden vectors").await?;
    let verdict = install::verify(worker, ticket, &artifact, (0.3, 1.0)).await?;
    let verdict = verdict.map_err(|fault| failure(&fault, Code::SELF_TEST_FAILED))?;
    let passed = verdict.passed();
    let model = artifact.manifest.model.clone();
    worker
        .note(|facts| {
            if let Some(installed) = &mut facts.row.firmware {
                installed.firmware.verified = passed;
                installed.firmware.model = Some(model);
            }
        })
        .await?;
    if passed {
        let message = format!("{} golden vectors equal bit for bit", verdict.vectors);
        return Ok((message, Some(summary(&verdict))));
    }
    let failed = Failure::new(Code::SELF_TEST_FAILED, differs(&verdict));
    Err(Failure { detail: Some(summary(&verdict)), ..failed }.into())
}

/// `observe`.
pub(super) async fn observe(worker: &mut Worker, ticket: &Arc<Ticket>, observe: Observe) -> Result<Done, Halt> {
    if observe.enabled
        && observe.source != Source::Text
        && let Some(installed) = worker.row().firmware
    {
        // A board that another relay has flashed: get what is needed to understand its answers.
        let board = board(worker)?;
        let what = Payload::Artifact(installed.firmware.artifact);
        let relay = worker.relay.clone();
        ticket.guard(fetch::artifact(&relay, ticket, &what, &board.board)).await?;
    }
    let message = if observe.enabled { "observing" } else { "not observing any more" };
    let is_text = observe.source == Source::Text;
    let was_text = worker.row().observe.is_some_and(|before| before.source == Source::Text);
    worker.note(|facts| facts.row.observe = Some(observe)).await?;
    if was_text != is_text {
        // Whoever listened to the lines of other firmware did not ask the board what it runs.
        worker.begin_anew();
    }
    Ok((message.to_owned(), None))
}

/// `set_board`.
pub(super) async fn set_board(worker: &mut Worker, board: &str) -> Result<Done, Halt> {
    let by_hand = (board != Action::RECOGNISE).then(|| board.to_owned());
    worker
        .note(|facts| {
            let recognised = facts.recognised.clone().unwrap_or_else(|| facts.row.board.clone());
            facts.row.board = by_hand.clone().unwrap_or(recognised);
            facts.row.by_hand = by_hand;
            facts.problem = None;
            if facts.status == DeviceStatus::Faulty {
                facts.status = DeviceStatus::Empty;
            }
        })
        .await?;
    worker.begin_anew(); // another speed, another programmer
    Ok((format!("the board type is '{}'", worker.row().board), None))
}

/// `rescan`.
pub(super) async fn rescan(relay: &Arc<Relay>, ticket: &Ticket) -> Result<Done, Halt> {
    let mut scanned = relay.scanned.subscribe();
    ticket
        .guard(async {
            // A search that is under way may have passed the new device already: wait for the one after it.
            for _ in 0..2 {
                scanned.mark_unchanged();
                relay.rescan.notify_one();
                if scanned.changed().await.is_err() {
                    break;
                }
            }
            Ok(())
        })
        .await?;
    let report = relay.devices.report();
    let connected = report.iter().filter(|device| device.status != DeviceStatus::Lost).count();
    let detail = json!({ "devices": report.len(), "connected": connected });
    Ok((format!("{connected} of {} known devices are connected", report.len()), Some(detail)))
}

/// `diagnose`.
pub(super) async fn diagnose(relay: &Arc<Relay>) -> Result<Done, Halt> {
    let toolchains = relay.builder.probe().await;
    let disk = rustix::fs::statvfs(&relay.config.dir).ok().map(
        |stat| json!({ "free_bytes": stat.f_bavail * stat.f_frsize, "total_bytes": stat.f_blocks * stat.f_frsize }),
    );
    let mut outbox = serde_json::Map::new();
    for stream in contract::stream::Stream::ALL {
        let (floor, next) = relay.journal.ends(stream).await?;
        outbox.insert(stream.as_str().to_owned(), json!(next - floor));
    }
    let ports: Vec<Value> = relay
        .devices
        .report()
        .iter()
        .map(|device| json!({ "device": device.device, "port": device.port, "status": device.status, "problem": device.problem }))
        .collect();
    let detail = json!({
        "toolchains": toolchains,
        "ports": ports,
        "disk": disk,
        "resident_bytes": crate::state::resident_bytes(),
        "uptime_s": relay.started.elapsed().as_secs(),
        "epoch": relay.link.connection().map(|connection| connection.epoch),
        "outbox": outbox,
        "counters": relay.counters.all(),
    });
    let problems = toolchains.iter().filter(|toolchain| toolchain.problem.is_some()).count();
    Ok((format!("{} devices, {problems} toolchains with a problem", ports.len()), Some(detail)))
}
