//! Post-training quantization: a float graph and calibration inputs to int8.
//!
//! Weights are symmetric int8 in `[-127, 127]`, one scale per output channel for
//! convolutions and dense layers alike (a scale costs five bytes and saves
//! accuracy). Activations are asymmetric int8 over the observed range with zero
//! in it. Biases are int32 at `input scale * weight scale`.

use thiserror::Error;

use crate::fixed::{Multiplier, softmax_parameters};
use crate::ir::{Graph, Node, Op, Unary};
use crate::qir::{Bounds, Element, Linear, QBlend, QNode, QOp, QTensor, QuantGraph};
use crate::ranges::{Method, observe};
use crate::real::Real;

/// How ranges are chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QuantizeOptions {
    /// The method for all tensors.
    pub method: Method,
}

impl Default for QuantizeOptions {
    fn default() -> Self {
        Self { method: Method::MinMax }
    }
}

/// Why a graph cannot be int8.
#[derive(Debug, Error, PartialEq)]
pub enum QuantizeError {
    /// No calibration input.
    #[error("no calibration inputs; quantization needs at least one example of the input")]
    NoCalibration,
    /// A calibration input with the wrong number of values.
    #[error("a calibration input has {found} values, the model takes {expected}")]
    InputLength {
        /// Values of the example.
        found: usize,
        /// Values that the model takes.
        expected: usize,
    },
    /// The float model gave infinity or NaN.
    #[error("layer `{layer}` gives values that are not finite on the calibration data")]
    NotFinite {
        /// The layer.
        layer: String,
    },
    /// 32-bit sums could overflow.
    #[error("layer `{layer}`: sums of {terms} products can overflow 32 bits; make the layer smaller")]
    Overflow {
        /// The layer.
        layer: String,
        /// Products of one sum.
        terms: usize,
    },
    /// Something that int8 kernels cannot do.
    #[error("layer `{layer}`: {reason}")]
    Layer {
        /// The layer.
        layer: String,
        /// What is not possible.
        reason: String,
    },
}

/// Smallest scale of an activation; keeps multipliers and the softmax in range.
pub(crate) const MIN_SCALE: f32 = 1e-6;

/// Quantizes a graph with the ranges that `calibration` (scaled model inputs) shows; [`crate::search`] finds better ones.
///
/// Tensor indices stay those of the float graph.
///
/// # Errors
/// [`QuantizeError`] names the layer.
pub fn quantize(
    graph: &Graph,
    calibration: &[Vec<f32>],
    options: &QuantizeOptions,
) -> Result<QuantGraph, QuantizeError> {
    let observed = observe(graph, calibration)?;
    let ranges: Vec<(f32, f32)> = observed.iter().map(|range| range.chosen(options.method)).collect();
    let tensors = tensors(graph, &ranges);
    let nodes = graph
        .nodes
        .iter()
        .map(|node| {
            Ok(QNode {
                name: node.name.clone(),
                inputs: node.inputs.clone(),
                output: node.output,
                op: quantized(node, &tensors)?,
            })
        })
        .collect::<Result<_, QuantizeError>>()?;
    Ok(QuantGraph {
        name: graph.name.clone(),
        tensors,
        nodes,
        input: graph.input,
        output: graph.output,
        input_shape: graph.input_shape.clone(),
        output_shape: graph.output_shape.clone(),
    })
}

/// Scale and zero point of every tensor.
pub(crate) fn tensors(graph: &Graph, ranges: &[(f32, f32)]) -> Vec<QTensor> {
    let mut tensors: Vec<QTensor> = graph
        .tensors
        .iter()
        .zip(ranges)
        .map(|(tensor, (low, high))| {
            let (scale, zero_point) = tensor.quantization.unwrap_or_else(|| parameters(*low, *high));
            QTensor {
                name: tensor.name.clone(),
                shape: tensor.shape.clone(),
                scale,
                zero_point,
                element: Element::Int8,
            }
        })
        .collect();
    for node in &graph.nodes {
        match node.op {
            Op::MaxPool { .. }
            | Op::AveragePool { .. }
            | Op::Pad { .. }
            | Op::Strided { .. }
            | Op::Gather { .. }
            | Op::Interpolate { .. } => {
                let from = &tensors[node.inputs[0]];
                let (scale, zero_point) = (from.scale, from.zero_point);
                tensors[node.output].scale = scale;
                tensors[node.output].zero_point = zero_point;
            }
            Op::Softmax { .. } | Op::Unary { function: Unary::Sigmoid | Unary::HardSigmoid { .. } } => {
                tensors[node.output].scale = 1.0 / 256.0;
                tensors[node.output].zero_point = -128;
            }
            _ => {}
        }
    }
    for (tensor, element) in tensors.iter_mut().zip(elements(graph)) {
        if element == Element::Float32 {
            (tensor.scale, tensor.zero_point, tensor.element) = (1.0, 0, element);
        }
    }
    tensors
}

/// What each activation is made of: float where whoever writes it and all who read it compute in floats. Input and
/// output are int8 unless the whole network is float.
pub(crate) fn elements(graph: &Graph) -> Vec<Element> {
    let floats: Vec<bool> = graph
        .nodes
        .iter()
        .map(|node| node.real && (moves(&node.op) || Real::of(&node.op, graph.tensors[node.output].len()).is_some()))
        .collect();
    let wholly = floats.iter().all(|real| *real);
    let mut float = vec![false; graph.tensors.len()];
    float[graph.input] = wholly;
    for (node, real) in graph.nodes.iter().zip(&floats) {
        float[node.output] = *real && (wholly || !moves(&node.op));
    }
    for (node, real) in graph.nodes.iter().zip(&floats) {
        if !real || (!wholly && moves(&node.op)) {
            node.inputs.iter().for_each(|input| float[*input] = false);
        }
    }
    float[graph.output] &= wholly;
    float.into_iter().map(|float| if float { Element::Float32 } else { Element::Int8 }).collect()
}

/// True for operators that only move values.
fn moves(op: &Op) -> bool {
    match op {
        Op::Strided { .. } | Op::Gather { .. } | Op::Concat { .. } => true,
        Op::Pad { fill, .. } => *fill == 0.0,
        _ => false,
    }
}

/// The same move, byte by byte.
fn moved_bytes(op: &Op) -> Option<QOp> {
    const SIZE: usize = 4;
    Some(match op {
        Op::Strided { path } => {
            let mut path = path.clone();
            path.counts.push(SIZE);
            path.steps.iter_mut().for_each(|step| *step *= SIZE as isize);
            path.steps.push(1);
            path.begin *= SIZE;
            QOp::Strided { path: path.simplified() }
        }
        Op::Gather { outer, count, inner, indices } => {
            QOp::Gather { outer: *outer, count: *count, inner: SIZE * inner, indices: indices.clone() }
        }
        Op::Concat { outer, inner } => QOp::Concat {
            outer: *outer,
            inner: inner.iter().map(|len| SIZE * len).collect(),
            multipliers: vec![Multiplier::of(1.0); inner.len()],
        },
        Op::Pad { dims, before, after, .. } => {
            let wide = |sizes: &[usize; 4]| [sizes[0], sizes[1], sizes[2], SIZE * sizes[3]];
            QOp::Pad { dims: wide(dims), before: wide(before), after: wide(after), fill: 0 }
        }
        _ => return None,
    })
}

/// Scale and zero point for a range that holds zero.
fn parameters(low: f32, high: f32) -> (f32, i32) {
    let (low, high) = (low.min(0.0), high.max(0.0));
    if high <= low {
        return (1.0, 0);
    }
    // In two steps: the difference of huge bounds overflows f32.
    let scale = (((f64::from(high) - f64::from(low)) / 255.0) as f32).max(MIN_SCALE);
    let zero = (-128.0 - f64::from(low) / f64::from(scale)).round();
    (scale, zero.clamp(-128.0, 127.0) as i32)
}

pub(crate) fn quantized(node: &Node, tensors: &[QTensor]) -> Result<QOp, QuantizeError> {
    let from = &tensors[node.inputs[0]];
    let to = &tensors[node.output];
    let layer = |reason: String| QuantizeError::Layer { layer: node.name.clone(), reason };
    if from.element == Element::Float32
        && let Some(op) = moved_bytes(&node.op)
    {
        return Ok(op);
    }
    if node.real
        && let Some(real) = Real::of(&node.op, to.len())
    {
        if matches!(real, Real::Trees { .. }) && to.element == Element::Int8 {
            return Err(layer("its scores are read by an operator that has no float form".into()));
        }
        return Ok(QOp::Real(real));
    }
    Ok(match &node.op {
        Op::Conv2d { window, out_c, weights, bias, clamp } => QOp::Conv2d {
            window: *window,
            out_c: *out_c,
            linear: linear(node, weights, bias, false, to.bounds(clamp.low, clamp.high), from, to)?,
        },
        Op::DepthwiseConv2d { window, multiplier, weights, bias, clamp } => QOp::DepthwiseConv2d {
            window: *window,
            multiplier: *multiplier,
            linear: linear(node, weights, bias, true, to.bounds(clamp.low, clamp.high), from, to)?,
        },
        Op::Dense { inputs, outputs, weights, bias, clamp } => QOp::Dense {
            inputs: *inputs,
            outputs: *outputs,
            linear: linear(node, weights, bias, false, to.bounds(clamp.low, clamp.high), from, to)?,
        },
        Op::MaxPool { window } => QOp::MaxPool { window: *window, bounds: Bounds::FULL },
        Op::AveragePool { window } => {
            if window.taps() > 1 << 23 {
                return Err(QuantizeError::Overflow { layer: node.name.clone(), terms: window.taps() });
            }
            QOp::AveragePool { window: *window, bounds: Bounds::FULL }
        }
        Op::Add { clamp } => QOp::add(from, &tensors[node.inputs[1]], to, to.bounds(clamp.low, clamp.high)),
        Op::Softmax { rows, depth } => {
            if *depth >= 512 {
                // From 512 on the sum of exponentials can leave the 32-bit shifts of the specification.
                return Err(layer(format!("a softmax over {depth} values, at most 511 are possible")));
            }
            let (multiplier, diff_min) = softmax_parameters(from.scale, 1.0);
            QOp::Softmax { rows: *rows, depth: *depth, multiplier, diff_min }
        }
        Op::Clamp { clamp } => QOp::Rescale {
            multiplier: Multiplier::of(f64::from(from.scale) / f64::from(to.scale)),
            bounds: to.bounds(clamp.low, clamp.high),
        },
        Op::Unary { function } => QOp::Lookup {
            table: (i8::MIN..=i8::MAX).map(|q| to.quantize(function.apply(from.dequantize(q)))).collect(),
        },
        Op::Concat { outer, inner } => QOp::Concat {
            outer: *outer,
            inner: inner.clone(),
            multipliers: node
                .inputs
                .iter()
                .map(|input| Multiplier::of(f64::from(tensors[*input].scale) / f64::from(to.scale)))
                .collect(),
        },
        Op::Pad { dims, before, after, fill } => {
            QOp::Pad { dims: *dims, before: *before, after: *after, fill: to.quantize(*fill) }
        }
        Op::Binary { function, meet, constant, clamp } => {
            let other = tensors.get(node.inputs[node.inputs.len() - 1]).unwrap_or(from);
            QOp::binary(
                *function,
                meet.clone(),
                constant.as_deref(),
                (from, other),
                to,
                to.bounds(clamp.low, clamp.high),
            )
        }
        Op::Trees { .. } | Op::Normalize { .. } => {
            return Err(layer(format!("{} has no int8 form", node.op.name())));
        }
        Op::Strided { path } => QOp::Strided { path: path.clone().simplified() },
        Op::Gather { outer, count, inner, indices } => {
            QOp::Gather { outer: *outer, count: *count, inner: *inner, indices: indices.clone() }
        }
        Op::Interpolate { width, channels, rows, columns } => QOp::Interpolate {
            width: *width,
            channels: *channels,
            rows: rows.iter().map(QBlend::of).collect(),
            columns: columns.iter().map(QBlend::of).collect(),
        },
    })
}

/// Quantizes weights and bias. The output channel is the last axis of the
/// weights (`channel_last`) or the first.
fn linear(
    node: &Node,
    weights: &[f32],
    bias: &[f32],
    channel_last: bool,
    bounds: Bounds,
    from: &QTensor,
    to: &QTensor,
) -> Result<Linear, QuantizeError> {
    let channels = bias.len();
    let terms = weights.len() / channels;
    let channel_of = |index: usize| {
        if channel_last { index % channels } else { index / terms }
    };
    let mut largest = vec![0.0_f32; channels];
    for (index, weight) in weights.iter().enumerate() {
        let largest = &mut largest[channel_of(index)];
        *largest = largest.max(weight.abs());
    }
    let input_scale = f64::from(from.scale);
    let scales: Vec<f64> = largest
        .iter()
        .zip(bias)
        .map(|(largest, bias)| {
            // The second term keeps the bias of a channel with tiny weights in 30 bits.
            let scale = (f64::from(*largest) / 127.0).max(f64::from(bias.abs()) / (input_scale * f64::from(1 << 30)));
            if scale > 0.0 { scale } else { 1.0 }
        })
        .collect();
    let quantized: Vec<i8> = weights
        .iter()
        .enumerate()
        .map(|(index, weight)| {
            let steps = (f64::from(*weight) / scales[channel_of(index)]).round();
            steps.clamp(-127.0, 127.0) as i8
        })
        .collect();
    let bias: Vec<i32> = bias
        .iter()
        .zip(&scales)
        .map(|(bias, scale)| (f64::from(*bias) / (input_scale * scale)).round() as i32)
        .collect();
    let requant = scales.iter().map(|scale| Multiplier::of(input_scale * scale / f64::from(to.scale))).collect();
    let linear = Linear { weights: quantized, bias, requant, bounds };
    if linear.can_overflow(channel_last) {
        return Err(QuantizeError::Overflow { layer: node.name.clone(), terms });
    }
    Ok(linear)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_hold_zero_and_use_all_steps() {
        assert_eq!(parameters(0.0, 255.0), (1.0, -128));
        assert_eq!(parameters(-255.0, -1.0), (1.0, 127));
        assert_eq!(parameters(0.0, 0.0), (1.0, 0));
        let (scale, zero_point) = parameters(f32::MIN, f32::MAX);
        assert!(scale.is_finite() && (-1..=0).contains(&zero_point));
    }
}
