//! The tables of a TFLite file: tensors, operators, options, read with checks.
//!
//! Field numbers are those of tensorflow/lite/schema/schema.fbs, version 3.

use super::flatbuffer::{Buffer, Damaged, Table, words};
use super::{Fault, ImportError, shown};
use crate::ir::Clamp;

/// Element types that are in use, with their numbers in the schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Float32,
    Float16,
    Int32,
    Uint8,
    Int64,
    Int8,
    Other(u8),
}

impl Kind {
    fn of(number: u8) -> Self {
        match number {
            0 => Self::Float32,
            1 => Self::Float16,
            2 => Self::Int32,
            3 => Self::Uint8,
            4 => Self::Int64,
            9 => Self::Int8,
            other => Self::Other(other),
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Float32 => "float32",
            Self::Float16 => "float16",
            Self::Int32 => "int32",
            Self::Uint8 => "uint8",
            Self::Int64 => "int64",
            Self::Int8 => "int8",
            Self::Other(5) => "string",
            Self::Other(6) => "bool",
            Self::Other(7) => "int16",
            Self::Other(_) => "of another type",
        }
    }

    /// True for what shapes and axes are made of.
    pub fn is_index(self) -> bool {
        matches!(self, Self::Int32 | Self::Int64)
    }
}

/// A tensor of the file.
#[derive(Debug, Clone)]
pub(super) struct FileTensor<'a> {
    /// Its number.
    pub index: i32,
    pub name: String,
    pub shape: Vec<usize>,
    pub kind: Kind,
    pub scales: Vec<f32>,
    pub zero_points: Vec<i64>,
    pub channel_axis: i32,
    /// Empty for activations.
    pub data: &'a [u8],
}

impl FileTensor<'_> {
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// The elements of a constant 8-bit tensor as int8: unsigned ones 128 lower, as their zero point is.
    pub fn int8(&self) -> Result<Vec<i8>, Fault> {
        let turn = match self.kind {
            Kind::Int8 => 0,
            Kind::Uint8 => 0x80,
            _ => {
                return Err(Fault::unsupported(
                    format!("constant `{}` is {}", shown(&self.name), self.kind.name()),
                    "8-bit constants",
                ));
            }
        };
        self.check_len(1)?;
        Ok(self.data.iter().map(|byte| (byte ^ turn).cast_signed()).collect())
    }

    /// Zero points as they are for int8 elements.
    pub fn int8_zeros(&self) -> Vec<i64> {
        let lower = if self.kind == Kind::Uint8 { 128 } else { 0 };
        self.zero_points.iter().map(|zero| zero.saturating_sub(lower)).collect()
    }

    /// Weights of a layer above their zero points.
    pub fn weights(&self) -> Result<Vec<i8>, Fault> {
        let (values, zeros) = (self.int8()?, self.int8_zeros());
        if zeros.iter().all(|zero| *zero == 0) {
            return Ok(values);
        }
        let centred = match zeros.as_slice() {
            [zero] => values.iter().map(|value| i8::try_from(i64::from(*value).saturating_sub(*zero)).ok()).collect(),
            _ => None,
        };
        centred.ok_or_else(|| {
            Fault::unsupported(
                format!("weights `{}` reach more than a signed byte from their zero point", shown(&self.name)),
                "weights of -128 to 127 above their zero point; convert the model to int8",
            )
        })
    }

    /// The elements of a constant int32 tensor.
    pub fn int32(&self) -> Result<Vec<i32>, Fault> {
        if self.kind != Kind::Int32 {
            return Err(Fault::unsupported(
                format!("constant `{}` is {}", shown(&self.name), self.kind.name()),
                "int32 there",
            ));
        }
        self.check_len(4)?;
        Ok(words(self.data).map(i32::from_le_bytes).collect())
    }

    /// The elements of a constant tensor of indices.
    pub fn indices(&self) -> Result<Vec<i64>, Fault> {
        if self.data.is_empty() {
            return Err(Fault::unsupported(
                format!("`{}` is computed at run time", shown(&self.name)),
                "a constant there",
            ));
        }
        if self.kind != Kind::Int64 {
            return Ok(self.int32()?.into_iter().map(i64::from).collect());
        }
        self.check_len(8)?;
        Ok(words(self.data).map(i64::from_le_bytes).collect())
    }

    /// Scale and zero point of an activation or of a constant with one of each, as they are for int8 elements.
    pub fn quantization(&self) -> Result<(f32, i32), Fault> {
        let zeros = self.int8_zeros();
        let ([scale], [zero_point]) = (self.scales.as_slice(), zeros.as_slice()) else {
            return Err(Fault::Bad(format!(
                "tensor `{}` has {} scales and {} zero points",
                shown(&self.name),
                self.scales.len(),
                self.zero_points.len()
            )));
        };
        let zero_point = i32::try_from(*zero_point)
            .ok()
            .filter(|zero| (-128..=127).contains(zero))
            .ok_or_else(|| Fault::Bad(format!("zero point {zero_point}")))?;
        Ok((*scale, zero_point))
    }

    fn check_len(&self, size: usize) -> Result<(), Fault> {
        if self.len().checked_mul(size) == Some(self.data.len()) {
            return Ok(());
        }
        Err(Fault::Bad(format!(
            "constant `{}` of shape {:?} holds {} bytes",
            shown(&self.name),
            self.shape,
            self.data.len()
        )))
    }
}

/// The file with its only subgraph.
#[derive(Debug, Clone, Copy)]
pub(super) struct File<'a> {
    model: Table<'a>,
    graph: Table<'a>,
    pub tensor_count: usize,
    pub operator_count: usize,
}

/// One operator.
#[derive(Debug)]
pub(super) struct Operator<'a> {
    /// Builtin operator number.
    pub code: i32,
    pub inputs: Vec<i32>,
    pub outputs: Vec<i32>,
    options: Option<Table<'a>>,
}

impl Operator<'_> {
    /// A number of the options.
    pub fn int(&self, field: usize, default: i32) -> Result<i32, Fault> {
        self.options.as_ref().map_or(Ok(default), |options| Ok(options.i32(field, default)?))
    }

    /// A byte, truth value or enumeration of the options.
    pub fn byte(&self, field: usize) -> Result<u8, Fault> {
        self.options.as_ref().map_or(Ok(0), |options| Ok(options.u8(field, 0)?))
    }

    /// A real number of the options, `absent` where there are none.
    pub fn float(&self, field: usize, absent: f32) -> Result<f32, Fault> {
        self.options.as_ref().map_or(Ok(absent), |options| Ok(options.f32(field, 0.0)?))
    }

    /// A fused activation.
    pub fn activation(&self, field: usize) -> Result<Clamp, Fault> {
        match self.byte(field)? {
            0 => Ok(Clamp::NONE),
            1 => Ok(Clamp::RELU),
            2 => Ok(Clamp { low: -1.0, high: 1.0 }),
            3 => Ok(Clamp { low: 0.0, high: 6.0 }),
            other => Err(Fault::unsupported(format!("fused activation {other}"), "none, RELU, RELU_N1_TO_1, RELU6")),
        }
    }

    /// The tensor number of an operand.
    pub fn input(&self, at: usize) -> Result<i32, Fault> {
        self.inputs.get(at).copied().ok_or_else(|| Fault::Bad(format!("operand {at} is missing")))
    }

    /// The tensor number of its only result.
    pub fn output(&self) -> Result<i32, Fault> {
        match self.outputs.as_slice() {
            [output] => Ok(*output),
            all => Err(Fault::Bad(format!("{} results", all.len()))),
        }
    }
}

impl<'a> File<'a> {
    pub fn open(bytes: &'a [u8]) -> Result<Self, ImportError> {
        let damaged = |Damaged(reason): Damaged| malformed(reason);
        let model = Buffer(bytes).root().map_err(damaged)?;
        if model.count(2).map_err(damaged)? != 1 {
            return Err(malformed("it has several subgraphs, one is supported".into()));
        }
        let graph = model.entry(2, 0).map_err(damaged)?;
        let tensor_count = graph.count(0).map_err(damaged)?;
        let operator_count = graph.count(3).map_err(damaged)?;
        Ok(Self { model, graph, tensor_count, operator_count })
    }

    /// Name of the graph.
    pub fn name(&self) -> Result<String, ImportError> {
        self.graph.text(4).map_err(|Damaged(reason)| malformed(reason))
    }

    /// The tensor number of the only input.
    pub fn input(&self) -> Result<i32, ImportError> {
        self.only(1, "input")
    }

    /// The tensor number of the only output.
    pub fn output(&self) -> Result<i32, ImportError> {
        self.only(2, "output")
    }

    fn only(&self, field: usize, what: &str) -> Result<i32, ImportError> {
        match self.graph.i32s(field).map_err(|Damaged(reason)| malformed(reason))?.as_slice() {
            [index] => Ok(*index),
            all => Err(malformed(format!("it has {} {what}s, models with one {what} are supported", all.len()))),
        }
    }

    pub fn operator(&self, index: usize) -> Result<Operator<'a>, Fault> {
        let table = self.graph.entry(3, index)?;
        let at = usize::try_from(table.i32(0, 0)?).unwrap_or(usize::MAX);
        let code = self.model.entry(1, at)?;
        Ok(Operator {
            code: i32::from(code.u8(0, 0)?).max(code.i32(3, 0)?),
            inputs: table.i32s(1)?,
            outputs: table.i32s(2)?,
            options: table.table(4)?,
        })
    }

    /// A tensor by its number.
    pub fn tensor(&self, index: i32) -> Result<FileTensor<'a>, Fault> {
        let at = usize::try_from(index)
            .ok()
            .filter(|at| *at < self.tensor_count)
            .ok_or_else(|| Fault::Bad(format!("tensor {index} of {}", self.tensor_count)))?;
        let table = self.graph.entry(0, at)?;
        let name = table.text(3)?;
        let dims: Vec<i64> = table.i32s(0)?.into_iter().map(i64::from).collect();
        let shape = super::constant::checked_shape(&dims)
            .and_then(|shape| super::constant::checked_len(&shape).map(|_| shape))
            .map_err(|reason| Fault::Bad(format!("tensor `{}`: {reason}", shown(&name))))?;
        let buffer = usize::try_from(table.i32(2, 0)?).unwrap_or(usize::MAX);
        let data = self.model.entry(4, buffer)?.u8s(0)?;
        let quantization = table.table(4)?;
        let (scales, zero_points, channel_axis) = match quantization {
            Some(q) => (q.f32s(2)?, q.i64s(3)?, q.i32(6, 0)?),
            None => (Vec::new(), Vec::new(), 0),
        };
        if scales.iter().any(|scale| !(scale.is_finite() && *scale > 0.0)) {
            return Err(Fault::Bad(format!("tensor `{}` has a scale that is not positive", shown(&name))));
        }
        Ok(FileTensor { index, name, shape, kind: Kind::of(table.u8(1, 0)?), scales, zero_points, channel_axis, data })
    }
}

pub(super) fn malformed(reason: String) -> ImportError {
    ImportError::Malformed { format: "TFLite", reason }
}

impl From<Damaged> for Fault {
    fn from(Damaged(reason): Damaged) -> Self {
        Self::Bad(reason)
    }
}

/// Name of a builtin operator, its number if it is not a common one.
pub(super) fn op_name(code: i32) -> String {
    let name = match code {
        0 => "ADD",
        1 => "AVERAGE_POOL_2D",
        2 => "CONCATENATION",
        3 => "CONV_2D",
        4 => "DEPTHWISE_CONV_2D",
        5 => "DEPTH_TO_SPACE",
        6 => "DEQUANTIZE",
        9 => "FULLY_CONNECTED",
        14 => "LOGISTIC",
        16 => "LSTM",
        17 => "MAX_POOL_2D",
        18 => "MUL",
        19 => "RELU",
        20 => "RELU_N1_TO_1",
        21 => "RELU6",
        22 => "RESHAPE",
        23 => "RESIZE_BILINEAR",
        24 => "RNN",
        25 => "SOFTMAX",
        26 => "SPACE_TO_DEPTH",
        27 => "SVDF",
        28 => "TANH",
        32 => "CUSTOM",
        34 => "PAD",
        36 => "GATHER",
        37 => "BATCH_TO_SPACE_ND",
        38 => "SPACE_TO_BATCH_ND",
        39 => "TRANSPOSE",
        40 => "MEAN",
        41 => "SUB",
        42 => "DIV",
        43 => "SQUEEZE",
        44 => "UNIDIRECTIONAL_SEQUENCE_LSTM",
        45 => "STRIDED_SLICE",
        47 => "EXP",
        49 => "SPLIT",
        50 => "LOG_SOFTMAX",
        53 => "CAST",
        54 => "PRELU",
        55 => "MAXIMUM",
        56 => "ARG_MAX",
        57 => "MINIMUM",
        60 => "PADV2",
        65 => "SLICE",
        67 => "TRANSPOSE_CONV",
        70 => "EXPAND_DIMS",
        74 => "SUM",
        77 => "SHAPE",
        82 => "REDUCE_MAX",
        83 => "PACK",
        88 => "UNPACK",
        97 => "RESIZE_NEAREST_NEIGHBOR",
        98 => "LEAKY_RELU",
        100 => "MIRROR_PAD",
        101 => "ABS",
        102 => "SPLIT_V",
        105 => "REVERSE_V2",
        111 => "ELU",
        114 => "QUANTIZE",
        117 => "HARD_SWISH",
        119 => "WHILE",
        126 => "BATCH_MATMUL",
        150 => "GELU",
        _ => return format!("builtin operator {code}"),
    };
    name.to_owned()
}
