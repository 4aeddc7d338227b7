//! Reading the lines of firmware that is not ours.

use std::sync::Arc;

use contract::command::{Observe, Source};
use contract::ids::DeviceId;
use contract::pattern::{Pattern, Said};
use contract::reading::{Prediction, Reading};
use firmware::frame::Item;
use firmware::session::Event;

use super::line::Ear;
use super::worker::Worker;
use crate::outbox::unsent;
use crate::relay::Relay;
use crate::serial::{Fault, SerialLine};

/// The pattern to read by, if a device is to be observed so.
pub fn wanted(observe: Option<&Observe>) -> Option<(Pattern, Option<u32>)> {
    let observe = observe.filter(|observe| observe.enabled && observe.source == Source::Text)?;
    Some((observe.pattern.clone()?, observe.baud))
}

/// Listens until there is something else to do, or a fault. Lines that match become readings, others go to the log.
pub async fn run(worker: &mut Worker, pattern: Pattern, baud: Option<u32>) -> Result<(), Fault> {
    let reader = Reader { relay: worker.relay.clone(), device: worker.slot.name.clone(), pattern };
    worker
        .idle_at_board(move |line, ear| {
            let usual = line.baud();
            line.set_baud(baud.unwrap_or(usual));
            let result = reader.listen(line, ear);
            // The bootloader and firmware of ours speak at the board's own speed.
            line.set_baud(usual);
            result
        })
        .await
}

struct Reader {
    relay: Arc<Relay>,
    device: DeviceId,
    pattern: Pattern,
}

impl Reader {
    fn listen(&self, line: &mut SerialLine, ear: &mut Ear) -> Result<(), Fault> {
        let mut count = 0;
        loop {
            let mut go_on = ear.hear(Event::Tick);
            for item in line.listen()? {
                match item {
                    Item::Text(text) => match self.pattern.read(&text) {
                        Some(said) => {
                            count += 1;
                            self.relay.outbox.reading(self.reading(said, count));
                        }
                        None => go_on &= ear.hear(Event::Line(text)),
                    },
                    Item::Noise { bytes, .. } => ear.noise(bytes as u64),
                    Item::Frame(frame) => ear.noise(frame.payload.len() as u64),
                }
            }
            if !go_on {
                return Err(Fault::Stopped);
            }
        }
    }

    fn reading(&self, said: Said, count: u64) -> Reading {
        let winner = said.winner();
        let (names, values): (Vec<String>, Vec<f32>) = said.values.into_iter().unzip();
        let prediction = said.label.map(|label| Prediction {
            label,
            index: winner.and_then(|index| u32::try_from(index).ok()).unwrap_or(0),
            // A label that was printed with one number beside it: the number is how sure it is.
            score: winner.map_or_else(|| values.first().copied().unwrap_or(f32::NAN), |index| values[index]),
        });
        Reading {
            head: unsent(&self.relay.config.relay),
            device: self.device.clone(),
            device_seq: count,
            mono_ms: u64::try_from(self.relay.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            artifact: None,
            model: None,
            prediction,
            outputs: values,
            output_names: names,
            latency_us: None,
            expected: None,
            sample: None,
            input: None,
        }
    }
}
