//! `cloud/commands` and `cloud/events`: the verbs that are addressed to the cloud.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::code::Code;
use crate::fields::Fields;
use crate::ids::{ArtifactId, CommandId, ModelRef};
use crate::lifecycle::State;
use crate::limits::{MAX_COMMAND_BYTES, MAX_TIMEOUT_S};
use crate::settings::Settings;
use crate::timestamp::Timestamp;
use crate::wire::Malformed;

/// A command to the cloud, in the same envelope as a relay's.
#[derive(Debug, Clone, PartialEq)]
pub struct CloudCommand {
    /// Chosen by the sender; the same id again has no second effect.
    pub id: CommandId,
    /// What to do.
    pub action: CloudAction,
    /// When it was sent, by the sender's clock.
    pub issued_at: Option<Timestamp>,
    /// After this moment the command is not begun any more.
    pub expires_at: Option<Timestamp>,
    /// Seconds from `accepted` to the end.
    pub timeout_s: Option<u32>,
    /// Fields that this version does not know, kept as they came.
    pub extra: Map<String, Value>,
}

/// The verbs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CloudAction {
    /// Compile a model that was imported.
    Compile {
        /// Which one.
        model: ModelRef,
        /// With what settings.
        settings: Settings,
    },
}

impl CloudAction {
    /// All verbs as they are written on the wire.
    pub const VERBS: &'static [&'static str] = &["compile"];

    /// The verb as it is written on the wire.
    pub const fn verb(&self) -> &'static str {
        match self {
            CloudAction::Compile { .. } => "compile",
        }
    }
}

impl CloudCommand {
    /// Reads a payload.
    ///
    /// # Errors
    /// As [`crate::command::Command::parse`].
    pub fn parse(payload: &[u8]) -> Result<Self, Malformed> {
        let (mut fields, id) = Fields::parse(payload, MAX_COMMAND_BYTES)?;
        let verb: String = fields.required("verb", &format!("one of {}", CloudAction::VERBS.join(", ")))?;
        let action = match verb.as_str() {
            "compile" => CloudAction::Compile {
                model: fields.required("model", "a model's name, such as 'digits' or 'digits@2'")?,
                settings: Settings {
                    optimize: fields.optional("optimize", "one of speed, size, ram")?,
                    mixed: fields.optional("mixed", "auto, off, or names of layers with commas between them")?,
                },
            },
            other => return Err(fields.unknown_verb(other, CloudAction::VERBS)),
        };
        Ok(Self {
            id,
            action,
            issued_at: fields.time("issued_at")?,
            expires_at: fields.time("expires_at")?,
            timeout_s: fields.number("timeout_s", MAX_TIMEOUT_S)?,
            extra: fields.rest(),
        })
    }

    /// The flat JSON object.
    pub fn to_json(&self) -> Value {
        let mut map = self.extra.clone();
        map.insert("id".into(), json!(self.id));
        map.insert("verb".into(), json!(self.action.verb()));
        match &self.action {
            CloudAction::Compile { model, settings } => {
                map.insert("model".into(), json!(model));
                map.extend(settings.optimize.map(|optimize| ("optimize".into(), json!(optimize))));
                map.extend(settings.mixed.as_ref().map(|mixed| ("mixed".into(), json!(mixed))));
            }
        }
        for (name, value) in [("issued_at", self.issued_at), ("expires_at", self.expires_at)] {
            if let Some(at) = value {
                map.insert(name.into(), json!(at));
            }
        }
        if let Some(seconds) = self.timeout_s {
            map.insert("timeout_s".into(), json!(seconds));
        }
        Value::Object(map)
    }
}

/// One event of the cloud.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum CloudEvent {
    /// A command to the cloud moved on.
    Command {
        /// When.
        at: Timestamp,
        /// The command's id.
        command: CommandId,
        /// Its verb.
        verb: String,
        /// Where it stands.
        state: State,
        /// Why, for machines.
        code: Code,
        /// Why, for people.
        message: String,
        /// How much is done, 0 to 1.
        progress: f32,
        /// The artifact that came out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        artifact: Option<ArtifactId>,
    },
    /// A model was imported or compiled, or a dataset stored: pages reload what they show.
    Changed {
        /// When.
        at: Timestamp,
        /// `model`, `dataset` or `artifact`.
        what: String,
        /// Its name or id.
        name: String,
    },
    /// A payload that could not be read and had no id.
    Notice {
        /// When.
        at: Timestamp,
        /// What kind, for machines.
        code: Code,
        /// What, for people.
        message: String,
    },
    /// A type that this version does not know.
    #[serde(other)]
    Unknown,
}
