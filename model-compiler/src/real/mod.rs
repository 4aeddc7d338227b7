//! What is computed in 32-bit floats, because int8 would spoil it: tree ensembles, models of raw sensor values, and
//! layers that a user or the search keeps out of int8.
//!
//! An operand or result may be int8 all the same: values are widened when they are loaded and rounded when they are
//! stored. The C and the interpreter do the same operations in the same order, and neither contracts a product and a
//! sum, so that every machine with IEEE 754 floats gives the same bits.

pub mod arithmetic;
mod run;

pub(crate) use run::{rows, run};

use crate::forest::Forest;
use crate::ir::{Binary, Clamp, Norm, Op, Unary, Window};
use crate::strided::Broadcast;

/// An operator in 32-bit floats.
#[derive(Debug, Clone, PartialEq)]
pub enum Real {
    /// Convolution or dense layer.
    Linear {
        /// Geometry; a dense layer sees one pixel.
        window: Window,
        /// Output channels.
        out_c: usize,
        /// Output channels per input channel of a depthwise convolution.
        multiplier: Option<usize>,
        /// Layout as in the float operator.
        weights: Vec<f32>,
        /// One per output channel.
        bias: Vec<f32>,
        /// Bounds of the result.
        clamp: Clamp,
    },
    /// A function of two operands; the second may be constant.
    Binary {
        /// The function.
        function: Binary,
        /// How the operands meet.
        meet: Broadcast,
        /// The second operand, if it is constant.
        constant: Option<Vec<f32>>,
        /// Bounds of the result.
        clamp: Clamp,
    },
    /// A function of each element, then bounds.
    Unary {
        /// The function; none if only the bounds or the type of the result matter.
        function: Option<Unary>,
        /// Bounds of the result.
        clamp: Clamp,
    },
    /// A function of whole rows of `[rows, depth]`.
    Rows {
        /// Number of rows.
        rows: usize,
        /// Length of a row.
        depth: usize,
        /// The function.
        norm: Norm,
    },
    /// Decision trees.
    Trees {
        /// The trees; their result is float.
        forest: Forest,
    },
}

impl Real {
    /// The float form of an operator; `None` if there is none.
    pub fn of(op: &Op, len: usize) -> Option<Self> {
        Some(match op {
            Op::Conv2d { window, out_c, weights, bias, clamp } => Self::Linear {
                window: *window,
                out_c: *out_c,
                multiplier: None,
                weights: weights.clone(),
                bias: bias.clone(),
                clamp: *clamp,
            },
            Op::DepthwiseConv2d { window, multiplier, weights, bias, clamp } => Self::Linear {
                window: *window,
                out_c: bias.len(),
                multiplier: Some(*multiplier),
                weights: weights.clone(),
                bias: bias.clone(),
                clamp: *clamp,
            },
            Op::Dense { inputs, outputs, weights, bias, clamp } => Self::Linear {
                window: Window::pointwise(1, *inputs),
                out_c: *outputs,
                multiplier: None,
                weights: weights.clone(),
                bias: bias.clone(),
                clamp: *clamp,
            },
            Op::Add { clamp } => {
                let (meet, _) = Broadcast::of(&[len], &[len])?;
                Self::Binary { function: Binary::Add, meet, constant: None, clamp: *clamp }
            }
            Op::Binary { function, meet, constant, clamp } => {
                Self::Binary { function: *function, meet: meet.clone(), constant: constant.clone(), clamp: *clamp }
            }
            Op::Unary { function } if arithmetic::code(*function).is_some() => {
                Self::Unary { function: Some(*function), clamp: Clamp::NONE }
            }
            Op::Clamp { clamp } => Self::Unary { function: None, clamp: *clamp },
            Op::Softmax { rows, depth } => Self::Rows { rows: *rows, depth: *depth, norm: Norm::Softmax },
            Op::Normalize { rows, depth, norm } => Self::Rows { rows: *rows, depth: *depth, norm: *norm },
            Op::Trees { forest } => Self::Trees { forest: forest.clone() },
            _ => return None,
        })
    }

    /// Name for people, as reports show it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Linear { multiplier: Some(_), .. } => "depthwise_conv2d (float)",
            Self::Linear { window, .. } if window.in_h * window.in_w == 1 => "dense (float)",
            Self::Linear { .. } => "conv2d (float)",
            Self::Binary { function, .. } => match function {
                Binary::Add => "add (float)",
                Binary::Sub | Binary::SubFrom => "sub (float)",
                Binary::Mul => "mul (float)",
                Binary::Maximum => "maximum (float)",
                Binary::Minimum => "minimum (float)",
                Binary::PRelu => "prelu (float)",
            },
            Self::Unary { function: None, .. } => "clamp (float)",
            Self::Unary { .. } => "function (float)",
            Self::Rows { norm: Norm::Softmax | Norm::SoftmaxOfNonzero, .. } => "softmax (float)",
            Self::Rows { .. } => "normalize (float)",
            Self::Trees { .. } => "trees (float)",
        }
    }

    /// Bytes of constants in flash.
    pub fn constant_bytes(&self) -> usize {
        match self {
            Self::Linear { weights, bias, .. } => 4 * (weights.len() + bias.len()),
            Self::Binary { constant, .. } => 4 * constant.as_ref().map_or(0, Vec::len),
            Self::Trees { forest } => forest.bytes(),
            Self::Unary { .. } | Self::Rows { .. } => 0,
        }
    }

    /// Multiply-accumulates of one run, padding counted like data.
    pub fn macs(&self) -> u64 {
        match self {
            Self::Linear { window, out_c, multiplier, .. } => {
                let inputs = if multiplier.is_some() { 1 } else { window.in_c };
                let all = [window.out_h, window.out_w, *out_c, inputs, window.taps()];
                all.iter().fold(1_u64, |all, factor| all.saturating_mul(*factor as u64)) / window.spread()
            }
            _ => 0,
        }
    }
}
