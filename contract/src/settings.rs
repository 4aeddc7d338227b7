//! What can be chosen when a model is compiled, in the words of the wire, the API and the command line.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Most layers that [`Mixed::Layers`] names.
pub const MAX_LAYERS: usize = 64;

/// Longest text of a [`Mixed`], in bytes.
pub const MAX_MIXED_BYTES: usize = 4_096;

/// Settings of one compilation. What is absent stays as it was at the model's last compilation, and has its default at
/// the first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// What the code is best at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub optimize: Option<Optimize>,
    /// Which layers stay in 32-bit floats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mixed: Option<Mixed>,
}

/// What generated code shall be best at. The answers are the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Optimize {
    /// Few instructions: kernels are unrolled and have variants.
    #[default]
    Speed,
    /// Little flash: one form of each kernel, constants packed.
    Size,
    /// A small arena: early layers run band by band, operators in the order that needs least.
    Ram,
}

impl Optimize {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Speed, Self::Size, Self::Ram];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Speed => "speed",
            Self::Size => "size",
            Self::Ram => "ram",
        }
    }

    pub(crate) fn is_speed(&self) -> bool {
        *self == Self::Speed
    }
}

impl fmt::Display for Optimize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why a text is no setting.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SettingError {
    /// No [`Optimize`].
    #[error("expected one of speed, size, ram")]
    Optimize,
    /// No [`Mixed`].
    #[error("expected auto, off, or names of layers with commas between them")]
    Mixed,
    /// More than a [`Mixed`] may name.
    #[error("names of layers: at most {MAX_LAYERS} in at most {MAX_MIXED_BYTES} bytes; name fewer, or use auto")]
    TooMany,
}

impl FromStr for Optimize {
    type Err = SettingError;

    fn from_str(text: &str) -> Result<Self, SettingError> {
        Self::ALL.into_iter().find(|one| one.as_str() == text).ok_or(SettingError::Optimize)
    }
}

/// Which layers stay in 32-bit floats although the network is int8.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Mixed {
    /// Where the outputs are noisy otherwise, as few as help.
    #[default]
    Auto,
    /// None.
    Off,
    /// The layers of these names.
    Layers(Vec<String>),
}

impl Mixed {
    pub(crate) fn is_auto(&self) -> bool {
        *self == Self::Auto
    }
}

impl fmt::Display for Mixed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.pad("auto"),
            Self::Off => f.pad("off"),
            Self::Layers(layers) => f.pad(&layers.join(",")),
        }
    }
}

impl FromStr for Mixed {
    type Err = SettingError;

    fn from_str(text: &str) -> Result<Self, SettingError> {
        match text.trim() {
            "auto" => Ok(Self::Auto),
            "off" => Ok(Self::Off),
            text if text.len() > MAX_MIXED_BYTES => Err(SettingError::TooMany),
            text => {
                let layers: Vec<String> =
                    text.split(',').map(str::trim).filter(|layer| !layer.is_empty()).map(str::to_owned).collect();
                match layers.len() {
                    0 => Err(SettingError::Mixed),
                    1..=MAX_LAYERS => Ok(Self::Layers(layers)),
                    _ => Err(SettingError::TooMany),
                }
            }
        }
    }
}

impl TryFrom<String> for Mixed {
    type Error = SettingError;

    fn try_from(text: String) -> Result<Self, SettingError> {
        text.parse()
    }
}

impl From<Mixed> for String {
    fn from(mixed: Mixed) -> Self {
        mixed.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_as_they_are_written() {
        for optimize in Optimize::ALL {
            assert_eq!(optimize.to_string().parse(), Ok(optimize));
        }
        assert_eq!("fast".parse::<Optimize>(), Err(SettingError::Optimize));
        for text in ["auto", "off", "/conv1/Conv,dense"] {
            assert_eq!(text.parse::<Mixed>().map(|mixed| mixed.to_string()), Ok(text.to_owned()));
        }
        assert_eq!(" a, b ,".parse(), Ok(Mixed::Layers(vec!["a".into(), "b".into()])));
        for (text, error) in [
            (String::new(), SettingError::Mixed),
            (" , ".into(), SettingError::Mixed),
            ("x,".repeat(MAX_LAYERS + 1), SettingError::TooMany),
            ("x".repeat(MAX_MIXED_BYTES + 1), SettingError::TooMany),
        ] {
            assert_eq!(text.parse::<Mixed>(), Err(error));
        }
    }
}
