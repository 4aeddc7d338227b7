//! The static memory plan: an offset in one arena for every activation.
//!
//! Two activations may share bytes if they are never needed at the same time.
//! An operator that reads before it overwrites may also write into its own operand,
//! or trail it by a distance that follows from its geometry. Working memory of a
//! kernel is placed like an activation that lives for one step.

mod bands;
mod choose;

use crate::ir::{TensorId, Window};
use crate::lower::{self, Fast};
use crate::optimize::Optimize;
use crate::qir::{QNode, QOp, QuantGraph};
use crate::records::{self, Records};
pub use bands::Region;
pub(crate) use bands::{Share, Walk, image, rows_window};

/// Where activations live while the network runs, and what the code is made for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// What the code shall be best at.
    pub optimize: Optimize,
    /// Offset of each tensor in the arena, bytes, indexed like [`QuantGraph::tensors`];
    /// `None` for tensors that were optimized away.
    pub offsets: Vec<Option<usize>>,
    /// Offset of each node's working memory in the arena, bytes; a multiple of four.
    pub scratch: Vec<usize>,
    /// Size of the arena, bytes.
    pub arena_bytes: usize,
    /// No plan for this order of operators can be smaller, bytes.
    pub bound_bytes: usize,
    /// Nodes that run band by band, in order.
    pub regions: Vec<Region>,
    /// Constants of channels as records, where code shall be small and they are exact.
    pub(crate) records: Option<Records>,
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

/// Plans the arena of a model that shall be fast. The same graph always gets the same plan.
pub fn plan(graph: &QuantGraph) -> Plan {
    plan_for(graph, Optimize::Speed)
}

/// Plans the arena of a model that shall be best at something.
pub fn plan_for(graph: &QuantGraph, optimize: Optimize) -> Plan {
    let kinds = kinds(graph);
    let plain = Layout::of(graph, &kinds, Vec::new()).place(graph);
    let (layout, placed) = if optimize == Optimize::Ram { choose::smaller(graph, &kinds, plain) } else { plain };
    let tensors = graph.tensors.len();
    let mut offsets = vec![None; tensors];
    let mut scratch = vec![0; graph.nodes.len()];
    for (buffer, offset) in layout.buffers.iter().zip(&placed.0) {
        match buffer.tensor.checked_sub(tensors) {
            Some(node) => scratch[node] = *offset,
            None => offsets[buffer.tensor] = Some(*offset),
        }
    }
    let records = if optimize == Optimize::Size { records::records(graph) } else { None };
    let regions = layout.regions.into_iter().map(|(region, _)| region).collect();
    Plan { optimize, offsets, scratch, arena_bytes: placed.1, bound_bytes: layout.bound_bytes, regions, records }
}

/// Offsets of buffers, and the size of all.
type Placed = (Vec<usize>, usize);

/// What has to be placed.
#[derive(Debug, Clone)]
struct Layout {
    regions: Vec<(Region, Walk)>,
    buffers: Vec<Buffer>,
    pairs: Vec<Pair>,
    bound_bytes: usize,
}

impl Layout {
    fn of(graph: &QuantGraph, kinds: &[Option<Fast>], regions: Vec<(Region, Walk)>) -> Self {
        let buffers = buffers(graph, kinds, &regions);
        let pairs = in_place(graph, kinds, &buffers, &regions);
        let bound_bytes = bound(graph, &buffers, &pairs);
        Self { regions, buffers, pairs, bound_bytes }
    }

    /// Tries orders of placement.
    fn place(self, graph: &QuantGraph) -> (Self, Placed) {
        let (buffers, pairs) = (&self.buffers, &self.pairs);
        let mut by_size: Vec<usize> = (0..buffers.len()).collect();
        by_size.sort_by_key(|index| (usize::MAX - buffers[*index].size, *index));
        let by_time: Vec<usize> = (0..buffers.len()).collect();
        let mut best = place(buffers, pairs, &by_size);
        let mut random = by_time.clone();
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        for attempt in 0..=RANDOM_ORDERS {
            if best.1 == self.bound_bytes {
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
            let next = place(buffers, pairs, &random);
            if next.1 < best.1 {
                best = next;
            }
            // Large graphs: placement is quadratic, a few orders must do.
            if graph.nodes.len() > 100 && attempt > 10 {
                break;
            }
        }
        (self, best)
    }
}

/// A piece of the arena and when it is needed. Step 0 is the caller filling the input, step `k` is node `k - 1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The activation; `None` for working memory of the node of its step.
    pub tensor: Option<TensorId>,
    /// Where it begins, bytes.
    pub offset: usize,
    /// Its size, bytes; what a region holds of a tensor is less than the tensor.
    pub bytes: usize,
    /// The step that writes it.
    pub first: usize,
    /// The last step that needs it.
    pub last: usize,
}

/// All pieces of the arena, in the order of their first use.
pub fn places(graph: &QuantGraph, plan: &Plan) -> Vec<Place> {
    let layout = Layout::of(graph, &kinds(graph), walks(graph, &plan.regions));
    let place = |buffer: &Buffer| {
        let node = buffer.tensor.checked_sub(graph.tensors.len());
        Place {
            tensor: node.is_none().then_some(buffer.tensor),
            offset: node.map_or_else(|| plan.offsets[buffer.tensor].unwrap_or(0), |node| plan.scratch[node]),
            bytes: buffer.size,
            first: buffer.first,
            last: buffer.last,
        }
    };
    layout.buffers.iter().map(place).collect()
}

/// Regions as they run.
pub(crate) fn walks(graph: &QuantGraph, regions: &[Region]) -> Vec<(Region, Walk)> {
    regions.iter().filter_map(|region| Some((*region, bands::walk(graph, *region)?))).collect()
}

/// The fast kernel of each node, if it has one: they are proven once, which takes a look at all weights.
fn kinds(graph: &QuantGraph) -> Vec<Option<Fast>> {
    graph.nodes.iter().map(|node| lower::fast(graph, node)).collect()
}

/// Buffers in the order of their first use. Step `k` is node `k - 1`; step 0 is the caller filling the input.
fn buffers(graph: &QuantGraph, kinds: &[Option<Fast>], regions: &[(Region, Walk)]) -> Vec<Buffer> {
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
    for (region, walk) in regions {
        for node in &graph.nodes[region.first..region.end] {
            // What a region reads or writes is needed in all of its steps.
            for tensor in node.inputs.iter().chain([&node.output]) {
                let Some(buffer) = &mut found[*tensor] else { continue };
                buffer.first = buffer.first.min(region.first + 1);
                buffer.last = buffer.last.max(region.end);
                if let (Some(rows), Some((_, row))) = (walk.held.get(tensor), image(graph, *tensor)) {
                    buffer.size = words(rows * row);
                }
            }
        }
    }
    let mut all: Vec<Buffer> = found.into_iter().flatten().collect();
    for (index, node) in graph.nodes.iter().enumerate() {
        let Some(window) = node.op.window() else { continue };
        let banded = regions.iter().find(|(region, _)| (region.first..region.end).contains(&index));
        let size = match banded {
            Some((region, walk)) => {
                let shares = walk.shares[index - region.first].iter().filter(|share| share.is_work());
                shares.map(|share| lower::scratch_for(kinds[index], &share.window(window))).max().unwrap_or(0)
            }
            None => lower::scratch_for(kinds[index], window),
        };
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
fn in_place(graph: &QuantGraph, kinds: &[Option<Fast>], buffers: &[Buffer], regions: &[(Region, Walk)]) -> Vec<Pair> {
    let index_of = |tensor: TensorId| buffers.iter().position(|b| b.tensor == tensor);
    let mut pairs = Vec::new();
    for (region, walk) in regions {
        let Some(result) = index_of(graph.nodes[region.end - 1].output) else { continue };
        for (tensor, distance) in &walk.trails {
            if let Some(operand) = index_of(*tensor)
                && buffers[operand].last == region.end
            {
                pairs.push(Pair { operand, result, overlap: Overlap::Trailing(*distance) });
            }
        }
    }
    for (index, node) in graph.nodes.iter().enumerate() {
        if regions.iter().any(|(region, _)| (region.first..region.end).contains(&index)) {
            continue;
        }
        let Some(result) = index_of(node.output) else {
            continue;
        };
        for input in &node.inputs {
            if let Some(operand) = index_of(*input)
                && buffers[operand].last == index + 1
                && let Some(overlap) = overlap(node, kinds[index])
            {
                pairs.push(Pair { operand, result, overlap });
            }
        }
    }
    pairs
}

/// How the result of an operator may overlap an operand that nobody needs afterwards.
fn overlap(node: &QNode, kind: Option<Fast>) -> Option<Overlap> {
    match &node.op {
        // Element by element, in order.
        QOp::Softmax { .. } | QOp::Rescale { .. } | QOp::Lookup { .. } | QOp::Add { .. } | QOp::Mean { .. } => {
            Some(Overlap::Trailing(0))
        }
        QOp::MaxPool { window, .. } | QOp::AveragePool { window, .. } => {
            reads_ahead(window).then_some(Overlap::Trailing(0))
        }
        QOp::Conv2d { window, linear, .. } | QOp::DepthwiseConv2d { window, linear, .. } => {
            match kind? {
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
                .filter(|pair| (buffers[pair.result].first..=buffers[pair.operand].last).contains(&step))
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
    let Layout { buffers, pairs: in_place, .. } = Layout::of(graph, &kinds(graph), walks(graph, &plan.regions));
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
