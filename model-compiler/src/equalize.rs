//! Cross-layer equalization (Nagel et al., 'Data-Free Quantization Through Weight Equalization and Bias Correction',
//! 2019): channels of an activation are brought to ranges of one size, and the next layer's weights take it back.
//!
//! Factors are powers of two, so that the float network computes exactly what it did.

use crate::ir::{Clamp, Graph, Op};

/// Indices of two layers, the second of which is the only reader of the first.
pub(crate) type Pair = (usize, usize);

/// All pairs that can be equalized: nothing but a ReLU between them.
pub(crate) fn pairs(graph: &Graph) -> Vec<Pair> {
    let mut found = Vec::new();
    for (first, node) in graph.nodes.iter().enumerate() {
        let (Op::Conv2d { bias, clamp, .. } | Op::DepthwiseConv2d { bias, clamp, .. } | Op::Dense { bias, clamp, .. }) =
            &node.op
        else {
            continue;
        };
        let tensor = node.output;
        let mut readers = graph.nodes.iter().enumerate().filter(|(_, reader)| reader.inputs.contains(&tensor));
        let (Some((second, reader)), None) = (readers.next(), readers.next()) else { continue };
        let prescribed = graph.tensors[tensor].quantization.is_some();
        if prescribed
            || node.real
            || reader.real
            || tensor == graph.output
            || !matches!(*clamp, Clamp::NONE | Clamp::RELU)
        {
            continue;
        }
        let channels = bias.len();
        let fits = match &reader.op {
            Op::Conv2d { window, .. } => window.in_c == channels,
            Op::DepthwiseConv2d { window, .. } => window.in_c == channels,
            // Pixels of a flattened image lie one after another.
            Op::Dense { inputs, .. } => inputs.is_multiple_of(channels),
            _ => false,
        };
        if fits {
            found.push((first, second));
        }
    }
    found
}

/// The graph with one pair equalized for activations whose channels reach as far as `reach` says; `None` if nothing
/// changes.
pub(crate) fn equalized(graph: &Graph, (first, second): Pair, reach: &[f32]) -> Option<Graph> {
    let channels = reach.len();
    let mut counts = vec![0.0_f32; channels];
    for_weights(&graph.nodes[second].op, channels, |channel, weight| {
        counts[channel] = counts[channel].max(weight.abs())
    });
    let wished: Vec<f32> =
        reach.iter().zip(&counts).map(|(a, w)| if *a > 0.0 && *w > 0.0 { (a / w).sqrt() } else { 0.0 }).collect();
    let used = wished.iter().filter(|wish| **wish > 0.0);
    let (sum, count) = used.fold((0.0, 0), |(sum, count), wish| (sum + wish.log2(), count + 1));
    let middle = if count > 0 { sum / count as f32 } else { return None };
    let factors: Vec<f32> = wished
        .iter()
        .map(
            |wish| if *wish > 0.0 { 2_f32.powi((wish.log2() - middle).round().clamp(-12.0, 12.0) as i32) } else { 1.0 },
        )
        .collect();
    if factors.iter().all(|factor| *factor == 1.0) {
        return None;
    }
    let mut graph = graph.clone();
    match &mut graph.nodes[first].op {
        Op::Conv2d { weights, bias, .. } | Op::Dense { weights, bias, .. } => {
            let terms = weights.len() / channels;
            weights.iter_mut().enumerate().for_each(|(at, weight)| *weight /= factors[at / terms]);
            bias.iter_mut().zip(&factors).for_each(|(bias, factor)| *bias /= factor);
        }
        Op::DepthwiseConv2d { weights, bias, .. } => {
            weights.iter_mut().enumerate().for_each(|(at, weight)| *weight /= factors[at % channels]);
            bias.iter_mut().zip(&factors).for_each(|(bias, factor)| *bias /= factor);
        }
        _ => return None,
    }
    match &mut graph.nodes[second].op {
        Op::Conv2d { weights, .. } | Op::Dense { weights, .. } => {
            weights.iter_mut().enumerate().for_each(|(at, weight)| *weight *= factors[at % channels]);
        }
        Op::DepthwiseConv2d { weights, multiplier, .. } => {
            let multiplier = *multiplier;
            let all = channels * multiplier;
            weights.iter_mut().enumerate().for_each(|(at, weight)| *weight *= factors[at % all / multiplier]);
        }
        _ => return None,
    }
    Some(graph)
}

/// Calls `use_weight` with the input channel of each weight.
fn for_weights(op: &Op, channels: usize, mut use_weight: impl FnMut(usize, f32)) {
    match op {
        Op::Conv2d { weights, .. } | Op::Dense { weights, .. } => {
            weights.iter().enumerate().for_each(|(at, weight)| use_weight(at % channels, *weight));
        }
        Op::DepthwiseConv2d { weights, multiplier, .. } => {
            let all = channels * multiplier;
            weights.iter().enumerate().for_each(|(at, weight)| use_weight(at % all / multiplier, *weight));
        }
        _ => {}
    }
}

/// How far each channel of an activation reaches.
pub(crate) fn reach<'a>(values: impl Iterator<Item = &'a [f32]>, channels: usize) -> Vec<f32> {
    let mut most = vec![0.0_f32; channels];
    for row in values {
        for (at, value) in row.iter().enumerate() {
            most[at % channels] = most[at % channels].max(value.abs());
        }
    }
    most
}
