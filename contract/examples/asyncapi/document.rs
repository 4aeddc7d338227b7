//! The AsyncAPI 3 document: channels, directions, verbs, states and codes from the crate; fields and examples from
//! topics.md. Specification: <https://www.asyncapi.com/docs/reference/specification/v3.0.0>.

use std::collections::BTreeMap;

use contract::cloud_command::CloudAction;
use contract::command::Action;
use contract::{Code, DeviceId, RelayId, State, Topic};
use serde_json::{Map, Value, json};

use crate::page::{self, Field};

/// Seen from a host (whoever commands and stores): what it receives and what it sends.
enum Direction {
    Receive,
    Send,
}

/// Name of the channel, its message, the direction, and what it is for.
fn describe(topic: &Topic) -> (&'static str, &'static str, Direction, &'static str) {
    use Direction::{Receive, Send};
    match topic {
        Topic::Presence(_) => ("presence", "Presence", Receive, "Birth and last will of a relay."),
        Topic::State(_) => ("state", "RelayState", Receive, "Inventory of a relay."),
        Topic::Commands(_) => ("commands", "Command", Send, "What a relay is asked to do."),
        Topic::Events(_) => ("events", "Event", Receive, "What became of commands and devices."),
        Topic::Requests(_) => ("requests", "Request", Receive, "A relay asks for manifests and blocks."),
        Topic::Responses(_) => ("responses", "Response", Send, "Answers to a relay's requests."),
        Topic::Sync(_) => ("sync", "Sync", Send, "What a host has stored, and what it wants to hear again."),
        Topic::Telemetry(..) => ("telemetry", "Reading", Receive, "What a board predicted."),
        Topic::Logs(..) => ("logs", "LogLines", Receive, "Output of builds, flashes and boards."),
        Topic::CloudCommands => ("cloudCommands", "CloudCommand", Send, "What the cloud is asked to do."),
        Topic::CloudEvents => ("cloudEvents", "CloudEvent", Receive, "What became of it, and what changed."),
        Topic::BrokerAudit => ("brokerAudit", "Published", Receive, "Who published commands."),
        Topic::Health(_) => ("health", "Health", Send, "Round trips of health checks."),
    }
}

/// One topic of each kind; relay, device and identity have the names of their parameters.
///
/// # Panics
/// Never: the names are valid.
#[allow(clippy::unwrap_used)]
pub fn topics() -> Vec<Topic> {
    let relay = RelayId::new("relay").unwrap();
    let device = DeviceId::new("device").unwrap();
    Topic::every(&relay, &device, "name")
}

/// The topic with its parameters in braces, as AsyncAPI and topics.md write it.
pub fn address(topic: &Topic) -> String {
    topic
        .to_string()
        .replace("/relays/relay/", "/relays/{relay}/")
        .replace("/devices/device/", "/devices/{device}/")
        .replace("/health/name", "/health/{name}")
}

/// The whole document.
pub fn document() -> Value {
    let page = page::text();
    let tables = page::tables(&page);
    let mut channels = Map::new();
    let mut operations = Map::new();
    let mut messages = Map::new();
    for topic in topics() {
        let (channel, message, direction, summary) = describe(&topic);
        let parameters: Map<String, Value> = ["relay", "device", "name"]
            .into_iter()
            .filter(|name| address(&topic).contains(&format!("{{{name}}}")))
            .map(|name| (name.to_owned(), json!({"$ref": format!("#/components/parameters/{name}")})))
            .collect();
        let mut entry = json!({
            "address": address(&topic),
            "summary": summary,
            "messages": {message: {"$ref": format!("#/components/messages/{message}")}},
        });
        if !parameters.is_empty() {
            entry["parameters"] = Value::Object(parameters);
        }
        channels.insert(channel.to_owned(), entry);
        let (verb, action) = match direction {
            Direction::Receive => ("receive", "receive"),
            Direction::Send => ("send", "send"),
        };
        let name = format!("{verb}{}{}", channel[..1].to_uppercase(), &channel[1..]);
        operations.insert(
            name,
            json!({
                "action": action,
                "channel": {"$ref": format!("#/channels/{channel}")},
                "summary": summary,
                "bindings": {"mqtt": {"qos": 1, "retain": topic.retained(), "bindingVersion": "0.2.0"}},
            }),
        );
        let examples: Vec<Value> = page::examples(&page)
            .into_iter()
            .filter(|example| example.kind == message)
            .filter_map(|example| serde_json::from_str(&example.text).ok())
            .map(|payload: Value| json!({"payload": payload}))
            .collect();
        let mut body = json!({"name": message, "contentType": "application/json"});
        body["payload"] = match message {
            "Health" => json!({}),
            _ => json!({"$ref": format!("#/components/schemas/{message}")}),
        };
        if !examples.is_empty() {
            body["examples"] = Value::Array(examples);
        }
        messages.insert(message.to_owned(), body);
    }
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "TinyMLaaS fleet contract",
            "version": "1.0.0",
            "description": "Seen from a host: whoever commands relays and stores what they say. topics.md explains it.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "local": {
                "host": "127.0.0.1:1883",
                "protocol": "mqtt",
                "description": "The broker that `tinymlaas up` starts; MQTT 3.1.1 or 5.",
                "security": [{"$ref": "#/components/securitySchemes/token"}],
            },
        },
        "channels": channels,
        "operations": operations,
        "components": {
            "messages": messages,
            "schemas": schemas(&tables),
            "parameters": {
                "relay": {"description": "Name of the relay: 1 to 64 of a-z, 0-9, '-', '_', '.', first a letter or digit."},
                "device": {"description": "Name of the device, unique on its relay; the same rule."},
                "name": {"description": "Name of the identity."},
            },
            "securitySchemes": {
                "token": {"type": "userPassword", "description": "User name: the token's name. Password: the token."},
            },
        },
    })
}

/// The document as it stands in docs/asyncapi.json.
pub fn text() -> String {
    format!("{:#}\n", document())
}

fn schemas(tables: &BTreeMap<String, Vec<Field>>) -> Map<String, Value> {
    let mut schemas = Map::new();
    for (name, fields) in tables {
        let own = object(name, fields);
        let schema = match name.as_str() {
            // The messages of a stream begin with its head.
            "Reading" | "LogLines" => json!({"allOf": [reference("Head"), own]}),
            "Event" => {
                let bodies = ["CommandReport", "DeviceReport", "Notice"].map(reference);
                json!({"allOf": [reference("Head"), own], "anyOf": bodies})
            }
            _ => own,
        };
        schemas.insert(name.clone(), schema);
    }
    let states: Vec<&str> = State::ALL.into_iter().map(State::as_str).collect();
    schemas.insert("State".to_owned(), json!({"type": "string", "enum": states}));
    let codes: Vec<&str> = Code::ALL.iter().map(|(code, _)| *code).collect();
    let words: Vec<String> = Code::ALL.iter().map(|(code, meaning)| format!("{code}: {meaning}")).collect();
    schemas.insert(
        "Code".to_owned(),
        json!({"type": "string", "description": format!("More may be added. {}", words.join(" ")), "examples": codes}),
    );
    schemas
}

fn object(table: &str, fields: &[Field]) -> Value {
    let properties: Map<String, Value> =
        fields.iter().map(|field| (field.name.clone(), property(table, field))).collect();
    let required: Vec<&str> = fields.iter().filter(|field| field.required).map(|field| field.name.as_str()).collect();
    let mut object = json!({"type": "object", "properties": properties});
    if !required.is_empty() {
        object["required"] = json!(required);
    }
    object
}

fn reference(schema: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{schema}")})
}

fn property(table: &str, field: &Field) -> Value {
    let mut schema = match (table, field.name.as_str()) {
        ("Command", "verb") => json!({"type": "string", "enum": Action::VERBS}),
        ("CloudCommand", "verb") => json!({"type": "string", "enum": CloudAction::VERBS}),
        ("CommandReport" | "CloudEvent", "state") => reference("State"),
        (_, "code") => reference("Code"),
        ("Reading", "outputs") => json!({"type": "array", "items": {"type": ["number", "null"]}}),
        _ => match (field.kind.as_str(), field.table()) {
            (kind, Some(name)) if kind.starts_with("object") => reference(name),
            (_, Some(name)) => json!({"type": "array", "items": reference(name)}),
            (kind, None) => match kind.strip_prefix("list of ") {
                Some(item) => json!({"type": "array", "items": simple(item)}),
                None => simple(kind),
            },
        },
    };
    let unit = if field.unit.is_empty() { String::new() } else { format!(" Unit: {}.", field.unit) };
    schema["description"] = json!(format!("{}{unit}", field.meaning.replace('`', "")));
    schema
}

/// # Panics
/// For a word that no table may use.
fn simple(kind: &str) -> Value {
    match kind {
        "text" => json!({"type": "string"}),
        "base64" => json!({"type": "string", "contentEncoding": "base64"}),
        "time" => json!({"type": "string", "format": "date-time"}),
        "integer" => json!({"type": "integer"}),
        "number" => json!({"type": "number"}),
        "boolean" => json!({"type": "boolean"}),
        "map" => json!({"type": "object", "additionalProperties": {"type": "integer"}}),
        "any" => json!({}),
        other => panic!("topics.md has a field of the unknown type '{other}'"),
    }
}
