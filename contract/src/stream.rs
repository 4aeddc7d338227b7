//! The three streams that a relay keeps on disk until a host confirms them, and the confirmation.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::RelayId;
use crate::timestamp::Timestamp;

/// A stream of numbered messages of one relay. In this order they are sent after a reconnect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// What became of commands and devices; dropped last.
    Events,
    /// Output of builds, flashes and boards.
    Logs,
    /// Readings; dropped first.
    Telemetry,
}

impl Stream {
    /// All streams, by priority.
    pub const ALL: [Stream; 3] = [Stream::Events, Stream::Logs, Stream::Telemetry];

    /// The stream as it is written on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Stream::Events => "events",
            Stream::Logs => "logs",
            Stream::Telemetry => "telemetry",
        }
    }
}

/// What every message of a stream begins with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The relay that speaks.
    pub relay: RelayId,
    /// Random id of the relay's journal; a new one means that the relay's data folder is new and counts from 1 again.
    pub journal: String,
    /// The relay's connection count at the time of sending.
    pub epoch: u64,
    /// Number in the relay's stream, from 1, without gaps as enqueued.
    pub seq: u64,
    /// The lowest number that the relay still holds; a host does not wait for lower ones.
    pub floor: u64,
    /// When the message was made, by the relay's clock.
    pub at: Timestamp,
}

/// `relays/{relay}/sync`: what a host has stored, and what it wants to hear again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sync {
    /// The journal that `through` counts in; a relay with another journal ignores `through`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub journal: Option<String>,
    /// Per stream the highest number up to which the host holds everything; the relay may forget these.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub through: BTreeMap<Stream, u64>,
    /// Send everything above `through` again.
    #[serde(default)]
    pub resend: bool,
    /// Publish presence and state again.
    #[serde(default)]
    pub rebirth: bool,
}
