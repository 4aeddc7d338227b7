//! Names and ids: validated at the edge, plain strings afterwards.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::limits::{MAX_COMMAND_ID_BYTES, MAX_NAME_BYTES};

/// Why a text is no id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} '{shown}' is not valid: {rule}")]
pub struct InvalidId {
    /// The kind of id, such as 'relay name'.
    pub what: &'static str,
    /// The offending text, shortened and escaped for display.
    pub shown: String,
    /// The rule that it breaks, in words.
    pub rule: String,
}

fn invalid(what: &'static str, text: &str, rule: impl Into<String>) -> InvalidId {
    let shown: String = text.chars().take(48).flat_map(char::escape_default).collect();
    InvalidId { what, shown, rule: rule.into() }
}

/// Checks the shape of a name: lower-case letters, digits, `-`, `_` and `.`, first a letter or digit.
fn check_name(what: &'static str, text: &str) -> Result<(), InvalidId> {
    let rule = || {
        format!(
            "use 1 to {MAX_NAME_BYTES} lower-case letters, digits, '-', '_' or '.', starting with a letter or digit"
        )
    };
    let ok = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'-' | b'_' | b'.');
    match text.as_bytes() {
        [first, rest @ ..]
            if text.len() <= MAX_NAME_BYTES
                && (first.is_ascii_lowercase() || first.is_ascii_digit())
                && rest.iter().all(|c| ok(*c)) =>
        {
            Ok(())
        }
        _ => Err(invalid(what, text, rule())),
    }
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(String);

        impl $name {
            /// Validates `text`.
            ///
            /// # Errors
            /// [`InvalidId`] names the rule that `text` breaks.
            pub fn new(text: impl Into<String>) -> Result<Self, InvalidId> {
                let text = text.into();
                $check(&text)?;
                Ok(Self(text))
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::new(text)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::new(String::deserialize(deserializer)?).map_err(de::Error::custom)
            }
        }
    };
}

text_id! {
    /// The name of a relay; a topic segment, unique in the fleet.
    RelayId, |text: &str| check_name("relay name", text)
}
text_id! {
    /// The name of a device; a topic segment, unique on its relay.
    DeviceId, |text: &str| check_name("device name", text)
}
text_id! {
    /// The id of a command, chosen by whoever sends it: any printable text of 1 to 64 bytes; a UUIDv7 is a good choice.
    CommandId, check_command_id
}
text_id! {
    /// The content address of an artifact: `sha256:` and 64 lower-case hex digits.
    ArtifactId, check_artifact_id
}

fn check_command_id(text: &str) -> Result<(), InvalidId> {
    if text.is_empty() || text.len() > MAX_COMMAND_ID_BYTES || text.chars().any(char::is_control) {
        let rule = format!("use 1 to {MAX_COMMAND_ID_BYTES} bytes of printable text, for example a UUID");
        return Err(invalid("command id", text, rule));
    }
    Ok(())
}

fn check_artifact_id(text: &str) -> Result<(), InvalidId> {
    let hex = text.strip_prefix("sha256:").unwrap_or("");
    if hex.len() == 64 && hex.bytes().all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c)) {
        return Ok(());
    }
    Err(invalid("artifact id", text, "use 'sha256:' followed by 64 lower-case hex digits"))
}

impl CommandId {
    /// A fresh UUIDv7.
    pub fn generate() -> Self {
        Self(uuid::Uuid::now_v7().to_string())
    }
}

impl ArtifactId {
    /// The id of content with this SHA-256 digest.
    pub fn from_digest(digest: &[u8; 32]) -> Self {
        use fmt::Write as _;
        let mut text = String::from("sha256:");
        for byte in digest {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        Self(text)
    }

    /// The 64 hex digits without the prefix; safe as a file name.
    pub fn hex(&self) -> &str {
        &self.0["sha256:".len()..]
    }

    /// The first 12 hex digits, for display.
    pub fn short(&self) -> &str {
        &self.hex()[..12]
    }
}

/// A model by name, optionally pinned to one version: `digits` or `digits@2`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModelRef {
    /// The model's name.
    pub name: String,
    /// The version, counted from 1; `None` means the latest.
    pub version: Option<u32>,
}

impl fmt::Display for ModelRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.version {
            Some(version) => write!(f, "{}@{version}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

impl FromStr for ModelRef {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let (name, version) = match text.split_once('@') {
            None => (text, None),
            Some((name, version)) => match version.parse::<u32>() {
                // One spelling per version: 'digits@+2' and 'digits@02' are not 'digits@2'.
                Ok(number) if version.starts_with(|c| matches!(c, '1'..='9')) => (name, Some(number)),
                _ => {
                    return Err(invalid("model", text, "the version after '@' is a whole number from 1 on"));
                }
            },
        };
        check_name("model name", name)?;
        Ok(Self { name: name.to_owned(), version })
    }
}

impl Serialize for ModelRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ModelRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// Checks a name of something that is no topic segment (a dataset, a model, an identity) by the same rule.
///
/// # Errors
/// [`InvalidId`] with `what` in its message.
pub fn check_plain_name(what: &'static str, text: &str) -> Result<(), InvalidId> {
    check_name(what, text)
}
