//! The whole way in one call: model file and data set in, artifact and report out.

use contract::artifact::CompileReport;
use thiserror::Error;

use crate::artifact::Artifact;
use crate::dataset::Dataset;
use crate::import::{ImportError, ImportLimits};

/// What [`compile`] needs to know beside model and data.
#[derive(Debug, Clone)]
pub struct CompileOptions {
    /// Name of the model in the fleet; goes into `TML_MODEL_NAME` (escaped).
    pub name: String,
    /// Raw data times this is the model's input (digits: 1/16).
    pub input_scale: f32,
    /// Most rows of the train split that calibrate the quantization.
    pub calibration_rows: usize,
    /// Most golden vectors taken from the train split; as many random ones, at most 8, come on top.
    pub golden_vectors: usize,
    /// Most held-out samples in the artifact.
    pub samples: usize,
    /// Share of a tensor's values that its quantized range must hold; `1.0` is plain min-max.
    pub percentile: f64,
    /// Bounds on the model file.
    pub limits: ImportLimits,
}

impl CompileOptions {
    /// Defaults for a model of this name.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            input_scale: 1.0,
            calibration_rows: 256,
            golden_vectors: 16,
            samples: 100,
            percentile: 1.0,
            limits: ImportLimits::default(),
        }
    }
}

/// A step of [`compile`] that begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Reading the model file.
    Import,
    /// Recording ranges on the train split and quantizing.
    Quantize,
    /// Measuring float and int8 accuracy on the held-out split.
    Evaluate,
    /// Planning memory and writing C.
    Generate,
    /// Packing the artifact.
    Pack,
}

impl Step {
    /// A few words for a progress display.
    pub fn text(self) -> &'static str {
        match self {
            Self::Import => "importing the model",
            Self::Quantize => "quantizing to int8",
            Self::Evaluate => "measuring accuracy",
            Self::Generate => "generating C",
            Self::Pack => "packing the artifact",
        }
    }
}

/// Progress of [`compile`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// The step that begins or goes on.
    pub step: Step,
    /// Share of the whole that is done, 0 to 1.
    pub fraction: f32,
}

/// What [`compile`] makes.
#[derive(Debug, Clone, PartialEq)]
pub struct Compiled {
    /// To be stored, signed and installed.
    pub artifact: Artifact,
    /// To be shown before anybody flashes.
    pub report: CompileReport,
}

/// Why a model cannot be compiled.
#[derive(Debug, Error)]
pub enum CompileError {
    /// The model file.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// Model and data set do not go together.
    #[error("model and data set do not match: {reason}")]
    Mismatch {
        /// What differs and how to mend it.
        reason: String,
    },
    /// The model cannot be expressed in int8.
    #[error("cannot quantize: {reason}")]
    Quantize {
        /// Where and why.
        reason: String,
    },
    /// Packing failed.
    #[error("cannot pack the artifact: {0}")]
    Pack(#[from] std::io::Error),
}

/// Compiles a float ONNX model with a labelled data set.
///
/// The `train` split calibrates, the `test` split measures. The same bytes and
/// options give the same artifact.
///
/// # Errors
/// [`CompileError`] says what part of which input cannot be used.
pub fn compile(
    onnx: &[u8],
    dataset: &Dataset,
    options: &CompileOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<Compiled, CompileError> {
    let _ = (onnx, dataset, options, progress);
    Err(CompileError::Mismatch { reason: "the compiler is not finished".into() })
}
