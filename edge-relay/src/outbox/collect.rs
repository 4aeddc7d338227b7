//! Writes what comes in to the journal: events at once, logs and readings in batches, so that the disk's syncs do not
//! limit how much a board may say.

use std::sync::Arc;
use std::time::Duration;

use contract::ids::{CommandId, DeviceId, RelayId};
use contract::limits::MAX_LOG_LINES;
use contract::log::{Line, LogLines, Phase};
use contract::stream::Stream;
use contract::topic::Topic;
use tokio::sync::mpsc;

use super::{Item, Signal, body, bound, event_body, unsent};
use crate::config::Bounds;
use crate::counters::Counters;
use crate::error::RelayError;
use crate::journal::Journal;

/// How long things wait for company.
const GATHER: Duration = Duration::from_millis(60);
/// Most things in one transaction.
const BATCH: usize = 512;
/// Most text in one log message, in bytes; JSON escapes may double it and more, the packet limit is far above.
const MAX_LOG_BYTES: usize = 32 * 1024;

/// Takes things out of the channel and writes them.
pub struct Collector {
    /// The relay.
    pub relay: RelayId,
    /// Where things come from.
    pub items: mpsc::Receiver<Item>,
    /// Where they go.
    pub journal: Arc<Journal>,
    /// Bounds of the streams.
    pub bounds: Bounds,
    /// Counters.
    pub counters: Arc<Counters>,
    /// Wakes the pump.
    pub signal: Arc<Signal>,
}

impl Collector {
    /// Collects for ever.
    ///
    /// # Errors
    /// Only if the journal fails.
    pub async fn run(mut self) -> Result<(), RelayError> {
        let mut batch = Vec::new();
        while let Some(first) = self.items.recv().await {
            let mut urgent = matches!(first, Item::Event(_));
            batch.push(first);
            let end = tokio::time::Instant::now() + GATHER;
            while !urgent && batch.len() < BATCH {
                match tokio::time::timeout_at(end, self.items.recv()).await {
                    Ok(Some(item)) => {
                        urgent = matches!(item, Item::Event(_));
                        batch.push(item);
                    }
                    Ok(None) | Err(_) => break,
                }
            }
            let messages = self.messages(std::mem::take(&mut batch));
            let dropped = self.journal.append(&messages, |stream| bound(&self.bounds, stream)).await?;
            for (stream, count) in dropped {
                self.counters.add(&format!("dropped_{}", stream.as_str()), count);
            }
            self.signal.wake();
        }
        Ok(())
    }

    fn messages(&self, items: Vec<Item>) -> Vec<(Stream, String, String)> {
        let mut messages = Vec::with_capacity(items.len());
        let mut logs = Logs::default();
        for item in items {
            match item {
                Item::Reading(reading) => {
                    let topic = Topic::Telemetry(self.relay.clone(), reading.device.clone());
                    messages.push((Stream::Telemetry, topic.to_string(), body(&*reading)));
                }
                Item::Event(event) => {
                    let topic = Topic::Events(self.relay.clone());
                    messages.push((Stream::Events, topic.to_string(), event_body(&self.relay, event)));
                }
                Item::Line { device, command, phase, line } => logs.add((device, command, phase), line),
            }
        }
        for ((device, command, phase), lines) in logs.groups {
            let topic = Topic::Logs(self.relay.clone(), device.clone());
            let message = LogLines { head: unsent(&self.relay), device, command, phase, lines };
            messages.push((Stream::Logs, topic.to_string(), body(&message)));
        }
        messages
    }
}

type Origin = (DeviceId, Option<CommandId>, Phase);

/// Lines of the same origin that follow each other within one batch, joined up to the limits.
#[derive(Default)]
struct Logs {
    groups: Vec<(Origin, Vec<Line>)>,
}

impl Logs {
    fn add(&mut self, origin: Origin, line: Line) {
        let last = self.groups.iter_mut().rev().find(|(of, _)| of.0 == origin.0);
        if let Some((of, lines)) = last
            && *of == origin
            && lines.len() < MAX_LOG_LINES
            && lines.iter().map(|line| line.text.len()).sum::<usize>() + line.text.len() <= MAX_LOG_BYTES
        {
            lines.push(line);
            return;
        }
        self.groups.push((origin, vec![line]));
    }
}
