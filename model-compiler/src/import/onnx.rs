//! ONNX files to [`Graph`]: the walk over the nodes. What each operator becomes
//! is in the sibling modules.
//!
//! Only tract's protobuf types are used. Tensors keep the axes of the ONNX graph
//! while importing, and note how they are stored, so that transpositions between
//! channels-first and channels-last cost nothing where they meet.

use std::collections::HashMap;

use prost::Message;
use tract_onnx::pb::{
    GraphProto, ModelProto, NodeProto, ValueInfoProto, tensor_shape_proto::dimension::Value as DimValue, type_proto,
};

use super::attributes::Attributes;
use super::constant::{Constant, checked_len, checked_shape};
use super::value::{Activation, Value};
use super::{Budget, Fault, ImportError, ImportLimits, SUPPORTED_ONNX, fold, qoperator, shown, wire_scan};
use crate::ir::{Graph, Node, Op, Tensor, Unary};
use crate::strided::Strided;

/// Most length-delimited protobuf fields of a file; bounds the memory that decoding takes.
const MAX_FIELDS: u64 = 300_000;

/// ONNX data type number of 32-bit floats.
const FLOAT: i32 = 1;

/// That of truth values, which become 0 and 1.
const BOOL: i64 = 9;

/// Reads an ONNX file with one float input and one output. A dynamic batch
/// dimension becomes 1.
///
/// # Errors
/// [`ImportError`] names the node and the operator that cannot be used, or the
/// limit that was passed. No file makes it panic.
pub fn import(bytes: &[u8], limits: &ImportLimits) -> Result<Graph, ImportError> {
    let malformed = |reason: String| ImportError::Malformed { format: "ONNX", reason };
    let limit = |what: &str, found: u64, limit: u64| {
        if found <= limit {
            return Ok(());
        }
        Err(ImportError::Limit { what: what.to_owned(), found, limit })
    };
    limit("size of the model file in bytes", bytes.len() as u64, limits.max_bytes as u64)?;
    let fields = wire_scan::count_fields(bytes).map_err(malformed)?;
    limit("fields of the model file", fields, MAX_FIELDS)?;
    let model = ModelProto::decode(bytes).map_err(|error| malformed(error.to_string()))?;
    let opset = model
        .opset_import
        .iter()
        .filter(|set| set.domain.is_empty() || set.domain == "ai.onnx")
        .map(|set| set.version)
        .max()
        .unwrap_or(1);
    let file = model.graph.ok_or_else(|| malformed("it holds no graph".into()))?;
    limit("nodes of the graph", file.node.len() as u64, limits.max_nodes as u64)?;
    let file = qoperator::expanded(&file)?.unwrap_or(file);
    let mut graph = Importer::new(limits, opset).graph(&file)?;
    fold::fold(&mut graph);
    Ok(graph)
}

/// State of one import.
pub(super) struct Importer {
    pub opset: i64,
    pub budget: Budget,
    macs: Budget,
    values: HashMap<String, Value>,
    pub tensors: Vec<Tensor>,
    nodes: Vec<Node>,
    /// Name of the ONNX node being imported.
    current: String,
}

impl Importer {
    fn new(limits: &ImportLimits, opset: i64) -> Self {
        Self {
            opset,
            budget: Budget::new(limits.max_elements as u64),
            macs: Budget::new(limits.max_macs),
            values: HashMap::new(),
            tensors: Vec::new(),
            nodes: Vec::new(),
            current: String::new(),
        }
    }

    fn graph(mut self, file: &GraphProto) -> Result<Graph, ImportError> {
        let malformed = |reason: String| ImportError::Malformed { format: "ONNX", reason };
        let initializers: HashMap<&str, usize> =
            file.initializer.iter().enumerate().map(|(index, tensor)| (tensor.name.as_str(), index)).collect();
        let inputs: Vec<&ValueInfoProto> =
            file.input.iter().filter(|input| !initializers.contains_key(input.name.as_str())).collect();
        let learned = file.node.iter().any(|node| node.domain == "ai.onnx.ml");
        // Classifiers of scikit-learn's converter give labels and probabilities.
        let outputs: Vec<&ValueInfoProto> = file.output.iter().filter(|output| !is_label(output)).collect();
        let [output] = outputs.as_slice() else {
            return Err(malformed(format!(
                "it has {} outputs ({}), models with one output are supported, beside one of labels",
                file.output.len(),
                names(file.output.iter().map(|o| o.name.as_str()))
            )));
        };
        let (input_id, input_shape) = self.inputs(&inputs, learned)?;

        let wanted = wanted(file, &output.name);
        for (index, node) in file.node.iter().enumerate() {
            if !wanted[index] {
                continue;
            }
            self.current =
                if node.name.is_empty() { node.output.first().cloned().unwrap_or_default() } else { node.name.clone() };
            for name in &node.input {
                if self.values.contains_key(name) {
                    continue;
                }
                // An empty list is how converters leave an operand out.
                let given = |tensor: &&usize| file.initializer[**tensor].dims != [0];
                if let Some(tensor) = initializers.get(name.as_str()).filter(given) {
                    let constant = Constant::decode(&file.initializer[*tensor], &mut self.budget)
                        .map_err(|fault| fault.at(&self.current, &node.op_type))?;
                    self.values.insert(name.clone(), Value::Constant(constant));
                }
            }
            let values = self.node(node).map_err(|fault| fault.at(&self.current, &node.op_type))?;
            let names = node.output.iter().skip(usize::from(is_classifier(node)));
            for (name, value) in names.zip(values) {
                self.values.insert(name.clone(), value);
            }
        }
        self.current = output.name.clone();
        let at_output = |fault: Fault| fault.at(&output.name, "output");
        let value = match self.values.get(&output.name) {
            Some(Value::Activation(value)) => value.clone(),
            Some(Value::Constant(_)) => {
                return Err(malformed(format!("its output `{}` is a constant", shown(&output.name))));
            }
            None => {
                return Err(malformed(format!("no node makes its output `{}`", shown(&output.name))));
            }
        };
        let output_shape = value.shape.clone();
        let value = self.plain(&value).map_err(at_output)?;
        if self.nodes.is_empty() {
            return Err(malformed("it computes nothing".into()));
        }
        // Raw sensor values of different sizes, thresholds of trees: eight bits would spoil them.
        self.nodes.iter_mut().for_each(|node| node.real |= learned);
        Ok(Graph {
            name: file.name.clone(),
            format: "onnx",
            tensors: self.tensors,
            nodes: self.nodes,
            input: input_id,
            output: value.tensor,
            input_shape,
            output_shape,
        })
    }

    /// The only input, or one column of a table each, which become one input side by side.
    fn inputs(&mut self, inputs: &[&ValueInfoProto], learned: bool) -> Result<(usize, Vec<usize>), ImportError> {
        let malformed = |reason: String| ImportError::Malformed { format: "ONNX", reason };
        let mut shapes = Vec::with_capacity(inputs.len());
        for input in inputs {
            shapes.push(input_shape(input, learned).map_err(malformed)?);
        }
        if let ([input], [shape]) = (inputs, shapes.as_slice()) {
            let at_input = |fault: Fault| fault.at(&input.name, "input");
            let value = self.activation(&input.name, shape.clone()).map_err(at_input)?;
            let tensor = value.tensor;
            self.values.insert(input.name.clone(), Value::Activation(value));
            return Ok((tensor, shape.clone()));
        }
        let columns = shapes.iter().all(|shape| matches!(shape.as_slice(), [1, _] | [1]));
        if !learned || !columns || inputs.is_empty() {
            return Err(malformed(format!(
                "it has {} inputs ({}), models with one input are supported, and columns of scikit-learn's",
                inputs.len(),
                names(inputs.iter().map(|i| i.name.as_str()))
            )));
        }
        let at_input = |fault: Fault| fault.at("inputs", "input");
        let width = shapes.iter().map(|shape| shape.iter().product::<usize>()).sum();
        let table = self.activation("columns", vec![1, width]).map_err(at_input)?;
        let mut begin = 0;
        for (input, shape) in inputs.iter().zip(shapes) {
            let count = shape.iter().product();
            self.current.clone_from(&input.name);
            let op = Op::Strided { path: Strided { counts: vec![count], steps: vec![1], begin } };
            let tensor = self.push(op, vec![table.tensor], shape.clone()).map_err(at_input)?;
            self.values.insert(input.name.clone(), Value::Activation(Activation::plain(tensor, shape)));
            begin += count;
        }
        Ok((table.tensor, vec![1, width]))
    }

    /// Imports one node; the values are those of its first outputs.
    fn node(&mut self, node: &NodeProto) -> Result<Vec<Value>, Fault> {
        if node.domain == "ai.onnx.ml" {
            return self.ml_node(node, &Attributes(node)).map(|value| vec![Value::Activation(value)]);
        }
        // Microsoft's set has some of the same operators, with the same meaning.
        let same = node.domain == "com.microsoft"
            && matches!(node.op_type.as_str(), "QuantizeLinear" | "DequantizeLinear" | "Gelu");
        if !(node.domain.is_empty() || node.domain == "ai.onnx" || same) {
            return Err(Fault::unsupported(
                format!("the operator set `{}` is unknown", shown(&node.domain)),
                SUPPORTED_ONNX,
            ));
        }
        let attributes = Attributes(node);
        if let Some(constant) = self.constant_node(node, &attributes)? {
            return Ok(vec![Value::Constant(constant)]);
        }
        if node.op_type == "Split" {
            return Ok(self.split(node, &attributes)?.into_iter().map(Value::Activation).collect());
        }
        let value = match node.op_type.as_str() {
            "Cast" if attributes.int("to", 1) == i64::from(FLOAT) => self.input(node, 0)?,
            "Cast" if attributes.int("to", 1) == BOOL => self.unary(node, Unary::Truth)?,
            "Cast" => {
                return Err(Fault::unsupported(
                    "values become integers at run time (as in isolation forests, and before label encoders)",
                    "Cast to float and bool",
                ));
            }
            "Not" => {
                let value = self.input(node, 0)?;
                let last = value.shape.len().checked_sub(1).ok_or_else(|| Fault::Bad("a scalar".into()))?;
                let width = value.shape[last];
                self.affine(&value, last, vec![-1.0; width], vec![1.0; width])?
            }
            "Slice" => self.slice(node, &attributes)?,
            "Gather" => self.gather(node, &attributes)?,
            "Resize" | "Upsample" => self.resize(node, &attributes)?,
            "DepthToSpace" | "SpaceToDepth" => self.blocks(node, &attributes)?,
            "Max" | "Min" => self.extreme(node)?,
            "PRelu" => self.prelu(node)?,
            "ReduceMean" | "ReduceMax" | "ReduceSum" => self.reduce(node, &attributes)?,
            "Neg" => self.negate(node)?,
            // What QuantizeLinear noted on the tensor is all that the pair means here.
            "Identity" | "Dropout" | "DequantizeLinear" => self.input(node, 0)?,
            "QuantizeLinear" => self.quantize_linear(node)?,
            "Flatten" | "Reshape" | "Squeeze" | "Unsqueeze" | "Transpose" => self.shape_node(node, &attributes)?,
            "Conv" => self.conv(node, &attributes)?,
            "ConvTranspose" => self.conv_transpose(node, &attributes)?,
            "MaxPool" | "AveragePool" | "GlobalAveragePool" | "GlobalMaxPool" => self.pool(node, &attributes)?,
            "Gemm" => self.gemm(node, &attributes)?,
            "MatMul" => self.matmul(node)?,
            "Add" | "Sub" | "Mul" | "Div" => self.arithmetic(node)?,
            "BatchNormalization" => self.batch_norm(node, &attributes)?,
            "Relu" | "Clip" => self.clamp(node, &attributes)?,
            "Softmax" => self.softmax(node, &attributes)?,
            "Concat" => self.concat(node, &attributes)?,
            "Pad" => self.pad(node, &attributes)?,
            "Sigmoid" => self.unary(node, Unary::Sigmoid)?,
            "Abs" => self.unary(node, Unary::Abs)?,
            "Log" => self.unary(node, Unary::Log)?,
            "Reciprocal" => self.unary(node, Unary::Reciprocal)?,
            "Exp" => self.unary(node, Unary::Exp)?,
            "Sqrt" => self.unary(node, Unary::Sqrt)?,
            "Erf" => self.unary(node, Unary::Erf)?,
            "Softplus" => self.unary(node, Unary::Softplus)?,
            "Softsign" => self.unary(node, Unary::Softsign)?,
            "Selu" => {
                let alpha = attributes.float("alpha", 1.673_263_2);
                self.unary(node, Unary::Selu { alpha, gamma: attributes.float("gamma", 1.050_701) })?
            }
            "Gelu" => {
                let tanh = attributes.text("approximate").as_deref() == Some("tanh");
                self.unary(node, if tanh { Unary::GeluTanh } else { Unary::Gelu })?
            }
            "Tanh" => self.unary(node, Unary::Tanh)?,
            "HardSwish" => self.unary(node, Unary::HardSwish)?,
            "LeakyRelu" => self.unary(node, Unary::LeakyRelu { alpha: attributes.float("alpha", 0.01) })?,
            "Elu" => self.unary(node, Unary::Elu { alpha: attributes.float("alpha", 1.0) })?,
            "HardSigmoid" => {
                let alpha = attributes.float("alpha", 0.2);
                self.unary(node, Unary::HardSigmoid { alpha, beta: attributes.float("beta", 0.5) })?
            }
            _ => {
                return Err(Fault::unsupported("the compiler does not have this operator", SUPPORTED_ONNX));
            }
        };
        Ok(vec![Value::Activation(value)])
    }

    /// True if a softmax made this tensor.
    pub fn made_by_softmax(&self, tensor: usize) -> bool {
        self.nodes.iter().any(|node| node.output == tensor && matches!(node.op, Op::Softmax { .. }))
    }

    /// What an operand's name stands for.
    pub fn value(&self, node: &NodeProto, index: usize) -> Result<&Value, Fault> {
        let name = node
            .input
            .get(index)
            .filter(|name| !name.is_empty())
            .ok_or_else(|| Fault::Bad(format!("operand {index} is missing")))?;
        self.values
            .get(name)
            .ok_or_else(|| Fault::Bad(format!("reads `{}`, which nothing before it makes", shown(name))))
    }

    /// True if the node has this optional operand.
    pub fn has(node: &NodeProto, index: usize) -> bool {
        node.input.get(index).is_some_and(|name| !name.is_empty())
    }

    /// An operand that is computed at run time.
    pub fn input(&self, node: &NodeProto, index: usize) -> Result<Activation, Fault> {
        match self.value(node, index)? {
            Value::Activation(value) => Ok(value.clone()),
            Value::Constant(_) => {
                Err(Fault::unsupported(format!("operand {index} is a constant"), "a computed operand there"))
            }
        }
    }

    /// An operand that is known at compile time.
    pub fn constant(&self, node: &NodeProto, index: usize) -> Result<&Constant, Fault> {
        match self.value(node, index)? {
            Value::Constant(value) => Ok(value),
            Value::Activation(_) => {
                Err(Fault::unsupported(format!("operand {index} is computed at run time"), "a constant there"))
            }
        }
    }

    /// A new activation, stored row-major.
    pub fn activation(&mut self, name: &str, shape: Vec<usize>) -> Result<Activation, Fault> {
        let len = checked_len(&shape).map_err(Fault::Bad)?;
        self.budget.take(len, "elements of the model")?;
        self.tensors.push(Tensor { name: name.to_owned(), shape: shape.clone(), quantization: None });
        Ok(Activation::plain(self.tensors.len() - 1, shape))
    }

    /// Adds a node that writes a new tensor of this stored shape.
    pub fn push(&mut self, op: Op, inputs: Vec<usize>, stored: Vec<usize>) -> Result<usize, Fault> {
        self.macs.take(
            usize::try_from(op.work()).unwrap_or(usize::MAX),
            "multiply-accumulates and window reads of an inference",
        )?;
        let name = self.current.clone();
        let output = self.activation(&name, stored)?.tensor;
        self.nodes.push(Node { name, inputs, output, op, real: false });
        Ok(output)
    }

    /// The value stored row-major in its own shape.
    pub fn plain(&mut self, value: &Activation) -> Result<Activation, Fault> {
        if let Some(plain) = value.rebased().filter(Activation::is_plain) {
            return Ok(plain);
        }
        let order: Vec<usize> = (0..value.base.len()).collect();
        let stored = self.stored(value, &order)?;
        Ok(Activation::plain(stored.tensor, value.shape.clone()))
    }

    /// The value with the axes of its own shape stored in this order.
    pub fn arranged(&mut self, value: &Activation, order: &[usize]) -> Result<Activation, Fault> {
        let value = match value.rebased() {
            Some(value) => value,
            None => self.plain(value)?,
        };
        self.stored(&value, order)
    }

    /// The value with the axes of its base stored in this order.
    fn stored(&mut self, value: &Activation, order: &[usize]) -> Result<Activation, Fault> {
        if value.is_stored(order) {
            return Ok(Activation { order: order.to_vec(), ..value.clone() });
        }
        let dims = value.stored_dims();
        let perm: Vec<usize> =
            order.iter().filter_map(|axis| value.order.iter().position(|stored| stored == axis)).collect();
        let stored: Vec<usize> = order.iter().map(|axis| value.base[*axis]).collect();
        let tensor = self.push(
            Op::Strided { path: Strided::transposed(&dims, &perm).simplified() },
            vec![value.tensor],
            stored,
        )?;
        Ok(Activation { tensor, order: order.to_vec(), ..value.clone() })
    }
}

/// Shape of the graph's input with batch 1.
fn input_shape(input: &ValueInfoProto, numbers: bool) -> Result<Vec<usize>, String> {
    /// Also doubles and integers, which a table's columns may be.
    const NUMBERS: [i32; 5] = [FLOAT, 11, 6, 7, 9];
    let name = shown(&input.name);
    let tensor = match input.r#type.as_ref().and_then(|t| t.value.as_ref()) {
        Some(type_proto::Value::TensorType(tensor)) => tensor,
        None => return Err(format!("its input `{name}` is no tensor")),
    };
    if tensor.elem_type != FLOAT && !(numbers && NUMBERS.contains(&tensor.elem_type)) {
        return Err(format!("its input `{name}` has element type {}, 32-bit floats are supported", tensor.elem_type));
    }
    let shape =
        tensor.shape.as_ref().ok_or_else(|| format!("its input `{name}` has no shape; export the model with one"))?;
    let mut dims = Vec::with_capacity(shape.dim.len());
    for (axis, dim) in shape.dim.iter().enumerate() {
        match &dim.value {
            Some(DimValue::DimValue(size)) if *size > 0 => dims.push(*size),
            _ if axis == 0 => dims.push(1),
            _ => {
                return Err(format!(
                    "dimension {axis} of its input `{name}` is dynamic; only the first (the batch) may be"
                ));
            }
        }
    }
    if dims.len() > 1 && dims[0] != 1 {
        return Err(format!(
            "its input `{name}` has batch size {}; export the model with batch size 1 or a dynamic one",
            dims[0]
        ));
    }
    checked_shape(&dims).map_err(|reason| format!("its input `{name}`: {reason}"))
}

/// True for an output of class labels: integers or text.
fn is_label(output: &ValueInfoProto) -> bool {
    const INT64: i32 = 7;
    const TEXT: i32 = 8;
    match output.r#type.as_ref().and_then(|kind| kind.value.as_ref()) {
        Some(type_proto::Value::TensorType(tensor)) => matches!(tensor.elem_type, INT64 | TEXT),
        _ => false,
    }
}

/// True for nodes whose first output is a label and whose second holds the scores.
fn is_classifier(node: &NodeProto) -> bool {
    node.domain == "ai.onnx.ml" && node.op_type.ends_with("Classifier")
}

/// Which nodes the output depends on.
fn wanted(file: &GraphProto, output: &str) -> Vec<bool> {
    let maker: HashMap<&str, usize> = file
        .node
        .iter()
        .enumerate()
        .flat_map(|(index, node)| node.output.iter().map(move |name| (name.as_str(), index)))
        .collect();
    let mut wanted = vec![false; file.node.len()];
    let mut open = vec![output];
    while let Some(name) = open.pop() {
        if let Some(&index) = maker.get(name)
            && !wanted[index]
        {
            wanted[index] = true;
            open.extend(file.node[index].input.iter().map(String::as_str));
        }
    }
    wanted
}

fn names<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let list: Vec<String> = names.take(5).map(shown).collect();
    list.join(", ")
}
