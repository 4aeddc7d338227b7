//! `relays/{relay}/state`: the inventory that a relay reports.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::code::Code;
use crate::command::Observe;
use crate::ids::{ArtifactId, CommandId, DeviceId, ModelRef, RelayId};
use crate::stream::Stream;
use crate::timestamp::Timestamp;

/// The retained inventory of one relay.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RelayState {
    /// The relay.
    pub relay: RelayId,
    /// Its journal, see [`crate::stream::Head::journal`].
    pub journal: String,
    /// Its connection count; an older document is ignored.
    pub epoch: u64,
    /// Grows with every change of what commands can depend on; what `expect` compares with.
    pub version: u64,
    /// When this document was made.
    pub at: Timestamp,
    /// Version of the relay's software.
    pub agent: String,
    /// The machine it runs on.
    pub host: Host,
    /// Compilers that it found.
    pub toolchains: Vec<Toolchain>,
    /// Its devices, sorted by name.
    pub devices: Vec<Device>,
    /// Version of the list of signing keys that it follows ([`crate::keys::KeyList`]); 0 for the keys of its enrolment.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub key_list: u64,
    /// Counters since the journal was made: `malformed`, `dropped_telemetry`, `noise_bytes` and the like.
    #[serde(default)]
    pub counters: BTreeMap<String, u64>,
    /// Messages per stream that no host has confirmed yet.
    #[serde(default)]
    pub outbox: BTreeMap<Stream, u64>,
}

// Serde gives a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
const fn is_zero(version: &u64) -> bool {
    *version == 0
}

/// The machine that a relay runs on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Its name.
    pub hostname: String,
    /// Operating system, such as `linux`.
    pub os: String,
    /// Architecture, such as `x86_64`.
    pub arch: String,
}

/// A compiler on the relay's host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Toolchain {
    /// Its name in board files, such as `cc`.
    pub name: String,
    /// The first line of its own version report.
    pub version: String,
    /// Why it cannot be used, and what to install.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// What a device is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceStatus {
    /// Connected, without firmware of ours.
    Empty,
    /// A command works on it.
    Busy,
    /// Runs a model.
    Running,
    /// Connected, but something is wrong; `problem` says what.
    Faulty,
    /// Not connected.
    Lost,
}

/// One device of a relay.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Device {
    /// Its name on this relay.
    pub device: DeviceId,
    /// Its board type, such as `native`.
    pub board: String,
    /// Whether the board type was set by hand.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub board_by_hand: bool,
    /// What it is doing.
    pub status: DeviceStatus,
    /// The serial port, such as `/dev/ttyACM0`.
    pub port: String,
    /// What it is, as its USB descriptor or identity file says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product: Option<String>,
    /// Who made it, as its USB descriptor says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manufacturer: Option<String>,
    /// USB vendor and product id, `vid:pid` in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usb: Option<String>,
    /// Its serial number: what identifies it across ports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial_number: Option<String>,
    /// What is installed, as far as the relay knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firmware: Option<Firmware>,
    /// How it is observed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observe: Option<Observe>,
    /// The command that works on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<CommandId>,
    /// Commands that wait behind it.
    #[serde(default)]
    pub queued: u32,
    /// What is wrong with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
}

/// What runs on a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Firmware {
    /// The artifact that it was built from.
    pub artifact: ArtifactId,
    /// The model's name and version, as the manifest says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelRef>,
    /// When it was installed.
    pub installed_at: Timestamp,
    /// Whether its self-test passed bit for bit.
    pub verified: bool,
}

/// Something wrong, for people and machines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The machine-readable reason.
    pub code: Code,
    /// What is wrong and what to do.
    pub message: String,
}
