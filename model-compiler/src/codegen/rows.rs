//! Operators that go row by row: a kernel does the last axis, loops around its
//! call do the others.

use super::call::{factor, limits, offset};
use crate::plan::Plan;
use crate::qir::{QBinary, QNode, QOp, QuantGraph};

/// The call of a kernel of this kind with the loops around it, `None` for other operators.
pub(super) fn call(graph: &QuantGraph, plan: &Plan, index: usize, node: &QNode) -> Option<String> {
    let from = &graph.tensors[node.inputs[0]];
    let to = &graph.tensors[node.output];
    let (source, result) = (offset(plan, node.inputs[0]), offset(plan, node.output));
    Some(match &node.op {
        QOp::Strided { path } => {
            let path = path.clone().simplified();
            rows(&path.counts, &[&path.steps], result, |at, count, steps| {
                format!("tml_move(a + {}{}, out, {count}, {})", source + path.begin, at[0], steps[0])
            })
        }
        QOp::Mean { outer, count, inner, multiplier } => format!(
            "tml_mean(a + {source}, a + {result}, {outer}, {count}, {inner}, {}, {}, {})",
            from.zero_point,
            to.zero_point,
            factor(*multiplier)
        ),
        QOp::Binary { function, meet, constant, other_zero, bounds } => {
            let other = match constant {
                Some(_) => format!("tml_table_{index}"),
                None => format!("a + {}", offset(plan, node.inputs[1])),
            };
            let zeros = format!("{}, {other_zero}, {}", from.zero_point, to.zero_point);
            let (kernel, arguments) = match function {
                QBinary::Sum { operands, signs, sum } => (
                    "tml_sum",
                    format!(
                        "{}, {}, {}, {other_zero}, {}, {}, {}, {}",
                        from.zero_point,
                        factor(operands[0]),
                        signs[0],
                        factor(operands[1]),
                        signs[1],
                        to.zero_point,
                        factor(*sum)
                    ),
                ),
                QBinary::Mul { multiplier } => ("tml_mul", format!("{zeros}, {}", factor(*multiplier))),
                QBinary::Maximum { operands } | QBinary::Minimum { operands } => (
                    "tml_extreme",
                    format!(
                        "{}, {}, {}, {other_zero}, {}, {}",
                        if matches!(function, QBinary::Maximum { .. }) { 1 } else { -1 },
                        from.zero_point,
                        factor(operands[0]),
                        factor(operands[1]),
                        to.zero_point
                    ),
                ),
                QBinary::PRelu { above, below } => {
                    ("tml_prelu", format!("{zeros}, {}, {}", factor(*above), factor(*below)))
                }
            };
            let flash = i32::from(constant.is_some());
            rows(&meet.counts, &[&meet.steps[0], &meet.steps[1]], result, |at, count, steps| {
                format!(
                    "{kernel}(a + {source}{}, {other}{}, out, {count}, {}, {}, {flash}, {arguments}, {})",
                    at[0],
                    at[1],
                    steps[0],
                    steps[1],
                    limits(*bounds)
                )
            })
        }
        _ => return None,
    })
}

/// Loops over all axes but the last, and in them the call that `row` writes: from
/// the operands' positions as text to add, and the last axis' count and steps.
fn rows(
    counts: &[usize],
    steps: &[&Vec<isize>],
    result: usize,
    row: impl Fn(&[String], usize, &[isize]) -> String,
) -> String {
    let Some((count, outer)) = counts.split_last() else {
        return row(&vec![String::new(); steps.len()], 1, &vec![0; steps.len()])
            .replace("out,", &format!("a + {result},"));
    };
    let at: Vec<String> = steps
        .iter()
        .map(|steps| {
            let moving = steps.iter().enumerate().take(outer.len()).filter(|(_, step)| **step != 0);
            moving.map(|(axis, step)| format!(" + i{axis} * {}", parenthesized(*step))).collect()
        })
        .collect();
    let last: Vec<isize> = steps.iter().filter_map(|steps| steps.last().copied()).collect();
    let call = row(&at, *count, &last);
    if outer.is_empty() {
        return call.replace("out,", &format!("a + {result},"));
    }
    let names: Vec<String> = (0..outer.len()).map(|axis| format!("i{axis}")).collect();
    let mut text = format!("{{\n        int8_t *out = a + {result};\n        int {};\n", names.join(", "));
    for (axis, count) in outer.iter().enumerate() {
        text += &format!("{}for (i{axis} = 0; i{axis} < {count}; i{axis}++) {{\n", "    ".repeat(axis + 2));
    }
    let deep = "    ".repeat(outer.len() + 2);
    text += &format!("{deep}{call};\n{deep}out += {count};\n");
    for axis in (0..outer.len()).rev() {
        text += &format!("{}}}\n", "    ".repeat(axis + 2));
    }
    text + "    }"
}

/// Loops over all axes but the last, for kernels that are told where in the operands and the result they begin.
pub(super) fn loops(
    counts: &[usize],
    steps: &[&Vec<isize>],
    row: impl Fn(&[String], &str, usize, &[isize]) -> String,
) -> String {
    let Some((count, outer)) = counts.split_last() else {
        return row(&vec!["0".into(); steps.len()], "0", 1, &vec![0; steps.len()]);
    };
    let last: Vec<isize> = steps.iter().filter_map(|steps| steps.last().copied()).collect();
    if outer.is_empty() {
        return row(&vec!["0".into(); steps.len()], "0", *count, &last);
    }
    let at: Vec<String> = steps
        .iter()
        .map(|steps| {
            let moving = steps.iter().enumerate().take(outer.len()).filter(|(_, step)| **step != 0);
            let terms: Vec<String> = moving.map(|(axis, step)| format!("i{axis} * {}", parenthesized(*step))).collect();
            if terms.is_empty() { "0".into() } else { terms.join(" + ") }
        })
        .collect();
    let names: Vec<String> = (0..outer.len()).map(|axis| format!("i{axis}")).collect();
    let mut text = format!("{{\n        int32_t at = 0;\n        int32_t {};\n", names.join(", "));
    for (axis, count) in outer.iter().enumerate() {
        text += &format!("{}for (i{axis} = 0; i{axis} < {count}; i{axis}++) {{\n", "    ".repeat(axis + 2));
    }
    let deep = "    ".repeat(outer.len() + 2);
    text += &format!("{deep}{};\n{deep}at += {count};\n", row(&at, "at", *count, &last));
    for axis in (0..outer.len()).rev() {
        text += &format!("{}}}\n", "    ".repeat(axis + 2));
    }
    text + "    }"
}

/// A step as it may stand behind `*`.
fn parenthesized(step: isize) -> String {
    if step < 0 { format!("({step})") } else { step.to_string() }
}
