//! Commands to a relay: the envelope and the verbs.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::fields::Fields;
use crate::ids::{ArtifactId, CommandId, DeviceId, ModelRef};
use crate::limits::{MAX_COMMAND_BYTES, MAX_TIMEOUT_S};
use crate::pattern::Pattern;
use crate::timestamp::Timestamp;
use crate::wire::Malformed;

/// A command as it stands on `relays/{relay}/commands`: one flat JSON object.
#[derive(Debug, Clone, PartialEq)]
pub struct Command {
    /// Chosen by the sender; the same id again has no second effect.
    pub id: CommandId,
    /// What to do.
    pub action: Action,
    /// When it was sent, by the sender's clock.
    pub issued_at: Option<Timestamp>,
    /// After this moment the command is not begun any more.
    pub expires_at: Option<Timestamp>,
    /// Seconds from `accepted` to the end; the relay's own limits apply where absent.
    pub timeout_s: Option<u32>,
    /// The `version` of the relay's state that the sender saw; another one rejects the command.
    pub expect: Option<u64>,
    /// Fields that this version does not know, kept as they came.
    pub extra: Map<String, Value>,
}

/// The verbs with their fields.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Fetch, build, flash, verify, then observe.
    Install {
        /// The device to install on.
        device: DeviceId,
        /// What to install.
        what: Payload,
        /// How to observe afterwards; the default is [`Observe::default`].
        observe: Option<Observe>,
    },
    /// Fetch and build only, to warm the cache; nothing is flashed.
    Build {
        /// The board type to build for.
        board: String,
        /// What to build.
        what: Payload,
    },
    /// Remove the firmware from a device.
    Erase {
        /// The device.
        device: DeviceId,
    },
    /// Reset a device.
    Restart {
        /// The device.
        device: DeviceId,
    },
    /// Make a device show itself (blink its LED).
    Identify {
        /// The device.
        device: DeviceId,
    },
    /// Send the golden inputs again and compare the answers bit for bit.
    SelfTest {
        /// The device.
        device: DeviceId,
    },
    /// Feed the artifact's held-out samples once, and report accuracy and latency on the device itself.
    Evaluate {
        /// The device.
        device: DeviceId,
    },
    /// Change how a device is observed.
    Observe {
        /// The device.
        device: DeviceId,
        /// The new setting.
        observe: Observe,
    },
    /// Say by hand which board type a device is.
    SetBoard {
        /// The device.
        device: DeviceId,
        /// A board type of the relay, or [`Action::RECOGNISE`].
        board: String,
    },
    /// Look for devices again.
    Rescan,
    /// Stop another command.
    Cancel {
        /// The id of the command to stop.
        command: CommandId,
    },
    /// Report toolchains, ports, disk and counters in the final event's `detail`.
    Diagnose,
}

/// What to build: an exact artifact, or a model whose artifact the cloud names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// Exactly these bytes.
    Artifact(ArtifactId),
    /// The artifact of this model; resolved once by the relay and then kept for this command.
    Model(ModelRef),
}

/// How a device is observed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Observe {
    /// Whether readings are taken at all.
    pub enabled: bool,
    /// Where the model's inputs come from.
    pub source: Source,
    /// Time between two inputs, in milliseconds, 10 to 3,600,000; only for `samples`.
    pub interval_ms: u32,
    /// How the lines read; required by `text`, and only for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pattern: Option<Pattern>,
    /// Speed of the serial line in bits per second where it is not the board's usual one; only for `text`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baud: Option<u32>,
}

impl Default for Observe {
    fn default() -> Self {
        Self { enabled: true, source: Source::Samples, interval_ms: 1000, pattern: None, baud: None }
    }
}

impl Observe {
    /// The shortest time between two inputs, in milliseconds.
    pub const MIN_INTERVAL_MS: u32 = 10;
    /// The longest time between two inputs, in milliseconds.
    pub const MAX_INTERVAL_MS: u32 = 3_600_000;
    /// The slowest serial line, in bits per second.
    pub const MIN_BAUD: u32 = 300;
    /// The fastest serial line, in bits per second.
    pub const MAX_BAUD: u32 = 4_000_000;
}

/// Where a model's inputs come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The relay feeds the artifact's held-out samples over the serial line, one after another.
    Samples,
    /// The board has a sensor of its own and speaks when it likes.
    Serial,
    /// The board runs firmware that is not ours and prints lines; a pattern says how they read.
    Text,
}

impl Action {
    /// All verbs as they are written on the wire.
    pub const VERBS: &'static [&'static str] = &[
        "install",
        "build",
        "erase",
        "restart",
        "identify",
        "self_test",
        "evaluate",
        "observe",
        "set_board",
        "rescan",
        "cancel",
        "diagnose",
    ];

    /// Instead of a board type in `set_board`: what the relay itself recognises.
    pub const RECOGNISE: &'static str = "auto";

    /// The verb as it is written on the wire.
    pub const fn verb(&self) -> &'static str {
        match self {
            Action::Install { .. } => "install",
            Action::Build { .. } => "build",
            Action::Erase { .. } => "erase",
            Action::Restart { .. } => "restart",
            Action::Identify { .. } => "identify",
            Action::SelfTest { .. } => "self_test",
            Action::Evaluate { .. } => "evaluate",
            Action::Observe { .. } => "observe",
            Action::SetBoard { .. } => "set_board",
            Action::Rescan => "rescan",
            Action::Cancel { .. } => "cancel",
            Action::Diagnose => "diagnose",
        }
    }

    /// The device that this verb is about, if it is about one.
    pub const fn device(&self) -> Option<&DeviceId> {
        match self {
            Action::Install { device, .. }
            | Action::Erase { device }
            | Action::Restart { device }
            | Action::Identify { device }
            | Action::SelfTest { device }
            | Action::Evaluate { device }
            | Action::Observe { device, .. }
            | Action::SetBoard { device, .. } => Some(device),
            Action::Build { .. } | Action::Rescan | Action::Cancel { .. } | Action::Diagnose => None,
        }
    }
}

impl Command {
    /// A command with a fresh id, issued now.
    pub fn new(action: Action) -> Self {
        Self {
            id: CommandId::generate(),
            action,
            issued_at: Some(Timestamp::now()),
            expires_at: None,
            timeout_s: None,
            expect: None,
            extra: Map::new(),
        }
    }

    /// Reads a payload.
    ///
    /// # Errors
    /// [`Malformed`] names the field and what was expected; its `id` is set where the payload had a readable one.
    pub fn parse(payload: &[u8]) -> Result<Self, Malformed> {
        let (mut fields, id) = Fields::parse(payload, MAX_COMMAND_BYTES)?;
        let verb: String = fields.required("verb", &format!("one of {}", Action::VERBS.join(", ")))?;
        let action = parse_action(&verb, &mut fields)?;
        Ok(Self {
            id,
            action,
            issued_at: fields.time("issued_at")?,
            expires_at: fields.time("expires_at")?,
            timeout_s: fields.number("timeout_s", MAX_TIMEOUT_S)?,
            expect: fields.optional("expect", "the 'version' of the relay's state, a whole number")?,
            extra: fields.rest(),
        })
    }

    /// The flat JSON object.
    pub fn to_json(&self) -> Value {
        let mut map = self.extra.clone();
        let mut put = |name: &str, value: Value| {
            map.insert(name.to_owned(), value);
        };
        put("id", json!(self.id));
        put("verb", json!(self.action.verb()));
        if let Some(device) = self.action.device() {
            put("device", json!(device));
        }
        match &self.action {
            Action::Install { what, observe, .. } => {
                put_payload(&mut put, what);
                if let Some(observe) = &observe {
                    put("observe", json!(observe));
                }
            }
            Action::Build { board, what } => {
                put_payload(&mut put, what);
                put("board", json!(board));
            }
            Action::Observe { observe, .. } => put("observe", json!(observe)),
            Action::SetBoard { board, .. } => put("board", json!(board)),
            Action::Cancel { command } => put("command", json!(command)),
            Action::Erase { .. }
            | Action::Restart { .. }
            | Action::Identify { .. }
            | Action::SelfTest { .. }
            | Action::Evaluate { .. }
            | Action::Rescan
            | Action::Diagnose => {}
        }
        if let Some(at) = self.issued_at {
            put("issued_at", json!(at));
        }
        if let Some(at) = self.expires_at {
            put("expires_at", json!(at));
        }
        if let Some(seconds) = self.timeout_s {
            put("timeout_s", json!(seconds));
        }
        if let Some(version) = self.expect {
            put("expect", json!(version));
        }
        Value::Object(map)
    }
}

impl Serialize for Command {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_json().serialize(serializer)
    }
}

fn put_payload(put: &mut impl FnMut(&str, Value), what: &Payload) {
    match what {
        Payload::Artifact(id) => put("artifact", json!(id)),
        Payload::Model(model) => put("model", json!(model)),
    }
}

fn parse_action(verb: &str, fields: &mut Fields) -> Result<Action, Malformed> {
    let device = |fields: &mut Fields| {
        fields.required::<DeviceId>("device", "the name of one of this relay's devices, such as 'board-1'")
    };
    Ok(match verb {
        "install" => Action::Install {
            device: device(fields)?,
            what: parse_payload(fields)?,
            observe: parse_observe(fields)?,
        },
        "build" => Action::Build {
            board: fields.required("board", "a board type, such as 'native'")?,
            what: parse_payload(fields)?,
        },
        "erase" => Action::Erase { device: device(fields)? },
        "restart" => Action::Restart { device: device(fields)? },
        "identify" => Action::Identify { device: device(fields)? },
        "self_test" => Action::SelfTest { device: device(fields)? },
        "evaluate" => Action::Evaluate { device: device(fields)? },
        "observe" => Action::Observe {
            device: device(fields)?,
            observe: parse_observe(fields)?.ok_or_else(|| {
                fields.missing(
                    "observe",
                    "the field 'observe' is missing; expected an object such as {\"enabled\":true,\"interval_ms\":1000}",
                )
            })?,
        },
        "set_board" => Action::SetBoard {
            device: device(fields)?,
            board: fields.required("board", "a board type, such as 'uno', or 'auto' for what the relay recognises")?,
        },
        "rescan" => Action::Rescan,
        "cancel" => Action::Cancel { command: fields.required("command", "the id of the command to cancel")? },
        "diagnose" => Action::Diagnose,
        other => return Err(fields.unknown_verb(other, Action::VERBS)),
    })
}

fn parse_payload(fields: &mut Fields) -> Result<Payload, Malformed> {
    let artifact = fields.optional("artifact", "'sha256:' and 64 hex digits")?;
    let model = fields.optional("model", "a model's name, such as 'digits' or 'digits@2'")?;
    match (artifact, model) {
        (Some(artifact), None) => Ok(Payload::Artifact(artifact)),
        (None, Some(model)) => Ok(Payload::Model(model)),
        (None, None) => Err(fields.missing(
            "model",
            "nothing says what to install; give 'model' (such as \"digits\") or 'artifact' (\"sha256:…\")",
        )),
        (Some(_), Some(_)) => Err(fields.invalid("artifact", "give either 'model' or 'artifact', not both")),
    }
}

fn parse_observe(fields: &mut Fields) -> Result<Option<Observe>, Malformed> {
    let observe: Option<Observe> = fields
        .optional("observe", "an object such as {\"enabled\":true,\"source\":\"samples\",\"interval_ms\":1000}")?;
    if let Some(observe) = &observe {
        let allowed = Observe::MIN_INTERVAL_MS..=Observe::MAX_INTERVAL_MS;
        if !allowed.contains(&observe.interval_ms) {
            return Err(fields.invalid(
                "observe.interval_ms",
                format!(
                    "'observe.interval_ms' is {}; expected {} to {} milliseconds",
                    observe.interval_ms,
                    allowed.start(),
                    allowed.end()
                ),
            ));
        }
    }
    if let Some(observe) = &observe {
        match (observe.source, &observe.pattern) {
            (Source::Text, None) => {
                return Err(fields.missing(
                    "observe.pattern",
                    "the source 'text' needs 'observe.pattern', such as \"Person score: {person}%\"",
                ));
            }
            (Source::Samples | Source::Serial, Some(_)) => {
                return Err(fields.invalid("observe.pattern", "'observe.pattern' is only for the source 'text'"));
            }
            _ => {}
        }
        let allowed = Observe::MIN_BAUD..=Observe::MAX_BAUD;
        if let Some(baud) = observe.baud {
            if observe.source != Source::Text {
                return Err(fields.invalid("observe.baud", "'observe.baud' is only for the source 'text'"));
            }
            if !allowed.contains(&baud) {
                let message = format!(
                    "'observe.baud' is {baud}; expected {} to {} bits per second",
                    allowed.start(),
                    allowed.end()
                );
                return Err(fields.invalid("observe.baud", message));
            }
        }
    }
    Ok(observe)
}
