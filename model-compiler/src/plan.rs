//! The static memory plan: an offset in one arena for every activation.
//!
//! Two activations may share bytes if they are never needed at the same time.
//! An operator that reads each element before it overwrites it may also write
//! into its own operand.

use crate::ir::{TensorId, Window};
use crate::qir::{QNode, QOp, QuantGraph};

/// Where activations live while the network runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Offset of each tensor in the arena, bytes, indexed like [`QuantGraph::tensors`];
    /// `None` for tensors that were optimized away.
    pub offsets: Vec<Option<usize>>,
    /// Size of the arena, bytes.
    pub arena_bytes: usize,
    /// No plan for this order of operators can be smaller, bytes.
    pub bound_bytes: usize,
}

/// A tensor with the steps at which it must keep its bytes.
#[derive(Debug, Clone, Copy)]
struct Buffer {
    tensor: TensorId,
    size: usize,
    first: usize,
    last: usize,
}

/// Number of random placement orders that are tried beside the usual ones.
const RANDOM_ORDERS: usize = 200;

/// Plans the arena. The same graph always gets the same plan.
pub fn plan(graph: &QuantGraph) -> Plan {
    let buffers = buffers(graph);
    let in_place = in_place(graph, &buffers);
    let bound_bytes = bound(graph, &buffers, &in_place);
    let mut by_size: Vec<usize> = (0..buffers.len()).collect();
    by_size.sort_by_key(|index| (usize::MAX - buffers[*index].size, *index));
    let by_time: Vec<usize> = (0..buffers.len()).collect();
    let mut best = place(&buffers, &in_place, &by_size);
    let mut random = by_time.clone();
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    for attempt in 0..=RANDOM_ORDERS {
        if best.1 == bound_bytes {
            break;
        }
        if attempt > 0 {
            for at in (1..random.len()).rev() {
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
                random.swap(at, (seed % (at as u64 + 1)) as usize);
            }
        }
        let next = place(&buffers, &in_place, &random);
        if next.1 < best.1 {
            best = next;
        }
        // Large graphs: placement is quadratic, a few orders must do.
        if buffers.len() > 200 && attempt > 10 {
            break;
        }
    }
    let mut offsets = vec![None; graph.tensors.len()];
    for (buffer, offset) in buffers.iter().zip(&best.0) {
        offsets[buffer.tensor] = Some(*offset);
    }
    Plan { offsets, arena_bytes: best.1, bound_bytes }
}

/// Buffers in the order of their first use. Step `k` is node `k - 1`; step 0 is the caller filling the input.
fn buffers(graph: &QuantGraph) -> Vec<Buffer> {
    let end = graph.nodes.len() + 1;
    let mut found: Vec<Option<Buffer>> = vec![None; graph.tensors.len()];
    let buffer =
        |tensor: TensorId, first: usize| Buffer { tensor, size: graph.tensors[tensor].len(), first, last: first };
    found[graph.input] = Some(buffer(graph.input, 0));
    for (index, node) in graph.nodes.iter().enumerate() {
        for input in &node.inputs {
            if let Some(buffer) = &mut found[*input] {
                buffer.last = index + 1;
            }
        }
        found[node.output] = Some(buffer(node.output, index + 1));
    }
    if let Some(output) = &mut found[graph.output] {
        output.last = end;
    }
    let mut all: Vec<Buffer> = found.into_iter().flatten().collect();
    all.sort_by_key(|buffer| (buffer.first, buffer.tensor));
    all
}

/// Pairs (operand, result) of indices into `buffers` that may overlap as long as
/// the result does not begin behind the operand.
fn in_place(graph: &QuantGraph, buffers: &[Buffer]) -> Vec<(usize, usize)> {
    let index_of = |tensor: TensorId| buffers.iter().position(|b| b.tensor == tensor);
    let mut pairs = Vec::new();
    for (index, node) in graph.nodes.iter().enumerate() {
        let Some(result) = index_of(node.output) else {
            continue;
        };
        for input in &node.inputs {
            if let Some(operand) = index_of(*input)
                && buffers[operand].last == index + 1
                && overwrites_safely(node)
            {
                pairs.push((operand, result));
            }
        }
    }
    pairs
}

/// True if the operator, element by element in order, never overwrites what it
/// still reads when the result begins at or before the operand.
fn overwrites_safely(node: &QNode) -> bool {
    match &node.op {
        QOp::Softmax { .. } | QOp::Rescale { .. } | QOp::Lookup { .. } | QOp::Mean { .. } => true,
        // Both operands may be one tensor; two overlapping different ones are exact only at equal offsets,
        // which `place` cannot promise for both.
        QOp::Add { .. } => node.inputs[0] == node.inputs[1],
        QOp::MaxPool { window, .. } | QOp::AveragePool { window, .. } => reads_ahead(window),
        QOp::Conv2d { .. }
        | QOp::DepthwiseConv2d { .. }
        | QOp::Dense { .. }
        | QOp::Concat { .. }
        | QOp::Pad { .. }
        | QOp::Binary { .. }
        | QOp::Strided { .. } => false,
    }
}

/// True if every output pixel lies at or before the first input pixel that its window sees.
fn reads_ahead(w: &Window) -> bool {
    (0..w.out_h).all(|oy| {
        let row = (oy * w.stride_h).saturating_sub(w.pad_top);
        (0..w.out_w).all(|ox| {
            let column = (ox * w.stride_w).saturating_sub(w.pad_left);
            oy * w.out_w + ox <= row * w.in_w + column
        })
    })
}

/// The largest sum of sizes that are needed at one step.
fn bound(graph: &QuantGraph, buffers: &[Buffer], in_place: &[(usize, usize)]) -> usize {
    (0..graph.nodes.len() + 2)
        .map(|step| {
            let live: usize = buffers
                .iter()
                .filter(|buffer| buffer.first <= step && step <= buffer.last)
                .map(|buffer| buffer.size)
                .sum();
            let shared = in_place
                .iter()
                .filter(|(_, result)| buffers[*result].first == step)
                .map(|(operand, result)| buffers[*operand].size.min(buffers[*result].size))
                .max();
            live - shared.unwrap_or(0)
        })
        .max()
        .unwrap_or(0)
}

/// Places buffers one after another, each at the lowest offset that is free.
fn place(buffers: &[Buffer], in_place: &[(usize, usize)], order: &[usize]) -> (Vec<usize>, usize) {
    let mut offsets: Vec<Option<usize>> = vec![None; buffers.len()];
    let mut arena = 0;
    for &index in order {
        let buffer = buffers[index];
        let placed: Vec<(usize, usize)> = buffers
            .iter()
            .enumerate()
            .filter(|(_, other)| other.first <= buffer.last && buffer.first <= other.last)
            .filter_map(|(other, _)| offsets[other].map(|offset| (other, offset)))
            .collect();
        let mut candidates: Vec<usize> =
            placed.iter().flat_map(|(other, offset)| [*offset, offset + buffers[*other].size]).chain([0]).collect();
        candidates.sort_unstable();
        let free = |at: usize| {
            placed.iter().all(|(other, offset)| {
                at + buffer.size <= *offset
                    || offset + buffers[*other].size <= at
                    || (in_place.contains(&(*other, index)) && at <= *offset)
                    || (in_place.contains(&(index, *other)) && *offset <= at)
            })
        };
        let top = candidates.last().copied().unwrap_or(0);
        let at = candidates.into_iter().find(|at| free(*at)).unwrap_or(top);
        offsets[index] = Some(at);
        arena = arena.max(at + buffer.size);
    }
    (offsets.into_iter().map(|offset| offset.unwrap_or(0)).collect(), arena)
}

/// Checks a plan: no two activations that are needed at the same time overlap,
/// save where an operator may write into its operand. Returns the first pair that does.
pub fn conflict(graph: &QuantGraph, plan: &Plan) -> Option<(TensorId, TensorId)> {
    let buffers = buffers(graph);
    let in_place = in_place(graph, &buffers);
    let range = |buffer: &Buffer| {
        let at = plan.offsets[buffer.tensor].unwrap_or(0);
        (at, at + buffer.size)
    };
    for (a, x) in buffers.iter().enumerate() {
        if range(x).1 > plan.arena_bytes {
            return Some((x.tensor, x.tensor));
        }
        for (b, y) in buffers.iter().enumerate().skip(a + 1) {
            let together = x.first <= y.last && y.first <= x.last;
            let apart = range(x).1 <= range(y).0 || range(y).1 <= range(x).0;
            let allowed = (in_place.contains(&(a, b)) && range(y).0 <= range(x).0)
                || (in_place.contains(&(b, a)) && range(x).0 <= range(y).0);
            if together && !apart && !allowed {
                return Some((x.tensor, y.tensor));
            }
        }
    }
    None
}
