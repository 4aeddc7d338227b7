//! The C source of each operator's kernel, as it stands in `kernels/*.c`.

use crate::lower::Fast;
use crate::qir::{QBinary, QOp};

/// What every model begins with.
pub(super) const BASE: &str = include_str!("../kernels/base.c");
/// Fixed-point products; the part behind its second comment is only for kernels that rescale.
pub(super) const MULTIPLY: &str = include_str!("../kernels/multiply.c");
/// Wide products without a wide multiplication.
pub(super) const HALVES: &str = include_str!("../kernels/halves.c");
/// Bounds of an output.
pub(super) const SATURATE: &str = include_str!("../kernels/saturate.c");
/// The part of a window inside of an input.
pub(super) const INSIDE: &str = include_str!("../kernels/inside.c");

/// Operands in RAM or in flash.
pub(super) const OPERAND: &str = include_str!("../kernels/operand.c");

/// The kernel of an operator.
pub(super) fn kernel(op: &QOp) -> &'static str {
    match op {
        QOp::Conv2d { window, .. } if window.has_gaps() => include_str!("../kernels/conv2d_transposed.c"),
        QOp::DepthwiseConv2d { window, .. } if window.has_gaps() => {
            include_str!("../kernels/depthwise_transposed.c")
        }
        QOp::Conv2d { .. } => include_str!("../kernels/conv2d.c"),
        QOp::DepthwiseConv2d { .. } => include_str!("../kernels/depthwise_conv2d.c"),
        QOp::Dense { .. } => include_str!("../kernels/dense.c"),
        QOp::MaxPool { .. } => include_str!("../kernels/max_pool.c"),
        QOp::AveragePool { .. } => include_str!("../kernels/average_pool.c"),
        QOp::Add { .. } => include_str!("../kernels/add.c"),
        QOp::Softmax { .. } => include_str!("../kernels/softmax.c"),
        QOp::Rescale { .. } => include_str!("../kernels/rescale.c"),
        QOp::Lookup { .. } => include_str!("../kernels/lookup.c"),
        QOp::Concat { .. } => include_str!("../kernels/concat.c"),
        QOp::Pad { .. } => include_str!("../kernels/pad.c"),
        QOp::Binary { function, .. } => match function {
            QBinary::Sum { .. } => include_str!("../kernels/sum.c"),
            QBinary::Mul { .. } => include_str!("../kernels/mul.c"),
            QBinary::Maximum { .. } | QBinary::Minimum { .. } => include_str!("../kernels/extreme.c"),
            QBinary::PRelu { .. } => include_str!("../kernels/prelu.c"),
        },
        QOp::Mean { .. } => include_str!("../kernels/mean.c"),
        QOp::Strided { .. } => include_str!("../kernels/move.c"),
        QOp::Real(_) => "",
        QOp::Gather { .. } => include_str!("../kernels/gather.c"),
        QOp::Interpolate { .. } => include_str!("../kernels/interpolate.c"),
    }
}

/// The C source of a fast kernel with what it builds on, in order.
pub(super) fn fast_kernel(fast: Fast) -> &'static [&'static str] {
    const LAYER: &str = include_str!("../kernels/layer.c");
    const PAIR: &str = include_str!("../kernels/pair.c");
    match fast {
        Fast::Conv2d => &[LAYER, PAIR, include_str!("../kernels/conv2d_packed.c")],
        Fast::Dense => &[LAYER, PAIR, include_str!("../kernels/dense_packed.c")],
        Fast::Depthwise => &[LAYER, include_str!("../kernels/depthwise_packed.c")],
    }
}
