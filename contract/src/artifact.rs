//! What a compiled model is: its metadata, its report, and the signed manifest that announces it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ids::{ArtifactId, ModelRef};
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
    /// Always `int8` today.
    pub dtype: String,
    /// real = scale * (q - zero_point).
    pub scale: f32,
    /// See `scale`.
    pub zero_point: i32,
}

impl TensorMeta {
    /// Number of elements, which for int8 is the number of bytes; saturating, because a shape may come from outside.
    pub fn elements(&self) -> usize {
        self.shape.iter().fold(1, |product: usize, n| product.saturating_mul(*n as usize))
    }
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
    /// How raw data becomes the real-valued input: value * `input_scale`.
    pub input_scale: f32,
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
}

/// One held-out input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// The right label.
    pub label: String,
    /// Where it comes from, such as `row 1502`.
    pub source: String,
}

/// What the compiler found out, per model and per board; shown before anybody flashes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CompileReport {
    /// Share of the evaluation split that the float model gets right, 0 to 1; absent without labels.
    pub float_accuracy: Option<f64>,
    /// The same for the int8 model, by the reference interpreter.
    pub int8_accuracy: Option<f64>,
    /// Rows of the evaluation split.
    pub evaluated: u32,
    /// Rows that calibrated the quantization.
    pub calibrated: u32,
    /// `confusion[expected][predicted]` of the int8 model, in the order of the labels.
    #[serde(default)]
    pub confusion: Vec<Vec<u32>>,
    /// Labels in output order.
    #[serde(default)]
    pub labels: Vec<String>,
    /// Bytes of constants in flash.
    pub weights_bytes: u32,
    /// Working memory reached by the planner, in bytes.
    pub arena_bytes: u32,
    /// The lower bound of any plan for this order of operations, in bytes.
    pub arena_bound_bytes: u32,
    /// Multiply-accumulates of one inference.
    pub macs: u64,
    /// Size of the model file that was imported, in bytes.
    pub source_bytes: u64,
    /// Time that importing, quantizing, evaluating and generating took, in milliseconds.
    pub compile_ms: u64,
    /// Layer by layer, in order of execution.
    pub layers: Vec<LayerReport>,
    /// Board by board.
    pub boards: Vec<BoardReport>,
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
    /// Signal to quantization noise of its output against the float model, in dB; absent where not measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sqnr_db: Option<f64>,
}

/// Whether and how a model fits a board: an estimate until a relay has built it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BoardReport {
    /// The board type.
    pub board: String,
    /// Flash that the whole firmware needs, in bytes.
    pub flash_bytes: u64,
    /// Flash that the board has, in bytes.
    pub flash_total: u64,
    /// RAM that the whole firmware needs, stack included, in bytes.
    pub ram_bytes: u64,
    /// RAM that the board has, in bytes.
    pub ram_total: u64,
    /// Estimated time of one inference, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_us: Option<u64>,
    /// Whether it fits.
    pub fits: bool,
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
