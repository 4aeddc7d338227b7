//! Regions of layers that run band by band: of what lies between the layers only a few rows exist at a time.
//!
//! Nothing is computed twice. Each tensor between the layers keeps the rows that its readers still need, and moves them
//! to the front when a band begins.

use std::collections::BTreeMap;

use crate::ir::{TensorId, Window};
use crate::qir::{Element, QNode, QOp, QuantGraph};

/// Consecutive nodes that run band by band.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    /// Its first node.
    pub first: usize,
    /// The node behind its last.
    pub end: usize,
    /// Rows of the last node's output that one band makes.
    pub rows: usize,
}

/// What a band does for one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Share {
    /// Rows of the output that exist before it, and behind it.
    pub from: usize,
    pub to: usize,
    /// The first row of the first operand that is held, and the one behind its last.
    pub held: (usize, usize),
}

/// A region as it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Walk {
    /// Most rows that each tensor between the nodes holds.
    pub held: BTreeMap<TensorId, usize>,
    /// For each node of the region its shares of all bands.
    pub shares: Vec<Vec<Share>>,
    /// How far the output must begin before an operand of the region to take its place, by operand.
    pub trails: BTreeMap<TensorId, isize>,
}

/// Height of a tensor and bytes of a row, if it is an image.
pub(crate) fn image(graph: &QuantGraph, tensor: TensorId) -> Option<(usize, usize)> {
    let is_input = tensor == graph.input;
    let tensor = &graph.tensors[tensor];
    match tensor.shape[..] {
        // One channel in front of rows and columns, as ONNX declares its inputs: the bytes lie as with it behind them.
        [1, 1, height, width] if is_input && tensor.element == Element::Int8 => Some((height, width)),
        [1, height, width, channels] if tensor.element == Element::Int8 => Some((height, width * channels)),
        _ => None,
    }
}

/// The window of a node over rows; element by element it is 1x1.
pub(crate) fn rows_window(graph: &QuantGraph, node: &QNode) -> Option<Window> {
    let (height, row) = image(graph, node.inputs[0])?;
    let to = image(graph, node.output)?;
    match &node.op {
        QOp::Conv2d { window: w, .. }
        | QOp::DepthwiseConv2d { window: w, .. }
        | QOp::MaxPool { window: w, .. }
        | QOp::AveragePool { window: w, .. }
            if !w.has_gaps() && (w.in_h, w.in_w * w.in_c, w.out_h) == (height, row, to.0) =>
        {
            Some(*w)
        }
        QOp::Add { .. } | QOp::Rescale { .. } | QOp::Lookup { .. }
            if node.inputs.iter().all(|input| image(graph, *input) == Some(to)) =>
        {
            Some(Window { in_h: height, out_h: height, ..Window::pointwise(row, 1) })
        }
        _ => None,
    }
}

/// The first input row that output rows from `row` on need.
fn above(w: &Window, row: usize) -> usize {
    (row * w.stride_h).saturating_sub(w.pad_top).min(w.in_h)
}

/// The input row behind the last that the output rows before `row` need.
fn below(w: &Window, row: usize) -> usize {
    match row.checked_sub(1) {
        None => 0,
        Some(last) => (last * w.stride_h + (w.kernel_h - 1) * w.dilation_h + 1).saturating_sub(w.pad_top).min(w.in_h),
    }
}

/// Follows a region through its bands; `None` if these nodes cannot run so.
pub(crate) fn walk(graph: &QuantGraph, region: Region) -> Option<Walk> {
    let nodes = &graph.nodes[region.first..region.end];
    let windows: Vec<Window> = nodes.iter().map(|node| rows_window(graph, node)).collect::<Option<_>>()?;
    let last = nodes.last()?;
    let (height, out_row) = image(graph, last.output)?;
    let inside: Vec<TensorId> = nodes.iter().map(|node| node.output).collect();
    let used_outside = |tensor: &TensorId| {
        *tensor == graph.output
            || graph.nodes[region.end..].iter().any(|node| node.inputs.contains(tensor))
            || graph.nodes[..region.first].iter().any(|node| node.inputs.contains(tensor))
    };
    if inside[..inside.len() - 1].iter().any(used_outside) || region.rows == 0 {
        return None;
    }
    let outside: Vec<TensorId> =
        nodes.iter().flat_map(|node| &node.inputs).filter(|tensor| !inside.contains(tensor)).copied().collect();
    let mut done: BTreeMap<TensorId, usize> = inside.iter().map(|tensor| (*tensor, 0)).collect();
    let mut held: BTreeMap<TensorId, usize> = BTreeMap::new();
    let mut shares = vec![Vec::new(); nodes.len()];
    let mut trails: BTreeMap<TensorId, isize> = BTreeMap::new();
    let mut written = 0;
    loop {
        let target = (done[&last.output] + region.rows).min(height);
        // What this band needs, from the last node to the first.
        let mut next = done.clone();
        next.insert(last.output, target);
        for (node, window) in nodes.iter().zip(&windows).rev() {
            let needed = below(window, next[&node.output]);
            for input in &node.inputs {
                if let Some(rows) = next.get_mut(input) {
                    *rows = needed.max(*rows);
                }
            }
        }
        let begin = |tensor: TensorId| {
            let readers = nodes.iter().zip(&windows).filter(|(node, _)| node.inputs.contains(&tensor));
            readers.map(|(node, window)| above(window, done[&node.output])).min().unwrap_or(0)
        };
        for tensor in &outside {
            if written > 0 {
                let (_, row) = image(graph, *tensor)?;
                let distance = (written * out_row).cast_signed() - (begin(*tensor) * row).cast_signed();
                let trail = trails.entry(*tensor).or_insert(isize::MIN);
                *trail = distance.max(*trail);
            }
        }
        for (at, node) in nodes.iter().enumerate() {
            let input = node.inputs[0];
            let rows = match next.get(&input) {
                Some(rows) => (begin(input).min(done[&input]), *rows),
                None => (0, windows[at].in_h),
            };
            let share = Share { from: done[&node.output], to: next[&node.output], held: rows };
            shares[at].push(share);
        }
        for tensor in &inside[..inside.len() - 1] {
            let rows = next[tensor] - begin(*tensor).min(done[tensor]);
            let most = held.entry(*tensor).or_insert(0);
            *most = rows.max(*most);
        }
        done = next;
        written = target;
        if target == height {
            break;
        }
    }
    // The last node reads and writes at the same time.
    trails.retain(|tensor, distance| *distance != isize::MIN && !last.inputs.contains(tensor));
    Some(Walk { held, shares, trails })
}

impl Share {
    /// A window as it slides in this band.
    pub(crate) fn window(&self, window: &Window) -> Window {
        let rows = self.held.1 - self.held.0;
        let above = self.from * window.stride_h;
        let pad = window.pad_top + self.held.0;
        Window {
            in_h: rows - above.saturating_sub(pad).min(rows),
            pad_top: pad.saturating_sub(above),
            out_h: self.to - self.from,
            ..*window
        }
    }

    /// True if there is anything to do.
    pub(crate) fn is_work(&self) -> bool {
        self.to > self.from
    }
}
