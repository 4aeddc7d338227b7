//! The int8 representation (with floats where int8 would spoil something) that is executed: by the reference interpreter and by
//! the generated C, bit for bit alike.
//!
//! Real values are `scale * (q - zero_point)`. Every rounding decision is taken
//! before: multipliers, bounds and integer biases stand in the operators.

pub use crate::qbinary::QBinary;

use crate::fixed::Multiplier;
use crate::ir::{Binary, Blend, TensorId, Window};
use crate::real::Real;
use crate::strided::{Broadcast, Strided};

/// A quantized network.
#[derive(Debug, Clone, PartialEq)]
pub struct QuantGraph {
    /// Name as the model file gives it.
    pub name: String,
    /// All activations, int8.
    pub tensors: Vec<QTensor>,
    /// Operators in execution order.
    pub nodes: Vec<QNode>,
    /// What the caller fills.
    pub input: TensorId,
    /// What the caller reads.
    pub output: TensorId,
    /// Shape of the input as the model file declares it, batch 1.
    pub input_shape: Vec<usize>,
    /// Shape of the output as the model file declares it, batch 1.
    pub output_shape: Vec<usize>,
}

/// What the elements of an activation are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Element {
    /// Eight bits with scale and zero point.
    #[default]
    Int8,
    /// 32-bit floats, little-endian; scale and zero point mean nothing.
    Float32,
}

impl Element {
    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            Self::Int8 => 1,
            Self::Float32 => 4,
        }
    }

    /// Name as metadata carry it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Int8 => "int8",
            Self::Float32 => "float32",
        }
    }
}

/// One activation.
#[derive(Debug, Clone, PartialEq)]
pub struct QTensor {
    /// Name from the model file.
    pub name: String,
    /// Shape in storage order, batch 1 included.
    pub shape: Vec<usize>,
    /// Real value of one step.
    pub scale: f32,
    /// The int8 value that stands for zero.
    pub zero_point: i32,
    /// What its elements are.
    pub element: Element,
}

impl QTensor {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Size in bytes.
    pub fn bytes(&self) -> usize {
        self.len() * self.element.size()
    }

    /// The real values that stored bytes stand for.
    pub fn reals(&self, bytes: &[i8]) -> Vec<f32> {
        match self.element {
            Element::Int8 => bytes.iter().map(|q| self.dequantize(*q)).collect(),
            Element::Float32 => words(bytes).collect(),
        }
    }

    /// Real values as they are stored.
    pub fn stored(&self, values: impl IntoIterator<Item = f32>) -> Vec<i8> {
        match self.element {
            Element::Int8 => values.into_iter().map(|value| self.quantize(value)).collect(),
            Element::Float32 => values.into_iter().flat_map(|value| value.to_le_bytes().map(u8::cast_signed)).collect(),
        }
    }

    /// As [`Self::stored`], with the roundings of the generated C, which has 32-bit floats only.
    pub(crate) fn rounded(&self, values: &[f32]) -> Vec<i8> {
        if self.element == Element::Float32 {
            return self.stored(values.iter().copied());
        }
        let inverse = 1.0 / self.scale;
        let round = |value: &f32| {
            let steps = value * inverse;
            let steps = if steps > 300.0 { 300.0 } else { steps };
            // NaN becomes the lowest value.
            let steps = if steps > -300.0 { steps } else { -300.0 };
            let steps = (if steps < 0.0 { steps - 0.5 } else { steps + 0.5 }) as i32;
            Bounds::FULL.saturate(steps + self.zero_point)
        };
        values.iter().map(round).collect()
    }

    /// True for a tensor without elements; no importer makes one.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The nearest int8 value.
    #[inline]
    pub fn quantize(&self, real: f32) -> i8 {
        let steps = (f64::from(real) / f64::from(self.scale)).round();
        // `as` saturates and maps NaN to 0.
        (steps + f64::from(self.zero_point)).clamp(-128.0, 127.0) as i8
    }

    /// Bounds that stand for `low` and `high`, as TFLite computes them for fused activations.
    pub fn bounds(&self, low: f32, high: f32) -> Bounds {
        let steps = |real: f32, unbounded: i8| {
            if real.is_infinite() {
                return unbounded;
            }
            let steps = (real / self.scale).round() + self.zero_point as f32;
            // `as` saturates.
            steps as i8
        };
        Bounds { low: steps(low, i8::MIN), high: steps(high, i8::MAX) }
    }

    /// The real value.
    #[inline]
    pub fn dequantize(&self, q: i8) -> f32 {
        self.scale * (i32::from(q) - self.zero_point) as f32
    }
}

/// Four bytes each as 32-bit floats.
fn words(bytes: &[i8]) -> impl Iterator<Item = f32> + '_ {
    bytes.chunks_exact(4).map(|word| f32::from_le_bytes([0, 1, 2, 3].map(|at| word[at].cast_unsigned())))
}

/// One operator with its operands.
#[derive(Debug, Clone, PartialEq)]
pub struct QNode {
    /// Name from the model file.
    pub name: String,
    /// Activations that it reads.
    pub inputs: Vec<TensorId>,
    /// The activation that it writes.
    pub output: TensorId,
    /// What it computes.
    pub op: QOp,
}

/// Bounds of an output in the quantized domain (fused activation).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Lowest value.
    pub low: i8,
    /// Highest value.
    pub high: i8,
}

impl Bounds {
    /// All of int8.
    pub const FULL: Self = Self { low: i8::MIN, high: i8::MAX };

    /// Saturates an accumulator.
    #[inline]
    pub fn saturate(self, value: i32) -> i8 {
        // Within i8 after the clamp.
        value.clamp(i32::from(self.low), i32::from(self.high)) as i8
    }
}

/// Constants of a convolution or dense layer.
#[derive(Debug, Clone, PartialEq)]
pub struct Linear {
    /// Weights with zero point 0; layout as in the float operator.
    pub weights: Vec<i8>,
    /// One per output channel, at scale `input * weight`.
    pub bias: Vec<i32>,
    /// `input scale * weight scale / output scale`: one per output channel, or a single one.
    pub requant: Vec<Multiplier>,
    /// Bounds of the output.
    pub bounds: Bounds,
}

impl Linear {
    /// Bytes of constants in flash.
    pub fn bytes(&self) -> usize {
        // A multiplier is an i32 and an i8 shift.
        self.weights.len() + 4 * self.bias.len() + 5 * self.requant.len()
    }

    /// True if some input could make a sum leave 32 bits. The output channel is the
    /// last axis of the weights (`channel_last`) or the first.
    pub fn can_overflow(&self, channel_last: bool) -> bool {
        let channels = self.bias.len();
        let terms = self.weights.len() / channels;
        let mut sums: Vec<i64> = self.bias.iter().map(|bias| i64::from(*bias).abs()).collect();
        for (index, weight) in self.weights.iter().enumerate() {
            let channel = if channel_last { index % channels } else { index / terms };
            // An input differs from its zero point by at most 255.
            sums[channel] += 255 * i64::from(*weight).abs();
        }
        sums.iter().any(|sum| *sum > i64::from(i32::MAX))
    }

    /// The multiplier of an output channel.
    #[inline]
    pub fn multiplier(&self, channel: usize) -> Multiplier {
        if self.requant.len() == 1 { self.requant[0] } else { self.requant[channel] }
    }
}

/// What an int8 node computes.
#[derive(Debug, Clone, PartialEq)]
pub enum QOp {
    /// 2-D convolution, weights `[out_c, kernel_h, kernel_w, in_c]`.
    Conv2d {
        /// Geometry.
        window: Window,
        /// Output channels.
        out_c: usize,
        /// Constants.
        linear: Linear,
    },
    /// Depthwise convolution, weights `[kernel_h, kernel_w, in_c * multiplier]`.
    DepthwiseConv2d {
        /// Geometry.
        window: Window,
        /// Output channels per input channel.
        multiplier: usize,
        /// Constants.
        linear: Linear,
    },
    /// Fully connected layer, weights `[outputs, inputs]`.
    Dense {
        /// Length of the input.
        inputs: usize,
        /// Length of the output.
        outputs: usize,
        /// Constants.
        linear: Linear,
    },
    /// Maximum over a window; input and output have one quantization.
    MaxPool {
        /// Geometry.
        window: Window,
        /// Bounds of the output.
        bounds: Bounds,
    },
    /// Rounded mean over a window; input and output have one quantization.
    AveragePool {
        /// Geometry.
        window: Window,
        /// Bounds of the output.
        bounds: Bounds,
    },
    /// Sum; operands are brought to a common scale with 20 more bits first.
    Add {
        /// Factors of the operands.
        operands: [Multiplier; 2],
        /// Factor of the sum.
        sum: Multiplier,
        /// Bounds of the output.
        bounds: Bounds,
    },
    /// Softmax over the rows of `[rows, depth]`; output scale 1/256, zero point -128.
    Softmax {
        /// Number of independent rows.
        rows: usize,
        /// Length of a row.
        depth: usize,
        /// Input steps to Q5.26; its shift is a left shift.
        multiplier: Multiplier,
        /// Difference to the maximum below which the result is zero.
        diff_min: i32,
    },
    /// Element by element to another quantization, with bounds.
    Rescale {
        /// Input scale by output scale.
        multiplier: Multiplier,
        /// Bounds of the output.
        bounds: Bounds,
    },
    /// A function of each element, as a table over -128 to 127.
    Lookup {
        /// Result of each int8 value, 256 of them.
        table: Vec<i8>,
    },
    /// Operands behind one another along one axis, each brought to the scale of the result.
    Concat {
        /// Product of the dimensions before the axis.
        outer: usize,
        /// For each operand the product of its dimensions from the axis on.
        inner: Vec<usize>,
        /// For each operand its scale by that of the result; a factor of one changes nothing.
        multipliers: Vec<Multiplier>,
    },
    /// One value around the data; operand and result have one quantization.
    Pad {
        /// Shape of the operand.
        dims: [usize; 4],
        /// Padding before the data along each axis.
        before: [usize; 4],
        /// Padding behind the data along each axis.
        after: [usize; 4],
        /// The value, which is the zero point unless the model file says otherwise.
        fill: i8,
    },
    /// A function of two operands of any shapes that meet; the second may be constant.
    Binary {
        /// The function.
        function: QBinary,
        /// How the operands meet.
        meet: Broadcast,
        /// The second operand, if it is constant.
        constant: Option<Vec<i8>>,
        /// Zero point of the second operand.
        other_zero: i32,
        /// Bounds of the output.
        bounds: Bounds,
    },
    /// Mean or sum over the middle axis of `[outer, count, inner]`, to another quantization.
    Mean {
        /// Product of the dimensions before the axis.
        outer: usize,
        /// Values of one sum.
        count: usize,
        /// Product of the dimensions behind the axis.
        inner: usize,
        /// Factor of a sum.
        multiplier: Multiplier,
    },
    /// Elements moved along regular paths; operand and result have one quantization.
    Strided {
        /// Where each element of the result comes from.
        path: Strided,
    },
    /// An operator in 32-bit floats; operands and result may be int8.
    Real(Real),
    /// Entries of the middle axis of `[outer, count, inner]`; operand and result have one quantization.
    Gather {
        /// Product of the dimensions before the axis.
        outer: usize,
        /// Length of the axis in the operand.
        count: usize,
        /// Product of the dimensions behind the axis.
        inner: usize,
        /// For each entry of the result its index in the operand, at most 32,767.
        indices: Vec<usize>,
    },
    /// Linear interpolation between pixels; operand and result have one quantization.
    Interpolate {
        /// Width of the operand.
        width: usize,
        /// Channels.
        channels: usize,
        /// For each row of the result its place among those of the operand.
        rows: Vec<QBlend>,
        /// For each column of the result its place among those of the operand.
        columns: Vec<QBlend>,
    },
}

/// One position between two neighbours of an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QBlend {
    /// Index of the lower neighbour.
    pub low: u16,
    /// Index of the upper neighbour.
    pub high: u16,
    /// Share of the upper neighbour, in 1/1024; -512 to 1536.
    pub share: i16,
}

impl QBlend {
    /// The nearest place that is expressible.
    pub fn of(blend: &Blend) -> Self {
        let index = |index: usize| u16::try_from(index).unwrap_or(u16::MAX);
        let share = (blend.share * 1024.0).round().clamp(-512.0, 1536.0) as i16;
        Self { low: index(blend.low), high: index(blend.high), share }
    }
}

impl QOp {
    /// The sum of two tensors with these quantizations.
    pub fn add(a: &QTensor, b: &QTensor, out: &QTensor, bounds: Bounds) -> Self {
        let twice_max = 2.0 * f64::from(a.scale.max(b.scale));
        Self::Add {
            operands: [Multiplier::of(f64::from(a.scale) / twice_max), Multiplier::of(f64::from(b.scale) / twice_max)],
            sum: Multiplier::of(twice_max / (f64::from(1 << 20) * f64::from(out.scale))),
            bounds,
        }
    }

    /// A function of two operands; a constant second one is made int8, symmetric.
    pub fn binary(
        function: Binary,
        meet: Broadcast,
        constant: Option<&[f32]>,
        (a, b): (&QTensor, &QTensor),
        out: &QTensor,
        bounds: Bounds,
    ) -> Self {
        let Some(values) = constant else {
            let function = QBinary::of(function, a.scale, b.scale, out.scale);
            return Self::Binary { function, meet, constant: None, other_zero: b.zero_point, bounds };
        };
        if let [value] = values {
            // A function of one number: a table is exact, and no larger than the arithmetic.
            let table = (i8::MIN..=i8::MAX)
                .map(|q| bounds.saturate(i32::from(out.quantize(function.apply(a.dequantize(q), *value)))))
                .collect();
            return Self::Lookup { table };
        }
        let largest = values.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
        let scale = if largest > 0.0 { (largest / 127.0).max(f32::MIN_POSITIVE) } else { 1.0 };
        let symmetric =
            QTensor { name: String::new(), shape: vec![values.len()], scale, zero_point: 0, element: Element::Int8 };
        Self::Binary {
            function: QBinary::of(function, a.scale, scale, out.scale),
            meet,
            constant: Some(values.iter().map(|value| symmetric.quantize(*value)).collect()),
            other_zero: 0,
            bounds,
        }
    }

    /// Name for people, as reports show it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Conv2d { .. } => "conv2d",
            Self::DepthwiseConv2d { .. } => "depthwise_conv2d",
            Self::Dense { .. } => "dense",
            Self::MaxPool { .. } => "max_pool",
            Self::AveragePool { .. } => "average_pool",
            Self::Add { .. } => "add",
            Self::Softmax { .. } => "softmax",
            Self::Rescale { .. } => "rescale",
            Self::Lookup { .. } => "lookup",
            Self::Concat { .. } => "concat",
            Self::Pad { .. } => "pad",
            Self::Binary { function, .. } => match function {
                QBinary::Sum { signs: [1, 1], .. } => "add",
                QBinary::Sum { .. } => "sub",
                QBinary::Mul { .. } => "mul",
                QBinary::Maximum { .. } => "maximum",
                QBinary::Minimum { .. } => "minimum",
                QBinary::PRelu { .. } => "prelu",
            },
            Self::Mean { .. } => "mean",
            Self::Strided { .. } => "move",
            Self::Real(real) => real.name(),
            Self::Gather { .. } => "gather",
            Self::Interpolate { .. } => "interpolate",
        }
    }

    /// Bytes of constants in flash.
    pub fn constant_bytes(&self) -> usize {
        match self {
            Self::Lookup { table } => table.len(),
            Self::Binary { constant, .. } => constant.as_ref().map_or(0, Vec::len),
            Self::Real(real) => real.constant_bytes(),
            Self::Gather { indices, .. } => 2 * indices.len(),
            Self::Interpolate { rows, columns, .. } => 6 * (rows.len() + columns.len()),
            _ => self.linear().map_or(0, Linear::bytes),
        }
    }

    /// Constants of convolutions and dense layers.
    pub fn linear(&self) -> Option<&Linear> {
        match self {
            Self::Conv2d { linear, .. } | Self::DepthwiseConv2d { linear, .. } | Self::Dense { linear, .. } => {
                Some(linear)
            }
            _ => None,
        }
    }

    /// The window of operators that slide one over an image.
    pub fn window(&self) -> Option<&Window> {
        match self {
            Self::Conv2d { window, .. }
            | Self::DepthwiseConv2d { window, .. }
            | Self::MaxPool { window, .. }
            | Self::AveragePool { window, .. } => Some(window),
            _ => None,
        }
    }

    /// Gives an operator that has one another window.
    pub(crate) fn set_window(&mut self, to: Window) {
        if let Self::Conv2d { window, .. }
        | Self::DepthwiseConv2d { window, .. }
        | Self::MaxPool { window, .. }
        | Self::AveragePool { window, .. } = self
        {
            *window = to;
        }
    }

    /// Bounds of the output, if the operator has any.
    pub fn bounds(&self) -> Option<Bounds> {
        match self {
            Self::Conv2d { linear, .. } | Self::DepthwiseConv2d { linear, .. } | Self::Dense { linear, .. } => {
                Some(linear.bounds)
            }
            Self::MaxPool { bounds, .. }
            | Self::AveragePool { bounds, .. }
            | Self::Add { bounds, .. }
            | Self::Binary { bounds, .. }
            | Self::Rescale { bounds, .. } => Some(*bounds),
            Self::Softmax { .. }
            | Self::Lookup { .. }
            | Self::Concat { .. }
            | Self::Pad { .. }
            | Self::Mean { .. }
            | Self::Strided { .. }
            | Self::Real(_)
            | Self::Gather { .. }
            | Self::Interpolate { .. } => None,
        }
    }

    /// Multiply-accumulates of one run, padding counted like data.
    pub fn macs(&self) -> u64 {
        let product = |factors: &[usize]| factors.iter().fold(1_u64, |all, factor| all.saturating_mul(*factor as u64));
        match self {
            Self::Conv2d { window, out_c, .. } => {
                product(&[window.out_pixels(), *out_c, window.taps(), window.in_c]) / window.spread()
            }
            Self::DepthwiseConv2d { window, multiplier, .. } => {
                product(&[window.out_pixels(), window.in_c, *multiplier, window.taps()]) / window.spread()
            }
            Self::Dense { inputs, outputs, .. } => product(&[*inputs, *outputs]),
            Self::Real(real) => real.macs(),
            _ => 0,
        }
    }

    /// Multiply-accumulates, or for pooling the reads: what bounds the time of one run.
    pub fn work(&self) -> u64 {
        match self {
            Self::MaxPool { window, .. } | Self::AveragePool { window, .. } => window.reads(),
            _ => self.macs(),
        }
    }
}
