//! Who published what to a durable topic: written to disk in one piece with the message, for the cloud's audit log.

use std::net::IpAddr;

use contract::access::Role;
use contract::audit::Published;
use contract::limits::MAX_COMMAND_BYTES;
use contract::{CommandId, Timestamp, Topic, wire};

use crate::access::Admission;

/// A record, with the topic that it belongs on.
pub(crate) type Recorded = Option<(String, Vec<u8>)>;

/// Who sends from a connection.
#[derive(Debug, Clone)]
pub(crate) struct Sender {
    identity: String,
    role: Role,
    client: String,
    address: Option<IpAddr>,
}

impl Sender {
    pub(crate) fn new(admission: &Admission, client: &str, address: Option<IpAddr>) -> Self {
        let (identity, role) = (admission.identity.name.clone(), admission.identity.role.clone());
        Self { identity, role, client: client.to_owned(), address }
    }

    /// The record of a message. `None` for the cloud's own: it records itself what it
    /// sends, and for whom.
    pub(crate) fn record(&self, topic: &str, payload: &[u8]) -> Recorded {
        if self.role == Role::Cloud {
            return None;
        }
        let text = if payload.len() <= MAX_COMMAND_BYTES { std::str::from_utf8(payload).ok() } else { None };
        let record = Published {
            record: CommandId::generate().to_string(),
            at: Timestamp::now(),
            identity: self.identity.clone(),
            role: self.role.as_str().to_owned(),
            client: self.client.clone(),
            address: self.address.map(|address| address.to_string()),
            topic: topic.to_owned(),
            bytes: payload.len() as u64,
            payload: text.map(str::to_owned),
        };
        let audit = Topic::BrokerAudit.to_string();
        // Names, client ids and topics are bounded far below a packet, and so is what is taken along of the payload.
        let bytes = wire::encode(&audit, &record).ok()?;
        Some((audit, bytes))
    }
}
