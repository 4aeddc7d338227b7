//! From bytes to a message of the contract, or to the name of the counter that says why not.

use contract::audit::Published;
use contract::cloud_command::CloudCommand;
use contract::command::Command;
use contract::event::Event;
use contract::limits::MAX_PACKET_BYTES;
use contract::log::LogLines;
use contract::presence::Presence;
use contract::reading::Reading;
use contract::state::RelayState;
use contract::stream::{Head, Stream};
use contract::wire::{Malformed, decode};
use contract::{RelayId, Topic};

/// A message to be persisted.
#[derive(Debug)]
pub enum Incoming {
    /// A relay came or went.
    Presence(Presence),
    /// A relay's inventory.
    State(Box<RelayState>),
    /// A command that somebody sent to a relay.
    Command(RelayId, Box<Command>),
    /// A message of one of the three streams.
    Stream(Box<StreamMessage>),
    /// Who published a command, as the broker says.
    Published(Box<Published>),
    /// A command to the cloud, or why it is none.
    CloudCommand(Result<Box<CloudCommand>, Malformed>),
}

/// A message of one of the three streams.
#[derive(Debug)]
pub struct StreamMessage {
    /// Who, when, and its number.
    pub head: Head,
    /// The rest.
    pub body: StreamBody,
    /// The JSON text as it came, with the fields that this version does not know.
    pub text: String,
}

/// What a stream carries.
#[derive(Debug)]
pub enum StreamBody {
    /// Of `events`.
    Event(Event),
    /// Of `logs`.
    Logs(LogLines),
    /// Of `telemetry`.
    Reading(Reading),
    /// Only its beginning can be read. Its number counts as stored, or the stream would wait for it for ever.
    Unreadable(Stream),
}

impl StreamMessage {
    /// The stream that it belongs to.
    pub const fn stream(&self) -> Stream {
        match self.body {
            StreamBody::Event(_) => Stream::Events,
            StreamBody::Logs(_) => Stream::Logs,
            StreamBody::Reading(_) => Stream::Telemetry,
            StreamBody::Unreadable(stream) => stream,
        }
    }
}

/// Why a message is not persisted.
#[derive(Debug, PartialEq, Eq)]
pub struct Dropped {
    /// The counter that counts it.
    pub counter: &'static str,
    /// What is wrong; never the payload.
    pub reason: String,
}

fn dropped(counter: &'static str) -> impl FnOnce(Malformed) -> Dropped {
    move |malformed| Dropped { counter, reason: malformed.message }
}

/// Longest id of a journal, in bytes.
const MAX_JOURNAL_BYTES: usize = 64;

/// Numbers are stored in 63 bits.
const MAX_NUMBER: u64 = i64::MAX.unsigned_abs() - 1;

/// Reads a message. `Ok(None)` is one that asks for nothing, such as a retained message being cleared.
pub fn read(topic: &Topic, payload: &[u8]) -> Result<Option<Incoming>, Dropped> {
    Ok(Some(match topic {
        Topic::Presence(_) | Topic::State(_) if payload.is_empty() => return Ok(None),
        Topic::Presence(relay) => {
            let presence: Presence = decode(payload, MAX_PACKET_BYTES).map_err(dropped("malformed_presence"))?;
            same(relay, &presence.relay, "malformed_presence")?;
            plausible(&presence.journal, presence.epoch, "malformed_presence")?;
            Incoming::Presence(presence)
        }
        Topic::State(relay) => {
            let state: RelayState = decode(payload, MAX_PACKET_BYTES).map_err(dropped("malformed_state"))?;
            same(relay, &state.relay, "malformed_state")?;
            plausible(&state.journal, state.epoch.max(state.version), "malformed_state")?;
            Incoming::State(Box::new(state))
        }
        Topic::Commands(relay) => {
            let command = Command::parse(payload).map_err(dropped("malformed_commands"))?;
            Incoming::Command(relay.clone(), Box::new(command))
        }
        Topic::Events(relay) => {
            let (head, body) = match decode::<Event>(payload, MAX_PACKET_BYTES) {
                Ok(event) => (event.head.clone(), StreamBody::Event(event)),
                Err(malformed) => (head_of(payload, malformed, "malformed_events")?, unreadable(Stream::Events)),
            };
            message(relay, head, body, payload, "malformed_events")?
        }
        Topic::Telemetry(relay, device) => {
            let (head, body) = match decode::<Reading>(payload, MAX_PACKET_BYTES) {
                Ok(reading) => {
                    same(device, &reading.device, "malformed_telemetry")?;
                    (reading.head.clone(), StreamBody::Reading(reading))
                }
                Err(malformed) => (head_of(payload, malformed, "malformed_telemetry")?, unreadable(Stream::Telemetry)),
            };
            message(relay, head, body, payload, "malformed_telemetry")?
        }
        Topic::Logs(relay, device) => {
            let (head, body) = match decode::<LogLines>(payload, MAX_PACKET_BYTES) {
                Ok(logs) => {
                    same(device, &logs.device, "malformed_logs")?;
                    (logs.head.clone(), StreamBody::Logs(logs))
                }
                Err(malformed) => (head_of(payload, malformed, "malformed_logs")?, unreadable(Stream::Logs)),
            };
            message(relay, head, body, payload, "malformed_logs")?
        }
        Topic::BrokerAudit => {
            let published = decode::<Published>(payload, MAX_PACKET_BYTES).map_err(dropped("malformed_audit"))?;
            Incoming::Published(Box::new(published))
        }
        Topic::CloudCommands => Incoming::CloudCommand(CloudCommand::parse(payload).map(Box::new)),
        Topic::Requests(_) | Topic::Responses(_) | Topic::Sync(_) | Topic::CloudEvents | Topic::Health(_) => {
            return Ok(None);
        }
    }))
}

/// The beginning of a message that cannot be read as a whole.
fn head_of(payload: &[u8], malformed: Malformed, counter: &'static str) -> Result<Head, Dropped> {
    decode(payload, MAX_PACKET_BYTES).map_err(|_| dropped(counter)(malformed))
}

const fn unreadable(stream: Stream) -> StreamBody {
    StreamBody::Unreadable(stream)
}

fn message(
    relay: &RelayId,
    head: Head,
    body: StreamBody,
    payload: &[u8],
    counter: &'static str,
) -> Result<Incoming, Dropped> {
    same(relay, &head.relay, counter)?;
    plausible(&head.journal, head.epoch.max(head.seq), counter)?;
    if head.seq == 0 {
        return Err(Dropped { counter, reason: "'seq' is 0; numbers begin at 1".into() });
    }
    let text = String::from_utf8_lossy(payload).into_owned();
    Ok(Incoming::Stream(Box::new(StreamMessage { head, body, text })))
}

/// What the broker lets somebody publish to is what they may speak for: a payload that claims otherwise is refused.
fn same<T: PartialEq + std::fmt::Display>(topic: &T, claimed: &T, counter: &'static str) -> Result<(), Dropped> {
    if topic == claimed {
        return Ok(());
    }
    Err(Dropped { counter, reason: format!("it came on a topic of '{topic}' and claims to be from '{claimed}'") })
}

fn plausible(journal: &str, number: u64, counter: &'static str) -> Result<(), Dropped> {
    if journal.is_empty() || journal.len() > MAX_JOURNAL_BYTES {
        return Err(Dropped { counter, reason: format!("'journal' must have 1 to {MAX_JOURNAL_BYTES} bytes") });
    }
    if number > MAX_NUMBER {
        return Err(Dropped { counter, reason: format!("a number is over {MAX_NUMBER}") });
    }
    Ok(())
}
