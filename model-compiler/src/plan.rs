//! The static memory plan: an offset in one arena for every activation.
//!
//! Two activations may share bytes if they are never needed at the same time.
//! An operator that reads before it overwrites may also write into its own operand,
//! or trail it by a distance that follows from its geometry. Working memory of a
//! kernel is placed like an activation that lives for one step.

use crate::ir::{TensorId, Window};
use crate::lower::{self, Fast};
use crate::qir::{QNode, QOp, QuantGraph};

/// Where activations live while the network runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Offset of each tensor in the arena, bytes, indexed like [`QuantGraph::tensors`];
    /// `None` for tensors that were optimized away.
    pub offsets: Vec<Option<usize>>,
    /// Offset of each node's working memory in the arena, bytes; a multiple of four.
    pub scratch: Vec<usize>,
    /// Size of the arena, bytes.
    pub arena_bytes: usize,
    /// No plan for this order of operators can be smaller, bytes.
    pub bound_bytes: usize,
}

/// A tensor with the steps at which it must keep its bytes.
#[derive(Debug, Clone, Copy)]
struct Buffer {
    /// An activation, or the number of activations and the node whose working memory it is.
    tensor: TensorId,
    size: usize,
    first: usize,
    last: usize,
}

/// When an operand and the result of its operator may overlap.
#[derive(Debug, Clone, Copy)]
enum Overlap {
    /// The result begins at least this many bytes before the operand (negative: at most that many behind it).
    Trailing(isize),
    /// Both begin at the same byte.
    InPlace,
}

/// Indices into the buffers of an operand and a result that may overlap.
#[derive(Debug, Clone, Copy)]
struct Pair {
    operand: usize,
    result: usize,
    overlap: Overlap,
}

impl Pair {
    fn allows(&self, operand_at: usize, result_at: usize) -> bool {
        match self.overlap {
            Overlap::Trailing(distance) => result_at.cast_signed() + distance <= operand_at.cast_signed(),
            Overlap::InPlace => result_at == operand_at,
        }
    }

    /// Bytes that both have in common at best.
    fn shared(&self, buffers: &[Buffer]) -> usize {
        let (operand, result) = (buffers[self.operand].size, buffers[self.result].size);
        let begin = match self.overlap {
            Overlap::Trailing(distance) => usize::try_from(distance).unwrap_or(0),
            Overlap::InPlace => 0,
        };
        (operand + result).saturating_sub(result.max(begin + operand))
    }
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
    let tensors = graph.tensors.len();
    let mut offsets = vec![None; tensors];
    let mut scratch = vec![0; graph.nodes.len()];
    for (buffer, offset) in buffers.iter().zip(&best.0) {
        match buffer.tensor.checked_sub(tensors) {
            Some(node) => scratch[node] = *offset,
            None => offsets[buffer.tensor] = Some(*offset),
        }
    }
    Plan { offsets, scratch, arena_bytes: best.1, bound_bytes }
}

/// Buffers in the order of their first use. Step `k` is node `k - 1`; step 0 is the caller filling the input.
fn buffers(graph: &QuantGraph) -> Vec<Buffer> {
    let end = graph.nodes.len() + 1;
    let mut found: Vec<Option<Buffer>> = vec![None; graph.tensors.len()];
    let buffer = |tensor: TensorId, first: usize| Buffer {
        tensor,
        size: words(graph.tensors[tensor].bytes()),
        first,
        last: first,
    };
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
    for (index, node) in graph.nodes.iter().enumerate() {
        let size = lower::scratch(graph, node);
        if size > 0 {
            all.push(Buffer { tensor: graph.tensors.len() + index, size, first: index + 1, last: index + 1 });
        }
    }
    all.sort_by_key(|buffer| (buffer.first, buffer.tensor));
    all
}

/// Whole words: kernels load and, behind the end of a row, ignore words.
fn words(bytes: usize) -> usize {
    bytes.next_multiple_of(4)
}

/// Operands and results that may overlap.
fn in_place(graph: &QuantGraph, buffers: &[Buffer]) -> Vec<Pair> {
    let index_of = |tensor: TensorId| buffers.iter().position(|b| b.tensor == tensor);
    let mut pairs = Vec::new();
    for (index, node) in graph.nodes.iter().enumerate() {
        let Some(result) = index_of(node.output) else {
            continue;
        };
        for input in &node.inputs {
            if let Some(operand) = index_of(*input)
                && buffers[operand].last == index + 1
                && let Some(overlap) = overlap(graph, node)
            {
                pairs.push(Pair { operand, result, overlap });
            }
        }
    }
    pairs
}

/// How the result of an operator may overlap an operand that nobody needs afterwards.
fn overlap(graph: &QuantGraph, node: &QNode) -> Option<Overlap> {
    match &node.op {
        // Element by element, in order.
        QOp::Softmax { .. } | QOp::Rescale { .. } | QOp::Lookup { .. } | QOp::Add { .. } | QOp::Mean { .. } => {
            Some(Overlap::Trailing(0))
        }
        QOp::MaxPool { window, .. } | QOp::AveragePool { window, .. } => {
            reads_ahead(window).then_some(Overlap::Trailing(0))
        }
        QOp::Conv2d { window, linear, .. } | QOp::DepthwiseConv2d { window, linear, .. } => {
            match lower::fast(graph, node)? {
                Fast::Conv2d => Some(Overlap::Trailing(lower::trail(window, linear.bias.len()))),
                // A channel is copied before its place is overwritten; there must be room for it.
                Fast::Depthwise => (window.out_pixels() <= window.in_h * window.in_w).then_some(Overlap::InPlace),
                Fast::Dense => None,
            }
        }
        QOp::Dense { .. }
        | QOp::Concat { .. }
        | QOp::Pad { .. }
        | QOp::Binary { .. }
        | QOp::Strided { .. }
        | QOp::Real(_)
        | QOp::Gather { .. }
        | QOp::Interpolate { .. } => None,
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
fn bound(graph: &QuantGraph, buffers: &[Buffer], in_place: &[Pair]) -> usize {
    (0..graph.nodes.len() + 2)
        .map(|step| {
            let live: usize = buffers
                .iter()
                .filter(|buffer| buffer.first <= step && step <= buffer.last)
                .map(|buffer| buffer.size)
                .sum();
            let shared = in_place
                .iter()
                .filter(|pair| buffers[pair.result].first == step)
                .map(|pair| pair.shared(buffers))
                .max();
            live - shared.unwrap_or(0)
        })
        .max()
        .unwrap_or(0)
}

/// Places buffers one after another, each at the lowest offset that is free.
fn place(buffers: &[Buffer], in_place: &[Pair], order: &[usize]) -> (Vec<usize>, usize) {
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
        for pair in in_place {
            let Overlap::Trailing(distance) = pair.overlap else { continue };
            let at = |other: usize, distance: isize| {
                let offset = placed.iter().find(|(placed, _)| *placed == other)?.1;
                usize::try_from(offset.cast_signed() + distance).ok()
            };
            if pair.operand == index {
                candidates.extend(at(pair.result, distance).map(words));
            } else if pair.result == index {
                candidates.extend(at(pair.operand, -distance).map(|at| at / 4 * 4));
            }
        }
        candidates.sort_unstable();
        let free = |at: usize| {
            placed.iter().all(|(other, offset)| {
                at + buffer.size <= *offset
                    || offset + buffers[*other].size <= at
                    || in_place.iter().any(|pair| {
                        (pair.operand == *other && pair.result == index && pair.allows(*offset, at))
                            || (pair.operand == index && pair.result == *other && pair.allows(at, *offset))
                    })
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
/// save where an operator may write into its operand. Returns the first pair that does;
/// working memory counts as the number of activations plus the node's.
pub fn conflict(graph: &QuantGraph, plan: &Plan) -> Option<(TensorId, TensorId)> {
    let buffers = buffers(graph);
    let in_place = in_place(graph, &buffers);
    let range = |buffer: &Buffer| {
        let at = match buffer.tensor.checked_sub(graph.tensors.len()) {
            Some(node) => plan.scratch[node],
            None => plan.offsets[buffer.tensor].unwrap_or(0),
        };
        (at, at + buffer.size)
    };
    for (a, x) in buffers.iter().enumerate() {
        if range(x).1 > plan.arena_bytes {
            return Some((x.tensor, x.tensor));
        }
        for (b, y) in buffers.iter().enumerate().skip(a + 1) {
            let together = x.first <= y.last && y.first <= x.last;
            let apart = range(x).1 <= range(y).0 || range(y).1 <= range(x).0;
            let allowed = in_place.iter().any(|pair| {
                (pair.operand == a && pair.result == b && pair.allows(range(x).0, range(y).0))
                    || (pair.operand == b && pair.result == a && pair.allows(range(y).0, range(x).0))
            });
            if together && !apart && !allowed {
                return Some((x.tensor, y.tensor));
            }
        }
    }
    None
}
