//! Observing: feeds a board with samples, or listens to it, and makes readings of its answers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use contract::artifact::{ModelMeta, Sample};
use contract::command::{Observe, Source};
use contract::ids::{ArtifactId, DeviceId, ModelRef};
use contract::limits::MAX_READING_INPUT_BYTES;
use contract::reading::{Input, Prediction, Reading};
use firmware::frame::Item;
use firmware::message::{BoardMessage, Info};
use firmware::session::{Event, Outcome};

use super::line::Ear;
use super::worker::Worker;
use crate::error::JournalError;
use crate::outbox::unsent;
use crate::relay::Relay;
use crate::serial::{Fault, SerialLine, talk};

/// What is needed to make readings of a device's answers.
struct Observer {
    relay: Arc<Relay>,
    device: DeviceId,
    artifact: ArtifactId,
    model: Option<ModelRef>,
    meta: ModelMeta,
    samples: Vec<u8>,
    index: Vec<Sample>,
    observe: Observe,
    info: Info,
}

/// Observes until there is something else to do, or a fault.
pub async fn run(worker: &mut Worker, info: Info, observe: Observe) -> Result<Result<(), Fault>, JournalError> {
    let Some(installed) = worker.row().firmware else { return Ok(Ok(())) };
    let relay = worker.relay.clone();
    let Some(artifact) = relay.store.load(&relay.trust.keys(), &installed.firmware.artifact) else {
        // Flashed by another relay: a command that observes or installs fetches it.
        return Ok(Ok(()));
    };
    let (samples, index) = match artifact.samples() {
        Ok(samples) => samples,
        Err(error) => {
            tracing::error!(device = %worker.slot.name, %error, "cannot read the samples");
            return Ok(Ok(()));
        }
    };
    let fits = info.input_bytes as usize == artifact.meta.input.bytes()
        && info.output_bytes as usize == artifact.meta.output.bytes();
    if !fits || (observe.source == Source::Samples && samples.is_empty()) {
        return Ok(Ok(()));
    }
    let observer = Observer {
        device: worker.slot.name.clone(),
        artifact: installed.firmware.artifact,
        model: Some(artifact.manifest.model.clone()),
        meta: artifact.meta,
        relay,
        samples,
        index,
        observe,
        info,
    };
    let result = worker
        .idle_at_board(move |line, ear| match observer.observe.source {
            Source::Samples => observer.feed(line, ear),
            Source::Serial | Source::Text => observer.listen(line, ear),
        })
        .await;
    Ok(result)
}

impl Observer {
    /// Feeds one sample after another for ever.
    fn feed(&self, line: &mut SerialLine, ear: &mut Ear) -> Result<(), Fault> {
        let interval = Duration::from_millis(u64::from(self.observe.interval_ms));
        let len = self.meta.input.bytes();
        let limit = self.relay.config.timeouts.inference;
        let mut due = Instant::now();
        // The board's own count, so that a restart of the relay does not begin with the first sample again.
        let mut number = self.info.invocations as usize;
        loop {
            let sample = number % (self.samples.len() / len);
            let input = &self.samples[sample * len..(sample + 1) * len];
            let outcome = talk::infer(line, &self.info, input, limit, &mut |event| ear.hear(event))?;
            self.relay.outbox.reading(self.reading(&outcome, Some((sample, input))));
            number += 1;
            due = (due + interval).max(Instant::now());
            while Instant::now() < due {
                self.hear(line, ear)?;
            }
        }
    }

    /// Listens to a board that speaks by itself.
    fn listen(&self, line: &mut SerialLine, ear: &mut Ear) -> Result<(), Fault> {
        loop {
            self.hear(line, ear)?;
        }
    }

    /// One read: text becomes log lines, unasked results become readings.
    fn hear(&self, line: &mut SerialLine, ear: &mut Ear) -> Result<(), Fault> {
        let mut go_on = ear.hear(Event::Tick);
        for item in line.listen()? {
            match item {
                Item::Text(text) => go_on &= ear.hear(Event::Line(text)),
                Item::Noise { bytes, .. } => ear.noise(bytes as u64),
                Item::Frame(frame) => match BoardMessage::parse(&frame) {
                    Ok(BoardMessage::Log(text)) => go_on &= ear.hear(Event::Line(text)),
                    Ok(BoardMessage::Info(info)) if info.artifact != self.artifact.as_str() => {
                        // Somebody else has flashed it: whoever called us asks anew.
                        return Err(Fault::Stopped);
                    }
                    // A board with a sensor speaks by itself as soon as it is not fed; whoever feeds it wants no answer to that.
                    Ok(BoardMessage::Result(part))
                        if frame.seq == 0 && part.offset == 0 && self.observe.source == Source::Serial =>
                    {
                        let outcome =
                            Outcome { device_seq: part.device_seq, latency_us: part.latency_us, output: part.data };
                        if outcome.output.len() == self.meta.output.bytes() {
                            self.relay.outbox.reading(self.reading(&outcome, None));
                        }
                    }
                    Ok(_) => {}
                    Err(_) => ear.noise(frame.payload.len() as u64),
                },
            }
        }
        if go_on { Ok(()) } else { Err(Fault::Stopped) }
    }

    fn reading(&self, outcome: &Outcome, fed: Option<(usize, &[u8])>) -> Reading {
        let outputs = self.meta.output.reals(&outcome.output);
        let sample = fed.and_then(|(sample, _)| self.index.get(sample));
        // Floats are features of a table, and no picture that somebody would look at.
        let small = fed.map(|(_, input)| input).filter(|input| input.len() <= MAX_READING_INPUT_BYTES);
        let small = small.filter(|_| !self.meta.input.is_float());
        Reading {
            head: unsent(&self.relay.config.relay),
            device: self.device.clone(),
            device_seq: u64::from(outcome.device_seq),
            mono_ms: u64::try_from(self.relay.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            artifact: Some(self.artifact.clone()),
            model: self.model.clone(),
            prediction: self.prediction(&outcome.output, &outputs),
            outputs,
            output_names: Vec::new(),
            latency_us: Some(u64::from(outcome.latency_us)),
            expected: sample.map(|sample| sample.label.clone()).filter(|label| !label.is_empty()),
            sample: fed.and_then(|(sample, _)| u32::try_from(sample).ok()),
            input: small.map(|input| Input {
                shape: self.meta.input.shape.clone(),
                scale: self.meta.input.scale,
                zero_point: self.meta.input.zero_point,
                data: STANDARD.encode(input),
            }),
        }
    }

    /// The label that wins, as the reference decides it.
    fn prediction(&self, output: &[u8], outputs: &[f32]) -> Option<Prediction> {
        let output: Vec<i8> = output.iter().map(|byte| byte.cast_signed()).collect();
        let best = self.meta.winner(&output)?;
        let label = self.meta.labels.get(best)?.clone();
        Some(Prediction { label, index: u32::try_from(best).ok()?, score: score(outputs, best)? })
    }
}

/// How sure the model is of this label: its output, or the one output's share where there is only one.
fn score(outputs: &[f32], label: usize) -> Option<f32> {
    match outputs {
        [second] if label == 0 => Some(1.0 - second),
        [second] => Some(*second),
        _ => outputs.get(label).copied(),
    }
}
