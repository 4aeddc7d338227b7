//! What a layer's kernel does, counted: the amounts that its time is a sum of.

use crate::ir::{Norm, Unary, Window};
use crate::lower::{self, Fast};
use crate::qir::{Bounds, Element, QBinary, QNode, QOp, QuantGraph};
use crate::real::Real;

/// A kernel of the generated code, or one of the ways through it that cost differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kernel {
    /// Packed convolution with an even number of channels, each with a multiplier of its own.
    ConvPacked,
    /// The same over a 1x1 window that needs no copy.
    PointPacked,
    /// Packed convolution with an odd number of channels or one multiplier.
    OddPacked,
    /// Packed dense layer with one multiplier and no bounds.
    DensePacked,
    /// Packed dense layer with a multiplier for each output, or bounds.
    EachPacked,
    /// Packed depthwise convolution, 3x3.
    ThreePacked,
    /// Packed depthwise convolution of other sizes.
    DepthwisePacked,
    /// Convolution.
    Conv,
    /// Depthwise convolution.
    Depthwise,
    /// Convolution over an input with gaps.
    ConvTransposed,
    /// Depthwise convolution over an input with gaps.
    DepthwiseTransposed,
    /// Dense layer.
    Dense,
    /// Maximum over windows.
    MaxPool,
    /// Mean over windows.
    AveragePool,
    /// Sum of two activations of one shape.
    Add,
    /// Softmax.
    Softmax,
    /// Another quantization.
    Rescale,
    /// A function as a table.
    Lookup,
    /// Concatenation.
    Concat,
    /// Padding.
    Pad,
    /// Sum of operands that are repeated.
    Sum,
    /// Product.
    Mul,
    /// Maximum or minimum of two operands.
    Extreme,
    /// Parametric ReLU.
    PRelu,
    /// Mean or sum along an axis.
    Mean,
    /// Elements moved.
    Move,
    /// Entries of an axis.
    Gather,
    /// Linear interpolation.
    Interpolate,
    /// Convolution or dense layer in 32-bit floats.
    RealLinear,
    /// Function of two operands in 32-bit floats.
    RealBinary,
    /// Function of each element, or bounds, in 32-bit floats.
    RealUnary,
    /// Function of whole rows in 32-bit floats.
    RealRows,
    /// Decision trees.
    Trees,
}

/// Kernels that share code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Any shape of int8.
    General,
    /// Packed kernels.
    Packed,
    /// 32-bit floats.
    Real,
}

impl Family {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::General, Self::Packed, Self::Real];
}

impl Kernel {
    /// All of them.
    pub const ALL: [Self; 33] = [
        Self::ConvPacked,
        Self::PointPacked,
        Self::OddPacked,
        Self::DensePacked,
        Self::EachPacked,
        Self::ThreePacked,
        Self::DepthwisePacked,
        Self::Conv,
        Self::Depthwise,
        Self::ConvTransposed,
        Self::DepthwiseTransposed,
        Self::Dense,
        Self::MaxPool,
        Self::AveragePool,
        Self::Add,
        Self::Softmax,
        Self::Rescale,
        Self::Lookup,
        Self::Concat,
        Self::Pad,
        Self::Sum,
        Self::Mul,
        Self::Extreme,
        Self::PRelu,
        Self::Mean,
        Self::Move,
        Self::Gather,
        Self::Interpolate,
        Self::RealLinear,
        Self::RealBinary,
        Self::RealUnary,
        Self::RealRows,
        Self::Trees,
    ];

    /// The kernel whose source it is, where several ways lead through one.
    pub fn source(self) -> Self {
        match self {
            Self::PointPacked | Self::OddPacked => Self::ConvPacked,
            Self::EachPacked => Self::DensePacked,
            Self::ThreePacked => Self::DepthwisePacked,
            other => other,
        }
    }

    /// The kernels with which it shares code.
    pub fn family(self) -> Family {
        match self.source() {
            Self::ConvPacked | Self::DensePacked | Self::DepthwisePacked => Family::Packed,
            Self::RealLinear | Self::RealBinary | Self::RealUnary | Self::RealRows | Self::Trees => Family::Real,
            _ => Family::General,
        }
    }
}

/// Most kinds of amounts of one kernel.
pub const AMOUNTS: usize = 8;

/// The work of one layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Work {
    /// What does it.
    pub kernel: Kernel,
    /// How much of each kind; what the kinds are depends on the kernel. The first is 1.
    pub amounts: [u64; AMOUNTS],
}

impl Work {
    /// The work of a node.
    pub fn of(graph: &QuantGraph, node: &QNode) -> Self {
        let (kernel, amounts) = count(graph, node);
        let mut all = [0; AMOUNTS];
        for (amount, slot) in amounts.iter().zip(&mut all) {
            *slot = amount.iter().fold(1_u64, |product, factor| product.saturating_mul(*factor as u64));
        }
        Self { kernel, amounts: all }
    }
}

impl Work {
    /// This and more work of the same kernel.
    pub(super) fn and(mut self, more: Self) -> Self {
        for (amount, more) in self.amounts.iter_mut().zip(more.amounts) {
            *amount = amount.saturating_add(more);
        }
        self
    }
}

/// The kernel of a node and its amounts, each as factors.
fn count(graph: &QuantGraph, node: &QNode) -> (Kernel, Vec<Vec<usize>>) {
    if let Some(fast) = lower::fast(graph, node) {
        return packed(fast, node);
    }
    let one = Vec::new();
    let elements = graph.tensors[node.output].len();
    match &node.op {
        QOp::Real(real) => count_real(graph, node, real),
        QOp::Conv2d { window: w, out_c, .. } => {
            let pixels = w.out_pixels();
            // Taps that meet a pixel and no gap.
            let spread = usize::try_from(w.spread()).unwrap_or(1);
            if w.has_gaps() {
                let taps = pixels * out_c * w.taps();
                let amounts = [one, vec![pixels, *out_c], vec![taps], vec![taps / spread, w.in_c]];
                return (Kernel::ConvTransposed, amounts.to_vec());
            }
            let (rows, taps) = inside(w);
            let amounts = [
                one,
                vec![pixels],
                vec![pixels, *out_c],
                vec![rows, *out_c],
                vec![taps, *out_c],
                vec![taps, *out_c, w.in_c],
            ];
            (Kernel::Conv, amounts.to_vec())
        }
        QOp::DepthwiseConv2d { window: w, multiplier, .. } => {
            let outputs = w.out_pixels() * w.in_c * multiplier;
            let spread = usize::try_from(w.spread()).unwrap_or(1);
            if w.has_gaps() {
                let taps = outputs * w.taps();
                return (Kernel::DepthwiseTransposed, vec![Vec::new(), vec![outputs], vec![taps], vec![taps / spread]]);
            }
            let (rows, taps) = inside(w);
            let amounts = [
                one,
                vec![w.out_pixels()],
                vec![w.out_pixels(), w.in_c],
                vec![outputs],
                vec![rows, w.in_c, *multiplier],
                vec![taps, w.in_c, *multiplier],
            ];
            (Kernel::Depthwise, amounts.to_vec())
        }
        QOp::Dense { inputs, outputs, .. } => (Kernel::Dense, vec![one, vec![*outputs], vec![*inputs, *outputs]]),
        QOp::MaxPool { window: w, .. } | QOp::AveragePool { window: w, .. } => {
            let (rows, taps) = inside(w);
            let pixels = vec![w.out_pixels()];
            let amounts = [one, pixels, vec![w.out_pixels(), w.in_c], vec![rows, w.in_c], vec![taps, w.in_c]].to_vec();
            let kernel = if matches!(node.op, QOp::MaxPool { .. }) { Kernel::MaxPool } else { Kernel::AveragePool };
            (kernel, amounts)
        }
        QOp::Add { .. } => (Kernel::Add, vec![one, vec![elements]]),
        QOp::Softmax { rows, depth, .. } => (Kernel::Softmax, vec![one, vec![*rows], vec![*rows, *depth]]),
        QOp::Rescale { .. } => (Kernel::Rescale, vec![one, vec![elements]]),
        QOp::Lookup { .. } => (Kernel::Lookup, vec![one, vec![elements]]),
        QOp::Concat { outer, inner, .. } => {
            (Kernel::Concat, vec![one, vec![inner.len()], vec![*outer, inner.len()], vec![elements]])
        }
        QOp::Pad { dims, before, after, .. } => {
            let size = |axis: usize| dims[axis] + before[axis] + after[axis];
            (Kernel::Pad, vec![one, vec![size(0), size(1), size(2)], vec![elements]])
        }
        QOp::Binary { function, meet, .. } => {
            let kernel = match function {
                QBinary::Sum { .. } => Kernel::Sum,
                QBinary::Mul { .. } => Kernel::Mul,
                QBinary::Maximum { .. } | QBinary::Minimum { .. } => Kernel::Extreme,
                QBinary::PRelu { .. } => Kernel::PRelu,
            };
            (kernel, vec![one, vec![elements / meet.counts.last().copied().unwrap_or(1)], vec![elements]])
        }
        QOp::Mean { outer, count, inner, .. } => {
            (Kernel::Mean, vec![one, vec![*outer, *inner], vec![*outer, *inner, *count]])
        }
        QOp::Strided { path } => {
            let path = path.clone().simplified();
            (Kernel::Move, vec![one, vec![elements / path.counts.last().copied().unwrap_or(1)], vec![elements]])
        }
        QOp::Gather { outer, indices, .. } => {
            (Kernel::Gather, vec![one, vec![*outer], vec![*outer, indices.len()], vec![elements]])
        }
        QOp::Interpolate { rows, columns, .. } => {
            (Kernel::Interpolate, vec![one, vec![rows.len()], vec![rows.len(), columns.len()], vec![elements]])
        }
    }
}

/// How many rows of windows, and how many taps, lie inside of the input, over all positions of a window.
fn inside(w: &Window) -> (usize, usize) {
    let along = |count: usize, taps: usize, stride: usize, dilation: usize, pad: usize, size: usize| {
        let place = |at: usize, tap: usize| (at * stride + tap * dilation).checked_sub(pad);
        let within = |at: usize| (0..taps).filter(|tap| place(at, *tap).is_some_and(|place| place < size)).count();
        (0..count).map(within).sum::<usize>()
    };
    let rows = along(w.out_h, w.kernel_h, w.stride_h, w.dilation_h, w.pad_top, w.in_h);
    let columns = along(w.out_w, w.kernel_w, w.stride_w, w.dilation_w, w.pad_left, w.in_w);
    (rows * w.out_w, rows * columns)
}

/// The same for 32-bit floats; elements that are loaded from int8 or stored as int8 are counted beside.
fn count_real(graph: &QuantGraph, node: &QNode, real: &Real) -> (Kernel, Vec<Vec<usize>>) {
    let one = Vec::new();
    let int8 = |tensor: usize| usize::from(graph.tensors[tensor].element == Element::Int8);
    let elements = graph.tensors[node.output].len();
    let (loaded, stored) = (int8(node.inputs[0]), int8(node.output));
    match real {
        Real::Linear { window: w, out_c, multiplier, .. } => {
            let (_, taps) = inside(w);
            let spread = usize::try_from(w.spread()).unwrap_or(1);
            let taps = if w.has_gaps() { w.out_pixels() * w.taps() / spread } else { taps };
            let inputs = if multiplier.is_some() { 1 } else { w.in_c };
            let macs = [taps, *out_c, inputs];
            let amounts = [
                one,
                vec![elements],
                vec![taps, *out_c],
                macs.to_vec(),
                [&macs[..], &[loaded]].concat(),
                vec![elements, stored],
            ];
            (Kernel::RealLinear, amounts.to_vec())
        }
        Real::Binary { meet, constant, .. } => {
            let second = if constant.is_some() { 0 } else { node.inputs.last().map_or(0, |input| int8(*input)) };
            let rows = elements / meet.counts.last().copied().unwrap_or(1).max(1);
            (
                Kernel::RealBinary,
                vec![one, vec![rows], vec![elements], vec![elements, loaded + second], vec![elements, stored]],
            )
        }
        Real::Unary { function, .. } => {
            let exponential = usize::from(matches!(
                function,
                Some(
                    Unary::Sigmoid
                        | Unary::Tanh
                        | Unary::Elu { .. }
                        | Unary::Selu { .. }
                        | Unary::Exp
                        | Unary::Log
                        | Unary::Probit
                )
            ));
            let amounts =
                [one, vec![elements], vec![elements, exponential], vec![elements, loaded], vec![elements, stored]];
            (Kernel::RealUnary, amounts.to_vec())
        }
        Real::Rows { rows, depth, norm } => {
            let exponential = usize::from(matches!(norm, Norm::Softmax | Norm::SoftmaxOfNonzero));
            let elements = rows * depth;
            let amounts = [
                one,
                vec![*rows],
                vec![elements],
                vec![elements, exponential],
                vec![elements, loaded],
                vec![elements, stored],
            ];
            (Kernel::RealRows, amounts.to_vec())
        }
        Real::Trees { forest } => {
            let (tests, scores) = forest.walked();
            let amounts =
                [one, vec![elements], vec![forest.roots.len()], vec![tests], vec![scores], vec![tests, loaded]];
            (Kernel::Trees, amounts.to_vec())
        }
    }
}

fn packed(fast: Fast, node: &QNode) -> (Kernel, Vec<Vec<usize>>) {
    let one = Vec::new();
    let clamped = usize::from(node.op.bounds().is_some_and(|bounds| bounds != Bounds::FULL));
    let (channels, per_channel) =
        node.op.linear().map_or((1, false), |linear| (linear.bias.len(), linear.requant.len() > 1));
    let window = node.op.window().copied().unwrap_or_default();
    let (w, pixels) = (window, window.out_pixels());
    match fast {
        Fast::Dense => {
            let inputs = if let QOp::Dense { inputs, .. } = node.op { inputs } else { 0 };
            let groups = channels.div_ceil(4);
            let kernel = if per_channel || clamped > 0 { Kernel::EachPacked } else { Kernel::DensePacked };
            (kernel, vec![one, vec![groups], vec![channels], vec![groups, inputs.div_ceil(4)]])
        }
        Fast::Conv2d => {
            let quads = (w.taps() * w.in_c).div_ceil(4);
            let direct = w.taps() == 1
                && (w.stride_h, w.stride_w, w.pad_top, w.pad_left) == (1, 1, 0, 0)
                && w.in_c.is_multiple_of(4);
            let even = per_channel && channels.is_multiple_of(2);
            let kernel = match (even, direct) {
                (true, true) => Kernel::PointPacked,
                (true, false) => Kernel::ConvPacked,
                (false, _) => Kernel::OddPacked,
            };
            // Rows of a window inside the image are copied at once, others tap by tap.
            let inside = |ox: usize| {
                w.dilation_w == 1
                    && ox * w.stride_w >= w.pad_left
                    && ox * w.stride_w - w.pad_left + w.kernel_w <= w.in_w
            };
            let whole = (0..w.out_w).filter(|ox| inside(*ox)).count();
            let amounts = [
                one,
                vec![pixels],
                vec![w.out_h, whole, w.kernel_h],
                vec![w.out_h, w.out_w - whole, w.kernel_h, w.kernel_w],
                vec![pixels, quads],
                vec![pixels, channels],
                vec![pixels, channels.div_ceil(2), quads],
                vec![pixels, channels, clamped],
            ];
            (kernel, amounts.to_vec())
        }
        Fast::Depthwise => {
            let (plane_h, plane_w) = lower::plane_size(&w);
            let rows = w.in_h.min(plane_h.saturating_sub(w.pad_top));
            let columns = w.in_w.min(plane_w.saturating_sub(w.pad_left));
            let copied = [vec![channels, rows], vec![channels, rows, columns]];
            let three = w.taps() == 9 && w.kernel_w == 3 && (w.dilation_h, w.dilation_w) == (1, 1) && w.stride_w <= 2;
            let [copied_rows, copied_bytes] = copied;
            if three {
                let first = usize::from(w.stride_w == 1 && clamped == 0);
                let second = usize::from(w.stride_w == 2 && clamped == 0);
                let amounts = [
                    one,
                    vec![channels],
                    copied_rows,
                    copied_bytes,
                    vec![channels, w.out_h],
                    vec![channels, pixels, first],
                    vec![channels, pixels, second],
                    vec![channels, pixels, clamped],
                ];
                return (Kernel::ThreePacked, amounts.to_vec());
            }
            let amounts = [
                one,
                vec![channels],
                copied_rows,
                copied_bytes,
                vec![channels, pixels],
                vec![channels, pixels, w.kernel_h],
                vec![channels, pixels, w.taps()],
            ];
            (Kernel::DepthwisePacked, amounts.to_vec())
        }
    }
}
