//! The call of each operator's kernel, with its geometry and constants as arguments.

use super::tables::literal;
use super::{real, rows};
use crate::fixed::Multiplier;
use crate::ir::Window;
use crate::lower::{self, Fast};
use crate::plan::Plan;
use crate::qir::{Bounds, Linear, QNode, QOp, QuantGraph};

/// Where a tensor begins in the arena.
pub(super) fn offset(plan: &Plan, tensor: usize) -> usize {
    plan.offsets[tensor].unwrap_or(0)
}

/// The call of a node's kernel.
pub(super) fn call(graph: &QuantGraph, plan: &Plan, index: usize, node: &QNode) -> String {
    let from = &graph.tensors[node.inputs[0]];
    let to = &graph.tensors[node.output];
    let operand = |tensor: usize| format!("a + {}", offset(plan, tensor));
    let buffers = format!("{}, {}", operand(node.inputs[0]), operand(node.output));
    let tables = |linear: &Linear| {
        format!(
            "tml_weights_{index}, tml_bias_{index}, tml_multipliers_{index}, tml_shifts_{index}, {}, {}, {}, {}",
            i32::from(linear.requant.len() > 1),
            from.zero_point,
            to.zero_point,
            limits(linear.bounds),
        )
    };
    if let QOp::Real(real) = &node.op {
        return real::call(graph, plan, index, node, real);
    }
    if let Some(text) = rows::call(graph, plan, index, node) {
        return text;
    }
    if let Some(fast) = lower::fast(graph, node) {
        let kernel = match fast {
            Fast::Conv2d => "tml_conv2d_packed",
            Fast::Dense => "tml_dense_packed",
            Fast::Depthwise => "tml_depthwise_packed",
        };
        return format!("{kernel}({buffers}, a + {}, tml_load(&tml_layer_{index}))", plan.scratch[index]);
    }
    match &node.op {
        QOp::Conv2d { window, out_c, linear } if window.has_gaps() => format!(
            "tml_conv2d_transposed({buffers}, {}, {}, {}, {})",
            tables(linear),
            geometry(window, Some(*out_c)),
            window.gap_h + 1,
            window.gap_w + 1
        ),
        QOp::DepthwiseConv2d { window, multiplier, linear } if window.has_gaps() => format!(
            "tml_depthwise_transposed({buffers}, {}, {}, {}, {})",
            tables(linear),
            geometry(window, Some(*multiplier)),
            window.gap_h + 1,
            window.gap_w + 1
        ),
        QOp::Conv2d { window, out_c, linear } => {
            format!("tml_conv2d({buffers}, {}, {})", tables(linear), geometry(window, Some(*out_c)))
        }
        QOp::DepthwiseConv2d { window, multiplier, linear } => {
            format!("tml_depthwise_conv2d({buffers}, {}, {})", tables(linear), geometry(window, Some(*multiplier)))
        }
        QOp::Dense { inputs, outputs, linear } => {
            format!("tml_dense({buffers}, {}, {inputs}, {outputs})", tables(linear))
        }
        QOp::MaxPool { window, bounds } => {
            format!("tml_max_pool({buffers}, {}, {})", limits(*bounds), geometry(window, None))
        }
        QOp::AveragePool { window, bounds } => {
            format!("tml_average_pool({buffers}, {}, {})", limits(*bounds), geometry(window, None))
        }
        QOp::Add { operands, sum, bounds } => format!(
            "tml_add({}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {})",
            operand(node.inputs[0]),
            operand(node.inputs[1]),
            operand(node.output),
            to.len(),
            from.zero_point,
            factor(operands[0]),
            graph.tensors[node.inputs[1]].zero_point,
            factor(operands[1]),
            to.zero_point,
            factor(*sum),
            limits(*bounds),
        ),
        QOp::Softmax { rows, depth, multiplier, diff_min } => format!(
            "tml_softmax({buffers}, {rows}, {depth}, {}, {}, {})",
            multiplier.value,
            multiplier.shift.max(0),
            literal(*diff_min)
        ),
        QOp::Rescale { multiplier, bounds } => format!(
            "tml_rescale({buffers}, {}, {}, {}, {}, {})",
            to.len(),
            from.zero_point,
            to.zero_point,
            factor(*multiplier),
            limits(*bounds),
        ),
        QOp::Lookup { .. } => format!("tml_lookup({buffers}, {}, tml_table_{index})", to.len()),
        QOp::Concat { outer, inner, multipliers } => {
            let step: usize = inner.iter().sum();
            let mut begin = offset(plan, node.output);
            let mut calls = Vec::with_capacity(inner.len());
            for ((input, inner), multiplier) in node.inputs.iter().zip(inner).zip(multipliers) {
                calls.push(format!(
                    "tml_concat({}, a + {begin}, {outer}, {inner}, {step}, {}, {}, {})",
                    operand(*input),
                    graph.tensors[*input].zero_point,
                    to.zero_point,
                    factor(*multiplier),
                ));
                begin += inner;
            }
            calls.join(";\n    ")
        }
        QOp::Pad { dims, before, after, fill } => {
            let sizes = (0..4).map(|axis| before[axis] + dims[axis] + after[axis]);
            let list: Vec<String> = sizes.chain(*before).chain(*dims).map(|n| n.to_string()).collect();
            format!("tml_pad({buffers}, {fill}, {})", list.join(", "))
        }
        QOp::Gather { outer, count, inner, indices } => {
            format!("tml_pick({buffers}, tml_indices_{index}, {outer}, {count}, {}, {inner})", indices.len())
        }
        QOp::Interpolate { width, channels, rows, columns } => format!(
            "tml_interpolate({buffers}, tml_rows_{index}, tml_columns_{index}, {}, {}, {width}, {channels})",
            rows.len(),
            columns.len()
        ),
        QOp::Real(_) | QOp::Binary { .. } | QOp::Mean { .. } | QOp::Strided { .. } => String::new(),
    }
}

pub(super) fn limits(bounds: Bounds) -> String {
    format!("{}, {}", bounds.low, bounds.high)
}

pub(super) fn factor(multiplier: Multiplier) -> String {
    format!("{}, {}", multiplier.value, multiplier.shift)
}

fn geometry(w: &Window, out_c: Option<usize>) -> String {
    let out_c = out_c.map_or(String::new(), |out_c| format!("{out_c}, "));
    format!(
        "{}, {}, {}, {}, {}, {out_c}{}, {}, {}, {}, {}, {}, {}, {}",
        w.in_h,
        w.in_w,
        w.in_c,
        w.out_h,
        w.out_w,
        w.kernel_h,
        w.kernel_w,
        w.stride_h,
        w.stride_w,
        w.dilation_h,
        w.dilation_w,
        w.pad_top,
        w.pad_left,
    )
}
