//! Calls and tables of operators in 32-bit floats.

use std::fmt::Write as _;

use super::call::offset;
use super::rows;
use super::tables::table;
use crate::forest::Forest;
use crate::ir::{Binary, Norm, Window};
use crate::plan::Plan;
use crate::qir::{Element, QNode, QTensor, QuantGraph};
use crate::real::{Real, arithmetic};

/// The C source of an operator's kernel with what it builds on, in order.
pub(super) fn kernels(real: &Real) -> &'static [&'static str] {
    const BASE: &str = include_str!("../kernels/real.c");
    const EXP: &str = include_str!("../kernels/real_exp.c");
    const ROOTS: &str = include_str!("../kernels/real_roots.c");
    match real {
        Real::Linear { .. } => &[BASE, include_str!("../kernels/real_linear.c")],
        Real::Binary { .. } => &[BASE, include_str!("../kernels/real_binary.c")],
        Real::Unary { function: None, .. } => &[BASE, include_str!("../kernels/real_bounds.c")],
        Real::Unary { .. } => &[BASE, EXP, ROOTS, include_str!("../kernels/real_functions.c")],
        Real::Rows { .. } => &[BASE, EXP, ROOTS, include_str!("../kernels/real_rows.c")],
        Real::Trees { .. } => &[BASE, include_str!("../kernels/trees.c")],
    }
}

/// The tables of an operator.
pub(super) fn tables(c: &mut String, index: usize, real: &Real) {
    match real {
        Real::Linear { weights, bias, .. } => {
            floats(c, "weights", index, weights);
            floats(c, "bias", index, bias);
        }
        Real::Binary { constant: Some(constant), .. } => floats(c, "table", index, constant),
        Real::Trees { forest } => trees(c, index, forest),
        Real::Binary { .. } | Real::Unary { .. } | Real::Rows { .. } => {}
    }
}

fn trees(c: &mut String, index: usize, forest: &Forest) {
    let values: Vec<f32> = forest.nodes.iter().map(|node| node.value).collect();
    floats(c, "values", index, &values);
    table(c, "uint16_t", "tests", index, forest.nodes.iter().map(|node| i32::from(node.test)));
    table(c, "uint16_t", "nexts", index, forest.nodes.iter().map(|node| i32::from(node.next)));
    table(c, "int32_t", "roots", index, forest.roots.iter().map(|root| root.cast_signed()));
    floats(c, "base", index, &forest.base);
    if !forest.scores.is_empty() {
        table(c, "uint16_t", "outputs", index, forest.scores.iter().map(|(output, _)| i32::from(*output)));
        let weights: Vec<f32> = forest.scores.iter().map(|(_, weight)| *weight).collect();
        floats(c, "scores", index, &weights);
    }
}

fn floats(c: &mut String, what: &str, index: usize, values: &[f32]) {
    let _ = write!(c, "static const float tml_{what}_{index}[{}] TML_FLASH = {{", values.len());
    for (at, value) in values.iter().enumerate() {
        c.push_str(if at % 8 == 0 { "\n    " } else { " " });
        let _ = write!(c, "{},", float(*value));
    }
    c.push_str("\n};\n\n");
}

/// A C literal that gives exactly this number; what is not finite becomes the largest one.
fn float(value: f32) -> String {
    format!("{:?}f", if value.is_nan() { 0.0 } else { value.clamp(f32::MIN, f32::MAX) })
}

/// Scale and zero point as kernels load a value.
fn loading(tensor: &QTensor) -> String {
    match tensor.element {
        Element::Int8 => format!("{}, {}", float(tensor.scale), tensor.zero_point),
        Element::Float32 => "0.0f, 0".into(),
    }
}

/// Inverse scale and zero point as kernels store a value.
fn storing(tensor: &QTensor) -> String {
    match tensor.element {
        Element::Int8 => format!("{}, {}", float(1.0 / tensor.scale), tensor.zero_point),
        Element::Float32 => "0.0f, 0".into(),
    }
}

/// The call of an operator's kernel.
pub(super) fn call(graph: &QuantGraph, plan: &Plan, index: usize, node: &QNode, real: &Real) -> String {
    let (from, to) = (&graph.tensors[node.inputs[0]], &graph.tensors[node.output]);
    let (source, result) = (offset(plan, node.inputs[0]), offset(plan, node.output));
    let operands = format!("a + {source}, {}, a + {result}, {}", loading(from), storing(to));
    match real {
        Real::Linear { window, out_c, multiplier, clamp, .. } => format!(
            "tml_real_linear({operands}, tml_weights_{index}, tml_bias_{index}, {}, {}, {}, {})",
            float(clamp.low),
            float(clamp.high),
            multiplier.unwrap_or(0),
            geometry(window, *out_c),
        ),
        Real::Unary { function, clamp } => {
            let bounds = format!("{}, {}", float(clamp.low), float(clamp.high));
            match function.and_then(arithmetic::code) {
                None => format!("tml_real_bounds({operands}, {}, {bounds})", to.len()),
                Some((code, a, b)) => {
                    format!("tml_real_unary({operands}, {}, {code}, {}, {}, {bounds})", to.len(), float(a), float(b))
                }
            }
        }
        Real::Rows { rows, depth, norm } => {
            let kind = match norm {
                Norm::Softmax => 0,
                Norm::SoftmaxOfNonzero => 1,
                Norm::Max => 2,
                Norm::L1 => 3,
                Norm::L2 => 4,
            };
            format!("tml_real_rows({operands}, {rows}, {depth}, {kind})")
        }
        Real::Binary { function, meet, constant, clamp } => {
            let kind = match function {
                Binary::Add => 0,
                Binary::Sub => 1,
                Binary::SubFrom => 2,
                Binary::Mul => 3,
                Binary::Maximum => 4,
                Binary::Minimum => 5,
                Binary::PRelu => 6,
            };
            let other = node.inputs[node.inputs.len() - 1];
            let second = match constant {
                Some(_) => format!("a, tml_table_{index}"),
                None => format!("a + {}, 0", offset(plan, other)),
            };
            let bounds = format!("{}, {}", float(clamp.low), float(clamp.high));
            rows::loops(&meet.counts, &[&meet.steps[0], &meet.steps[1]], |at, place, count, steps| {
                format!(
                    "tml_real_binary(a + {source}, {}, {}, {second}, {}, {}, a + {result}, {place}, {}, {count}, {}, {}, \
                     {kind}, {bounds})",
                    at[0],
                    loading(from),
                    at[1],
                    loading(&graph.tensors[other]),
                    storing(to),
                    steps[0],
                    steps[1],
                )
            })
        }
        Real::Trees { forest } => {
            let scores = if forest.scores.is_empty() {
                "0, 0".to_owned()
            } else {
                format!("tml_outputs_{index}, tml_scores_{index}")
            };
            format!(
                "tml_trees(a + {source}, {}, a + {result}, {}, tml_values_{index}, tml_tests_{index}, tml_nexts_{index}, \
                 tml_roots_{index}, {}, {scores}, tml_base_{index}, {})",
                loading(from),
                to.len(),
                forest.roots.len(),
                forest.aggregate.number(),
            )
        }
    }
}

fn geometry(w: &Window, out_c: usize) -> String {
    let all = [
        w.in_h,
        w.in_w,
        w.in_c,
        w.out_h,
        w.out_w,
        out_c,
        w.kernel_h,
        w.kernel_w,
        w.stride_h,
        w.stride_w,
        w.dilation_h,
        w.dilation_w,
        w.pad_top,
        w.pad_left,
        w.gap_h + 1,
        w.gap_w + 1,
    ];
    all.map(|n| n.to_string()).join(", ")
}
