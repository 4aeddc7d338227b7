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

/// Where a kernel finds what it works on, as C.
pub(super) struct Site {
    /// Its operands.
    pub operands: Vec<String>,
    /// Its result.
    pub result: String,
    /// The description of a packed layer.
    pub layer: String,
    /// Elements of the result.
    pub count: String,
    /// Rows of operand and result and the padding above, where they are not those of the window.
    pub rows: Option<[String; 3]>,
}

/// The call of a node's kernel over its whole tensors.
pub(super) fn call(graph: &QuantGraph, plan: &Plan, index: usize, node: &QNode) -> String {
    if let QOp::Real(real) = &node.op {
        return real::call(graph, plan, index, node, real);
    }
    if let Some(text) = rows::call(graph, plan, index, node) {
        return text;
    }
    let operand = |tensor: usize| format!("a + {}", offset(plan, tensor));
    let site = Site {
        operands: node.inputs.iter().map(|input| operand(*input)).collect(),
        result: operand(node.output),
        layer: format!("tml_load(&tml_layer_{index})"),
        count: graph.tensors[node.output].len().to_string(),
        rows: None,
    };
    call_at(graph, plan, index, node, &site)
}

/// The call of a node's kernel over what a site names.
pub(super) fn call_at(graph: &QuantGraph, plan: &Plan, index: usize, node: &QNode, site: &Site) -> String {
    let from = &graph.tensors[node.inputs[0]];
    let to = &graph.tensors[node.output];
    let buffers = format!("{}, {}", site.operands[0], site.result);
    let geometry = |window: &Window, out_c: Option<usize>| geometry(window, out_c, site.rows.as_ref());
    let tables = |linear: &Linear| {
        format!(
            "tml_weights_{index}, tml_bias_{index}, tml_multipliers_{index}, tml_shifts_{index}, {}, {}, {}, {}",
            i32::from(linear.requant.len() > 1),
            from.zero_point,
            to.zero_point,
            limits(linear.bounds),
        )
    };
    if let Some(fast) = lower::fast(graph, node) {
        let kernel = match fast {
            Fast::Conv2d => "tml_conv2d_packed",
            Fast::Dense => "tml_dense_packed",
            Fast::Depthwise => "tml_depthwise_packed",
        };
        return format!("{kernel}({buffers}, a + {}, {})", plan.scratch[index], site.layer);
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
            site.operands[0],
            site.operands[1],
            site.result,
            site.count,
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
            site.count,
            from.zero_point,
            to.zero_point,
            factor(*multiplier),
            limits(*bounds),
        ),
        QOp::Lookup { .. } => format!("tml_lookup({buffers}, {}, tml_table_{index})", site.count),
        QOp::Concat { outer, inner, multipliers } => {
            let step: usize = inner.iter().sum();
            let mut begin = offset(plan, node.output);
            let mut calls = Vec::with_capacity(inner.len());
            for ((input, inner), multiplier) in node.inputs.iter().zip(inner).zip(multipliers) {
                calls.push(format!(
                    "tml_concat({}, a + {begin}, {outer}, {inner}, {step}, {}, {}, {})",
                    format_args!("a + {}", offset(plan, *input)),
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

fn geometry(w: &Window, out_c: Option<usize>, rows: Option<&[String; 3]>) -> String {
    let out_c = out_c.map_or(String::new(), |out_c| format!("{out_c}, "));
    let [in_h, out_h, pad_top] = rows.cloned().unwrap_or([w.in_h, w.out_h, w.pad_top].map(|n| n.to_string()));
    format!(
        "{in_h}, {}, {}, {out_h}, {}, {out_c}{}, {}, {}, {}, {}, {}, {pad_top}, {}",
        w.in_w, w.in_c, w.out_w, w.kernel_h, w.kernel_w, w.stride_h, w.stride_w, w.dilation_h, w.dilation_w, w.pad_left,
    )
}
