//! Regions that run band by band, each as a function with a loop over its bands.

use std::fmt::Write as _;

use super::call::{Site, call_at, offset};
use crate::ir::{TensorId, Window};
use crate::lower;
use crate::plan::{Plan, Region, image, rows_window};
use crate::qir::{QNode, QuantGraph};

/// What the functions of regions build on.
const BANDS: &str = include_str!("../kernels/bands.c");

/// Writes a function for each region. Of tensor `t`, row `b<t>` is the first that is held, the rows before `e<t>` exist,
/// and the band makes those before `n<t>`.
pub(super) fn functions(c: &mut String, graph: &QuantGraph, plan: &Plan) {
    if !plan.regions.is_empty() {
        c.push_str(BANDS);
        c.push('\n');
    }
    for (at, region) in plan.regions.iter().enumerate() {
        function(c, graph, plan, at, *region);
    }
}

/// A node of a region with its window over rows.
struct Layer<'a> {
    index: usize,
    node: &'a QNode,
    window: Window,
}

fn function(c: &mut String, graph: &QuantGraph, plan: &Plan, at: usize, region: Region) {
    let layers: Vec<Layer> = (region.first..region.end)
        .filter_map(|index| {
            let node = &graph.nodes[index];
            Some(Layer { index, node, window: rows_window(graph, node)? })
        })
        .collect();
    let Some(last) = layers.last() else { return };
    let result = last.node.output;
    let made: Vec<TensorId> = layers.iter().map(|layer| layer.node.output).collect();
    let between = &made[..made.len() - 1];
    let row_bytes = |tensor: TensorId| image(graph, tensor).map_or(0, |(_, row)| row);
    let height = last.window.out_h;
    let _ = writeln!(c, "static void tml_bands_{at}(int8_t *a)\n{{");
    let zeros: Vec<String> = between.iter().map(|t| format!("b{t} = 0, e{t} = 0")).collect();
    let _ = writeln!(c, "    int {}, e{result} = 0;", zeros.join(", "));
    let _ = writeln!(c, "    while (e{result} < {height}) {{");
    let _ =
        writeln!(c, "        int n{result} = e{result} + {0} < {height} ? e{result} + {0} : {height};", region.rows);
    for tensor in between.iter().rev() {
        let below = |layer: &Layer| {
            let w = &layer.window;
            let reach = (w.kernel_h - 1) * w.dilation_h + 1;
            format!("tml_below(n{}, {}, {reach}, {}, {})", layer.node.output, w.stride_h, w.pad_top, w.in_h)
        };
        let readers = layers.iter().filter(|layer| layer.node.inputs.contains(tensor));
        let most = readers.map(below).reduce(|most, next| format!("tml_most({most}, {next})"));
        let _ = writeln!(c, "        int n{tensor} = tml_most({}, e{tensor});", most.unwrap_or_default());
    }
    for tensor in between {
        let above = |layer: &Layer| {
            let w = &layer.window;
            format!("tml_above(e{}, {}, {}, {})", layer.node.output, w.stride_h, w.pad_top, w.in_h)
        };
        let readers = layers.iter().filter(|layer| layer.node.inputs.contains(tensor));
        let least = readers.map(above).reduce(|least, next| format!("tml_least({least}, {next})")).unwrap_or_default();
        let _ = writeln!(
            c,
            "        b{tensor} = tml_keep(a + {}, {}, b{tensor}, {least}, e{tensor});",
            offset(plan, *tensor),
            row_bytes(*tensor),
        );
    }
    for layer in &layers {
        run(c, graph, plan, layer, between);
    }
    c.push_str("    }\n}\n\n");
}

fn run(c: &mut String, graph: &QuantGraph, plan: &Plan, layer: &Layer, between: &[TensorId]) {
    let Layer { index, node, window: w } = layer;
    let row_bytes = |tensor: TensorId| image(graph, tensor).map_or(0, |(_, row)| row);
    let (from, to) = (node.inputs[0], node.output);
    let (held, end) = match between.contains(&from) {
        true => (format!("b{from}"), format!("n{from}")),
        false => ("0".into(), w.in_h.to_string()),
    };
    let first = |tensor: TensorId| if between.contains(&tensor) { format!("b{tensor}") } else { "0".into() };
    let place = |tensor: TensorId, row: &str| {
        format!("a + {} + ({row} - {}) * {}", offset(plan, tensor), first(tensor), row_bytes(tensor))
    };
    let _ = writeln!(c, "        if (n{to} > e{to}) {{");
    let sliding = node.op.window().is_some();
    let mut site = Site {
        operands: node.inputs.iter().map(|input| place(*input, &format!("e{to}"))).collect(),
        result: place(to, &format!("e{to}")),
        layer: "&layer".into(),
        count: format!("(n{to} - e{to}) * {}", row_bytes(to)),
        rows: None,
    };
    if sliding {
        let _ = writeln!(c, "            int pad = {} + {held} - e{to} * {};", w.pad_top, w.stride_h);
        let _ = writeln!(c, "            int skip = pad < 0 ? -pad : 0;");
        site.operands = vec![format!("a + {} + skip * {}", offset(plan, from), row_bytes(from))];
        let rows = [format!("{end} - {held} - skip"), format!("n{to} - e{to}"), "pad + skip".into()];
        if lower::fast(graph, node).is_some() {
            let _ = writeln!(c, "            tml_layer layer = *tml_load(&tml_layer_{index});");
            for (field, value) in ["in_h", "out_h", "pad_top"].iter().zip(&rows) {
                let _ = writeln!(c, "            layer.{field} = (tml_size)({value});");
            }
        } else {
            site.rows = Some(rows);
        }
    }
    let _ = writeln!(c, "            {};", call_at(graph, plan, *index, node, &site));
    let _ = writeln!(c, "            e{to} = n{to};\n        }}");
}
