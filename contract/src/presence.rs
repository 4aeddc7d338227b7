//! `relays/{relay}/presence`: birth and last will.

use serde::{Deserialize, Serialize};

use crate::ids::RelayId;
use crate::timestamp::Timestamp;

/// Whether a relay is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Connected.
    Online,
    /// Gone: by its will, or said so itself before it stopped. Its devices are lost with it.
    Offline,
}

/// The retained document; the same with `offline` is the last will.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    /// The relay.
    pub relay: RelayId,
    /// Its journal, see [`crate::stream::Head::journal`].
    pub journal: String,
    /// Grows by one with each connect; within one journal a lower epoch than one already seen is stale.
    pub epoch: u64,
    /// Whether it is connected.
    pub status: Status,
    /// When this document was made; for a will that is the moment of the connect.
    pub at: Timestamp,
    /// Version of the relay's software.
    pub version: String,
    /// Why it is offline: `stopped` when it said so itself, `lost` in the will.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}
