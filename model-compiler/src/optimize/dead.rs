//! Channels that are constant or that nobody reads, dropped exactly.
//!
//! Ranges of channels go forward: a channel whose weights are zero, or whose sums all end at one bound, is a constant.
//! A convolution or dense layer takes a constant operand into its bias, unless padding would be seen in its place.
//! Needs go backward: what is read with weights of zero only, or was taken into a bias, is needed by nobody. Operators
//! that go channel by channel hand both on.

use crate::ir::{TensorId, Window};
use crate::qir::{Linear, QNode, QOp, QTensor, QuantGraph};

/// Channels are kept in whole groups of this size where a tensor had such: kernels work on as many at once.
const GROUP: usize = 4;

/// The lowest and the highest value of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    low: i8,
    high: i8,
}

impl Range {
    const FULL: Self = Self { low: i8::MIN, high: i8::MAX };

    fn constant(self) -> Option<i8> {
        (self.low == self.high).then_some(self.low)
    }

    fn map(self, function: impl Fn(i8) -> i8) -> Self {
        Self { low: function(self.low), high: function(self.high) }
    }
}

/// The same network without channels that change nothing.
pub fn eliminate(graph: &QuantGraph) -> QuantGraph {
    let known = ranges(graph);
    let kept = kept(graph, &known);
    if kept.iter().flatten().all(|kept| *kept) {
        return graph.clone();
    }
    let mut small = graph.clone();
    for node in &mut small.nodes {
        shrink(graph, node, &known, &kept);
    }
    for (tensor, kept) in small.tensors.iter_mut().zip(&kept) {
        if let Some(last) = tensor.shape.last_mut() {
            *last = kept.iter().filter(|kept| **kept).count();
        }
    }
    small
}

/// Channels of a tensor: its last axis.
fn channels(tensor: &QTensor) -> usize {
    tensor.shape.last().copied().unwrap_or(1)
}

/// How an operator treats channels.
enum Access<'a> {
    /// Every output channel reads every input channel.
    Mixes(&'a Linear),
    /// Output channel `c` reads input channel `c / multiplier` of every operand.
    Follows(usize),
    /// Nothing is known.
    Opaque,
}

fn access<'a>(graph: &QuantGraph, node: &'a QNode) -> Access<'a> {
    let from = &graph.tensors[node.inputs[0]];
    let (input, output) = (channels(from), channels(&graph.tensors[node.output]));
    match &node.op {
        QOp::Conv2d { window, out_c, linear } if (window.in_c, *out_c) == (input, output) => Access::Mixes(linear),
        QOp::Dense { inputs, outputs, linear } if (*inputs, *outputs) == (from.len(), output) => Access::Mixes(linear),
        QOp::DepthwiseConv2d { window, multiplier, .. }
            if window.in_c == input && input.checked_mul(*multiplier) == Some(output) =>
        {
            Access::Follows(*multiplier)
        }
        QOp::MaxPool { window, .. } | QOp::AveragePool { window, .. } if window.in_c == input && input == output => {
            Access::Follows(1)
        }
        QOp::Add { .. } | QOp::Rescale { .. } | QOp::Lookup { .. }
            if node.inputs.iter().all(|input| channels(&graph.tensors[*input]) == output) =>
        {
            Access::Follows(1)
        }
        _ => Access::Opaque,
    }
}

/// Weights that an output channel has for an input channel.
fn weights<'a>(
    graph: &QuantGraph,
    node: &QNode,
    linear: &'a Linear,
    out: usize,
    input: usize,
) -> impl Iterator<Item = i8> + use<'a> {
    let per_output = linear.weights.len() / linear.bias.len();
    let step = channels(&graph.tensors[node.inputs[0]]);
    linear.weights[out * per_output..][..per_output].iter().skip(input).step_by(step).copied()
}

/// The window of a node if it sees anything but its operand: padding, or the gaps of a transposed convolution.
fn window(node: &QNode) -> Option<&Window> {
    node.op.window().filter(|window| window.is_padded() || window.has_gaps())
}

/// Ranges of all channels of all tensors.
fn ranges(graph: &QuantGraph) -> Vec<Vec<Range>> {
    let mut known: Vec<Vec<Range>> = graph.tensors.iter().map(|tensor| vec![Range::FULL; channels(tensor)]).collect();
    for node in &graph.nodes {
        let from = &graph.tensors[node.inputs[0]];
        let to = &graph.tensors[node.output];
        let of = |input: usize, channel: usize| known[node.inputs[input]][channel];
        let found: Vec<Range> = match (&node.op, access(graph, node)) {
            (_, Access::Mixes(linear)) => (0..linear.bias.len())
                .map(|out| {
                    let terms = (0..channels(from)).flat_map(|input| {
                        weights(graph, node, linear, out, input).map(move |weight| (weight, of(0, input)))
                    });
                    sum(linear, out, terms, from.zero_point, to.zero_point, window(node).is_some())
                })
                .collect(),
            (QOp::DepthwiseConv2d { multiplier, linear, .. }, Access::Follows(_)) => (0..linear.bias.len())
                .map(|out| {
                    let taps = linear.weights.iter().skip(out).step_by(linear.bias.len());
                    let terms = taps.map(|weight| (*weight, of(0, out / multiplier)));
                    sum(linear, out, terms, from.zero_point, to.zero_point, window(node).is_some())
                })
                .collect(),
            (QOp::MaxPool { bounds, .. } | QOp::AveragePool { bounds, .. }, Access::Follows(_)) => {
                (0..channels(to)).map(|c| of(0, c).map(|value| bounds.saturate(i32::from(value)))).collect()
            }
            (QOp::Lookup { table }, Access::Follows(_)) => (0..channels(to))
                .map(|c| {
                    let Range { low, high } = of(0, c);
                    // -128 to 127 become 0 to 255.
                    let values = &table[(i32::from(low) + 128) as usize..=(i32::from(high) + 128) as usize];
                    let ends = values.iter().fold((i8::MAX, i8::MIN), |(low, high), v| (low.min(*v), high.max(*v)));
                    Range { low: ends.0, high: ends.1 }
                })
                .collect(),
            _ => continue,
        };
        known[node.output] = found;
    }
    known
}

/// The range of an output channel that is a sum of weighted inputs.
fn sum(
    linear: &Linear,
    out: usize,
    terms: impl Iterator<Item = (i8, Range)>,
    in_zero: i32,
    out_zero: i32,
    padded: bool,
) -> Range {
    let (mut low, mut high) = (i64::from(linear.bias[out]), i64::from(linear.bias[out]));
    for (weight, range) in terms {
        let mut ends = [range.low, range.high].map(|value| i64::from(weight) * i64::from(i32::from(value) - in_zero));
        ends.sort_unstable();
        // Padding adds nothing.
        low += if padded { ends[0].min(0) } else { ends[0] };
        high += if padded { ends[1].max(0) } else { ends[1] };
    }
    let multiplier = linear.multiplier(out);
    let most = i64::from(i32::MAX) >> multiplier.shift.clamp(0, 31);
    if low < -most || high > most {
        return Range { low: linear.bounds.low, high: linear.bounds.high };
    }
    // Both within 32 bits; larger sums give no smaller results.
    let finished = |sum: i64| linear.bounds.saturate(multiplier.apply(sum as i32).wrapping_add(out_zero));
    Range { low: finished(low), high: finished(high) }
}

/// The value of an operand's channel that a node can take into its biases.
fn folded(graph: &QuantGraph, node: &QNode, known: &[Vec<Range>], channel: usize) -> Option<i8> {
    let constant = known[node.inputs[0]][channel].constant()?;
    let zero_point = graph.tensors[node.inputs[0]].zero_point;
    (window(node).is_none() || i32::from(constant) == zero_point).then_some(constant)
}

/// Which channels of each tensor stay.
fn kept(graph: &QuantGraph, known: &[Vec<Range>]) -> Vec<Vec<bool>> {
    let mut kept: Vec<Vec<bool>> = graph.tensors.iter().map(|tensor| vec![false; channels(tensor)]).collect();
    let all = |kept: &mut Vec<Vec<bool>>, tensor: TensorId| kept[tensor].fill(true);
    all(&mut kept, graph.input);
    all(&mut kept, graph.output);
    for node in &graph.nodes {
        if matches!(access(graph, node), Access::Opaque) {
            node.inputs.iter().chain([&node.output]).for_each(|tensor| all(&mut kept, *tensor));
        }
    }
    loop {
        spread(graph, known, &mut kept);
        // A tensor keeps at least one channel, and whole groups.
        let mut grown = false;
        for kept in &mut kept {
            let count = kept.iter().filter(|kept| **kept).count();
            let group = if kept.len().is_multiple_of(GROUP) { GROUP } else { 1 };
            let wanted = count.max(1).next_multiple_of(group);
            for more in kept.iter_mut().filter(|kept| !**kept).take(wanted - count) {
                *more = true;
                grown = true;
            }
        }
        if !grown {
            return kept;
        }
    }
}

/// Keeps what kept channels need, until nothing changes.
fn spread(graph: &QuantGraph, known: &[Vec<Range>], kept: &mut [Vec<bool>]) {
    loop {
        let before: usize = kept.iter().flatten().filter(|kept| **kept).count();
        for node in graph.nodes.iter().rev() {
            match access(graph, node) {
                Access::Opaque => {}
                Access::Mixes(linear) => {
                    let input = node.inputs[0];
                    for channel in 0..kept[input].len() {
                        if kept[input][channel] || folded(graph, node, known, channel).is_some() {
                            continue;
                        }
                        kept[input][channel] = (0..linear.bias.len())
                            .filter(|out| kept[node.output][*out])
                            .any(|out| weights(graph, node, linear, out, channel).any(|weight| weight != 0));
                    }
                }
                Access::Follows(multiplier) => {
                    for channel in 0..kept[node.inputs[0]].len() {
                        let group = channel * multiplier..(channel + 1) * multiplier;
                        let any = node.inputs.iter().any(|input| kept[*input][channel])
                            || group.clone().any(|out| kept[node.output][out]);
                        if any {
                            node.inputs.iter().for_each(|input| kept[*input][channel] = true);
                            kept[node.output][group].fill(true);
                        }
                    }
                }
            }
        }
        if kept.iter().flatten().filter(|kept| **kept).count() == before {
            return;
        }
    }
}

/// Takes the dropped channels out of a node's constants.
fn shrink(graph: &QuantGraph, node: &mut QNode, known: &[Vec<Range>], kept: &[Vec<bool>]) {
    let original = node.clone();
    let (inputs, outputs) = (&kept[node.inputs[0]], &kept[node.output]);
    let count = |kept: &[bool]| kept.iter().filter(|kept| **kept).count();
    let zero_point = graph.tensors[node.inputs[0]].zero_point;
    let from = graph.tensors[node.inputs[0]].len();
    match &mut node.op {
        QOp::Conv2d { linear, .. } | QOp::Dense { linear, .. } => {
            if matches!(access(graph, &original), Access::Opaque) {
                return;
            }
            let old = linear.clone();
            let per_output = old.weights.len() / old.bias.len();
            let dropped: Vec<(usize, i32)> = (0..inputs.len())
                .filter(|channel| !inputs[*channel])
                .filter_map(|channel| {
                    let constant = folded(graph, &original, known, channel)?;
                    Some((channel, i32::from(constant) - zero_point))
                })
                .collect();
            linear.weights.clear();
            linear.bias.clear();
            for out in (0..outputs.len()).filter(|out| outputs[*out]) {
                let row = &old.weights[out * per_output..][..per_output];
                let stay = row.iter().enumerate().filter(|(at, _)| inputs[at % inputs.len()]);
                linear.weights.extend(stay.map(|(_, weight)| *weight));
                let bias = dropped.iter().fold(old.bias[out], |bias, (channel, above)| {
                    weights(graph, &original, &old, out, *channel)
                        .fold(bias, |bias, weight| bias.wrapping_add(i32::from(weight) * above))
                });
                linear.bias.push(bias);
            }
            filter_multipliers(linear, &old, outputs);
        }
        QOp::DepthwiseConv2d { linear, .. } => {
            let old = linear.clone();
            let stay = |at: usize| outputs[at % outputs.len()];
            linear.weights = old.weights.iter().enumerate().filter(|(at, _)| stay(*at)).map(|(_, w)| *w).collect();
            linear.bias = old.bias.iter().enumerate().filter(|(at, _)| stay(*at)).map(|(_, b)| *b).collect();
            filter_multipliers(linear, &old, outputs);
        }
        _ => {}
    }
    match &mut node.op {
        QOp::Conv2d { window, out_c, .. } => {
            window.in_c = count(inputs);
            *out_c = count(outputs);
        }
        QOp::Dense { inputs: len, outputs: out, .. } => {
            *len = from / inputs.len() * count(inputs);
            *out = count(outputs);
        }
        QOp::DepthwiseConv2d { window, .. } | QOp::MaxPool { window, .. } | QOp::AveragePool { window, .. }
            if matches!(access(graph, &original), Access::Follows(_)) =>
        {
            window.in_c = count(inputs);
        }
        _ => {}
    }
}

fn filter_multipliers(linear: &mut Linear, old: &Linear, outputs: &[bool]) {
    if old.requant.len() > 1 {
        linear.requant = old.requant.iter().zip(outputs).filter(|(_, kept)| **kept).map(|(m, _)| *m).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixed::Multiplier;
    use crate::qir::Bounds;
    use crate::reference;

    fn layer(name: &str, from: usize, window: Window, out_c: usize, seed: u32) -> QNode {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((state >> 24) as i32 - 128) as i8
        };
        let weights = (0..out_c * window.taps() * window.in_c).map(|_| next()).collect();
        let linear = Linear {
            weights,
            bias: (0..out_c).map(|_| i32::from(next()) * 20).collect(),
            requant: vec![Multiplier { value: 1_500_000_000, shift: -8 }; out_c],
            bounds: Bounds::FULL,
        };
        QNode { name: name.into(), inputs: vec![from], output: from + 1, op: QOp::Conv2d { window, out_c, linear } }
    }

    /// Three convolutions, the first two with weights of which four fifths are zero, by whole channels.
    fn sparse(padded: bool) -> QuantGraph {
        let pad = usize::from(padded);
        let window = |in_c: usize| Window {
            in_h: 6,
            in_w: 6,
            in_c,
            out_h: 6,
            out_w: 6,
            kernel_h: 1 + 2 * pad,
            kernel_w: 1 + 2 * pad,
            stride_h: 1,
            stride_w: 1,
            dilation_h: 1,
            dilation_w: 1,
            pad_top: pad,
            pad_left: pad,
            gap_h: 0,
            gap_w: 0,
        };
        let tensor = |c: usize, zero_point: i32| QTensor {
            name: "t".into(),
            element: crate::qir::Element::Int8,
            shape: vec![1, 6, 6, c],
            scale: 0.1,
            zero_point,
        };
        let mut nodes =
            vec![layer("a", 0, window(4), 20, 1), layer("b", 1, window(20), 20, 2), layer("c", 2, window(20), 4, 3)];
        for node in nodes.iter_mut().take(2) {
            let QOp::Conv2d { linear, .. } = &mut node.op else { continue };
            let taps = linear.weights.len() / linear.bias.len();
            for out in (0..20).filter(|out| out % 5 != 0) {
                linear.weights[out * taps..][..taps].fill(0);
                if padded {
                    // The constant is the zero point, which is what padding is.
                    linear.bias[out] = 0;
                }
            }
        }
        QuantGraph {
            name: "sparse".into(),
            tensors: vec![tensor(4, 3), tensor(20, -7), tensor(20, -128), tensor(4, 0)],
            nodes,
            input: 0,
            output: 3,
            input_shape: vec![1, 6, 6, 4],
            output_shape: vec![1, 6, 6, 4],
        }
    }

    #[test]
    fn a_model_with_four_fifths_of_its_weights_zero_shrinks_and_answers_the_same() {
        for padded in [false, true] {
            let graph = sparse(padded);
            let small = eliminate(&graph);
            let weights = |graph: &QuantGraph| -> usize {
                graph.nodes.iter().filter_map(|node| node.op.linear()).map(|linear| linear.weights.len()).sum()
            };
            assert!(weights(&small) * 5 <= weights(&graph), "{} of {}", weights(&small), weights(&graph));
            assert_eq!(small.tensors[2].shape, [1, 6, 6, 4]);
            for seed in 0..20_i32 {
                let input: Vec<i8> = (0..144).map(|at| (at * 37 + seed * 91) as u8 as i8).collect();
                assert_eq!(reference::run(&small, &input), reference::run(&graph, &input), "padded: {padded}");
            }
        }
    }

    #[test]
    fn a_constant_that_padding_would_replace_stays() {
        let mut graph = sparse(true);
        let QOp::Conv2d { linear, .. } = &mut graph.nodes[0].op else { return };
        // Not the zero point: at the border the next layer sees padding in its place.
        linear.bias[1] = 5_000;
        let small = eliminate(&graph);
        assert_eq!(small.tensors[1].shape, [1, 6, 6, 8], "five channels in whole groups");
        let input: Vec<i8> = (0..144).map(|at| (at * 11) as u8 as i8).collect();
        assert_eq!(reference::run(&small, &input), reference::run(&graph, &input));
    }
}
