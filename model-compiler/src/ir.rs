//! The float intermediate representation: a list of nodes in execution order
//! over named activation tensors.
//!
//! Constants live inside the operators, reshapes do not exist (operators carry
//! their own geometry), images are stored height, width, channel. Nothing here
//! knows a file format or a target.

pub use crate::unary::Unary;

use crate::forest::Forest;
use crate::strided::{Broadcast, Strided};

/// Index into [`Graph::tensors`].
pub type TensorId = usize;

/// A single-input, single-output network with batch size 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Graph {
    /// Name as the model file gives it.
    pub name: String,
    /// Format of the model file: `onnx` or `tflite`.
    pub format: &'static str,
    /// All activations.
    pub tensors: Vec<Tensor>,
    /// Operators in execution order.
    pub nodes: Vec<Node>,
    /// What the caller fills.
    pub input: TensorId,
    /// What the caller reads.
    pub output: TensorId,
    /// Shape of the input as the model file declares it, batch 1.
    pub input_shape: Vec<usize>,
    /// Shape of the output as the model file declares it, batch 1.
    pub output_shape: Vec<usize>,
}

/// One activation.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// Name from the model file.
    pub name: String,
    /// Shape in storage order, row-major, batch 1 included.
    pub shape: Vec<usize>,
    /// Scale and zero point that the model file prescribes; calibration chooses them otherwise.
    pub quantization: Option<(f32, i32)>,
}

impl Tensor {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// True for a tensor without elements; the importer makes none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// One operator with its operands.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Name from the model file.
    pub name: String,
    /// Activations that it reads.
    pub inputs: Vec<TensorId>,
    /// The activation that it writes.
    pub output: TensorId,
    /// What it computes.
    pub op: Op,
    /// True if it is to run in 32-bit floats although all else may be int8.
    pub real: bool,
}

impl Node {
    /// Height and width of the result of a Pad, zeros for other operators.
    pub(crate) fn padded_size(&self) -> [usize; 2] {
        match &self.op {
            Op::Pad { dims, before, after, .. } => [1, 2].map(|axis| before[axis] + dims[axis] + after[axis]),
            _ => [0, 0],
        }
    }
}

/// Geometry of a sliding window over a height x width x channels image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Window {
    /// Input height.
    pub in_h: usize,
    /// Input width.
    pub in_w: usize,
    /// Input channels.
    pub in_c: usize,
    /// Output height.
    pub out_h: usize,
    /// Output width.
    pub out_w: usize,
    /// Kernel height.
    pub kernel_h: usize,
    /// Kernel width.
    pub kernel_w: usize,
    /// Vertical stride.
    pub stride_h: usize,
    /// Horizontal stride.
    pub stride_w: usize,
    /// Vertical dilation.
    pub dilation_h: usize,
    /// Horizontal dilation.
    pub dilation_w: usize,
    /// Rows of padding above; those below follow from the output height.
    pub pad_top: usize,
    /// Columns of padding on the left; those on the right follow from the output width.
    pub pad_left: usize,
    /// Rows of zeros between neighbouring input rows, as a transposed convolution sees them.
    pub gap_h: usize,
    /// Columns of zeros between neighbouring input columns.
    pub gap_w: usize,
}

impl Window {
    /// The window that maps each pixel to itself (1x1, stride 1).
    pub fn pointwise(pixels: usize, channels: usize) -> Self {
        Self {
            in_h: 1,
            in_w: pixels,
            in_c: channels,
            out_h: 1,
            out_w: pixels,
            kernel_h: 1,
            kernel_w: 1,
            stride_h: 1,
            stride_w: 1,
            dilation_h: 1,
            dilation_w: 1,
            pad_top: 0,
            pad_left: 0,
            gap_h: 0,
            gap_w: 0,
        }
    }

    /// Input row that kernel row `k` sees at output row `out`, if it is not padding.
    #[inline]
    pub fn row(&self, out: usize, k: usize) -> Option<usize> {
        let at = (out * self.stride_h + k * self.dilation_h).checked_sub(self.pad_top)?;
        let row = if self.gap_h == 0 { at } else { behind_gaps(at, self.gap_h)? };
        (row < self.in_h).then_some(row)
    }

    /// Input column that kernel column `k` sees at output column `out`, if it is not padding.
    #[inline]
    pub fn column(&self, out: usize, k: usize) -> Option<usize> {
        let at = (out * self.stride_w + k * self.dilation_w).checked_sub(self.pad_left)?;
        let column = if self.gap_w == 0 { at } else { behind_gaps(at, self.gap_w)? };
        (column < self.in_w).then_some(column)
    }

    /// Number of output pixels.
    pub fn out_pixels(&self) -> usize {
        self.out_h * self.out_w
    }

    /// Elements that one run of a pooling operator reads, padding counted like data.
    pub fn reads(&self) -> u64 {
        [self.out_h, self.out_w, self.in_c, self.kernel_h, self.kernel_w]
            .iter()
            .fold(1, |all, factor| all.saturating_mul(*factor as u64))
    }

    /// True if some window reaches into padding.
    pub fn is_padded(&self) -> bool {
        let last_row = (self.out_h - 1) * self.stride_h + (self.kernel_h - 1) * self.dilation_h;
        let last_column = (self.out_w - 1) * self.stride_w + (self.kernel_w - 1) * self.dilation_w;
        self.pad_top > 0 || self.pad_left > 0 || last_row >= self.in_h || last_column >= self.in_w
    }

    /// Number of kernel positions.
    pub fn taps(&self) -> usize {
        self.kernel_h * self.kernel_w
    }

    /// Kernel positions for each one that meets a pixel and no gap.
    pub fn spread(&self) -> u64 {
        ((self.gap_h + 1) * (self.gap_w + 1)) as u64
    }

    /// True for a transposed convolution: zeros lie between the input's pixels.
    pub fn has_gaps(&self) -> bool {
        self.gap_h > 0 || self.gap_w > 0
    }
}

/// Index of the input that lies at a place among zeros, `None` for a zero.
fn behind_gaps(at: usize, gap: usize) -> Option<usize> {
    at.is_multiple_of(gap + 1).then_some(at / (gap + 1))
}

/// One position between two neighbours of an axis, for linear interpolation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Blend {
    /// Index of the lower neighbour.
    pub low: usize,
    /// Index of the upper neighbour.
    pub high: usize,
    /// Share of the upper one; the lower one has the rest.
    pub share: f32,
}

/// Bounds that an operator's result is clamped to (a fused activation).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Clamp {
    /// Lowest value.
    pub low: f32,
    /// Highest value.
    pub high: f32,
}

impl Clamp {
    /// No bounds.
    pub const NONE: Self = Self { low: f32::NEG_INFINITY, high: f32::INFINITY };
    /// Rectified linear unit.
    pub const RELU: Self = Self { low: 0.0, high: f32::INFINITY };

    /// Applies the bounds.
    #[inline]
    pub fn apply(&self, value: f32) -> f32 {
        value.max(self.low).min(self.high)
    }

    /// Both bounds, one after the other.
    pub fn then(&self, next: &Self) -> Self {
        Self { low: next.apply(self.low), high: next.apply(self.high) }
    }
}

/// A function of two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binary {
    /// `a + b`
    Add,
    /// `a - b`
    Sub,
    /// `b - a`
    SubFrom,
    /// `a * b`
    Mul,
    /// The larger one.
    Maximum,
    /// The smaller one.
    Minimum,
    /// `a`, or `a * b` below zero.
    PRelu,
}

impl Binary {
    /// The function's value.
    pub fn apply(self, a: f32, b: f32) -> f32 {
        match self {
            Self::Add => a + b,
            Self::Sub => a - b,
            Self::SubFrom => b - a,
            Self::Mul => a * b,
            Self::Maximum => a.max(b),
            Self::Minimum => a.min(b),
            Self::PRelu => {
                if a < 0.0 {
                    a * b
                } else {
                    a
                }
            }
        }
    }

    /// Name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Add => "Add",
            Self::Sub | Self::SubFrom => "Sub",
            Self::Mul => "Mul",
            Self::Maximum => "Max",
            Self::Minimum => "Min",
            Self::PRelu => "PRelu",
        }
    }
}

/// A function of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Norm {
    /// Softmax.
    Softmax,
    /// Softmax in which zeros take no part.
    SoftmaxOfNonzero,
    /// Each value by the largest.
    Max,
    /// Each value by the sum of all magnitudes.
    L1,
    /// Each value by the root of the sum of all squares.
    L2,
}

/// What a node computes.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    /// 2-D convolution.
    Conv2d {
        /// Geometry.
        window: Window,
        /// Output channels.
        out_c: usize,
        /// `[out_c, kernel_h, kernel_w, in_c]`.
        weights: Vec<f32>,
        /// `[out_c]`.
        bias: Vec<f32>,
        /// Fused activation.
        clamp: Clamp,
    },
    /// Convolution of each channel by itself; output channel `c` reads input
    /// channel `c / multiplier`.
    DepthwiseConv2d {
        /// Geometry.
        window: Window,
        /// Output channels per input channel.
        multiplier: usize,
        /// `[kernel_h, kernel_w, in_c * multiplier]`.
        weights: Vec<f32>,
        /// `[in_c * multiplier]`.
        bias: Vec<f32>,
        /// Fused activation.
        clamp: Clamp,
    },
    /// Fully connected layer.
    Dense {
        /// Length of the input.
        inputs: usize,
        /// Length of the output.
        outputs: usize,
        /// `[outputs, inputs]`.
        weights: Vec<f32>,
        /// `[outputs]`.
        bias: Vec<f32>,
        /// Fused activation.
        clamp: Clamp,
    },
    /// Maximum over a window, padding left out.
    MaxPool {
        /// Geometry.
        window: Window,
    },
    /// Mean over a window, padding not counted.
    AveragePool {
        /// Geometry.
        window: Window,
    },
    /// Sum of two tensors of one shape.
    Add {
        /// Fused activation.
        clamp: Clamp,
    },
    /// Softmax over the last axis of `[rows, depth]`.
    Softmax {
        /// Number of independent rows.
        rows: usize,
        /// Length of a row.
        depth: usize,
    },
    /// Another function of whole rows of `[rows, depth]`.
    Normalize {
        /// Number of independent rows.
        rows: usize,
        /// Length of a row.
        depth: usize,
        /// The function.
        norm: Norm,
    },
    /// Decision trees.
    Trees {
        /// The trees.
        forest: Forest,
    },
    /// Bounds that could not be fused.
    Clamp {
        /// The bounds.
        clamp: Clamp,
    },
    /// A function of each element.
    Unary {
        /// The function.
        function: Unary,
    },
    /// Operands behind one another along one axis.
    Concat {
        /// Product of the dimensions before the axis.
        outer: usize,
        /// For each operand the product of its dimensions from the axis on.
        inner: Vec<usize>,
    },
    /// One value around the data.
    Pad {
        /// Shape of the operand, four axes.
        dims: [usize; 4],
        /// Values before the data along each axis.
        before: [usize; 4],
        /// Values behind the data along each axis.
        after: [usize; 4],
        /// The value.
        fill: f32,
    },
    /// A function of two operands of any shapes that meet; the second may be constant.
    Binary {
        /// The function.
        function: Binary,
        /// How the operands meet.
        meet: Broadcast,
        /// The second operand, if it is constant.
        constant: Option<Vec<f32>>,
        /// Fused activation.
        clamp: Clamp,
    },
    /// Elements moved along regular paths: slice, permutation, repetition.
    Strided {
        /// Where each element of the result comes from.
        path: Strided,
    },
    /// Entries of the middle axis of `[outer, count, inner]`, in any order, any number of times.
    Gather {
        /// Product of the dimensions before the axis.
        outer: usize,
        /// Length of the axis in the operand.
        count: usize,
        /// Product of the dimensions behind the axis.
        inner: usize,
        /// For each entry of the result its index in the operand.
        indices: Vec<usize>,
    },
    /// Linear interpolation between the pixels of a height x width x channels image.
    Interpolate {
        /// Width of the operand.
        width: usize,
        /// Channels.
        channels: usize,
        /// For each row of the result its place among those of the operand.
        rows: Vec<Blend>,
        /// For each column of the result its place among those of the operand.
        columns: Vec<Blend>,
    },
}

impl Op {
    /// Name for people.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Conv2d { .. } => "Conv2d",
            Self::DepthwiseConv2d { .. } => "DepthwiseConv2d",
            Self::Dense { .. } => "Dense",
            Self::MaxPool { .. } => "MaxPool",
            Self::AveragePool { .. } => "AveragePool",
            Self::Add { .. } => "Add",
            Self::Softmax { .. } => "Softmax",
            Self::Normalize { .. } => "Normalize",
            Self::Trees { .. } => "Trees",
            Self::Clamp { .. } => "Clamp",
            Self::Unary { function } => function.name(),
            Self::Concat { .. } => "Concat",
            Self::Pad { .. } => "Pad",
            Self::Binary { function, .. } => function.name(),
            Self::Strided { .. } => "Move",
            Self::Gather { .. } => "Gather",
            Self::Interpolate { .. } => "Interpolate",
        }
    }

    /// Multiply-accumulates of one run, padding counted like data.
    pub fn macs(&self) -> u64 {
        let product = |factors: &[usize]| factors.iter().fold(1_u64, |all, factor| all.saturating_mul(*factor as u64));
        match self {
            Self::Conv2d { window, out_c, .. } => {
                product(&[window.out_h, window.out_w, *out_c, window.taps(), window.in_c]) / window.spread()
            }
            Self::DepthwiseConv2d { window, multiplier, .. } => {
                product(&[window.out_h, window.out_w, window.in_c, *multiplier, window.taps()]) / window.spread()
            }
            Self::Dense { inputs, outputs, .. } => product(&[*inputs, *outputs]),
            _ => 0,
        }
    }

    /// Multiply-accumulates, or for pooling the reads: what bounds the time of one run.
    pub fn work(&self) -> u64 {
        match self {
            Self::MaxPool { window } | Self::AveragePool { window } => window.reads(),
            _ => self.macs(),
        }
    }

    /// The fused activation of operators that have one.
    pub fn clamp_mut(&mut self) -> Option<&mut Clamp> {
        match self {
            Self::Conv2d { clamp, .. }
            | Self::DepthwiseConv2d { clamp, .. }
            | Self::Dense { clamp, .. }
            | Self::Add { clamp }
            | Self::Binary { clamp, .. }
            | Self::Clamp { clamp } => Some(clamp),
            _ => None,
        }
    }
}

/// For each element of a padded tensor whether it is data, in order.
pub fn padded(dims: &[usize; 4], before: &[usize; 4], after: &[usize; 4]) -> Vec<bool> {
    let size = |axis: usize| before[axis] + dims[axis] + after[axis];
    let inside = |axis: usize, at: usize| at >= before[axis] && at - before[axis] < dims[axis];
    let mut all = Vec::with_capacity((0..4).map(size).product());
    for a in 0..size(0) {
        for b in 0..size(1) {
            for c in 0..size(2) {
                let row = inside(0, a) && inside(1, b) && inside(2, c);
                all.extend((0..size(3)).map(|d| row && inside(3, d)));
            }
        }
    }
    all
}

/// Source index of each output element of a transposition, in output order.
pub fn transposed(dims: &[usize], perm: &[usize]) -> Vec<usize> {
    Strided::transposed(dims, perm).sources()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transposition_lists_sources() {
        assert_eq!(transposed(&[2, 3], &[1, 0]), [0, 3, 1, 4, 2, 5]);
        assert_eq!(transposed(&[1, 2, 2, 1], &[0, 3, 1, 2]), [0, 1, 2, 3]);
    }

    #[test]
    fn clamps_compose() {
        let relu6 = Clamp::RELU.then(&Clamp { low: -1.0, high: 6.0 });
        assert_eq!(relu6, Clamp { low: 0.0, high: 6.0 });
    }
}
