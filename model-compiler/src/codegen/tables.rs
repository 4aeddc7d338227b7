//! Constant tables as C.

use std::fmt::Write as _;

use crate::ir::Window;
use crate::lower::Packed;
use crate::qir::{Bounds, Linear, QNode, QOp, QuantGraph};
use crate::records::LayerRecords;

/// The tables of a layer.
pub(super) fn constants(c: &mut String, index: usize, linear: &Linear) {
    table(c, "int8_t", "weights", index, linear.weights.iter().map(|v| i32::from(*v)));
    table(c, "int32_t", "bias", index, linear.bias.iter().copied());
    table(c, "int32_t", "multipliers", index, linear.requant.iter().map(|m| m.value));
    table(c, "int8_t", "shifts", index, linear.requant.iter().map(|m| m.shift));
}

/// Output channels of a node with weights.
fn linear_channels(node: &QNode) -> usize {
    node.op.linear().map_or(0, |linear| linear.bias.len())
}

/// The tables and the description of a layer with a fast kernel.
pub(super) fn layer(
    c: &mut String,
    graph: &QuantGraph,
    index: usize,
    node: &QNode,
    packed: &Packed,
    records: Option<&LayerRecords>,
) {
    // Words of weights are loaded several at once, which needs whole words.
    let weights = packed.weights.iter().map(|v| i32::from(*v));
    if packed.paired {
        pairs(c, index, &packed.weights);
    } else {
        table(c, "TML_ALIGNED int8_t", "weights", index, weights);
    }
    let constants = match records {
        Some(records) => {
            table(c, "uint8_t", "records", index, records.bytes.iter().map(|byte| i32::from(*byte)));
            format!("tml_weights_{index}, tml_records_{index}, {}u", records.scale)
        }
        None => {
            table(c, "int32_t", "bias", index, packed.bias.iter().copied());
            table(c, "int32_t", "multipliers", index, packed.multipliers.iter().copied());
            table(c, "int8_t", "shifts", index, packed.shifts.iter().copied());
            format!("tml_weights_{index}, tml_bias_{index}, tml_multipliers_{index}, tml_shifts_{index}")
        }
    };
    let (from, to) = (&graph.tensors[node.inputs[0]], &graph.tensors[node.output]);
    let dense = |in_c: usize| Window { in_c, in_h: 1, in_w: 1, out_h: 1, out_w: 1, ..Window::default() };
    let (w, out_c) = match &node.op {
        QOp::Conv2d { window, out_c, .. } => (*window, *out_c),
        QOp::Dense { inputs, outputs, .. } => (dense(*inputs), *outputs),
        op => {
            let window = op.window().copied().unwrap_or_default();
            (window, linear_channels(node))
        }
    };
    let bounds = node.op.bounds().unwrap_or(Bounds::FULL);
    let geometry = [
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
    ];
    let geometry: String = geometry.iter().map(|n| format!("{n}, ")).collect();
    let _ = writeln!(
        c,
        "static const tml_layer tml_layer_{index} TML_FLASH = {{\n    \
         {constants},\n    \
         {geometry}{}, {}, {}, {}, {}, {}\n}};\n",
        records.map_or(usize::from(packed.multipliers.len() > 1), |records| records.size),
        from.zero_point,
        to.zero_point,
        bounds.low,
        bounds.high,
        u8::from(bounds != Bounds::FULL),
    );
}

/// Weights of two channels in groups of four inputs, which each target lays out in its own way.
fn pairs(c: &mut String, index: usize, weights: &[i8]) {
    let _ = write!(c, "static const TML_ALIGNED int8_t tml_weights_{index}[{}] TML_FLASH = {{", weights.len());
    for (at, group) in weights.chunks(8).enumerate() {
        c.push_str(if at % 4 == 0 { "\n    TML_W(" } else { " TML_W(" });
        for (at, weight) in group.iter().enumerate() {
            let _ = write!(c, "{}{weight}", if at == 0 { "" } else { ", " });
        }
        c.push_str("),");
    }
    c.push_str("\n};\n\n");
}

pub(super) fn table(c: &mut String, kind: &str, what: &str, index: usize, values: impl Iterator<Item = i32>) {
    let values: Vec<i32> = values.collect();
    let _ = write!(c, "static const {kind} tml_{what}_{index}[{}] TML_FLASH = {{", values.len());
    for (at, value) in values.iter().enumerate() {
        c.push_str(if at % 16 == 0 { "\n    " } else { " " });
        let _ = write!(c, "{},", literal(*value));
    }
    c.push_str("\n};\n\n");
}

/// A C literal of type int32_t; INT32_MIN has none of its own.
pub(super) fn literal(value: i32) -> String {
    if value == i32::MIN {
        return "(-2147483647 - 1)".into();
    }
    value.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_integer_is_written_as_an_expression() {
        assert_eq!(literal(i32::MIN), "(-2147483647 - 1)");
        assert_eq!(literal(-5), "-5");
    }
}
