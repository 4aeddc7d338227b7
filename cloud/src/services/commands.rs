//! Commands to relays: accepted here, written down, then published by the outbox.

use contract::access::Reach;
use contract::api::CommandView;
use contract::command::Command;
use contract::event::Event;
use contract::limits::MAX_COMMAND_BYTES;
use contract::{Code, CommandId, RelayId, State, Timestamp, Topic, wire};
use sea_orm::{ActiveModelTrait, ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Set};
use serde_json::{Value, json};

use super::failure::Failure;
use crate::audit::{self, Actor, Deed};
use crate::db::entity::{commands, devices, events, relays};
use crate::shared::Shared;

/// The row of a relay.
///
/// # Errors
/// `not_found`, naming the relays that there are.
pub async fn relay_row(shared: &Shared, relay: &str) -> Result<relays::Model, Failure> {
    if let Some(row) = relays::Entity::find().filter(relays::Column::Name.eq(relay)).one(shared.db.read()).await? {
        return Ok(row);
    }
    let known = relays::Entity::find().order_by_asc(relays::Column::Name).limit(20).all(shared.db.read()).await?;
    let names: Vec<String> = known.into_iter().map(|row| row.name).collect();
    let known = if names.is_empty() { "none has connected yet".into() } else { format!("known: {}", names.join(", ")) };
    let shown: String = relay.chars().take(64).flat_map(char::escape_default).collect();
    Err(Failure::field(Code::NOT_FOUND, "relay", format!("there is no relay '{shown}'; {known}")))
}

/// Accepts a command for a relay: from here on it is published until the relay answers or it expires.
///
/// # Errors
/// As [`Command::parse`]; `conflict` where another command has this id already.
pub async fn accept(shared: &Shared, relay: &str, payload: &[u8], by: &Actor) -> Result<CommandView, Failure> {
    let relay = relay_row(shared, relay).await?;
    let mut command = Command::parse(&with_id(payload)?)?;
    if command.issued_at.is_none() {
        command.issued_at = Some(Timestamp::now());
    }
    let body = command.to_json().to_string();
    wire::check_size(body.as_bytes(), MAX_COMMAND_BYTES)?;
    if command.expires_at.is_some_and(|end| end <= Timestamp::now()) {
        let message = "'expires_at' has passed already; check the sender's clock";
        return Err(Failure::field(Code::EXPIRED, "expires_at", message));
    }
    let txn = shared.db.begin().await?;
    let there = commands::Entity::find()
        .filter(commands::Column::RelayId.eq(relay.id))
        .filter(commands::Column::Command.eq(command.id.as_str()))
        .one(&txn)
        .await?;
    if let Some(there) = there {
        txn.rollback().await?;
        let same = there.body.as_deref().is_none_or(|text| is_same(text, &command));
        if same {
            return view(&relay.name, there);
        }
        let message = format!("the id '{}' belongs to another command already; choose a new one", command.id);
        return Err(Failure::field(Code::CONFLICT, "id", message));
    }
    let now = Timestamp::now().as_micros();
    let row = commands::ActiveModel {
        relay_id: Set(relay.id),
        command: Set(command.id.as_str().to_owned()),
        verb: Set(command.action.verb().to_owned()),
        device: Set(command.action.device().map(|device| device.as_str().to_owned())),
        origin: Set("api".into()),
        issued_by: Set(Some(by.name.clone())),
        body: Set(Some(body)),
        message: Set(String::new()),
        progress: Set(0.0),
        created_at: Set(now),
        updated_at: Set(now),
        expires_at: Set(command.expires_at.map(Timestamp::as_micros)),
        event_journal: Set(0),
        event_seq: Set(0),
        publish_at: Set(Some(now)),
        attempts: Set(0),
        ..Default::default()
    };
    let row = row.insert(&txn).await?;
    let deed = Deed::done(&format!("command.{}", row.verb), &target(&relay.name, row.device.as_deref()));
    audit::record(&txn, by, deed.with(json!({"command": row.command, "model": model(&command)}))).await?;
    txn.commit().await?;
    tracing::info!(relay = %relay.name, command = %row.command, verb = %row.verb, by = by.name, "accepted a command");
    shared.outbox.notify_one();
    view(&relay.name, row)
}

/// What the audit log calls the target of a command.
pub fn target(relay: &str, device: Option<&str>) -> String {
    device.map_or_else(|| relay.to_owned(), |device| format!("{relay}/{device}"))
}

/// What a command is to bring, for the audit log.
pub fn model(command: &Command) -> Value {
    let json = command.to_json();
    json.get("model").or_else(|| json.get("artifact")).cloned().unwrap_or(Value::Null)
}

/// The payload with a fresh id where it has none.
fn with_id(payload: &[u8]) -> Result<Vec<u8>, Failure> {
    wire::check_size(payload, MAX_COMMAND_BYTES)?;
    let Ok(Value::Object(mut map)) = serde_json::from_slice(payload) else {
        // What is no object is refused by the parser, with its reason.
        return Ok(payload.to_vec());
    };
    if map.get("id").is_none_or(Value::is_null) {
        map.insert("id".into(), Value::String(CommandId::generate().as_str().to_owned()));
    }
    Ok(Value::Object(map).to_string().into_bytes())
}

/// Whether a stored command asks for the same as a new one; when it was issued does not matter.
fn is_same(stored: &str, command: &Command) -> bool {
    Command::parse(stored.as_bytes())
        .is_ok_and(|stored| Command { issued_at: None, ..stored } == Command { issued_at: None, ..command.clone() })
}

/// What to list.
#[derive(Debug, Default)]
pub struct Query {
    /// Only of this relay.
    pub relay: Option<String>,
    /// Only of this device.
    pub device: Option<String>,
    /// How many at most.
    pub limit: u64,
    /// Only of relays within.
    pub reach: Reach,
}

/// Commands, newest first, without events.
///
/// # Errors
/// `not_found` for the relay.
pub async fn list(shared: &Shared, query: &Query) -> Result<Vec<CommandView>, Failure> {
    let mut find = commands::Entity::find().find_also_related(relays::Entity);
    if let Some(relay) = &query.relay {
        find = find.filter(commands::Column::RelayId.eq(relay_row(shared, relay).await?.id));
    }
    if let Reach::Only(relays) = &query.reach {
        find = find.filter(relays::Column::Name.is_in(relays.iter().map(RelayId::as_str)));
    }
    if let Some(device) = &query.device {
        find = find.filter(commands::Column::Device.eq(device.as_str()));
    }
    let rows = find.order_by_desc(commands::Column::Id).limit(query.limit).all(shared.db.read()).await?;
    rows.into_iter().map(|(row, relay)| view(relay.as_ref().map_or("", |relay| &relay.name), row)).collect()
}

/// One command with its events.
///
/// # Errors
/// `not_found` for the relay, `unknown_command`.
pub async fn get(shared: &Shared, relay: &str, id: &str) -> Result<CommandView, Failure> {
    let relay = relay_row(shared, relay).await?;
    let row = commands::Entity::find()
        .filter(commands::Column::RelayId.eq(relay.id))
        .filter(commands::Column::Command.eq(id))
        .one(shared.db.read())
        .await?;
    let Some(row) = row else {
        let message = format!("relay '{}' has no command with that id", relay.name);
        return Err(Failure::field(Code::UNKNOWN_COMMAND, "id", message));
    };
    let found = events::Entity::find()
        .filter(events::Column::RelayId.eq(relay.id))
        .filter(events::Column::Command.eq(id))
        .order_by_asc(events::Column::JournalId)
        .order_by_asc(events::Column::Seq)
        .all(shared.db.read())
        .await?;
    let mut view = view(&relay.name, row)?;
    view.events = found.iter().filter_map(|row| serde_json::from_str::<Event>(&row.body).ok()).collect();
    Ok(view)
}

/// The row of a device.
///
/// # Errors
/// `not_found` for the relay, `unknown_device`.
pub async fn device_row(shared: &Shared, relay: &relays::Model, device: &str) -> Result<devices::Model, Failure> {
    let row = devices::Entity::find()
        .filter(devices::Column::RelayId.eq(relay.id))
        .filter(devices::Column::Name.eq(device))
        .one(shared.db.read())
        .await?;
    row.ok_or_else(|| {
        let shown: String = device.chars().take(64).flat_map(char::escape_default).collect();
        let message = format!("relay '{}' has no device '{shown}'", relay.name);
        Failure::field(Code::UNKNOWN_DEVICE, "device", message)
    })
}

fn view(relay: &str, row: commands::Model) -> Result<CommandView, Failure> {
    let damaged = |what: &str| Failure::Internal(format!("command {} of {relay}: {what} is damaged", row.id));
    let code = row.code.clone().map(Value::String).map(serde_json::from_value).transpose();
    Ok(CommandView {
        relay: RelayId::new(relay).map_err(|_| damaged("relay"))?,
        command: CommandId::new(row.command.clone()).map_err(|_| damaged("id"))?,
        device: row.device.as_deref().map(str::parse).transpose().map_err(|_| damaged("device"))?,
        state: row.state.as_deref().and_then(State::parse),
        code: code.map_err(|_| damaged("code"))?,
        verb: row.verb,
        message: row.message,
        progress: row.progress,
        created_at: Timestamp::from_micros(row.created_at),
        updated_at: Timestamp::from_micros(row.updated_at),
        events: Vec::new(),
    })
}

/// The topic of a relay's commands.
pub fn topic(relay: &str) -> Option<Topic> {
    RelayId::new(relay).ok().map(Topic::Commands)
}
