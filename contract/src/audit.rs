//! `broker/audit`: what the broker tells the cloud of who publishes commands.

use serde::{Deserialize, Serialize};

use crate::timestamp::Timestamp;

/// A message that was published to a topic of commands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// Unique: a record that comes twice is the same one.
    pub record: String,
    /// When the broker took it.
    pub at: Timestamp,
    /// Who published it.
    pub identity: String,
    /// The role of that identity.
    pub role: String,
    /// The MQTT client id.
    pub client: String,
    /// From which address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// To which topic.
    pub topic: String,
    /// Size of the payload.
    pub bytes: u64,
    /// The payload, where it is text of at most 16384 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
}
