//! Decoding and encoding of each payload type, by the name that topics.md gives it.

use contract::artifact::{Manifest, ModelMeta, Sample, SignedManifest};
use contract::audit::Published;
use contract::cloud_command::{CloudCommand, CloudEvent};
use contract::command::Command;
use contract::event::Event;
use contract::keys::{KeyList, SignedKeyList};
use contract::limits::MAX_PACKET_BYTES;
use contract::log::LogLines;
use contract::presence::Presence;
use contract::reading::Reading;
use contract::request::{Request, Response};
use contract::state::RelayState;
use contract::stream::Sync;
use contract::{Malformed, wire};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// All names.
pub const KINDS: [&str; 16] = [
    "Command",
    "CloudCommand",
    "CloudEvent",
    "Event",
    "KeyList",
    "LogLines",
    "Manifest",
    "ModelMeta",
    "Presence",
    "Published",
    "Reading",
    "RelayState",
    "Request",
    "Response",
    "Sample",
    "Sync",
];

/// Decodes a payload of type `kind` and encodes it again.
pub fn round_trip(kind: &str, payload: &[u8]) -> Result<String, Malformed> {
    fn of<T: DeserializeOwned + Serialize>(payload: &[u8]) -> Result<String, Malformed> {
        let message: T = wire::decode(payload, MAX_PACKET_BYTES)?;
        Ok(String::from_utf8(wire::encode("tinymlaas/v1/test", &message).unwrap()).unwrap())
    }
    match kind {
        "Command" => Ok(Command::parse(payload)?.to_json().to_string()),
        "CloudCommand" => Ok(CloudCommand::parse(payload)?.to_json().to_string()),
        "CloudEvent" => of::<CloudEvent>(payload),
        "Event" => of::<Event>(payload),
        "KeyList" => of::<KeyList>(payload),
        "LogLines" => of::<LogLines>(payload),
        "Manifest" => of::<Manifest>(payload),
        "ModelMeta" => of::<ModelMeta>(payload),
        "Published" => of::<Published>(payload),
        "Presence" => of::<Presence>(payload),
        "Reading" => of::<Reading>(payload),
        "RelayState" => of::<RelayState>(payload),
        "Request" => of::<Request>(payload),
        "Response" => of::<Response>(payload),
        "Sample" => of::<Sample>(payload),
        "SignedManifest" => of::<SignedManifest>(payload),
        "SignedKeyList" => of::<SignedKeyList>(payload),
        "Sync" => of::<Sync>(payload),
        other => panic!("no payload type '{other}'"),
    }
}
