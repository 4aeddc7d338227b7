//! int8 TFLite files to [`QuantGraph`]: nothing is quantized anew, the file's
//! scales and zero points are kept and multipliers computed as TFLite's kernels
//! do in their Prepare step, so that results equal TFLite's bit for bit.

use super::tflite_file::{File, FileTensor, Kind, malformed, op_name};
use super::tflite_step::{Function, Pick, Reduction, Step, step, turned};
use super::{Budget, Fault, ImportError, ImportLimits, shown};
use crate::fixed::{Multiplier, softmax_parameters};
use crate::functions;
use crate::ir::{Binary, Clamp, TensorId, Window};
use crate::qir::{Bounds, Element, Linear, QBinary, QBlend, QNode, QOp, QTensor, QuantGraph};

/// State of one import.
struct Importer<'a> {
    file: File<'a>,
    elements: Budget,
    work: Budget,
    /// Which activation each tensor of the file is.
    values: Vec<Option<TensorId>>,
    tensors: Vec<QTensor>,
    nodes: Vec<QNode>,
    /// The input, once it is int8: a float or uint8 input is so behind its QUANTIZE.
    input: Option<TensorId>,
    /// Number of an input that is not int8.
    outer_input: Option<i32>,
    /// What its 8-bit activations are: int8, or all of them uint8.
    kind: Kind,
}

/// uint8 if no operator has an int8 result: a model of the older scheme.
fn kind(file: &File<'_>) -> Result<Kind, Fault> {
    for index in 0..file.operator_count {
        for output in file.operator(index)?.outputs {
            if file.tensor(output)?.kind == Kind::Int8 {
                return Ok(Kind::Int8);
            }
        }
    }
    Ok(Kind::Uint8)
}

/// Imports a file whose layers are int8.
pub(super) fn import(file: File<'_>, limits: &ImportLimits) -> Result<QuantGraph, ImportError> {
    let mut importer = Importer {
        file,
        elements: Budget::new(limits.max_elements as u64),
        work: Budget::new(limits.max_macs),
        values: vec![None; file.tensor_count],
        tensors: Vec::new(),
        nodes: Vec::new(),
        input: None,
        outer_input: None,
        kind: kind(&file).map_err(|fault| fault.at("operators", "operator"))?,
    };
    let (input, output) = (file.input()?, file.output()?);
    let at_input = |fault: Fault| fault.at("input", "input");
    let input_tensor = file.tensor(input).map_err(at_input)?;
    let input_shape = input_tensor.shape.clone();
    if input_shape.len() > 1 && input_shape[0] != 1 {
        let fault = Fault::unsupported(format!("batch size {}", input_shape[0]), "batch size 1");
        return Err(fault.at(&input_tensor.name, "input"));
    }
    if input_tensor.kind == Kind::Float32 || (input_tensor.kind == Kind::Uint8 && importer.kind == Kind::Int8) {
        importer.outer_input = Some(input);
    } else {
        importer.input = Some(importer.activation(input).map_err(at_input)?);
    }
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
    let Some(input) = importer.input.filter(|_| !importer.nodes.is_empty()) else {
        return Err(malformed("it computes nothing".into()));
    };
    Ok(QuantGraph {
        name: file.name()?,
        tensors: importer.tensors,
        nodes: importer.nodes,
        input,
        output,
        input_shape,
        output_shape,
    })
}

impl Importer<'_> {
    /// Makes the activation of a tensor of the file.
    fn activation(&mut self, index: i32) -> Result<TensorId, Fault> {
        let tensor = self.file.tensor(index)?;
        if tensor.kind != self.kind {
            return Err(Fault::unsupported(
                format!("tensor `{}` is {}", shown(&tensor.name), tensor.kind.name()),
                format!(
                    "{} activations between a QUANTIZE and a DEQUANTIZE; convert the model with full integer quantization",
                    self.kind.name()
                ),
            ));
        }
        let (scale, zero_point) = tensor.quantization()?;
        self.new_tensor(
            index,
            QTensor { name: tensor.name, shape: tensor.shape, scale, zero_point, element: Element::Int8 },
        )
    }

    fn new_tensor(&mut self, index: i32, tensor: QTensor) -> Result<TensorId, Fault> {
        self.elements.take(tensor.len(), "elements of the model")?;
        self.tensors.push(tensor);
        let id = self.tensors.len() - 1;
        self.set(index, id);
        Ok(id)
    }

    /// Notes which activation a tensor of the file is.
    fn set(&mut self, index: i32, id: TensorId) {
        if let Some(value) = usize::try_from(index).ok().and_then(|at| self.values.get_mut(at)) {
            *value = Some(id);
        }
    }

    /// The activation of a tensor of the file that something before has made.
    fn known(&self, index: i32) -> Result<TensorId, Fault> {
        let id = usize::try_from(index).ok().and_then(|at| self.values.get(at).copied().flatten());
        if let Some(id) = id {
            return Ok(id);
        }
        let tensor = self.file.tensor(index)?;
        if !tensor.data.is_empty() {
            return Err(Fault::unsupported(
                format!("operand `{}` is a constant", shown(&tensor.name)),
                "a computed operand there",
            ));
        }
        if self.outer_input == Some(index) {
            return Err(Fault::unsupported(
                format!("the input `{}` is {}", shown(&tensor.name), tensor.kind.name()),
                "an int8 input, or another whose only reader is QUANTIZE",
            ));
        }
        Err(Fault::Bad(format!("tensor `{}` is read before anything makes it", shown(&tensor.name))))
    }

    /// Adds a node.
    fn push(&mut self, name: &str, op: QOp, inputs: Vec<TensorId>, output: TensorId) -> Result<(), Fault> {
        self.work.take(
            usize::try_from(op.work()).unwrap_or(usize::MAX),
            "multiply-accumulates and window reads of an inference",
        )?;
        self.nodes.push(QNode { name: name.to_owned(), inputs, output, op });
        Ok(())
    }

    fn node(&mut self, name: &str, inputs: &[i32], outputs: &[i32], step: Step<'_>) -> Result<(), Fault> {
        // A transposed convolution has its shape and weights first.
        let first = usize::from(matches!(step, Step::Conv { turned: true, .. })) * 2;
        let first = inputs.get(first).copied().unwrap_or(-1);
        let output = outputs.first().copied().unwrap_or(-1);
        match step {
            Step::Nothing => return Ok(()),
            Step::Reshape => {
                let from = self.known(first)?;
                let out = self.file.tensor(output)?;
                if !out.scales.is_empty() && out.quantization()? != self.quantization(from) {
                    return Err(other_scales());
                }
                self.set(output, from);
                return Ok(());
            }
            Step::Quantize if Some(first) == self.outer_input => return self.quantized_input(output),
            Step::Quantize if self.kind == Kind::Int8 && self.file.tensor(output)?.kind == Kind::Uint8 => {
                return self.unsigned_output(name, first, output);
            }
            Step::Dequantize => {
                // The caller gets int8 and the scale; the file's own last step would be the caller's.
                let from = self.known(first)?;
                self.set(output, from);
                return Ok(());
            }
            Step::Move { from, paths } => {
                let from = self.known(from)?;
                for (path, output) in paths.into_iter().zip(outputs) {
                    self.moved(name, from, path, *output)?;
                }
                return Ok(());
            }
            Step::Reduce { path: Some(path), outer, count, inner, reduction } => {
                let from = self.known(first)?;
                let turned = QTensor { shape: vec![path.len()], ..self.tensors[from].clone() };
                let turned = self.new_tensor(-1, turned)?;
                self.push(name, QOp::Strided { path }, vec![from], turned)?;
                let to = self.activation(output)?;
                let op = self.reduce((turned, to), [outer, count, inner], reduction)?;
                return self.push(name, op, vec![turned], to);
            }
            Step::Gather(picks) => {
                let mut from = self.known(first)?;
                if self.file.tensor(output)?.quantization()? != self.quantization(from) {
                    return Err(other_scales());
                }
                let last = picks.len().saturating_sub(1);
                for (at, pick) in picks.into_iter().enumerate() {
                    let to = if at == last {
                        self.activation(output)?
                    } else {
                        let part = QTensor { shape: vec![pick.len()], ..self.tensors[from].clone() };
                        self.new_tensor(-1, part)?
                    };
                    let Pick { outer, count, inner, indices } = pick;
                    self.push(name, QOp::Gather { outer, count, inner, indices }, vec![from], to)?;
                    from = to;
                }
                self.set(output, from);
                return Ok(());
            }
            _ => {}
        }
        let (op, operands, to) = self.computed(first, output, step)?;
        self.push(name, op, operands, to)
    }

    /// Operators with one int8 result.
    fn computed(&mut self, first: i32, output: i32, step: Step<'_>) -> Result<(QOp, Vec<TensorId>, TensorId), Fault> {
        if let Step::Binary { function, meet, first, second, constant, clamp } = step {
            let from = self.known(first)?;
            let other = if constant.is_some() { None } else { Some(self.known(second)?) };
            let to = self.activation(output)?;
            let op = self.binary(function, meet, (from, other, to), constant, clamp)?;
            return Ok((op, std::iter::once(from).chain(other).collect(), to));
        }
        if let Step::Concat { operands, outer, inner } = step {
            let operands = operands.iter().map(|input| self.known(*input)).collect::<Result<Vec<_>, _>>()?;
            let to = self.activation(output)?;
            let scale = f64::from(self.tensors[to].scale);
            let multipliers =
                operands.iter().map(|from| Multiplier::of(f64::from(self.tensors[*from].scale) / scale)).collect();
            if self.kind == Kind::Uint8 && operands.iter().any(|from| self.quantization(*from) != self.quantization(to))
            {
                return Err(other_scales());
            }
            return Ok((QOp::Concat { outer, inner, multipliers }, operands, to));
        }
        let from = self.known(first)?;
        let to = self.activation(output)?;
        let (a, out) = (&self.tensors[from], &self.tensors[to]);
        let op = match step {
            Step::Conv { window, out_c, depthwise, turned: around, weights, bias, clamp } => {
                let mut linear = self.linear(&weights, bias.as_ref(), (from, to), out_c, depthwise, clamp, false)?;
                if around {
                    linear.weights = turned(&linear.weights, &window);
                }
                if depthwise {
                    QOp::DepthwiseConv2d { window, multiplier: out_c / window.in_c, linear }
                } else {
                    QOp::Conv2d { window, out_c, linear }
                }
            }
            Step::Dense { rows, inputs, outputs, weights, bias, clamp } => {
                let linear = self.linear(&weights, bias.as_ref(), (from, to), outputs, false, clamp, true)?;
                if rows > 1 {
                    QOp::Conv2d { window: Window::pointwise(rows, inputs), out_c: outputs, linear }
                } else {
                    QOp::Dense { inputs, outputs, linear }
                }
            }
            Step::Pool { window, max, clamp } => {
                self.same_quantization(from, to)?;
                if self.kind == Kind::Uint8 && !max && (window.is_padded() || window.taps().is_multiple_of(2)) {
                    return Err(Fault::unsupported(
                        "means of an even number of uint8 values, which are rounded differently",
                        "windows with an odd number of values, without padding; convert the model to int8",
                    ));
                }
                let bounds = out.bounds(clamp.low, clamp.high);
                if max { QOp::MaxPool { window, bounds } } else { QOp::AveragePool { window, bounds } }
            }
            Step::Softmax { rows, depth, beta } => softmax(a, out, rows, depth, beta)?,
            Step::Function(Function::Logistic) if self.kind == Kind::Uint8 => {
                QOp::Lookup { table: functions::rounded(a, out, |x| 1.0 / (1.0 + (-x).exp())) }
            }
            Step::Function(Function::Tanh) if self.kind == Kind::Uint8 => {
                QOp::Lookup { table: functions::rounded(a, out, f32::tanh) }
            }
            Step::Function(function) => QOp::Lookup { table: table(function, a, out)? },
            Step::Clamp(clamp) => QOp::Rescale {
                // TFLite divides in 32-bit floats here, and in 64-bit ones for QUANTIZE.
                multiplier: Multiplier::of(f64::from(a.scale / out.scale)),
                bounds: out.bounds(clamp.low, clamp.high),
            },
            Step::Quantize => QOp::Rescale {
                multiplier: Multiplier::of(f64::from(a.scale) / f64::from(out.scale)),
                bounds: Bounds::FULL,
            },
            Step::Pad { dims, before, after, fill } => {
                self.same_quantization(from, to)?;
                let fill = match fill {
                    // Zero points are within int8.
                    None => out.zero_point as i8,
                    Some(fill) if fill.quantization()? == self.quantization(to) => {
                        fill.int8()?.first().copied().ok_or_else(|| Fault::Bad("the value is missing".into()))?
                    }
                    Some(_) => return Err(other_scales()),
                };
                QOp::Pad { dims, before, after, fill }
            }
            Step::Interpolate { width, channels, rows, columns } => {
                self.same_quantization(from, to)?;
                let [rows, columns] = [rows, columns].map(|blends| blends.iter().map(QBlend::of).collect());
                QOp::Interpolate { width, channels, rows, columns }
            }
            Step::Reduce { outer, count, inner, reduction, .. } => {
                self.reduce((from, to), [outer, count, inner], reduction)?
            }
            _ => return Err(Fault::Bad("it has no int8 result".into())),
        };
        Ok((op, vec![from], to))
    }

    /// A result whose elements come from elsewhere unchanged.
    fn moved(&mut self, name: &str, from: TensorId, path: crate::strided::Strided, output: i32) -> Result<(), Fault> {
        let out = self.file.tensor(output)?;
        if out.quantization()? != self.quantization(from) {
            return Err(other_scales());
        }
        if path.is_identity(self.tensors[from].len()) {
            self.set(output, from);
            return Ok(());
        }
        let to = self.activation(output)?;
        self.push(name, QOp::Strided { path: path.simplified() }, vec![from], to)
    }

    /// The int8 form of a float or uint8 input becomes the input: who fills it quantizes as QUANTIZE would.
    fn quantized_input(&mut self, output: i32) -> Result<(), Fault> {
        let Some(input) = self.input else {
            self.input = Some(self.activation(output)?);
            return Ok(());
        };
        if self.file.tensor(output)?.quantization()? != self.quantization(input) {
            return Err(Fault::unsupported("the input is quantized in two ways", "one scale and zero point for it"));
        }
        self.set(output, input);
        Ok(())
    }

    /// The uint8 form of an output: the same number 128 lower.
    fn unsigned_output(&mut self, name: &str, first: i32, output: i32) -> Result<(), Fault> {
        let from = self.known(first)?;
        let out = self.file.tensor(output)?;
        let (scale, zero_point) = out.quantization()?;
        if (scale, zero_point) == self.quantization(from) {
            self.set(output, from);
            return Ok(());
        }
        let multiplier = Multiplier::of(f64::from(self.tensors[from].scale) / f64::from(scale));
        let to = self.new_tensor(
            output,
            QTensor { name: out.name, shape: out.shape, scale, zero_point, element: Element::Int8 },
        )?;
        self.push(name, QOp::Rescale { multiplier, bounds: Bounds::FULL }, vec![from], to)
    }

    fn binary(
        &self,
        function: Binary,
        meet: crate::strided::Broadcast,
        (from, other, to): (TensorId, Option<TensorId>, TensorId),
        constant: Option<FileTensor<'_>>,
        clamp: Clamp,
    ) -> Result<QOp, Fault> {
        let (a, out) = (&self.tensors[from], &self.tensors[to]);
        let bounds = out.bounds(clamp.low, clamp.high);
        let (scale, other_zero) = match (&constant, other) {
            (Some(constant), _) => constant.quantization()?,
            (None, Some(other)) => self.quantization(other),
            (None, None) => return Err(Fault::Bad("its second operand is missing".into())),
        };
        if matches!(function, Binary::Maximum | Binary::Minimum)
            && [self.quantization(from), (scale, other_zero)].iter().any(|q| *q != self.quantization(to))
        {
            return Err(other_scales());
        }
        if let (Binary::Add, Some(other)) = (function, other)
            && a.len() == self.tensors[other].len()
            && a.len() == out.len()
        {
            return Ok(QOp::add(a, &self.tensors[other], out, bounds));
        }
        let function = QBinary::of(function, a.scale, scale, out.scale);
        let constant = constant.map(|constant| constant.int8()).transpose()?;
        if let Some([value]) = constant.as_deref() {
            // A function of one number: a table is exact, and no larger than the arithmetic.
            let value = i32::from(*value) - other_zero;
            let table = (i8::MIN..=i8::MAX).map(|q| {
                let steps = function.apply(i32::from(q) - a.zero_point, value);
                bounds.saturate(steps.wrapping_add(out.zero_point))
            });
            return Ok(QOp::Lookup { table: table.collect() });
        }
        Ok(QOp::Binary { function, meet, constant, other_zero, bounds })
    }

    /// Weights, biases and multipliers. `dense` decides how a single scale is multiplied.
    #[expect(clippy::too_many_arguments, reason = "one place for three operators")]
    fn linear(
        &self,
        weights: &FileTensor<'_>,
        bias: Option<&FileTensor<'_>>,
        (from, to): (TensorId, TensorId),
        channels: usize,
        channel_last: bool,
        clamp: Clamp,
        dense: bool,
    ) -> Result<Linear, Fault> {
        let axis = if channel_last { 3 } else { 0 };
        let scales = &weights.scales;
        if !(scales.len() == 1 || (scales.len() == channels && weights.channel_axis == axis)) {
            return Err(Fault::Bad(format!(
                "{} scales along axis {} for {channels} channels",
                scales.len(),
                weights.channel_axis
            )));
        }
        let bias = bias.map_or_else(|| Ok(vec![0; channels]), FileTensor::int32)?;
        let (a, out) = (&self.tensors[from], &self.tensors[to]);
        let requant = scales
            .iter()
            .map(|scale| {
                let product = if (dense || self.kind == Kind::Uint8) && scales.len() == 1 {
                    // A dense layer with one scale, and uint8 throughout, rounds the product to float first.
                    f64::from(a.scale * scale)
                } else {
                    f64::from(a.scale) * f64::from(*scale)
                };
                Multiplier::of(product / f64::from(out.scale))
            })
            .collect();
        let linear = Linear { weights: weights.weights()?, bias, requant, bounds: out.bounds(clamp.low, clamp.high) };
        if linear.can_overflow(channel_last) {
            return Err(Fault::unsupported("sums that can overflow 32 bits", "layers whose sums stay within 32 bits"));
        }
        Ok(linear)
    }

    fn reduce(
        &self,
        (from, to): (TensorId, TensorId),
        [outer, count, inner]: [usize; 3],
        reduction: Reduction,
    ) -> Result<QOp, Fault> {
        let (a, out) = (&self.tensors[from], &self.tensors[to]);
        if count > 1 << 23 {
            return Err(Fault::unsupported(format!("{count} values in one sum"), "at most 8388608"));
        }
        let ratio = Multiplier::of(f64::from(a.scale) / f64::from(out.scale));
        let multiplier = match reduction {
            Reduction::Max => {
                self.same_quantization(from, to)?;
                let row = Window::pointwise(count, inner);
                let window = Window { in_h: outer, out_h: outer, out_w: 1, kernel_w: count, ..row };
                return Ok(QOp::MaxPool { window, bounds: Bounds::FULL });
            }
            Reduction::Sum => ratio,
            // TFLite puts 1 / count into the multiplier, cut instead of rounded.
            Reduction::Mean => {
                let bits = (63 - (count as u64).leading_zeros() as i32).min(32).min(31 + ratio.shift).max(0);
                let value = (i64::from(ratio.value) << bits) / count as i64;
                // At most the multiplier itself, since 2^bits is at most count.
                Multiplier { value: value as i32, shift: ratio.shift - bits }
            }
        };
        Ok(QOp::Mean { outer, count, inner, multiplier })
    }

    fn quantization(&self, tensor: TensorId) -> (f32, i32) {
        (self.tensors[tensor].scale, self.tensors[tensor].zero_point)
    }

    fn same_quantization(&self, from: TensorId, to: TensorId) -> Result<(), Fault> {
        if self.quantization(from) == self.quantization(to) { Ok(()) } else { Err(other_scales()) }
    }
}

fn other_scales() -> Fault {
    Fault::unsupported("operands and result have different scales", "one scale and zero point for all of them")
}

fn softmax(a: &QTensor, out: &QTensor, rows: usize, depth: usize, beta: f32) -> Result<QOp, Fault> {
    prescribed(out, 1.0 / 256.0, -128)?;
    if depth >= 512 {
        return Err(Fault::unsupported(format!("a softmax over {depth} values"), "at most 511 values"));
    }
    let (multiplier, diff_min) = softmax_parameters(a.scale, beta);
    if multiplier.shift < 0 {
        return Err(Fault::Bad(format!("the scale {} of its operand is too small", a.scale)));
    }
    Ok(QOp::Softmax { rows, depth, multiplier, diff_min })
}

fn table(function: Function, a: &QTensor, out: &QTensor) -> Result<Vec<i8>, Fault> {
    Ok(match function {
        Function::Logistic => {
            prescribed(out, 1.0 / 256.0, -128)?;
            functions::logistic(a)
        }
        Function::Tanh => {
            prescribed(out, 1.0 / 128.0, 0)?;
            functions::tanh(a)
        }
        Function::LeakyRelu(alpha) => functions::leaky_relu(a, out, alpha),
        Function::HardSwish => functions::hard_swish(a, out).ok_or_else(|| {
            Fault::unsupported(
                format!("scales {} and {}", a.scale, out.scale),
                "a result whose scale is at least 1/128 of the operand's",
            )
        })?,
    })
}

/// Checks the quantization that int8 prescribes for a result.
fn prescribed(out: &QTensor, scale: f32, zero_point: i32) -> Result<(), Fault> {
    if (out.scale, out.zero_point) == (scale, zero_point) {
        return Ok(());
    }
    Err(Fault::Bad(format!(
        "its result has scale {} and zero point {}, int8 needs {scale} and {zero_point}",
        out.scale, out.zero_point
    )))
}
