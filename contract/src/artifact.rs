//! What a compiled model is: its metadata, its report, and the signed manifest that announces it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ids::{ArtifactId, ModelRef};
use crate::settings::{Mixed, Optimize};
use crate::timestamp::Timestamp;

/// Names of the files in an artifact's tar.
pub mod file {
    /// The generated C.
    pub const MODEL_C: &str = "model.c";
    /// Its header.
    pub const MODEL_H: &str = "model.h";
    /// [`super::ModelMeta`] as JSON.
    pub const META: &str = "meta.json";
    /// Golden vectors: `golden_count` records of input bytes and output bytes, int8.
    pub const GOLDEN: &str = "golden.bin";
    /// Held-out inputs, int8, one after another.
    pub const SAMPLES: &str = "samples.bin";
    /// A JSON array of [`super::Sample`], one per held-out input.
    pub const SAMPLES_INDEX: &str = "samples.json";
    /// Every file that an artifact may contain.
    pub const ALL: [&str; 6] = [MODEL_C, MODEL_H, META, GOLDEN, SAMPLES, SAMPLES_INDEX];
}

/// A tensor at the edge of a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TensorMeta {
    /// Its name in the model file.
    pub name: String,
    /// Dimensions without the batch: height, width, channels for images.
    pub shape: Vec<u32>,
    /// `int8`, or `float32` for models that int8 would spoil: little-endian, 4 bytes each, scale and zero point unused.
    pub dtype: String,
    /// real = scale * (q - zero_point).
    pub scale: f32,
    /// See `scale`.
    pub zero_point: i32,
}

impl TensorMeta {
    /// Number of elements; saturating, because a shape may come from outside.
    pub fn elements(&self) -> usize {
        self.shape.iter().fold(1, |product: usize, n| product.saturating_mul(*n as usize))
    }

    /// True for 32-bit floats.
    pub fn is_float(&self) -> bool {
        self.dtype == "float32"
    }

    /// Number of bytes, as boards and artifacts hold the tensor; saturating.
    pub fn bytes(&self) -> usize {
        self.elements().saturating_mul(if self.is_float() { 4 } else { 1 })
    }

    /// The real values that stored bytes stand for.
    pub fn reals(&self, bytes: &[u8]) -> Vec<f32> {
        if self.is_float() {
            let words = bytes.chunks_exact(4).filter_map(|word| word.try_into().ok());
            return words.map(f32::from_le_bytes).collect();
        }
        let real = |byte: &u8| self.scale * i32::from(byte.cast_signed()).saturating_sub(self.zero_point) as f32;
        bytes.iter().map(real).collect()
    }
}

fn is_zero(value: &f32) -> bool {
    *value == 0.0
}

fn is_none(count: &u32) -> bool {
    *count == 0
}

/// `meta.json`: what a relay and a board need to know about a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelMeta {
    /// The model's name.
    pub name: String,
    /// The input; exactly one.
    pub input: TensorMeta,
    /// The output; exactly one.
    pub output: TensorMeta,
    /// One label per output of a classifier, else empty.
    pub labels: Vec<String>,
    /// How raw data becomes the real-valued input: value * `input_scale` + `input_offset`.
    pub input_scale: f32,
    /// See `input_scale`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub input_offset: f32,
    /// Records in `golden.bin`.
    pub golden_count: u32,
    /// Records in `samples.bin`.
    pub sample_count: u32,
    /// Bytes of working memory that the generated code reserves.
    pub arena_bytes: u32,
    /// Bytes of constants.
    pub weights_bytes: u32,
    /// Multiply-accumulates of one inference.
    pub macs: u64,
    /// Name and version of the compiler.
    pub compiler: String,
    /// What the code is best at: `speed`, `size` or `ram`.
    #[serde(default, skip_serializing_if = "Optimize::is_speed")]
    pub optimize: Optimize,
    /// Which layers were to stay in 32-bit floats: `auto`, `off`, or their names.
    #[serde(default, skip_serializing_if = "Mixed::is_auto")]
    pub mixed: Mixed,
}

impl ModelMeta {
    /// Index of the label that an int8 output stands for: the first of the highest outputs. One output with two labels
    /// is the second label's score: above one half where it is a share of one, else above zero. `None` for models
    /// without labels.
    pub fn winner(&self, output: &[i8]) -> Option<usize> {
        if self.output.is_float() {
            let bytes: Vec<u8> = output.iter().map(|byte| byte.cast_unsigned()).collect();
            return real_winner(&self.output.reals(&bytes), self.labels.len());
        }
        let quantization = (self.output.scale, self.output.zero_point);
        winner(output, quantization, self.labels.len())
    }
}

/// Above which a single float output stands for the second of two labels: it is a share of one.
pub const REAL_THRESHOLD: f32 = 0.5;

/// As [`winner`], for real outputs.
pub fn real_winner(output: &[f32], labels: usize) -> Option<usize> {
    if let ([score], 2) = (output, labels) {
        return Some(usize::from(*score > REAL_THRESHOLD));
    }
    let mut best = 0;
    for (index, value) in output.iter().enumerate() {
        if value.total_cmp(output.get(best)?).is_gt() {
            best = index;
        }
    }
    (best < labels).then_some(best)
}

/// Above which a single output of this scale and zero point stands for the second of two labels.
pub fn threshold(scale: f32, zero_point: i32) -> f32 {
    let real = |q: i8| scale * i32::from(q).saturating_sub(zero_point) as f32;
    if real(i8::MIN) >= 0.0 && real(i8::MAX) <= 1.001 { 0.5 } else { 0.0 }
}

/// As [`ModelMeta::winner`], for `labels` labels and this scale and zero point.
pub fn winner(output: &[i8], (scale, zero_point): (f32, i32), labels: usize) -> Option<usize> {
    if let ([score], 2) = (output, labels) {
        let real = scale * i32::from(*score).saturating_sub(zero_point) as f32;
        return Some(usize::from(real > threshold(scale, zero_point)));
    }
    let mut best = 0;
    for (index, value) in output.iter().enumerate() {
        if value > output.get(best)? {
            best = index;
        }
    }
    (best < labels).then_some(best)
}

/// One held-out input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// The right label; empty where the data has none.
    pub label: String,
    /// Where it comes from, such as `row 1502`.
    pub source: String,
}

/// What the compiler found out, per model and per board; shown before anybody flashes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CompileReport {
    /// Share of the evaluation split that the float model gets right, 0 to 1; absent without labels.
    pub float_accuracy: Option<f64>,
    /// The same for the int8 model, by the reference interpreter.
    pub int8_accuracy: Option<f64>,
    /// Rows of the evaluation split.
    pub evaluated: u32,
    /// Rows that calibrated the quantization.
    pub calibrated: u32,
    /// What they were.
    #[serde(default)]
    pub calibration: Calibration,
    /// How the ranges of its activations were chosen; absent for files that were int8, and where nothing becomes int8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantization: Option<QuantizationReport>,
    /// How far the int8 model's outputs are from the float model's, and both from the right ones; absent where neither
    /// is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outputs: Option<OutputReport>,
    /// `confusion[expected][predicted]` of the int8 model, in the order of the labels.
    #[serde(default)]
    pub confusion: Vec<Vec<u32>>,
    /// Labels in output order.
    #[serde(default)]
    pub labels: Vec<String>,
    /// Bytes of constants in flash.
    pub weights_bytes: u32,
    /// Bytes of the same constants before they were quantized; 0 where the file was int8 already.
    #[serde(default)]
    pub float_weights_bytes: u64,
    /// Working memory reached by the planner, in bytes.
    pub arena_bytes: u32,
    /// The lower bound of any plan for this order of operations, in bytes.
    pub arena_bound_bytes: u32,
    /// What the code is best at.
    #[serde(default)]
    pub optimize: Optimize,
    /// Which layers were to stay in 32-bit floats; [`QuantizationReport::float_layers`] are those that did.
    #[serde(default)]
    pub mixed: Mixed,
    /// Multiply-accumulates of one inference.
    pub macs: u64,
    /// Size of the model file that was imported, in bytes.
    pub source_bytes: u64,
    /// Time that importing, quantizing, evaluating and generating took, in milliseconds.
    pub compile_ms: u64,
    /// Where that time went.
    #[serde(default)]
    pub times: Vec<StepTime>,
    /// What people should know before they rely on it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Layer by layer, in order of execution.
    pub layers: Vec<LayerReport>,
    /// What lies in the arena, and when.
    #[serde(default)]
    pub buffers: Vec<BufferReport>,
    /// Board by board.
    pub boards: Vec<BoardReport>,
}

impl CompileReport {
    /// Whether nothing of the model is int8: trees, linear models, networks that are float throughout.
    pub fn is_float(&self) -> bool {
        !self.layers.is_empty() && self.layers.iter().all(|layer| layer.float)
    }

    /// What the compiled model is, in a word.
    pub fn element(&self) -> &'static str {
        if self.is_float() { "float32" } else { "int8" }
    }
}

/// What calibrated a model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Calibration {
    /// Nothing: the file was int8 already.
    #[default]
    None,
    /// Random inputs: ranges are guesses.
    Random,
    /// Examples of a dataset.
    Dataset,
}

/// How activations were quantized, by the error of the outputs on calibration data.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct QuantizationReport {
    /// The method that won: `min-max`, `percentile=99.9`, `mse`.
    pub method: String,
    /// Whether biases take up what rounding shifts on average.
    pub bias_correction: bool,
    /// Tensors whose range another method chose after that.
    pub adjusted_tensors: u32,
    /// Pairs of layers whose channels were brought to one size, which changes nothing but the rounding.
    #[serde(default, skip_serializing_if = "is_none")]
    pub equalized_pairs: u32,
    /// Layers that stay in 32-bit floats, because int8 would cost too much or somebody asked for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub float_layers: Vec<String>,
    /// All that was tried.
    pub tried: Vec<TriedMethod>,
    /// Signal to quantization noise of the outputs that was reached, in dB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sqnr_db: Option<f64>,
}

/// A method that was tried.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TriedMethod {
    /// Its name.
    pub method: String,
    /// With corrected biases or without.
    pub bias_correction: bool,
    /// Signal to quantization noise of the outputs, in dB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sqnr_db: Option<f64>,
}

/// Outputs in numbers, over the evaluated rows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct OutputReport {
    /// Mean squared difference between the outputs of the int8 and the float model; absent for files that were int8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mse: Option<f64>,
    /// Largest difference of one output value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub largest: Option<f64>,
    /// Signal to quantization noise of the outputs, in dB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sqnr_db: Option<f64>,
    /// Share of the rows whose label is the same in both, where the model has labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agreement: Option<f64>,
    /// Mean squared error of the float model against the dataset's targets (an autoencoder's: its own inputs).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub float_target_mse: Option<f64>,
    /// The same for the int8 model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub int8_target_mse: Option<f64>,
}

/// A step of the compiler and how long it took.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepTime {
    /// A few words.
    pub step: String,
    /// Milliseconds.
    pub ms: u64,
}

/// An activation's place in the arena.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BufferReport {
    /// Name of the layer that writes it, or of the input.
    pub name: String,
    /// Offset, bytes.
    pub offset: u32,
    /// Size, bytes.
    pub bytes: u32,
    /// The step that writes it: 0 is the caller filling the input, `k` is layer `k - 1`.
    pub first: u32,
    /// The last step that reads it; one behind the last layer is the caller reading the output.
    pub last: u32,
    /// Whether it is working memory of a layer's kernel, and no activation.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub working: bool,
}

/// One layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LayerReport {
    /// Its name in the model file.
    pub name: String,
    /// Its operator, such as `conv2d+relu`.
    pub op: String,
    /// Output dimensions without the batch.
    pub shape: Vec<u32>,
    /// Multiply-accumulates.
    pub macs: u64,
    /// Bytes of constants.
    pub weights_bytes: u32,
    /// Whether it computes in 32-bit floats.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub float: bool,
    /// Estimated instructions of one run (cycles on AVR), by [`BoardReport::core`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub instructions: BTreeMap<String, u64>,
    /// Signal to quantization noise of its output against the float model, in dB; absent where not measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sqnr_db: Option<f64>,
    /// The same if all before it were exact: what this layer loses by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own_sqnr_db: Option<f64>,
}

/// Whether and how a model fits a board: an estimate until a relay has built it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BoardReport {
    /// The board type.
    pub board: String,
    /// The core whose measured kernels its figures are made of: its own, or that of a neighbour.
    #[serde(default)]
    pub core: String,
    /// Flash that the whole firmware needs, in bytes.
    pub flash_bytes: u64,
    /// Flash that the board has, in bytes.
    pub flash_total: u64,
    /// RAM that the whole firmware needs, stack included, in bytes.
    pub ram_bytes: u64,
    /// RAM that the board has, in bytes.
    pub ram_total: u64,
    /// Deepest stack of an inference, contained in the RAM, in bytes.
    #[serde(default)]
    pub stack_bytes: u64,
    /// Instructions of one inference; cycles on AVR.
    #[serde(default)]
    pub instructions: u64,
    /// Estimated time of one inference, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_us: Option<u64>,
    /// Whether it fits.
    pub fits: bool,
    /// Where it does not fit: the setting with which it would.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fits_with: Option<Optimize>,
    /// One sentence, such as 'does not fit: needs 21 kB RAM, the board has 2 kB'.
    pub verdict: String,
}

/// The document that announces an artifact.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The artifact: SHA-256 of its tar.
    pub artifact: ArtifactId,
    /// Always `install`; a relay refuses a manifest that was signed for something else.
    pub purpose: String,
    /// Model and version that it was compiled from.
    pub model: ModelRef,
    /// Size of the tar in bytes.
    pub size: u64,
    /// Size of a block in bytes; the last may be shorter.
    pub block_bytes: u32,
    /// Number of blocks.
    pub blocks: u32,
    /// Name and version of the compiler.
    pub compiler: String,
    /// When the artifact was made.
    pub created_at: Timestamp,
    /// Bytes of working memory that the generated code reserves.
    pub arena_bytes: u32,
    /// Bytes of constants.
    pub weights_bytes: u32,
    /// Where it comes from: digest of the model file, dataset, settings.
    pub provenance: Value,
}

impl Manifest {
    /// The only purpose there is today.
    pub const PURPOSE: &'static str = "install";
}

/// A manifest as text, with a signature over exactly that text: no canonical form is needed, and unknown fields
/// survive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedManifest {
    /// [`Manifest`] as JSON text.
    pub document: String,
    /// The first 16 hex digits of the SHA-256 of the signing key's 32 public bytes.
    pub key_id: String,
    /// Ed25519 (RFC 8032) signature over `tinymlaas-manifest-v1\n` and the bytes of `document`, in base64.
    pub signature: String,
}

impl SignedManifest {
    /// What is signed before the document, so that a signature can be used for nothing else.
    pub const DOMAIN: &'static [u8] = b"tinymlaas-manifest-v1\n";

    /// The bytes that the signature covers.
    pub fn signed_bytes(&self) -> Vec<u8> {
        [Self::DOMAIN, self.document.as_bytes()].concat()
    }
}
