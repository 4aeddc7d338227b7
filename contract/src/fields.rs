//! Reading a flat JSON object field by field, so that an error names the field and what it should be.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::code::Code;
use crate::ids::CommandId;
use crate::timestamp::Timestamp;
use crate::wire::{Malformed, brief, check_size};

pub(crate) struct Fields {
    map: Map<String, Value>,
    id: Option<CommandId>,
}

impl Fields {
    /// Parses the object and its `id`, which is required.
    pub(crate) fn parse(payload: &[u8], limit: usize) -> Result<(Self, CommandId), Malformed> {
        check_size(payload, limit)?;
        let value: Value = serde_json::from_slice(payload).map_err(|error| {
            Malformed::new(
                Code::MALFORMED,
                format!(
                    "the payload is no JSON ({}); send an object such as {{\"id\":\"1\",\"verb\":\"rescan\"}}",
                    brief(&error)
                ),
            )
        })?;
        let Value::Object(map) = value else {
            return Err(Malformed::new(
                Code::MALFORMED,
                "the payload is JSON but no object; send an object such as {\"id\":\"1\",\"verb\":\"rescan\"}",
            ));
        };
        let mut fields = Self { map, id: None };
        let id: CommandId = fields.required("id", "text of 1 to 64 bytes that you choose, new for each command")?;
        fields.id = Some(id.clone());
        Ok((fields, id))
    }

    fn refuse(&self, code: Code, field: &str, message: String) -> Malformed {
        Malformed { code, field: Some(field.to_owned()), message, id: self.id.clone() }
    }

    /// Takes a field; absent and `null` are the same.
    pub(crate) fn optional<T: DeserializeOwned>(&mut self, name: &str, expected: &str) -> Result<Option<T>, Malformed> {
        match self.map.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => serde_json::from_value(value).map(Some).map_err(|error| {
                self.refuse(
                    Code::INVALID_FIELD,
                    name,
                    format!("the field '{name}' is not valid: {}; expected {expected}", brief(&error)),
                )
            }),
        }
    }

    pub(crate) fn required<T: DeserializeOwned>(&mut self, name: &str, expected: &str) -> Result<T, Malformed> {
        match self.optional(name, expected)? {
            Some(value) => Ok(value),
            None => Err(self.refuse(
                Code::MISSING_FIELD,
                name,
                format!("the field '{name}' is missing; expected {expected}"),
            )),
        }
    }

    pub(crate) fn time(&mut self, name: &str) -> Result<Option<Timestamp>, Malformed> {
        self.optional(name, "RFC 3339 text such as 2026-01-31T12:00:00Z, or seconds since 1970")
    }

    /// A whole number from 1 to `max`.
    pub(crate) fn number(&mut self, name: &str, max: u32) -> Result<Option<u32>, Malformed> {
        let expected = format!("a whole number from 1 to {max}");
        match self.optional::<u32>(name, &expected)? {
            Some(number) if number == 0 || number > max => Err(self.refuse(
                Code::INVALID_FIELD,
                name,
                format!("the field '{name}' is {number}; expected {expected}"),
            )),
            other => Ok(other),
        }
    }

    pub(crate) fn invalid(&self, field: &str, message: impl Into<String>) -> Malformed {
        self.refuse(Code::INVALID_FIELD, field, message.into())
    }

    pub(crate) fn missing(&self, field: &str, message: impl Into<String>) -> Malformed {
        self.refuse(Code::MISSING_FIELD, field, message.into())
    }

    pub(crate) fn unknown_verb(&self, verb: &str, known: &[&str]) -> Malformed {
        let shown: String = verb.chars().take(32).flat_map(char::escape_default).collect();
        self.refuse(
            Code::UNKNOWN_VERB,
            "verb",
            format!("there is no verb '{shown}'; the verbs are {}", known.join(", ")),
        )
    }

    /// What nobody asked for: kept, so that a document can be passed on whole.
    pub(crate) fn rest(self) -> Map<String, Value> {
        self.map
    }
}
