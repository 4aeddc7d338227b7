//! `relays/{relay}/devices/{device}/logs`: output of builds, flashes and boards.

use serde::{Deserialize, Serialize};

use crate::ids::{CommandId, DeviceId};
use crate::stream::Head;
use crate::timestamp::Timestamp;

/// Where a line comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Getting the artifact.
    Fetch,
    /// The compiler.
    Build,
    /// The programmer.
    Flash,
    /// The self-test.
    Verify,
    /// Text that the board itself wrote.
    Serial,
}

/// A batch of lines of one device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLines {
    /// Who, when, and its number in the relay's log stream.
    #[serde(flatten)]
    pub head: Head,
    /// The device.
    pub device: DeviceId,
    /// The command that made these lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<CommandId>,
    /// Where they come from.
    pub phase: Phase,
    /// The lines, at most [`crate::limits::MAX_LOG_LINES`] with at most [`crate::limits::MAX_LOG_BYTES`] of text in all.
    pub lines: Vec<Line>,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// When it was read.
    pub at: Timestamp,
    /// The text, clipped by [`crate::limits::clip`].
    pub text: String,
}
