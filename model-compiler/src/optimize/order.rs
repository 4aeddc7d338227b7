//! The order of operators that needs least memory.

use std::collections::BTreeMap;

use crate::lower;
use crate::qir::QuantGraph;

/// Orders that are followed at once.
const BEAM: usize = 64;

/// Operators that have run, and what that took.
#[derive(Debug, Clone)]
struct State {
    order: Vec<usize>,
    done: Vec<bool>,
    live: usize,
    peak: usize,
}

/// The graph with its nodes in another order, if some order may need less memory; operators in branches can move.
pub fn reordered(graph: &QuantGraph) -> Option<QuantGraph> {
    let nodes = &graph.nodes;
    let producer: BTreeMap<usize, usize> = nodes.iter().enumerate().map(|(at, node)| (node.output, at)).collect();
    let mut states = vec![State {
        order: Vec::new(),
        done: vec![false; nodes.len()],
        live: graph.tensors[graph.input].bytes(),
        peak: 0,
    }];
    let mut chain = true;
    for _ in 0..nodes.len() {
        // Of several orders that have done the same, the one with the lowest peak goes on.
        let mut next: BTreeMap<Vec<bool>, State> = BTreeMap::new();
        for state in &states {
            let made = |tensor: &usize| producer.get(tensor).is_none_or(|node| state.done[*node]);
            let ready: Vec<usize> =
                (0..nodes.len()).filter(|at| !state.done[*at] && nodes[*at].inputs.iter().all(made)).collect();
            chain &= ready.len() == 1;
            for at in ready {
                let state = after(graph, state, at);
                let known = next.get(&state.done);
                if known.is_none_or(|known| (state.peak, state.live) < (known.peak, known.live)) {
                    next.insert(state.done.clone(), state);
                }
            }
        }
        if chain && next.len() > 1 {
            chain = false;
        }
        states = next.into_values().collect();
        states.sort_by_key(|state| (state.peak, state.live));
        states.truncate(BEAM);
    }
    let best = states.into_iter().next()?;
    if chain || best.order.iter().enumerate().all(|(at, node)| at == *node) {
        return None;
    }
    let nodes = best.order.iter().map(|at| nodes[*at].clone()).collect();
    Some(QuantGraph { nodes, ..graph.clone() })
}

fn after(graph: &QuantGraph, state: &State, at: usize) -> State {
    let node = &graph.nodes[at];
    let mut state = state.clone();
    let size = |tensor: usize| graph.tensors[tensor].bytes();
    state.live += size(node.output);
    state.peak = state.peak.max(state.live + lower::scratch(graph, node));
    state.done[at] = true;
    state.order.push(at);
    let waits = |tensor: usize| {
        graph.nodes.iter().enumerate().any(|(other, node)| !state.done[other] && node.inputs.contains(&tensor))
    };
    let mut inputs = node.inputs.clone();
    inputs.sort_unstable();
    inputs.dedup();
    let freed: usize = inputs.into_iter().filter(|input| *input != graph.output && !waits(*input)).map(size).sum();
    state.live = state.live.saturating_sub(freed);
    state
}
