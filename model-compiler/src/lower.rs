//! Convolutions and dense layers as the fast kernels take them: the zero point of the input folded into the bias,
//! weights of two channels side by side. Exact, or not done: what cannot be proven to give the same bytes keeps the
//! general kernel.

use crate::ir::Window;
use crate::qir::{Linear, QNode, QOp, QuantGraph};

/// Shifts to the right that leave room for the zero point above them.
pub(crate) const MOST_SHIFT: i32 = 22;

/// A layer for a fast kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Packed {
    /// In the order of the kernel.
    pub weights: Vec<i8>,
    /// Two channels side by side.
    pub paired: bool,
    /// With the zero point of the input folded in.
    pub bias: Vec<i32>,
    /// One per output channel, or a single one.
    pub multipliers: Vec<i32>,
    /// To the right, 1 to 31.
    pub shifts: Vec<i32>,
}

/// Which fast kernel an operator may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fast {
    /// `conv2d_packed.c`
    Conv2d,
    /// `dense_packed.c`
    Dense,
    /// `depthwise_packed.c`
    Depthwise,
}

/// The fast kernel of a node, if its results are proven to be the same.
pub(crate) fn fast(graph: &QuantGraph, node: &QNode) -> Option<Fast> {
    let kind = match &node.op {
        op if op.window().is_some_and(Window::has_gaps) => return None,
        QOp::Conv2d { .. } => Fast::Conv2d,
        QOp::Dense { .. } => Fast::Dense,
        // One input channel: every output channel reads all of the input, which is a convolution.
        QOp::DepthwiseConv2d { window, .. } if window.in_c == 1 => Fast::Conv2d,
        QOp::DepthwiseConv2d { multiplier: 1, .. } => Fast::Depthwise,
        _ => return None,
    };
    let linear = node.op.linear()?;
    let zero_point = graph.tensors[node.inputs[0]].zero_point;
    let shifts_fit = linear.requant.iter().all(|m| m.value == 0 || (-MOST_SHIFT..=-1).contains(&m.shift));
    let sums_fit = (0..linear.bias.len()).all(|channel| {
        let (low, high) = range(node, linear, channel, zero_point);
        // Prefixes of the sum with raw inputs must stay within bounds too; the folded bias is where they begin.
        let mut folded = i64::from(linear.bias[channel]);
        let mut reach = 0;
        for weight in channel_weights(node, linear, channel) {
            folded -= i64::from(weight) * i64::from(zero_point);
            reach += 128 * i64::from(weight).abs();
        }
        let sum = low.abs().max(high.abs());
        // 2 * sum must fit 32 bits; in pairs, 256 * sum.
        let most = if kind == Fast::Depthwise { 1 << 30 } else { 1 << 23 };
        // 256 * -128 and a negative neighbour leave 16 bits.
        let halves_fit = kind == Fast::Depthwise || channel_weights(node, linear, channel).all(|weight| weight > -128);
        halves_fit && sum < most && folded.abs() + reach < 1 << 30
    });
    (shifts_fit && sums_fit).then_some(kind)
}

/// The least and the largest sum that an output channel can have.
pub(crate) fn range(node: &QNode, linear: &Linear, channel: usize, zero_point: i32) -> (i64, i64) {
    let (mut low, mut high) = (i64::from(linear.bias[channel]), i64::from(linear.bias[channel]));
    for weight in channel_weights(node, linear, channel) {
        let ends = [-128, 127].map(|input| i64::from(weight) * i64::from(input - zero_point));
        low += ends[0].min(ends[1]);
        high += ends[0].max(ends[1]);
    }
    (low, high)
}

/// Weights of one output channel, in the order of their taps.
fn channel_weights<'a>(node: &QNode, linear: &'a Linear, channel: usize) -> Box<dyn Iterator<Item = i8> + 'a> {
    let channels = linear.bias.len();
    let taps = linear.weights.len() / channels;
    match node.op {
        QOp::DepthwiseConv2d { .. } => Box::new(linear.weights.iter().skip(channel).step_by(channels).copied()),
        _ => Box::new(linear.weights[channel * taps..][..taps].iter().copied()),
    }
}

/// The constants of a layer for its fast kernel.
pub(crate) fn pack(kind: Fast, node: &QNode, linear: &Linear, zero_point: i32) -> Packed {
    let channels = linear.bias.len();
    let rows: Vec<Vec<i8>> = (0..channels).map(|channel| channel_weights(node, linear, channel).collect()).collect();
    let weights = match kind {
        Fast::Depthwise => rows.concat(),
        Fast::Conv2d | Fast::Dense => rows.chunks(2).flat_map(pair).collect(),
    };
    let bias = rows
        .iter()
        .zip(&linear.bias)
        .map(|(row, bias)| row.iter().fold(*bias, |sum, weight| sum.wrapping_sub(i32::from(*weight) * zero_point)))
        .collect();
    Packed {
        weights,
        paired: kind != Fast::Depthwise,
        bias,
        multipliers: linear.requant.iter().map(|m| m.value).collect(),
        shifts: linear.requant.iter().map(|m| if m.value == 0 { 1 } else { -m.shift }).collect(),
    }
}

/// Two channels side by side, whole groups of four inputs; the second may be absent.
fn pair(rows: &[Vec<i8>]) -> Vec<i8> {
    let taps = rows[0].len();
    let weight = |row: usize, tap: usize| rows.get(row).and_then(|row| row.get(tap)).copied().unwrap_or(0);
    (0..taps.next_multiple_of(4)).flat_map(|tap| [weight(0, tap), weight(1, tap)]).collect()
}

/// Bytes of constant tables of a node as its kernel stores them.
pub(crate) fn constant_bytes(graph: &QuantGraph, node: &QNode, record: Option<usize>) -> usize {
    let (Some(linear), Some(kind)) = (node.op.linear(), fast(graph, node)) else { return node.op.constant_bytes() };
    let channels = linear.bias.len();
    let taps = linear.weights.len() / channels;
    let weights = match kind {
        Fast::Depthwise => linear.weights.len(),
        Fast::Conv2d | Fast::Dense => channels.div_ceil(2) * 2 * taps.next_multiple_of(4),
    };
    weights + record.map_or(4 * channels + 5 * linear.requant.len(), |bytes| bytes * channels)
}

/// Bytes of RAM that the kernel of a node needs while it runs.
pub(crate) fn scratch(graph: &QuantGraph, node: &QNode) -> usize {
    node.op.window().map_or(0, |window| scratch_for(fast(graph, node), window))
}

/// Bytes of RAM that a kernel needs for a window.
pub(crate) fn scratch_for(kind: Option<Fast>, window: &Window) -> usize {
    match kind {
        // The bytes that a pixel sees, and two pixels of 16 bits each.
        Some(Fast::Conv2d) => 5 * (window.taps() * window.in_c).next_multiple_of(4),
        // Words are read up to three bytes behind a row.
        Some(Fast::Depthwise) => {
            let (height, width) = plane_size(window);
            (height * width + 4).next_multiple_of(4)
        }
        _ => 0,
    }
}

/// Height and width of one channel with its padding.
pub(crate) fn plane_size(w: &Window) -> (usize, usize) {
    let extent =
        |out: usize, stride: usize, kernel: usize, dilation: usize| (out - 1) * stride + (kernel - 1) * dilation + 1;
    (extent(w.out_h, w.stride_h, w.kernel_h, w.dilation_h), extent(w.out_w, w.stride_w, w.kernel_w, w.dilation_w))
}

/// How far the output of a convolution, written pixel by pixel, must begin before its input so that it never
/// overwrites what is still to be read; negative: that much later is safe too.
pub(crate) fn trail(w: &Window, out_c: usize) -> isize {
    let first = |oy: usize, ox: usize| {
        let row = (oy * w.stride_h).saturating_sub(w.pad_top).min(w.in_h - 1);
        let column = (ox * w.stride_w).saturating_sub(w.pad_left).min(w.in_w - 1);
        ((row * w.in_w + column) * w.in_c).cast_signed()
    };
    let mut needed = isize::MAX;
    let mut distance = isize::MIN;
    for oy in (0..w.out_h).rev() {
        for ox in (0..w.out_w).rev() {
            let written = ((oy * w.out_w + ox + 1) * out_c).cast_signed();
            if needed != isize::MAX {
                distance = distance.max(written - needed);
            }
            needed = needed.min(first(oy, ox));
        }
    }
    // One pixel: everything is read before anything is written.
    if distance == isize::MIN { 0 } else { distance }
}
