//! Model files to the intermediate representation: limits and errors here, one
//! module per format.

mod attributes;
mod constant;
mod flatbuffer;
mod fold;
pub mod onnx;
mod onnx_conv;
mod onnx_join;
mod onnx_linear;
mod onnx_ml;
mod onnx_move;
mod onnx_pair;
mod onnx_reduce;
mod onnx_shape;
mod onnx_trees;
mod qoperator;
mod resample;
pub mod tflite;
mod tflite_file;
mod tflite_float;
mod tflite_int8;
mod tflite_move;
mod tflite_step;
mod value;
mod wire_scan;

use thiserror::Error;

use crate::ir::Graph;
use crate::qir::QuantGraph;

pub use self::onnx::import as onnx;
pub use self::tflite::import as tflite;

/// A model file of any format, imported.
#[derive(Debug, Clone, PartialEq)]
pub enum Model {
    /// Float: to be quantized with calibration data.
    Float(Graph),
    /// int8 already, with scales of its own.
    Int8(QuantGraph),
}

impl Model {
    /// Name of the format that it came in.
    pub fn format(&self) -> &'static str {
        match self {
            Self::Float(graph) => graph.format,
            Self::Int8(_) => "tflite",
        }
    }
}

/// Imports a model file; TFLite is recognized by its identifier, all else must be ONNX.
///
/// # Errors
/// As [`onnx()`] and [`tflite()`].
pub fn model(bytes: &[u8], limits: &ImportLimits) -> Result<Model, ImportError> {
    if tflite::is_tflite(bytes) {
        return tflite::import_any(bytes, limits);
    }
    onnx::import(bytes, limits).map(Model::Float)
}

/// Bounds on what an importer accepts, so that no file can exhaust the machine.
#[derive(Debug, Clone, Copy)]
pub struct ImportLimits {
    /// Largest model file, bytes.
    pub max_bytes: usize,
    /// Most nodes of a graph.
    pub max_nodes: usize,
    /// Most elements of all constants and activations together.
    pub max_elements: usize,
    /// Most multiply-accumulates, or reads of pooling windows, of one inference.
    pub max_macs: u64,
}

impl Default for ImportLimits {
    fn default() -> Self {
        Self { max_bytes: 32 << 20, max_nodes: 10_000, max_elements: 16 << 20, max_macs: 2_000_000_000 }
    }
}

/// Operators that [`onnx::import`] knows, as error messages list them.
pub const SUPPORTED_ONNX: &str = "Abs, Add, AveragePool, BatchNormalization, Cast (to float and bool), Clip, Concat, Constant, \
Conv, ConvTranspose, DepthToSpace, DequantizeLinear, Div, Dropout, Elu, Erf, Exp, Flatten, Gather (constant indices), \
Gelu, Gemm, GlobalAveragePool, GlobalMaxPool, HardSigmoid, HardSwish, Identity, LeakyRelu, Log, MatMul, Max, MaxPool, Min, \
Mul, Neg, Not, Pad, PRelu, QuantizeLinear, Reciprocal, ReduceMax, ReduceMean, ReduceSum, Relu, Reshape, Resize and Upsample (nearest, \
linear), Selu, Sigmoid, Slice, Softmax, Softplus, Softsign, SpaceToDepth, Split, Sqrt, Squeeze, Sub, Tanh, Transpose, \
Unsqueeze; on constants also ConstantOfShape, Shape; quantized QGemm, QLinearAdd, QLinearAveragePool, QLinearConcat, \
QLinearConv, QLinearGlobalAveragePool, QLinearLeakyRelu, QLinearMatMul, QLinearMul, QLinearReduceMean, QLinearSigmoid, \
QLinearSoftmax; of ai.onnx.ml \
ArrayFeatureExtractor, FeatureVectorizer, LinearClassifier, LinearRegressor, Normalizer, Scaler, TreeEnsemble, \
TreeEnsembleClassifier, TreeEnsembleRegressor, ZipMap";

/// Operators that [`tflite::import`] knows, as error messages list them.
pub const SUPPORTED_TFLITE: &str = "ADD, AVERAGE_POOL_2D, CONCATENATION, CONV_2D, DEPTHWISE_CONV_2D, \
DEPTH_TO_SPACE, DEQUANTIZE, EXPAND_DIMS, FULLY_CONNECTED, HARD_SWISH, LEAKY_RELU, LOGISTIC, MAXIMUM, MAX_POOL_2D, \
MEAN, MINIMUM, MIRROR_PAD, MUL, PACK, PAD, PADV2, PRELU, QUANTIZE, REDUCE_MAX, RELU, RELU6, RELU_N1_TO_1, RESHAPE, \
RESIZE_BILINEAR, RESIZE_NEAREST_NEIGHBOR, REVERSE_V2, SHAPE, SLICE, SOFTMAX, SPACE_TO_DEPTH, SPLIT, SPLIT_V, \
SQUEEZE, STRIDED_SLICE, SUB, SUM, TANH, TRANSPOSE, TRANSPOSE_CONV, UNPACK, all int8, all uint8 or all float";

/// Why a model file cannot be imported.
#[derive(Debug, Error, PartialEq)]
pub enum ImportError {
    /// The file or what it describes is larger than allowed.
    #[error("{what}: {found}, at most {limit} is allowed")]
    Limit {
        /// What is too large, with its unit.
        what: String,
        /// How much of it there is.
        found: u64,
        /// The limit.
        limit: u64,
    },
    /// The bytes are no model file of this format, or a damaged one.
    #[error("not a usable {format} file: {reason}")]
    Malformed {
        /// The format that was expected.
        format: &'static str,
        /// What is wrong and where.
        reason: String,
    },
    /// A node has operands, attributes or shapes that contradict the format.
    #[error("node `{node}` ({op}): {reason}")]
    Node {
        /// Name of the node.
        node: String,
        /// Its operator.
        op: String,
        /// What is wrong.
        reason: String,
    },
    /// A node has an operator, or a use of one, that the compiler does not have.
    #[error("node `{node}`: {op} is not supported: {reason}. Supported: {supported}")]
    Unsupported {
        /// Name of the node.
        node: String,
        /// Its operator.
        op: String,
        /// What exactly is missing.
        reason: String,
        /// What would be supported.
        supported: String,
    },
}

/// A name from a model file as a message may show it: short, without control characters.
pub(crate) fn shown(name: &str) -> String {
    let mut text: String = name
        .chars()
        .take(80)
        .flat_map(|c| {
            let escaped: Vec<char> = if c.is_control() { c.escape_default().collect() } else { vec![c] };
            escaped
        })
        .collect();
    if name.chars().nth(80).is_some() {
        text.push('…');
    }
    text
}

/// What went wrong inside a node's handler, before the node's name is added.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The file contradicts itself or the format.
    Bad(String),
    /// The file is right and the compiler cannot do it.
    Unsupported { reason: String, supported: String },
    /// A limit was passed.
    Limit(ImportError),
}

impl Fault {
    pub fn unsupported(reason: impl Into<String>, supported: impl Into<String>) -> Self {
        Self::Unsupported { reason: reason.into(), supported: supported.into() }
    }

    /// The error for the node of this name and operator.
    pub fn at(self, node: &str, op: &str) -> ImportError {
        let (node, op) = (shown(node), shown(op));
        match self {
            Self::Bad(reason) => ImportError::Node { node, op, reason },
            Self::Unsupported { reason, supported } => ImportError::Unsupported { node, op, reason, supported },
            Self::Limit(error) => error,
        }
    }
}

/// What is left of a limit.
#[derive(Debug)]
pub(crate) struct Budget {
    used: u64,
    limit: u64,
}

impl Budget {
    pub fn new(limit: u64) -> Self {
        Self { used: 0, limit }
    }

    /// Uses up a part, or says that there is too little left.
    pub fn take(&mut self, amount: usize, what: &str) -> Result<(), Fault> {
        self.used = self.used.saturating_add(amount as u64);
        if self.used > self.limit {
            return Err(Fault::Limit(ImportError::Limit {
                what: what.to_owned(),
                found: self.used,
                limit: self.limit,
            }));
        }
        Ok(())
    }
}
