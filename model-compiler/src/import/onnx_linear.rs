//! ONNX operators without a window: dense layers, arithmetic with constants,
//! activations, softmax.

use tract_onnx::pb::NodeProto;

use super::Fault;
use super::attributes::{Attributes, axis};
use super::constant::Constant;
use super::onnx::Importer;
use super::value::{Activation, Value};
use crate::ir::{Binary, Clamp, Op, Unary, Window};
use crate::quantize::MIN_SCALE;

impl Importer {
    pub(super) fn gemm(&mut self, node: &NodeProto, attributes: &Attributes<'_>) -> Result<Activation, Fault> {
        if attributes.int("transA", 0) != 0 {
            return Err(Fault::unsupported("transA 1", "transA 0"));
        }
        let alpha = attributes.float("alpha", 1.0);
        let beta = attributes.float("beta", 1.0);
        let mut weights = self.constant(node, 1)?.clone();
        if weights.shape.len() == 2 && attributes.int("transB", 0) == 0 {
            weights = weights.transposed(&[1, 0]);
        }
        let bias = if Self::has(node, 2) { Some(self.constant(node, 2)?.to_f32()) } else { None };
        let outputs = weights.shape.first().copied().unwrap_or(1);
        let bias = match bias {
            None => vec![0.0; outputs],
            Some(bias) if bias.len() == 1 => vec![bias[0] * beta; outputs],
            Some(bias) => bias.iter().map(|v| v * beta).collect(),
        };
        self.dense(node, &weights, bias, alpha)
    }

    pub(super) fn matmul(&mut self, node: &NodeProto) -> Result<Activation, Fault> {
        let weights = self.constant(node, 1)?;
        if weights.shape.len() != 2 {
            return Err(Fault::unsupported(
                format!("weights of shape {:?}", weights.shape),
                "weights with two dimensions",
            ));
        }
        let weights = weights.transposed(&[1, 0]);
        let bias = vec![0.0; weights.shape[0]];
        self.dense(node, &weights, bias, 1.0)
    }

    /// A dense layer with weights `[outputs, inputs]`.
    pub(super) fn dense(
        &mut self,
        node: &NodeProto,
        weights: &Constant,
        bias: Vec<f32>,
        alpha: f32,
    ) -> Result<Activation, Fault> {
        let input = self.input(node, 0)?;
        let [outputs, inputs] = weights.shape.as_slice() else {
            return Err(Fault::unsupported(
                format!("weights of shape {:?}", weights.shape),
                "weights with two dimensions",
            ));
        };
        let (outputs, inputs) = (*outputs, *inputs);
        if input.shape.last() != Some(&inputs) || bias.len() != outputs {
            return Err(Fault::Bad(format!(
                "weights for {inputs} inputs and {outputs} outputs, an input of shape {:?} and {} biases",
                input.shape,
                bias.len()
            )));
        }
        let mut shape = input.shape.clone();
        if let Some(last) = shape.last_mut() {
            *last = outputs;
        }
        let rows = input.len() / inputs;
        let turned = weights.to_f32();
        if rows > 1 {
            // The same layer for each row: a 1x1 convolution.
            let input = self.plain(&input)?;
            let op = Op::Conv2d {
                window: Window::pointwise(rows, inputs),
                out_c: outputs,
                weights: turned.iter().map(|v| v * alpha).collect(),
                bias,
                clamp: Clamp::NONE,
            };
            let tensor = self.push(op, vec![input.tensor], vec![1, 1, rows, outputs])?;
            return Ok(Activation::plain(tensor, shape));
        }
        // Storage may have another order than the graph sees: permute the weights.
        let sources = input.logical_indices();
        let weights = turned.chunks_exact(inputs).flat_map(|row| sources.iter().map(|at| row[*at] * alpha)).collect();
        let op = Op::Dense { inputs, outputs, weights, bias, clamp: Clamp::NONE };
        let tensor = self.push(op, vec![input.tensor], vec![1, outputs])?;
        Ok(Activation::plain(tensor, shape))
    }

    /// Add, Sub, Mul and Div with at least one computed operand.
    pub(super) fn arithmetic(&mut self, node: &NodeProto) -> Result<Activation, Fault> {
        let op = node.op_type.as_str();
        let (value, constant, constant_first) = match (self.value(node, 0)?, self.value(node, 1)?) {
            (Value::Activation(a), Value::Activation(b)) => {
                let (a, b) = (a.clone(), b.clone());
                let function = match op {
                    "Add" => Binary::Add,
                    "Sub" => Binary::Sub,
                    "Mul" => Binary::Mul,
                    _ => {
                        let tensor =
                            self.push(Op::Unary { function: Unary::Reciprocal }, vec![b.tensor], b.stored_dims())?;
                        return self.pair(Binary::Mul, &a, &Activation { tensor, ..b });
                    }
                };
                return self.pair(function, &a, &b);
            }
            (Value::Activation(a), Value::Constant(c)) => (a.clone(), c.clone(), false),
            (Value::Constant(c), Value::Activation(a)) => (a.clone(), c.clone(), true),
            (Value::Constant(_), Value::Constant(_)) => {
                return Err(Fault::Bad("both operands are constants".into()));
            }
        };
        if op == "Div" && constant_first {
            let function = Unary::Reciprocal;
            let tensor = self.push(Op::Unary { function }, vec![value.tensor], value.stored_dims())?;
            return self.with_constant(Binary::Mul, &Activation { tensor, ..value }, &constant);
        }
        let Some((at, factors)) = per_channel(&value, &constant) else {
            let (function, constant) = match (op, constant_first) {
                ("Add", _) => (Binary::Add, constant),
                ("Sub", false) => (Binary::Sub, constant),
                ("Sub", true) => (Binary::SubFrom, constant),
                ("Mul", _) => (Binary::Mul, constant),
                _ => {
                    let inverse = constant.to_f32().iter().map(|v| 1.0 / v).collect();
                    (Binary::Mul, Constant::floats(constant.shape, inverse))
                }
            };
            return self.with_constant(function, &value, &constant);
        };
        let (mul, add): (Vec<f32>, Vec<f32>) = factors
            .iter()
            .map(|v| match (op, constant_first) {
                ("Add", _) => (1.0, *v),
                ("Sub", false) => (1.0, -v),
                ("Sub", true) => (-1.0, *v),
                ("Mul", _) => (*v, 0.0),
                _ => (1.0 / v, 0.0),
            })
            .unzip();
        self.affine(&value, at, mul, add)
    }

    pub(super) fn negate(&mut self, node: &NodeProto) -> Result<Activation, Fault> {
        let value = self.input(node, 0)?;
        let Some((at, ones)) = per_channel(&value, &Constant::floats(vec![], vec![-1.0])) else {
            return Err(Fault::Bad("a scalar".into()));
        };
        let add = vec![0.0; ones.len()];
        self.affine(&value, at, ones, add)
    }

    pub(super) fn batch_norm(&mut self, node: &NodeProto, attributes: &Attributes<'_>) -> Result<Activation, Fault> {
        let value = self.input(node, 0)?;
        let parts: Vec<Vec<f32>> =
            (1..5).map(|index| self.constant(node, index).map(Constant::to_f32)).collect::<Result<_, _>>()?;
        let channels = value.shape.get(1).copied().unwrap_or(0);
        if parts.iter().any(|part| part.len() != channels) {
            return Err(Fault::Bad(format!("its constants do not have {channels} values each")));
        }
        let epsilon = attributes.float("epsilon", 1e-5);
        let mul: Vec<f32> = (0..channels).map(|c| parts[0][c] / (parts[3][c] + epsilon).sqrt()).collect();
        let add = (0..channels).map(|c| parts[1][c] - parts[2][c] * mul[c]).collect();
        self.affine(&value, 1, mul, add)
    }

    /// `value * mul + add` along one axis, as a pointwise depthwise convolution
    /// that `fold` joins with the layer before where it can.
    pub(super) fn affine(
        &mut self,
        value: &Activation,
        at: usize,
        mul: Vec<f32>,
        add: Vec<f32>,
    ) -> Result<Activation, Fault> {
        if mul.iter().chain(&add).any(|v| !v.is_finite()) {
            return Err(Fault::Bad("its constants lead to values that are not finite".into()));
        }
        let rank = value.shape.len();
        let order: Vec<usize> = (0..rank).filter(|axis| *axis != at).chain([at]).collect();
        let input = self.arranged(value, &order)?;
        let channels = mul.len();
        let op = Op::DepthwiseConv2d {
            window: Window::pointwise(input.len() / channels, channels),
            multiplier: 1,
            weights: mul,
            bias: add,
            clamp: Clamp::NONE,
        };
        let tensor = self.push(op, vec![input.tensor], input.stored_dims())?;
        Ok(Activation { tensor, ..input })
    }

    pub(super) fn clamp(&mut self, node: &NodeProto, attributes: &Attributes<'_>) -> Result<Activation, Fault> {
        let clamp = if node.op_type == "Relu" {
            Clamp::RELU
        } else {
            let bound = |index: usize, name: &str, default: f32| -> Result<f32, Fault> {
                if Self::has(node, index) {
                    let values = self.constant(node, index)?.to_f32();
                    return values.first().copied().ok_or_else(|| Fault::Bad(format!("`{name}` is empty")));
                }
                Ok(attributes.float(name, default))
            };
            Clamp { low: bound(1, "min", f32::NEG_INFINITY)?, high: bound(2, "max", f32::INFINITY)? }
        };
        if clamp.low.is_nan() || clamp.high.is_nan() || clamp.low > clamp.high {
            return Err(Fault::Bad(format!("bounds {} to {}", clamp.low, clamp.high)));
        }
        let value = self.input(node, 0)?;
        let tensor = self.push(Op::Clamp { clamp }, vec![value.tensor], value.stored_dims())?;
        Ok(Activation { tensor, ..value })
    }

    /// Notes scale and zero point on the operand, so that quantization keeps them.
    pub(super) fn quantize_linear(&mut self, node: &NodeProto) -> Result<Activation, Fault> {
        let value = self.input(node, 0)?;
        let scales = self.constant(node, 1)?.to_f32();
        let (zero_points, unsigned) = if Self::has(node, 2) {
            let zero = self.constant(node, 2)?;
            (zero.as_ints()?.to_vec(), zero.unsigned)
        } else {
            (vec![0], true)
        };
        let ([scale], [zero_point]) = (scales.as_slice(), zero_points.as_slice()) else {
            return Err(Fault::unsupported("several scales for an activation", "one scale and zero point"));
        };
        // uint8 values are int8 values 128 higher.
        let zero_point = zero_point.saturating_sub(if unsigned { 128 } else { 0 });
        let zero_point = i32::try_from(zero_point).ok().filter(|zero| (-128..=127).contains(zero));
        let (Some(zero_point), true) = (zero_point, scale.is_finite() && *scale >= MIN_SCALE) else {
            return Err(Fault::unsupported(
                format!("scale {scale} with zero point {zero_points:?}"),
                format!("8-bit quantization with a scale of at least {MIN_SCALE}"),
            ));
        };
        let quantization = Some((*scale, zero_point));
        let noted = self.tensors[value.tensor].quantization;
        if noted.is_none() || noted == quantization {
            self.tensors[value.tensor].quantization = quantization;
            return Ok(value);
        }
        // The tensor has another quantization for other readers: this one gets a copy.
        let clamp = Clamp::NONE;
        let tensor = self.push(Op::Clamp { clamp }, vec![value.tensor], value.stored_dims())?;
        self.tensors[tensor].quantization = quantization;
        Ok(Activation { tensor, ..value })
    }

    pub(super) fn softmax(&mut self, node: &NodeProto, attributes: &Attributes<'_>) -> Result<Activation, Fault> {
        let value = self.input(node, 0)?;
        let rank = value.shape.len();
        // Up to opset 12 the axes from `axis` on are one; from 13 on it is that axis alone.
        let flat = self.opset < 13;
        let at = axis(attributes.int("axis", if flat { 1 } else { -1 }), rank)?;
        let order: Vec<usize> =
            if flat { (0..rank).collect() } else { (0..rank).filter(|axis| *axis != at).chain([at]).collect() };
        let input = self.arranged(&value, &order)?;
        let depth: usize = if flat { value.shape[at..].iter().product() } else { value.shape[at] };
        let rows = input.len() / depth;
        let tensor = self.push(Op::Softmax { rows, depth }, vec![input.tensor], input.stored_dims())?;
        Ok(Activation { tensor, ..input })
    }
}

/// The axis along which a constant varies and its value for each index of it;
/// `None` if it varies along several, or does not fit.
fn per_channel(value: &Activation, constant: &Constant) -> Option<(usize, Vec<f32>)> {
    let rank = value.shape.len();
    let values = constant.to_f32();
    if values.len() == 1 && constant.shape.len() <= rank && rank > 0 {
        // Any axis will do: the one stored last needs no transposition.
        let at = match value.rebased() {
            Some(value) => value.order[rank - 1],
            None => rank - 1,
        };
        return Some((at, vec![values[0]; value.shape[at]]));
    }
    let skipped = rank.checked_sub(constant.shape.len())?;
    let mut varying =
        constant.shape.iter().enumerate().filter(|(_, dim)| **dim != 1).map(|(axis, dim)| (axis + skipped, *dim));
    match (varying.next(), varying.next()) {
        (Some((at, dim)), None) if value.shape[at] == dim => Some((at, values)),
        _ => None,
    }
}
