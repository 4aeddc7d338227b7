//! Constants of output channels as records of six or seven bytes, for code that shall be small.
//!
//! A multiplier has 31 bits, but within a layer it is a 24-bit scale of weights times one factor of the layer. A record
//! keeps the 24 bits; the product is not always the same multiplier, but an output is a step function of its sum, and
//! two multipliers are as good as one another if all steps lie at the same sums. That is checked, step by step.

use crate::fixed::Multiplier;
use crate::lower::{self, Packed};
use crate::qir::{Bounds, Linear, QNode, QuantGraph};

/// For each node its layer's records, if it has a fast kernel.
pub(crate) type Records = Vec<Option<LayerRecords>>;

/// Records of one layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LayerRecords {
    /// The factor that its channels have in common, in `[2^31, 2^32)`.
    pub scale: u32,
    /// Size of a record: 6 or 7.
    pub size: usize,
    /// One record behind another.
    pub bytes: Vec<u8>,
}

/// A channel before it becomes bytes.
#[derive(Debug, Clone, Copy)]
struct Channel {
    /// In `[2^31, 2^32)`, a multiple of 256.
    factor: u32,
    shift: u32,
    bias: i32,
}

/// The multiplier that a factor stands for; `layer.c` does the same.
fn decoded(factor: u32, scale: u32) -> i32 {
    let product = (u64::from(factor) * u64::from(scale) + (1 << 31)) >> 32;
    // Below 2^31 after the shift.
    (product >> (product >> 31)) as i32
}

/// The records of a graph; `None` if some channel has none that is exact, or they are no smaller.
pub(crate) fn records(graph: &QuantGraph) -> Option<Records> {
    let mut layers = Vec::with_capacity(graph.nodes.len());
    let mut plain = 0;
    for node in &graph.nodes {
        layers.push(match (lower::fast(graph, node), node.op.linear()) {
            (Some(kind), Some(linear)) => {
                plain += 4 * linear.bias.len() + 5 * linear.requant.len();
                let packed = lower::pack(kind, node, linear, graph.tensors[node.inputs[0]].zero_point);
                Some(layer(graph, node, linear, &packed)?)
            }
            _ => None,
        });
    }
    let size: usize = layers.iter().flatten().map(|layer| layer.bytes.len()).sum();
    (size + DECODER < plain).then_some(layers)
}

/// About the code that reads records, bytes.
const DECODER: usize = 400;

/// Bits at the top of a number that repeat its sign.
fn bits(value: i32) -> u32 {
    if value < 0 { value.leading_ones() } else { value.leading_zeros() }
}

fn encoded(channel: &Channel) -> [u8; 8] {
    let factor = u64::from((channel.factor >> 8) & 0x7f_ffff);
    (factor | u64::from(channel.shift) << 23 | i64::from(channel.bias).cast_unsigned() << 28).to_le_bytes()
}

fn layer(graph: &QuantGraph, node: &QNode, linear: &Linear, packed: &Packed) -> Option<LayerRecords> {
    let (from, to) = (&graph.tensors[node.inputs[0]], &graph.tensors[node.output]);
    let first = linear.requant[0].value.cast_unsigned();
    // Channels differ in the scale of their weights only, or in their largest weight, or in nothing.
    let (ratio, out) = (f64::from(from.scale) / f64::from(to.scale), 1.0 / f64::from(to.scale));
    let scales = [mantissa(ratio), mantissa(ratio / 127.0), mantissa(out), first.max(1 << 30) << 1];
    // A few steps up make up for what is cut off; some channel's steps may need one of them.
    let near = |scale: u32| (0..SCALES_TRIED).map(move |up| scale.saturating_add(up));
    scales.into_iter().flat_map(near).find_map(|scale| {
        let channels: Option<Vec<Channel>> =
            (0..linear.bias.len()).map(|channel| encode(graph, node, linear, packed, channel, scale)).collect();
        let channels = channels?;
        let widest = channels.iter().map(|channel| 33 - bits(channel.bias)).max()?;
        let size = if widest <= 20 { 6 } else { 7 };
        let bytes = channels.iter().flat_map(|channel| encoded(channel).into_iter().take(size)).collect();
        (widest <= 28).then_some(LayerRecords { scale, size, bytes })
    })
}

/// Common factors that are tried for a layer, from the nearest below on.
const SCALES_TRIED: u32 = 24;

/// The 32 leading bits of a positive number.
fn mantissa(real: f64) -> u32 {
    let bits = real.to_bits() & ((1 << 52) - 1) | 1 << 52;
    // 53 bits without the lowest 21.
    (bits >> 21) as u32
}

fn encode(
    graph: &QuantGraph,
    node: &QNode,
    linear: &Linear,
    packed: &Packed,
    channel: usize,
    scale: u32,
) -> Option<Channel> {
    let at = if packed.multipliers.len() == 1 { 0 } else { channel };
    let exact = Multiplier { value: packed.multipliers[at], shift: -packed.shifts[at] };
    let range = lower::range(node, linear, channel, graph.tensors[node.inputs[0]].zero_point);
    let steps = Steps { range, bounds: linear.bounds, zero_point: graph.tensors[node.output].zero_point };
    let wanted = i64::from(exact.value.max(1 << 30)) << 32;
    let factor = wanted / i64::from(scale);
    let factor = if factor < 1 << 31 { 2 * factor } else { factor };
    let near = (factor + 128) >> 8;
    [0, 1, -1].into_iter().find_map(|off| {
        let factor = (near + off).clamp(1 << 23, (1 << 24) - 1) << 8;
        let factor = u32::try_from(factor).ok()?;
        let got = Multiplier { value: decoded(factor, scale), ..exact };
        // A multiplier of 0 makes every sum 0, as a small one with the largest shift does.
        let got = if exact.value == 0 { Multiplier { shift: -lower::MOST_SHIFT, ..got } } else { got };
        let shift = got.shift.unsigned_abs();
        steps.same(exact, got).then_some(Channel { factor, shift, bias: packed.bias[channel] })
    })
}

/// An output as a step function of its sum.
struct Steps {
    /// Sums that inputs can make.
    range: (i64, i64),
    bounds: Bounds,
    zero_point: i32,
}

impl Steps {
    /// True if both multipliers give the same output for each sum in the range.
    fn same(&self, a: Multiplier, b: Multiplier) -> bool {
        if a == b {
            return true;
        }
        // Sums of packed layers are below 2^30.
        let sum = |sum: i64| sum.clamp(-(1 << 30), 1 << 30) as i32;
        let (low, high) = (sum(self.range.0), sum(self.range.1));
        let levels = i32::from(self.bounds.low) + 1 - self.zero_point..=i32::from(self.bounds.high) - self.zero_point;
        let (first, last) = (a.apply(low), a.apply(high));
        if b.apply(low).clamp(*levels.start() - 1, *levels.end()) != first.clamp(*levels.start() - 1, *levels.end()) {
            return false;
        }
        if b.apply(high).clamp(*levels.start() - 1, *levels.end()) != last.clamp(*levels.start() - 1, *levels.end()) {
            return false;
        }
        levels.filter(|level| first < *level && *level <= last).all(|level| {
            // The first sum that reaches the level: near, then exactly.
            let real = (f64::from(level) - 0.5) * 2_f64.powi(31 - a.shift) / f64::from(a.value);
            let mut step = (real as i32).clamp(low, high);
            while step > low && a.apply(step - 1) >= level {
                step -= 1;
            }
            while a.apply(step) < level {
                step += 1;
            }
            b.apply(step) >= level && b.apply(step - 1) < level
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn steps_are_the_same_exactly_if_all_outputs_are(
            value in (1_i32 << 30)..=i32::MAX,
            off in -3_000_i32..3_000,
            shift in 1_i32..12,
            low in -3_000_i64..0,
            high in 0_i64..3_000,
            zero_point in -128_i32..128,
        ) {
            let a = Multiplier { value, shift: -shift };
            let b = Multiplier { value: value.saturating_add(off), shift: -shift };
            let steps = Steps { range: (low, high), bounds: Bounds::FULL, zero_point };
            let out = |m: Multiplier, sum: i64| Bounds::FULL.saturate(m.apply(sum as i32) + zero_point);
            let same = (low..=high).all(|sum| out(a, sum) == out(b, sum));
            prop_assert_eq!(steps.same(a, b), same);
        }
    }
}
