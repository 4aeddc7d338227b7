//! `evaluate`: the artifact's held-out samples on the board itself, every one once: what it gets right and how long it takes.

use std::sync::Arc;

use contract::Code;
use contract::command::Payload;
use contract::lifecycle::State;
use contract::log::Phase;
use firmware::session::{Event, Outcome};
use serde_json::{Value, json};

use super::run::Done;
use super::{Failure, Halt, Ticket, verbs};
use crate::device::line::at_board;
use crate::device::worker::Worker;
use crate::fetch::{self, Artifact};
use crate::serial::Fault;
use crate::serial::talk::{self, Condition};

/// Evaluates.
///
/// # Errors
/// `no_firmware`, `not_supported` for an artifact without samples, or how the board failed.
pub async fn run(worker: &mut Worker, ticket: &Arc<Ticket>) -> Result<Done, Halt> {
    let board = verbs::board(worker)?;
    let relay = worker.relay.clone();
    let installed = worker.row().firmware.ok_or_else(verbs::no_firmware)?;
    let what = Payload::Artifact(installed.firmware.artifact.clone());
    let artifact = ticket.guard(fetch::artifact(&relay, ticket, &what, &board.board)).await?;
    let (samples, index) =
        artifact.samples().map_err(|error| Failure::storage("cannot read the held-out samples", &error))?;
    let len = artifact.meta.input.bytes().max(1);
    let inputs: Vec<Vec<u8>> = samples.chunks_exact(len).map(<[u8]>::to_vec).collect();
    if inputs.is_empty() {
        let message = format!("{} has no held-out samples: import it with a dataset", artifact.manifest.model);
        return Err(Failure::new(Code::NOT_SUPPORTED, message).into());
    }
    verbs::connected(worker, ticket).await?;
    let count = inputs.len();
    ticket.advance(&relay, State::Verifying, 0.1, &format!("feeding {count} held-out samples")).await?;
    let outcomes = feed(worker, ticket, &artifact, inputs).await?;
    let expected: Vec<&str> = index.iter().map(|sample| sample.label.as_str()).collect();
    Ok(report(&artifact, &outcomes, &expected))
}

async fn feed(
    worker: &mut Worker,
    ticket: &Arc<Ticket>,
    artifact: &Artifact,
    inputs: Vec<Vec<u8>>,
) -> Result<Vec<Outcome>, Halt> {
    let programmer = verbs::programmer(worker)?;
    let (relay, device) = (worker.relay.clone(), worker.slot.name.clone());
    let (id, limit) = (artifact.manifest.artifact.clone(), relay.config.timeouts.inference);
    let work = (Phase::Verify, 0.1, 1.0);
    let fed = at_board(&relay, ticket, &device, &mut worker.line, work, move |line, ear| {
        let Condition::Running(info) = talk::condition(line, programmer.as_ref(), ear)? else { return Ok(None) };
        if info.artifact != id.as_str() {
            return Ok(None);
        }
        let mut outcomes = Vec::with_capacity(inputs.len());
        for input in &inputs {
            // The progress of one inference says nothing about that of all.
            let heard = &mut |event| matches!(event, Event::Progress(_)) || ear.hear(event);
            outcomes.push(talk::infer(line, &info, input, limit, heard)?);
            // Counts that fit into a relay's memory are exact enough as f32 for a progress bar.
            #[allow(clippy::cast_precision_loss)]
            if !ear.hear(Event::Progress(outcomes.len() as f32 / inputs.len() as f32)) {
                return Err(Fault::Stopped);
            }
        }
        Ok(Some(outcomes))
    })
    .await?;
    match fed {
        Ok(Some(outcomes)) => Ok(outcomes),
        Ok(None) => Err(verbs::no_firmware().into()),
        Err(fault) => Err(Failure::new(fault.code(Code::DEVICE_LOST), fault.to_string()).into()),
    }
}

fn report(artifact: &Artifact, outcomes: &[Outcome], expected: &[&str]) -> Done {
    let label = |outcome: &Outcome| {
        let output: Vec<i8> = outcome.output.iter().map(|byte| byte.cast_signed()).collect();
        artifact.meta.winner(&output).and_then(|winner| artifact.meta.labels.get(winner))
    };
    let labelled: Vec<bool> = outcomes
        .iter()
        .zip(expected)
        .filter(|(_, expected)| !expected.is_empty())
        .filter_map(|(outcome, expected)| Some(label(outcome)? == expected))
        .collect();
    let correct = labelled.iter().filter(|right| **right).count();
    let mut times: Vec<u32> = outcomes.iter().map(|outcome| outcome.latency_us).collect();
    times.sort_unstable();
    let mean = times.iter().map(|time| u64::from(*time)).sum::<u64>() / (times.len() as u64).max(1);
    let (median, most) = (times[times.len() / 2], times[times.len() - 1]);
    let mut detail = json!({
        "samples": outcomes.len(),
        "labelled": labelled.len(),
        "correct": correct,
        "latency_us": { "mean": mean, "median": median, "max": most },
    });
    let mut message = format!("{} samples in {mean} µs each", outcomes.len());
    if !labelled.is_empty() {
        // A share of counts; both are small.
        #[allow(clippy::cast_precision_loss)]
        let accuracy = correct as f64 / labelled.len() as f64;
        detail["accuracy"] = Value::from(accuracy);
        message = format!("{correct} of {} labelled samples right; {message}", labelled.len());
    }
    (message, Some(detail))
}
