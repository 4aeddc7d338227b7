//! `relays/{relay}/events`: what became of commands and devices.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::code::Code;
use crate::ids::{ArtifactId, CommandId, DeviceId};
use crate::lifecycle::State;
use crate::state::DeviceStatus;
use crate::stream::Head;

/// One event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Who, when, and its number.
    #[serde(flatten)]
    pub head: Head,
    /// What happened.
    #[serde(flatten)]
    pub body: EventBody,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum EventBody {
    /// A command moved on.
    Command(CommandReport),
    /// A device came, went or changed.
    Device(DeviceReport),
    /// Something that belongs to no command, such as a payload that could not be read.
    Notice(Notice),
    /// A type that this version does not know.
    #[serde(other)]
    Unknown,
}

/// Where a command stands now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CommandReport {
    /// The command's id.
    pub command: CommandId,
    /// Its verb; empty where it could not be read.
    #[serde(default)]
    pub verb: String,
    /// The device that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceId>,
    /// Where it stands.
    pub state: State,
    /// Why, for machines.
    pub code: Code,
    /// Why, for people.
    #[serde(default)]
    pub message: String,
    /// How much of the whole command is done, 0 to 1.
    #[serde(default)]
    pub progress: f32,
    /// How long the state that ended with this event took, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// The artifact, once it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact: Option<ArtifactId>,
    /// More, depending on the verb: sizes after a build, the report of `diagnose`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<Value>,
}

/// A device came, went or changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceReport {
    /// The device.
    pub device: DeviceId,
    /// What it is doing now.
    pub status: DeviceStatus,
    /// Why, for machines.
    pub code: Code,
    /// Why, for people.
    #[serde(default)]
    pub message: String,
}

/// Something that belongs to no command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// What kind, for machines.
    pub code: Code,
    /// What, for people; never repeats the offending payload.
    pub message: String,
    /// The field at fault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}
