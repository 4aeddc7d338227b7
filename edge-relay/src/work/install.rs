//! `install`: fetch, build, flash, verify; on failure the previous firmware goes back.

use std::sync::Arc;
use std::time::Instant;

use contract::Code;
use contract::command::{Observe, Payload};
use contract::ids::ArtifactId;
use contract::lifecycle::State;
use contract::log::Phase;
use contract::state::{DeviceStatus, Firmware};
use contract::timestamp::Timestamp;
use firmware::session::FlashReport;
use serde_json::json;

use super::run::Done;
use super::{Failure, Halt, Ticket, verbs};
use crate::build::Image;
use crate::device::line::at_board;
use crate::device::worker::Worker;
use crate::fetch::{self, Artifact};
use crate::journal::Installed;
use crate::serial::Fault;
use crate::serial::talk::{self, Condition, Verdict};

/// Where in a command's progress flashing and verifying lie.
const FLASH: (f32, f32) = (0.5, 0.85);
const VERIFY: (f32, f32) = (0.85, 1.0);

/// Installs.
///
/// # Errors
/// Why not; the board then runs its old firmware, or the message says otherwise.
pub async fn run(
    worker: &mut Worker,
    ticket: &Arc<Ticket>,
    what: &Payload,
    observe: Option<Observe>,
) -> Result<Done, Halt> {
    let board = verbs::board(worker)?;
    let relay = worker.relay.clone();
    let (artifact, image) = ticket
        .guard(async {
            let artifact = fetch::artifact(&relay, ticket, what, &board.board).await?;
            let image = relay.builder.image(&relay, ticket, &artifact, &board).await?;
            Ok((artifact, image))
        })
        .await?;
    verbs::connected(worker, ticket).await?;

    let id = artifact.manifest.artifact.clone();
    let before = before(worker, &id);
    ticket.advance(&relay, State::Flashing, FLASH.0, &format!("writing {} bytes", image.bytes.len())).await?;
    let since = Instant::now();
    let report = match flash(worker, ticket, &image, FLASH).await? {
        Ok(report) => report,
        Err(fault) if worker.row().unsettled && matches!(fault, Fault::Tool(_)) => {
            // Nobody knows what is in the flash now.
            let problem = (Code::FLASH_FAILED, fault.to_string());
            return Err(roll_back(worker, ticket, before, problem).await?.into());
        }
        Err(fault) => return Err(Failure::new(fault.code(Code::FLASH_FAILED), fault.to_string()).into()),
    };
    let flash_ms = since.elapsed().as_millis();
    // A board with USB of its own has gone and come back, maybe at another port.
    verbs::connected(worker, ticket).await?;

    ticket.advance(&relay, State::Verifying, VERIFY.0, "comparing the board's answers with the golden vectors").await?;
    let problem = match verify(worker, ticket, &artifact, VERIFY).await? {
        Ok(verdict) if verdict.passed() => {
            let observe = observe.or_else(|| (artifact.meta.sample_count > 0).then(Observe::default));
            keep(worker, &artifact, &image, observe).await?;
            let detail = json!({
                "build": image.detail,
                "flash": { "bytes": image.bytes.len(), "written": report.written, "flash_ms": flash_ms },
                "self_test": verbs::summary(&verdict),
            });
            let message =
                format!("{} runs, {} golden vectors equal bit for bit", artifact.manifest.model, verdict.vectors);
            return Ok((message, Some(detail)));
        }
        Ok(verdict) => verbs::differs(&verdict),
        Err(fault @ (Fault::Lost(_) | Fault::Busy(_) | Fault::Denied(_))) => {
            return Err(Failure::new(fault.code(Code::DEVICE_LOST), fault.to_string()).into());
        }
        Err(fault) => fault.to_string(),
    };
    Err(roll_back(worker, ticket, before, (Code::SELF_TEST_FAILED, problem)).await?.into())
}

/// What the board ran before, if it can be flashed again.
fn before(worker: &Worker, new: &ArtifactId) -> Option<Installed> {
    let row = worker.row();
    let good = |installed: &Installed| installed.image.is_some() && installed.firmware.artifact != *new;
    row.firmware.filter(good).or_else(|| row.previous.filter(good))
}

async fn flash(
    worker: &mut Worker,
    ticket: &Ticket,
    image: &Image,
    (from, to): (f32, f32),
) -> Result<Result<FlashReport, Fault>, Halt> {
    let programmer = verbs::programmer(worker)?;
    let settled = !worker.row().unsettled;
    if !programmer.is_atomic() {
        worker.note(|facts| facts.row.unsettled = true).await?;
    }
    let (relay, device, bytes) = (worker.relay.clone(), worker.slot.name.clone(), image.bytes.clone());
    let flashed = at_board(&relay, ticket, &device, &mut worker.line, (Phase::Flash, from, to), move |line, ear| {
        ear.note(&format!("flashing {} bytes at {}", bytes.len(), line.path()));
        let result = programmer.flash(line, bytes, ear);
        match &result {
            Ok(report) if report.written == 0 => ear.note("the board has this firmware already"),
            Ok(report) => ear.note(&format!("flashed {} bytes", report.written)),
            Err(fault) => ear.note(&format!("flashing failed: {fault}")),
        }
        result
    })
    .await?;
    if settled && matches!(flashed, Err(Fault::ToolMissing(_))) {
        // Nothing was begun: the board runs what it ran.
        worker.note(|facts| facts.row.unsettled = false).await?;
    }
    Ok(flashed)
}

/// Asks the board what it runs and compares its answers with the golden vectors.
///
/// # Errors
/// The command's end; the inner error says why the board could not be tested.
pub async fn verify(
    worker: &mut Worker,
    ticket: &Ticket,
    artifact: &Artifact,
    (from, to): (f32, f32),
) -> Result<Result<Verdict, Fault>, Halt> {
    let programmer = verbs::programmer(worker)?;
    let golden = artifact.golden().map_err(|e| Failure::storage("cannot read the golden vectors", &e))?;
    let (relay, device) = (worker.relay.clone(), worker.slot.name.clone());
    let (id, limit) = (artifact.manifest.artifact.clone(), relay.config.timeouts.inference);
    let tested = at_board(&relay, ticket, &device, &mut worker.line, (Phase::Verify, from, to), move |line, ear| {
        let info = match talk::condition(line, programmer.as_ref(), ear)? {
            Condition::Running(info) if info.artifact == id.as_str() => info,
            Condition::Running(info) => return Ok(Err(format!("the board reports firmware of '{}'", info.artifact))),
            Condition::Empty => return Ok(Err("the board has no firmware".to_owned())),
            Condition::Foreign => return Ok(Err("no firmware of ours answers on the board".to_owned())),
            Condition::Silent(text) => return Ok(Err(text)),
        };
        let mut verdict = talk::verify(line, &info, &golden, limit, &mut |event| ear.hear(event))?;
        // Asked after the inferences: they are what needs the stack.
        if let Ok(Condition::Running(info)) = talk::condition(line, programmer.as_ref(), ear) {
            verdict.stack_left = Some(info.stack_left).filter(|left| *left > 0);
        }
        ear.note(&format!("self-test: {} of {} vectors equal", verdict.vectors - verdict.wrong.len(), verdict.vectors));
        Ok(Ok(verdict))
    })
    .await?;
    match tested {
        Ok(Ok(verdict)) => Ok(Ok(verdict)),
        Ok(Err(problem)) => Ok(Ok(Verdict { problem: Some(problem), ..Verdict::default() })),
        Err(fault) => Ok(Err(fault)),
    }
}

async fn keep(worker: &mut Worker, artifact: &Artifact, image: &Image, observe: Option<Observe>) -> Result<(), Halt> {
    let firmware = Firmware {
        artifact: artifact.manifest.artifact.clone(),
        model: Some(artifact.manifest.model.clone()),
        installed_at: Timestamp::now(),
        verified: true,
    };
    let installed = Installed { firmware, image: Some(image.key.clone()) };
    worker
        .note(|facts| {
            let same = |old: &Installed| old.firmware.artifact == installed.firmware.artifact;
            if let Some(old) = facts.row.firmware.take().filter(|old| !same(old)) {
                facts.row.previous = Some(old);
            }
            facts.row.firmware = Some(installed);
            facts.row.unsettled = false;
            facts.row.observe = observe;
            facts.status = DeviceStatus::Running;
            facts.problem = None;
        })
        .await?;
    Ok(())
}

/// Flashes what ran before and tests it. The result is how the command fails.
async fn roll_back(
    worker: &mut Worker,
    ticket: &Ticket,
    before: Option<Installed>,
    (code, problem): (Code, String),
) -> Result<Failure, Halt> {
    let relay = worker.relay.clone();
    let failed = |more: &str| Failure::new(code.clone(), format!("{problem}; {more}"));
    let image = before.as_ref().and_then(|installed| relay.builder.cached(installed.image.as_deref()?));
    let (Some(before), Some(image)) = (before, image) else {
        return Ok(failed("there is no earlier firmware that could go back"));
    };
    let old = before.firmware.artifact.clone();
    ticket.advance(&relay, State::Flashing, FLASH.0, &format!("{problem}; putting {old} back")).await?;
    if let Err(fault) = flash(worker, ticket, &image, FLASH).await? {
        return Ok(failed(&format!("putting the previous firmware back failed too: {fault}")));
    }
    let tested = match relay.store.load(&relay.trust.keys(), &old) {
        Some(artifact) => {
            ticket.advance(&relay, State::Verifying, VERIFY.0, "testing the previous firmware").await?;
            matches!(verify(worker, ticket, &artifact, VERIFY).await?, Ok(verdict) if verdict.passed())
        }
        None => false,
    };
    worker
        .note(|facts| {
            let firmware = Firmware { verified: tested, ..before.firmware.clone() };
            facts.row.firmware = Some(Installed { firmware, ..before });
            facts.row.previous = None;
            facts.row.unsettled = !tested && facts.row.unsettled;
            facts.status = DeviceStatus::Running;
            facts.problem = None;
        })
        .await?;
    let end =
        if tested { "the previous firmware runs again" } else { "the previous firmware was flashed again, untested" };
    Ok(Failure::new(Code::ROLLED_BACK, format!("{problem}; {end} ({old})")))
}
