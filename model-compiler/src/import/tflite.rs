//! int8 TFLite files to [`QuantGraph`]: nothing is quantized anew, the file's
//! scales and zero points are kept, so that results equal TFLite's bit for bit.
//!
//! Field numbers are those of tensorflow/lite/schema/schema.fbs, version 3.

use super::flatbuffer::{Buffer, Damaged, Table, words};
use super::{Budget, Fault, ImportError, ImportLimits, SUPPORTED_TFLITE, shown};
use crate::ir::TensorId;
use crate::qir::{QNode, QOp, QTensor, QuantGraph};

/// True if the bytes carry TFLite's file identifier.
pub fn is_tflite(bytes: &[u8]) -> bool {
    bytes.get(4..8) == Some(b"TFL3")
}

/// Reads an int8 TFLite file with one input and one output.
///
/// # Errors
/// [`ImportError`] names the operator that cannot be used, or the limit that was
/// passed. No file makes it panic.
pub fn import(bytes: &[u8], limits: &ImportLimits) -> Result<QuantGraph, ImportError> {
    if bytes.len() > limits.max_bytes {
        return Err(ImportError::Limit {
            what: "size of the model file in bytes".into(),
            found: bytes.len() as u64,
            limit: limits.max_bytes as u64,
        });
    }
    if !is_tflite(bytes) {
        return Err(malformed("it does not carry the identifier TFL3".into()));
    }
    let damaged = |Damaged(reason): Damaged| malformed(reason);
    let model = Buffer(bytes).root().map_err(damaged)?;
    let graph = model.entry(2, 0).map_err(damaged)?;
    Importer {
        model,
        graph,
        tensor_count: graph.count(0).map_err(damaged)?,
        elements: Budget::new(limits.max_elements as u64),
        work: Budget::new(limits.max_macs),
        values: Vec::new(),
        tensors: Vec::new(),
        nodes: Vec::new(),
    }
    .import(limits)
}

fn malformed(reason: String) -> ImportError {
    ImportError::Malformed { format: "TFLite", reason }
}

impl From<Damaged> for Fault {
    fn from(Damaged(reason): Damaged) -> Self {
        Self::Bad(reason)
    }
}

/// Element type number of int8.
pub(super) const INT8: u8 = 9;
/// Element type number of int32.
const INT32: u8 = 2;

/// A tensor of the file.
pub(super) struct FileTensor<'a> {
    pub name: String,
    pub shape: Vec<usize>,
    pub kind: u8,
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

    /// The elements of a constant int8 tensor.
    pub fn int8(&self) -> Result<Vec<i8>, Fault> {
        if self.kind != INT8 {
            return Err(Fault::unsupported(
                format!("constant `{}` is {}", shown(&self.name), type_name(self.kind)),
                "int8 weights",
            ));
        }
        self.check_len(1)?;
        Ok(self.data.iter().map(|byte| byte.cast_signed()).collect())
    }

    /// The elements of a constant int32 tensor.
    pub fn int32(&self) -> Result<Vec<i32>, Fault> {
        if self.kind != INT32 {
            return Err(Fault::unsupported(
                format!("constant `{}` is {}", shown(&self.name), type_name(self.kind)),
                "int32 biases",
            ));
        }
        self.check_len(4)?;
        Ok(words(self.data).map(i32::from_le_bytes).collect())
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

/// State of one import.
pub(super) struct Importer<'a> {
    model: Table<'a>,
    graph: Table<'a>,
    tensor_count: usize,
    elements: Budget,
    work: Budget,
    /// Which activation each tensor of the file is: (file index, ours).
    values: Vec<Option<TensorId>>,
    pub(super) tensors: Vec<QTensor>,
    nodes: Vec<QNode>,
}

impl<'a> Importer<'a> {
    fn import(mut self, limits: &ImportLimits) -> Result<QuantGraph, ImportError> {
        let damaged = |Damaged(reason): Damaged| malformed(reason);
        if self.model.count(2).map_err(damaged)? != 1 {
            return Err(malformed("it has several subgraphs, one is supported".into()));
        }
        let node_count = self.graph.count(3).map_err(damaged)?;
        if node_count > limits.max_nodes {
            return Err(ImportError::Limit {
                what: "nodes of the graph".into(),
                found: node_count as u64,
                limit: limits.max_nodes as u64,
            });
        }
        let only = |field: usize, what: &str| -> Result<i32, ImportError> {
            match self.graph.i32s(field).map_err(damaged)?.as_slice() {
                [index] => Ok(*index),
                all => Err(malformed(format!("it has {} {what}s, models with one {what} are supported", all.len()))),
            }
        };
        let (input, output) = (only(1, "input")?, only(2, "output")?);
        self.values = vec![None; self.tensor_count];
        let at_input = |fault: Fault| fault.at("input", "input");
        let input_tensor = self.tensor(input).map_err(at_input)?;
        let input_shape = input_tensor.shape.clone();
        let input_id = self.activation(input).map_err(at_input)?;
        for index in 0..node_count {
            let operator = self.graph.entry(3, index).map_err(damaged)?;
            let outputs = operator.i32s(2).map_err(damaged)?;
            let name = match outputs.first() {
                Some(first) => self.tensor(*first).map(|tensor| tensor.name),
                None => Err(Fault::Bad("it has no output".into())),
            }
            .map_err(|fault| fault.at(&format!("operator {index}"), "operator"))?;
            let code = self.code(&operator).map_err(|fault| fault.at(&name, "operator"))?;
            self.operator(&name, code, &operator).map_err(|fault| fault.at(&name, &op_name(code)))?;
        }
        let at_output = |fault: Fault| fault.at("output", "output");
        let output_shape = self.tensor(output).map_err(at_output)?.shape;
        let output_id = self.known(output).map_err(at_output)?;
        if self.nodes.is_empty() {
            return Err(malformed("it computes nothing".into()));
        }
        let name = self.graph.text(4).map_err(damaged)?;
        Ok(QuantGraph {
            name,
            tensors: self.tensors,
            nodes: self.nodes,
            input: input_id,
            output: output_id,
            input_shape,
            output_shape,
        })
    }

    /// Builtin operator number.
    fn code(&self, operator: &Table<'a>) -> Result<i32, Fault> {
        let index = usize::try_from(operator.i32(0, 0)?).unwrap_or(usize::MAX);
        let code = self.model.entry(1, index)?;
        Ok(i32::from(code.u8(0, 0)?).max(code.i32(3, 0)?))
    }

    /// A tensor of the file by its index.
    pub(super) fn tensor(&self, index: i32) -> Result<FileTensor<'a>, Fault> {
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
        Ok(FileTensor { name, shape, kind: table.u8(1, 0)?, scales, zero_points, channel_axis, data })
    }

    /// Makes the activation of a tensor of the file.
    pub(super) fn activation(&mut self, index: i32) -> Result<TensorId, Fault> {
        let tensor = self.tensor(index)?;
        if tensor.kind != INT8 {
            return Err(Fault::unsupported(
                format!("tensor `{}` is {}", shown(&tensor.name), type_name(tensor.kind)),
                "int8 activations; convert the model with full integer quantization, or export ONNX",
            ));
        }
        let ([scale], [zero_point]) = (tensor.scales.as_slice(), tensor.zero_points.as_slice()) else {
            return Err(Fault::Bad(format!(
                "tensor `{}` has {} scales and {} zero points",
                shown(&tensor.name),
                tensor.scales.len(),
                tensor.zero_points.len()
            )));
        };
        let zero_point = i32::try_from(*zero_point)
            .ok()
            .filter(|zero| (-128..=127).contains(zero))
            .ok_or_else(|| Fault::Bad(format!("zero point {zero_point}")))?;
        if tensor.shape.len() > 1 && tensor.shape[0] != 1 {
            return Err(Fault::unsupported(format!("batch size {}", tensor.shape[0]), "batch size 1"));
        }
        self.elements.take(tensor.len(), "elements of the model")?;
        self.tensors.push(QTensor { name: tensor.name, shape: tensor.shape, scale: *scale, zero_point });
        let id = self.tensors.len() - 1;
        self.set(index, id);
        Ok(id)
    }

    /// Notes which activation a tensor of the file is.
    pub(super) fn set(&mut self, index: i32, id: TensorId) {
        if let Some(value) = usize::try_from(index).ok().and_then(|at| self.values.get_mut(at)) {
            *value = Some(id);
        }
    }

    /// The activation of a tensor of the file that something before has made.
    pub(super) fn known(&self, index: i32) -> Result<TensorId, Fault> {
        usize::try_from(index)
            .ok()
            .and_then(|at| self.values.get(at).copied().flatten())
            .ok_or_else(|| Fault::Bad(format!("tensor {index} is read before anything makes it")))
    }

    /// Adds a node.
    pub(super) fn push(&mut self, name: &str, op: QOp, inputs: Vec<TensorId>, output: TensorId) -> Result<(), Fault> {
        self.work.take(
            usize::try_from(op.work()).unwrap_or(usize::MAX),
            "multiply-accumulates and window reads of an inference",
        )?;
        self.nodes.push(QNode { name: name.to_owned(), inputs, output, op });
        Ok(())
    }
}

/// Name of a builtin operator, its number if it is not a common one.
fn op_name(code: i32) -> String {
    let name = match code {
        0 => "ADD",
        1 => "AVERAGE_POOL_2D",
        2 => "CONCATENATION",
        3 => "CONV_2D",
        4 => "DEPTHWISE_CONV_2D",
        6 => "DEQUANTIZE",
        9 => "FULLY_CONNECTED",
        14 => "LOGISTIC",
        16 => "LSTM",
        17 => "MAX_POOL_2D",
        18 => "MUL",
        19 => "RELU",
        21 => "RELU6",
        22 => "RESHAPE",
        25 => "SOFTMAX",
        28 => "TANH",
        32 => "CUSTOM",
        34 => "PAD",
        39 => "TRANSPOSE",
        40 => "MEAN",
        41 => "SUB",
        43 => "SQUEEZE",
        45 => "STRIDED_SLICE",
        49 => "SPLIT",
        97 => "RESIZE_NEAREST_NEIGHBOR",
        98 => "LEAKY_RELU",
        114 => "QUANTIZE",
        117 => "HARD_SWISH",
        _ => return format!("builtin operator {code}"),
    };
    name.to_owned()
}

/// Name of an element type.
fn type_name(kind: u8) -> &'static str {
    ["float32", "float16", "int32", "uint8", "int64", "string", "bool", "int16", "complex64", "int8"]
        .get(usize::from(kind))
        .copied()
        .unwrap_or("of an unknown type")
}

/// The refusal of an operator that the compiler does not have.
pub(super) fn unknown_operator() -> Fault {
    Fault::unsupported("the compiler does not have this operator", SUPPORTED_TFLITE)
}
