//! Which layers run band by band.

use super::bands::{self, Region, Walk};
use super::{Layout, Placed};
use crate::lower::Fast;
use crate::qir::QuantGraph;

/// Rows of a band that are tried.
const ROWS: [usize; 4] = [8, 4, 2, 1];
/// Regions whose arena is planned; they have the lowest bounds of all.
const PLANNED: usize = 6;
/// Regions in one model.
const REGIONS: usize = 3;
/// Longest region, and how many first nodes are tried.
const MOST_NODES: usize = 30;

/// The layout with regions that lower the arena, as long as one does by at least a thirtieth.
pub(super) fn smaller(graph: &QuantGraph, kinds: &[Option<Fast>], plain: (Layout, Placed)) -> (Layout, Placed) {
    let mut best = plain;
    for _ in 0..REGIONS {
        let mut candidates: Vec<Layout> = Vec::new();
        for (region, walk) in possible(graph, &best.0) {
            let regions = [best.0.regions.clone(), vec![(region, walk)]].concat();
            candidates.push(Layout::of(graph, kinds, regions));
        }
        // Of equal ones those with fewer bands: the sort keeps their order.
        candidates.sort_by_key(|layout| layout.bound_bytes);
        let placed = candidates.into_iter().take(PLANNED).map(|layout| layout.place(graph));
        let Some(next) = placed.min_by_key(|(_, placed)| placed.1) else { break };
        if next.1.1 + best.1.1 / 30 >= best.1.1 {
            break;
        }
        best = next;
    }
    best.0.regions.sort_by_key(|(region, _)| region.first);
    best
}

/// Regions beside those that are there already.
fn possible(graph: &QuantGraph, known: &Layout) -> Vec<(Region, Walk)> {
    let count = graph.nodes.len();
    let taken = |index: usize| known.regions.iter().any(|(region, _)| (region.first..region.end).contains(&index));
    let mut all = Vec::new();
    for first in 0..count.min(MOST_NODES) {
        for last in first..count.min(first + MOST_NODES) {
            if taken(last) || bands::rows_window(graph, &graph.nodes[last]).is_none() {
                break;
            }
            if last == first {
                continue;
            }
            for rows in ROWS {
                let region = Region { first, end: last + 1, rows };
                if let Some(walk) = bands::walk(graph, region) {
                    all.push((region, walk));
                }
            }
        }
    }
    all
}
