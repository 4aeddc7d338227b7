//! The three streams: written to the journal first, sent in order of priority, forgotten when a host confirms them.
//!
//! Events of commands are written by the journal together with the command's state. Everything else comes through
//! [`Outbox`] from any thread without waiting; [`collect`] writes it in batches, and [`pump`] sends what is written.

mod collect;
mod pump;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use contract::event::{DeviceReport, Event, EventBody, Notice};
use contract::ids::{CommandId, DeviceId};
use contract::limits::clip;
use contract::log::{Line, Phase};
use contract::reading::Reading;
use contract::stream::{Head, Stream};
use contract::timestamp::Timestamp;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::{Notify, mpsc};

use crate::config::Bounds;
use crate::counters::Counters;

pub use collect::Collector;
pub use pump::Pump;

/// What may wait to be written.
const WAITING: usize = 4096;

/// Something for a stream.
#[derive(Debug)]
pub enum Item {
    /// A reading; its head is filled in when it is sent.
    Reading(Box<Reading>),
    /// A line of a log.
    Line {
        /// The device that it is about.
        device: DeviceId,
        /// The command that made it.
        command: Option<CommandId>,
        /// Where it comes from.
        phase: Phase,
        /// The line.
        line: Line,
    },
    /// An event that belongs to no command.
    Event(EventBody),
}

/// Takes things for the streams.
#[derive(Debug, Clone)]
pub struct Outbox {
    items: mpsc::Sender<Item>,
    counters: Arc<Counters>,
    signal: Arc<Signal>,
}

/// Wakes the pump.
#[derive(Debug, Default)]
pub struct Signal {
    wake: Notify,
    rewind: AtomicBool,
}

impl Signal {
    /// There is something new in the journal.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// Everything that is not confirmed is to be sent again.
    pub fn rewind(&self) {
        self.rewind.store(true, Ordering::Release);
        self.wake.notify_one();
    }
}

impl Outbox {
    /// An outbox and the end at which the collector takes things out.
    pub fn new(counters: Arc<Counters>) -> (Self, mpsc::Receiver<Item>) {
        let (items, taken) = mpsc::channel(WAITING);
        (Self { items, counters, signal: Arc::new(Signal::default()) }, taken)
    }

    /// Wakes the pump, or makes it begin again.
    pub fn signal(&self) -> &Arc<Signal> {
        &self.signal
    }

    /// Puts a reading into the telemetry stream.
    pub fn reading(&self, reading: Reading) {
        self.put(Item::Reading(Box::new(reading)), "dropped_telemetry");
    }

    /// Puts a line into the log stream.
    pub fn line(&self, device: &DeviceId, command: Option<&CommandId>, phase: Phase, text: &str) {
        let line = Line { at: Timestamp::now(), text: clip(text) };
        self.put(Item::Line { device: device.clone(), command: command.cloned(), phase, line }, "dropped_logs");
    }

    /// Reports that a device came, went or changed.
    pub fn device(&self, report: DeviceReport) {
        self.put(Item::Event(EventBody::Device(report)), "dropped_events");
    }

    /// Reports something that belongs to no command.
    pub fn notice(&self, notice: Notice) {
        self.put(Item::Event(EventBody::Notice(notice)), "dropped_events");
    }

    /// Takes without waiting: a serial line does not stop because a disk is slow. What does not fit is counted.
    fn put(&self, item: Item, dropped: &str) {
        if self.items.try_send(item).is_err() {
            self.counters.add(dropped, 1);
        }
    }
}

/// The bound of a stream.
pub fn bound(bounds: &Bounds, stream: Stream) -> u64 {
    match stream {
        Stream::Events => bounds.events.max(10_000),
        Stream::Logs => bounds.logs.max(1),
        Stream::Telemetry => bounds.telemetry.max(1),
    }
}

/// A head for messages that are not sent yet: only `at` in it is meant.
pub fn unsent(relay: &contract::RelayId) -> Head {
    Head { relay: relay.clone(), journal: String::new(), epoch: 0, seq: 0, floor: 0, at: Timestamp::now() }
}

/// A message as the outbox keeps it: its JSON object without what is only known when it is sent.
pub fn body<T: Serialize>(message: &T) -> String {
    match serde_json::to_value(message) {
        Ok(Value::Object(mut object)) => {
            for key in ["relay", "journal", "epoch", "seq", "floor"] {
                object.remove(key);
            }
            Value::Object(object).to_string()
        }
        // Messages are structs with named fields: nothing else can come out.
        _ => "{}".to_owned(),
    }
}

/// An event as the outbox keeps it.
pub fn event_body(relay: &contract::RelayId, body: EventBody) -> String {
    self::body(&Event { head: unsent(relay), body })
}
