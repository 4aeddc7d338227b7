//! Who published a command, into the audit log.

use contract::audit::Published;
use contract::cloud_command::CloudCommand;
use contract::command::Command;
use contract::{Code, Topic};
use sea_orm::{DatabaseTransaction, DbErr};
use serde_json::json;

use crate::audit::{self, Actor, Deed};
use crate::services::commands::{model, target};

/// Writes what the broker says, once.
pub async fn apply(txn: &DatabaseTransaction, sent: &Published) -> Result<(), DbErr> {
    let address = sent.address.as_deref().and_then(|text| text.parse().ok());
    let actor = Actor::new(&sent.identity, &sent.role, "mqtt", address);
    let payload = sent.payload.as_deref().unwrap_or("").as_bytes();
    let (deed, id, of) = match Topic::parse(&sent.topic) {
        Some(Topic::Commands(relay)) => match Command::parse(payload) {
            Ok(command) => {
                let device = command.action.device().map(|device| device.as_str());
                let deed = Deed::done(&format!("command.{}", command.action.verb()), &target(relay.as_str(), device));
                (deed, Some(command.id.as_str().to_owned()), model(&command))
            }
            Err(malformed) => (Deed::refused("command", relay.as_str(), malformed.code.as_str()), None, json!(null)),
        },
        Some(Topic::CloudCommands) => match CloudCommand::parse(payload) {
            Ok(command) => {
                let of = command.to_json().get("model").cloned().unwrap_or_default();
                let name = of.as_str().unwrap_or("").to_owned();
                let deed = Deed::done(&format!("cloud.{}", command.action.verb()), &name);
                (deed, Some(command.id.as_str().to_owned()), of)
            }
            Err(malformed) => (Deed::refused("cloud", "", malformed.code.as_str()), None, json!(null)),
        },
        _ => (Deed::refused("publish", &sent.topic, Code::INVALID_FIELD.as_str()), None, json!(null)),
    };
    let detail = json!({"command": id, "model": of, "client": sent.client, "bytes": sent.bytes});
    audit::record_once(txn, &sent.record, sent.at, &actor, deed.with(detail)).await
}
