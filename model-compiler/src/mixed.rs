//! Which layers stay in 32-bit floats although the network is int8: those that a user names, or those where int8 costs
//! more than their floats do.

pub use contract::settings::Mixed;

use crate::ir::{Graph, Op};
use crate::quantize::QuantizeError;

/// Outputs with a better signal to quantization noise ratio need no float layers, dB.
pub const GOOD_DB: f64 = 20.0;

/// Most bytes that automatically chosen layers may add to the constants: a quarter of what they were, and at least this.
pub const BUDGET: usize = 4_096;

/// Most share of the multiply-accumulates that automatically chosen layers may have.
pub const MOST_WORK: f64 = 0.25;

/// True for layers whose weights can stay float.
pub(crate) fn can_be_float(op: &Op) -> bool {
    matches!(op, Op::Conv2d { .. } | Op::DepthwiseConv2d { .. } | Op::Dense { .. })
}

/// Marks the layers of these names. Converters join names with `;`: the last part is enough.
///
/// # Errors
/// A name that no layer has, or whose layer has no float form.
pub(crate) fn mark(graph: &mut Graph, layers: &[String]) -> Result<(), QuantizeError> {
    for wanted in layers {
        let of = |name: &str| name == wanted || name.rsplit(';').next() == Some(wanted);
        let mut found = false;
        for node in graph.nodes.iter_mut().filter(|node| of(&node.name)) {
            found = true;
            if !can_be_float(&node.op) {
                let reason = format!("{} stays int8; convolutions and dense layers can be float", node.op.name());
                return Err(QuantizeError::Layer { layer: wanted.clone(), reason });
            }
            node.real = true;
        }
        if !found {
            let names: Vec<&str> =
                graph.nodes.iter().filter(|node| can_be_float(&node.op)).map(|node| node.name.as_str()).collect();
            let reason = format!("the model has no layer of this name; these can be float: {}", names.join(", "));
            return Err(QuantizeError::Layer { layer: wanted.clone(), reason });
        }
    }
    Ok(())
}

/// Bytes that a layer's constants grow by when they stay float.
pub(crate) fn growth(op: &Op) -> usize {
    match op {
        Op::Conv2d { weights, bias, .. }
        | Op::DepthwiseConv2d { weights, bias, .. }
        | Op::Dense { weights, bias, .. } => {
            (4 * (weights.len() + bias.len())).saturating_sub(weights.len() + 9 * bias.len())
        }
        _ => 0,
    }
}

/// Bytes of a layer's constants as int8.
pub(crate) fn int8_bytes(op: &Op) -> usize {
    match op {
        Op::Conv2d { weights, bias, .. }
        | Op::DepthwiseConv2d { weights, bias, .. }
        | Op::Dense { weights, bias, .. } => weights.len() + 9 * bias.len(),
        _ => 0,
    }
}
