//! `relays/{relay}/devices/{device}/telemetry`: what a board predicted.

use serde::{Deserialize, Deserializer, Serialize};

use crate::ids::{ArtifactId, DeviceId, ModelRef};
use crate::stream::Head;

/// One reading of one device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// Who, when, and its number in the relay's telemetry stream.
    #[serde(flatten)]
    pub head: Head,
    /// The device.
    pub device: DeviceId,
    /// The board's own count since its start.
    pub device_seq: u64,
    /// The relay's monotonic clock, in milliseconds; differences are meaningful while `epoch` stays.
    pub mono_ms: u64,
    /// What runs on the board; absent where firmware that is not ours prints text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact: Option<ArtifactId>,
    /// The model's name and version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelRef>,
    /// The winning class, for a classifier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prediction: Option<Prediction>,
    /// All outputs, dequantized; one that is not a finite number travels as `null`.
    #[serde(default, deserialize_with = "numbers_or_null")]
    pub outputs: Vec<f32>,
    /// Names of the outputs, where no artifact gives them: the pattern's fields.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub output_names: Vec<String>,
    /// Time of one inference as measured on the board, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_us: Option<u64>,
    /// The right label, where the input was a labelled sample.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// Number of the sample that was fed, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<u32>,
    /// The input itself, where it is small enough to be drawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Input>,
}

/// The winning class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// Its label.
    pub label: String,
    /// Its index in the outputs.
    pub index: u32,
    /// Its score as the model gives it, dequantized; for a softmax that is 0 to 1. `null` as in `outputs`.
    #[serde(deserialize_with = "number_or_null")]
    pub score: f32,
}

/// A model input, quantized.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Input {
    /// Height, width, channels (or fewer dimensions).
    pub shape: Vec<u32>,
    /// real = scale * (q - zero_point).
    pub scale: f32,
    /// See `scale`.
    pub zero_point: i32,
    /// The int8 values, row-major, as base64.
    pub data: String,
}

/// JSON has no word for NaN and infinity: they are written as `null`, and a reading with one must still be readable,
/// because a host that could not read it would wait for its number for ever.
fn number_or_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f32, D::Error> {
    Ok(Option::<f32>::deserialize(deserializer)?.unwrap_or(f32::NAN))
}

fn numbers_or_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f32>, D::Error> {
    let numbers = Vec::<Option<f32>>::deserialize(deserializer)?;
    Ok(numbers.into_iter().map(|number| number.unwrap_or(f32::NAN)).collect())
}
