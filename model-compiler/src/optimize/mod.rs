//! What changes a graph before it becomes C, and what the C shall be best at. Answers never change by a bit.

pub mod dead;
pub mod order;

pub use contract::settings::Optimize;

use crate::plan::{self, Plan};
use crate::qir::QuantGraph;

/// The graph that is to be generated, without what is dead, and its plan.
pub fn optimized(graph: &QuantGraph, optimize: Optimize) -> (QuantGraph, Plan) {
    let graph = dead::eliminate(graph);
    let plan = plan::plan_for(&graph, optimize);
    let other = if optimize == Optimize::Ram { order::reordered(&graph) } else { None };
    if let Some(other) = other {
        let smaller = plan::plan_for(&other, optimize);
        if smaller.arena_bytes < plan.arena_bytes {
            return (other, smaller);
        }
    }
    (graph, plan)
}
