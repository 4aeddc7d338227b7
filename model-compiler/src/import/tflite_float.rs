//! Float TFLite files to [`Graph`], to be quantized with calibration data. int8
//! weights of dynamic-range models become float again.

use std::collections::HashMap;

use super::flatbuffer::words;
use super::tflite_file::{File, FileTensor, Kind, malformed, op_name};
use super::tflite_step::{Function, Pick, Reduction, Step, step, turned};
use super::{Budget, Fault, ImportError, ImportLimits, fold, shown};
use crate::half;
use crate::ir::{Binary, Clamp, Graph, Node, Op, Tensor, TensorId, Unary, Window};

/// True if no operator has an 8-bit result.
pub(super) fn is_float(file: &File<'_>) -> Result<bool, Fault> {
    for index in 0..file.operator_count {
        for output in file.operator(index)?.outputs {
            if matches!(file.tensor(output)?.kind, Kind::Int8 | Kind::Uint8) {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// State of one import.
struct Importer<'a> {
    file: File<'a>,
    elements: Budget,
    work: Budget,
    /// Which activation each tensor of the file is.
    values: Vec<Option<TensorId>>,
    /// Tensors that are others, as 32-bit floats.
    widened: HashMap<i32, i32>,
    tensors: Vec<Tensor>,
    nodes: Vec<Node>,
}

/// Imports a file whose activations are float.
pub(super) fn import(file: File<'_>, limits: &ImportLimits) -> Result<Graph, ImportError> {
    let mut importer = Importer {
        file,
        elements: Budget::new(limits.max_elements as u64),
        work: Budget::new(limits.max_macs),
        values: vec![None; file.tensor_count],
        widened: HashMap::new(),
        tensors: Vec::new(),
        nodes: Vec::new(),
    };
    let (input, output) = (file.input()?, file.output()?);
    let at_input = |fault: Fault| fault.at("input", "input");
    let input_shape = file.tensor(input).map_err(at_input)?.shape;
    if input_shape.len() > 1 && input_shape[0] != 1 {
        let fault = Fault::unsupported(format!("batch size {}", input_shape[0]), "batch size 1");
        return Err(fault.at("input", "input"));
    }
    let input = importer.activation(input).map_err(at_input)?;
    for index in 0..file.operator_count {
        let at_operator = |fault: Fault| fault.at(&format!("operator {index}"), "operator");
        let operator = file.operator(index).map_err(at_operator)?;
        let first = operator.outputs.first().copied().unwrap_or(-1);
        let name = file.tensor(first).map_err(at_operator)?.name;
        step(&file, &operator)
            .and_then(|step| importer.node(&name, &operator.inputs, &operator.outputs, step))
            .map_err(|fault| fault.at(&name, &op_name(operator.code)))?;
    }
    let at_output = |fault: Fault| fault.at("output", "output");
    let output_shape = file.tensor(output).map_err(at_output)?.shape;
    let output = importer.known(output).map_err(at_output)?;
    if importer.nodes.is_empty() {
        return Err(malformed("it computes nothing".into()));
    }
    let name = file.name()?;
    let (tensors, nodes) = (importer.tensors, importer.nodes);
    let mut graph = Graph { name, format: "tflite", tensors, nodes, input, output, input_shape, output_shape };
    fold::fold(&mut graph);
    Ok(graph)
}

impl Importer<'_> {
    fn activation(&mut self, index: i32) -> Result<TensorId, Fault> {
        let tensor = self.file.tensor(index)?;
        if tensor.kind != Kind::Float32 {
            return Err(Fault::unsupported(
                format!("tensor `{}` is {}", shown(&tensor.name), tensor.kind.name()),
                "float32 activations and weights, or int8 throughout",
            ));
        }
        let id = self.new_tensor(tensor.name, tensor.shape)?;
        self.set(index, id);
        Ok(id)
    }

    fn new_tensor(&mut self, name: String, shape: Vec<usize>) -> Result<TensorId, Fault> {
        let tensor = Tensor { name, shape, quantization: None };
        self.elements.take(tensor.len(), "elements of the model")?;
        self.tensors.push(tensor);
        Ok(self.tensors.len() - 1)
    }

    fn set(&mut self, index: i32, id: TensorId) {
        if let Some(value) = usize::try_from(index).ok().and_then(|at| self.values.get_mut(at)) {
            *value = Some(id);
        }
    }

    fn known(&self, index: i32) -> Result<TensorId, Fault> {
        let id = usize::try_from(index).ok().and_then(|at| self.values.get(at).copied().flatten());
        match id {
            Some(id) => Ok(id),
            None => {
                let name = self.file.tensor(index)?.name;
                Err(Fault::unsupported(
                    format!("operand `{}` is a constant, or read before it is made", shown(&name)),
                    "a computed operand there",
                ))
            }
        }
    }

    fn push(&mut self, name: &str, op: Op, inputs: Vec<TensorId>, output: TensorId) -> Result<(), Fault> {
        self.work.take(
            usize::try_from(op.work()).unwrap_or(usize::MAX),
            "multiply-accumulates and window reads of an inference",
        )?;
        self.nodes.push(Node { name: name.to_owned(), inputs, output, op, real: false });
        Ok(())
    }

    fn node(&mut self, name: &str, inputs: &[i32], outputs: &[i32], step: Step<'_>) -> Result<(), Fault> {
        // A transposed convolution has its shape and weights first.
        let first = usize::from(matches!(step, Step::Conv { turned: true, .. })) * 2;
        let first = inputs.get(first).copied().unwrap_or(-1);
        let output = outputs.first().copied().unwrap_or(-1);
        match step {
            Step::Nothing => {
                if self.file.tensor(first).is_ok_and(|tensor| tensor.kind == Kind::Float16) {
                    self.widened.insert(output, first);
                }
                Ok(())
            }
            Step::Dequantize if self.file.tensor(first)?.kind != Kind::Float32 => {
                // A constant of 8 bits that is widened when the model starts.
                self.widened.insert(output, first);
                Ok(())
            }
            Step::Gather(picks) => {
                let mut from = self.known(first)?;
                let last = picks.len().saturating_sub(1);
                for (at, pick) in picks.into_iter().enumerate() {
                    let to = if at == last {
                        self.activation(output)?
                    } else {
                        self.new_tensor(name.to_owned(), vec![pick.len()])?
                    };
                    let Pick { outer, count, inner, indices } = pick;
                    self.push(name, Op::Gather { outer, count, inner, indices }, vec![from], to)?;
                    from = to;
                }
                self.set(output, from);
                Ok(())
            }
            Step::Reshape => {
                let from = self.known(first)?;
                self.set(output, from);
                Ok(())
            }
            Step::Move { from, paths } => {
                let from = self.known(from)?;
                for (path, output) in paths.into_iter().zip(outputs) {
                    if path.is_identity(self.tensors[from].len()) {
                        self.set(*output, from);
                        continue;
                    }
                    let to = self.activation(*output)?;
                    self.push(name, Op::Strided { path: path.simplified() }, vec![from], to)?;
                }
                Ok(())
            }
            Step::Binary { function, meet, first, second, constant, clamp } => {
                let from = self.known(first)?;
                let (constant, mut operands) = match constant {
                    Some(constant) => (Some(self.floats(&constant, 0)?), vec![from]),
                    None => (None, vec![from, self.known(second)?]),
                };
                let to = self.activation(output)?;
                let same = operands.len() == 2
                    && operands.iter().all(|operand| self.tensors[*operand].len() == self.tensors[to].len());
                if function == Binary::Add && same {
                    return self.push(name, Op::Add { clamp }, operands, to);
                }
                operands.truncate(2);
                self.push(name, Op::Binary { function, meet, constant, clamp }, operands, to)
            }
            Step::Concat { operands, outer, inner } => {
                let operands = operands.iter().map(|input| self.known(*input)).collect::<Result<Vec<_>, _>>()?;
                let to = self.activation(output)?;
                self.push(name, Op::Concat { outer, inner }, operands, to)
            }
            step => self.computed(name, first, output, step),
        }
    }

    /// Operators with one computed operand.
    fn computed(&mut self, name: &str, first: i32, output: i32, step: Step<'_>) -> Result<(), Fault> {
        let mut from = self.known(first)?;
        let mut clamped = Clamp::NONE;
        let op = match step {
            Step::Conv { window, out_c, depthwise, turned: around, weights, bias, clamp } => {
                let mut weights = self.floats(&weights, if depthwise { 3 } else { 0 })?;
                if around {
                    weights = turned(&weights, &window);
                }
                let bias = self.bias(bias.as_ref(), out_c)?;
                if depthwise {
                    Op::DepthwiseConv2d { window, multiplier: out_c / window.in_c, weights, bias, clamp }
                } else {
                    Op::Conv2d { window, out_c, weights, bias, clamp }
                }
            }
            Step::Dense { rows, inputs, outputs, weights, bias, clamp } => {
                let weights = self.floats(&weights, 0)?;
                let bias = self.bias(bias.as_ref(), outputs)?;
                if rows > 1 {
                    Op::Conv2d { window: Window::pointwise(rows, inputs), out_c: outputs, weights, bias, clamp }
                } else {
                    Op::Dense { inputs, outputs, weights, bias, clamp }
                }
            }
            Step::Pool { window, max, clamp } => {
                clamped = clamp;
                if max { Op::MaxPool { window } } else { Op::AveragePool { window } }
            }
            Step::Softmax { rows, depth, beta } => {
                if (beta - 1.0).abs() > f32::EPSILON {
                    return Err(Fault::unsupported(format!("beta {beta}"), "beta 1 in float models"));
                }
                Op::Softmax { rows, depth }
            }
            Step::Function(function) => Op::Unary {
                function: match function {
                    Function::Logistic => Unary::Sigmoid,
                    Function::Tanh => Unary::Tanh,
                    Function::HardSwish => Unary::HardSwish,
                    Function::LeakyRelu(alpha) => Unary::LeakyRelu { alpha },
                },
            },
            Step::Clamp(clamp) => Op::Clamp { clamp },
            Step::Pad { dims, before, after, fill } => {
                let fill = match fill {
                    Some(fill) => self.floats(&fill, 0)?.first().copied().unwrap_or(0.0),
                    None => 0.0,
                };
                Op::Pad { dims, before, after, fill }
            }
            Step::Interpolate { width, channels, rows, columns } => Op::Interpolate { width, channels, rows, columns },
            Step::Reduce { path, outer, count, inner, reduction } => {
                if let Some(path) = path {
                    let turned = self.new_tensor(name.to_owned(), vec![path.len()])?;
                    self.push(name, Op::Strided { path }, vec![from], turned)?;
                    from = turned;
                }
                let row = Window::pointwise(count, inner);
                let window = Window { in_h: outer, out_h: outer, out_w: 1, kernel_w: count, ..row };
                match reduction {
                    Reduction::Sum => {
                        // The mean, as often as there are values.
                        let mean = self.new_tensor(name.to_owned(), vec![1, outer, 1, inner])?;
                        self.push(name, Op::AveragePool { window }, vec![from], mean)?;
                        from = mean;
                        Op::DepthwiseConv2d {
                            window: Window::pointwise(outer, inner),
                            multiplier: 1,
                            weights: vec![count as f32; inner],
                            bias: vec![0.0; inner],
                            clamp: Clamp::NONE,
                        }
                    }
                    Reduction::Mean => Op::AveragePool { window },
                    Reduction::Max => Op::MaxPool { window },
                }
            }
            _ => {
                return Err(Fault::unsupported(
                    "8-bit numbers inside a float model",
                    "models float or int8 throughout",
                ));
            }
        };
        let mut to = self.activation(output)?;
        if clamped != Clamp::NONE {
            let shape = self.tensors[to].shape.clone();
            let bounded = to;
            to = self.new_tensor(name.to_owned(), shape)?;
            self.push(name, op, vec![from], to)?;
            return self.push(name, Op::Clamp { clamp: clamped }, vec![to], bounded);
        }
        self.push(name, op, vec![from], to)
    }

    fn bias(&self, bias: Option<&FileTensor<'_>>, channels: usize) -> Result<Vec<f32>, Fault> {
        bias.map_or_else(|| Ok(vec![0.0; channels]), |bias| self.floats(bias, 0))
    }

    /// The elements of a constant as floats; scales run along `axis`.
    fn floats(&self, tensor: &FileTensor<'_>, axis: usize) -> Result<Vec<f32>, Fault> {
        let original = match self.widened.get(&tensor.index) {
            Some(index) => Some(self.file.tensor(*index)?),
            None => None,
        };
        let tensor = original.as_ref().unwrap_or(tensor);
        let values: Vec<f32> = match tensor.kind {
            Kind::Float32 if tensor.data.len() == 4 * tensor.len() => {
                words(tensor.data).map(f32::from_le_bytes).collect()
            }
            Kind::Float16 if tensor.data.len() == 2 * tensor.len() => {
                words(tensor.data).map(|bytes| half::to_f32(u16::from_le_bytes(bytes))).collect()
            }
            Kind::Float32 | Kind::Float16 => {
                return Err(Fault::unsupported(
                    format!("constant `{}` is not in the file as it stands", shown(&tensor.name)),
                    "weights of float32, float16 or int8",
                ));
            }
            _ => {
                let inner: usize = tensor.shape.iter().skip(axis + 1).product();
                let channels = tensor.shape.get(axis).copied().unwrap_or(1);
                let scales = &tensor.scales;
                if scales.is_empty()
                    || (scales.len() != 1 && scales.len() != channels)
                    || tensor.zero_points.iter().any(|zero| *zero != 0)
                {
                    return Err(Fault::Bad(format!("constant `{}` has no usable scale", shown(&tensor.name))));
                }
                let scale = |at: usize| if scales.len() == 1 { scales[0] } else { scales[at / inner % channels] };
                tensor.int8()?.iter().enumerate().map(|(at, value)| f32::from(*value) * scale(at)).collect()
            }
        };
        if values.iter().any(|value| !value.is_finite()) {
            return Err(Fault::Bad(format!("constant `{}` is not finite", shown(&tensor.name))));
        }
        Ok(values)
    }
}
