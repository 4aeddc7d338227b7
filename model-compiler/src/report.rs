//! The report of a compilation, layer by layer and board by board.

use contract::artifact::{
    BoardReport, BufferReport, Calibration, CompileReport, LayerReport, QuantizationReport, StepTime,
};

use crate::estimate::{self, Core, Cost};
use crate::evaluate::{Evaluation, Sqnr};
use crate::import::shown;
use crate::ir::{Clamp, Graph, Op};
use crate::mixed::{GOOD_DB, Mixed};
use crate::optimize::{Optimize, optimized};
use crate::plan::{self, Place, Plan};
use crate::qir::{Bounds, QNode, QOp, QuantGraph};

/// Everything that the report is made from.
pub(crate) struct Findings<'a> {
    /// Absent where the model file was int8 already.
    pub graph: Option<&'a Graph>,
    pub quantized: &'a QuantGraph,
    /// The same without what is dead, in the order in which it runs.
    pub generated: &'a QuantGraph,
    pub plan: &'a Plan,
    pub evaluation: &'a Evaluation,
    /// Absent as `graph` is.
    pub quantization: Option<QuantizationReport>,
    pub sqnr: &'a [Sqnr],
    pub mixed: &'a Mixed,
    pub labels: &'a [String],
    pub calibration: (Calibration, usize),
    pub source_bytes: usize,
    pub times: Vec<StepTime>,
    pub warnings: Vec<String>,
}

/// Bytes of constants of all layers.
pub(crate) fn weights_bytes(graph: &QuantGraph) -> usize {
    graph.nodes.iter().map(|node| node.op.constant_bytes()).sum()
}

/// Multiply-accumulates of one inference.
pub(crate) fn macs(graph: &QuantGraph) -> u64 {
    graph.nodes.iter().map(|node| node.op.macs()).sum()
}

/// A count as the contract carries it.
pub(crate) fn count(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// A shape without its batch, as the contract carries it.
pub(crate) fn without_batch(shape: &[usize]) -> Vec<u32> {
    let rest = if shape.len() > 1 { &shape[1..] } else { shape };
    rest.iter().map(|dim| count(*dim)).collect()
}

/// Puts the report together.
pub(crate) fn report(findings: &Findings<'_>) -> CompileReport {
    let graph = findings.generated;
    let cost = Cost::of(graph, findings.plan);
    let float = |node: &QNode| {
        let index = findings.quantized.nodes.iter().position(|original| original.output == node.output)?;
        Some(&findings.graph?.nodes[index].op)
    };
    let by_core = Core::MEASURED.map(|core| (core, estimate::by_layer(&cost, core)));
    let instructions = |index: usize| {
        by_core.iter().filter_map(|(core, layers)| Some((core.name().to_owned(), *layers.get(index)?))).collect()
    };
    let layers = graph
        .nodes
        .iter()
        .enumerate()
        .map(|(index, node)| LayerReport {
            name: node.name.clone(),
            op: operator(graph, node, float(node)),
            shape: without_batch(&graph.tensors[node.output].shape),
            macs: node.op.macs(),
            weights_bytes: count(node.op.constant_bytes()),
            float: matches!(node.op, QOp::Real(_)),
            instructions: instructions(index),
            sqnr_db: findings.sqnr.get(node.output).and_then(|sqnr| sqnr.reached),
            own_sqnr_db: findings.sqnr.get(node.output).and_then(|sqnr| sqnr.own),
        })
        .collect();
    CompileReport {
        float_accuracy: findings.evaluation.float_accuracy(),
        int8_accuracy: findings.evaluation.int8_accuracy(),
        evaluated: count(findings.evaluation.rows),
        calibrated: count(findings.calibration.1),
        calibration: findings.calibration.0,
        quantization: findings.quantization.clone(),
        outputs: findings.evaluation.outputs.clone(),
        confusion: findings.evaluation.confusion.clone(),
        labels: findings.labels.to_vec(),
        weights_bytes: count(weights_bytes(graph)),
        float_weights_bytes: findings.graph.map_or(0, float_weights_bytes),
        arena_bytes: count(findings.plan.arena_bytes),
        arena_bound_bytes: count(findings.plan.bound_bytes),
        optimize: findings.plan.optimize,
        mixed: findings.mixed.clone(),
        macs: macs(graph),
        source_bytes: findings.source_bytes as u64,
        compile_ms: findings.times.iter().map(|step| step.ms).sum(),
        times: findings.times.clone(),
        warnings: findings.warnings.clone(),
        layers,
        buffers: buffers(graph, findings.plan),
        boards: boards(findings.quantized, findings.plan.optimize, &cost),
    }
}

/// Every board's estimate. Where the model does not fit, the other settings are tried.
fn boards(graph: &QuantGraph, optimize: Optimize, cost: &Cost) -> Vec<BoardReport> {
    let mut boards = estimate::estimate_all(cost);
    for other in Optimize::ALL.into_iter().filter(|other| *other != optimize) {
        if boards.iter().all(|board| board.fits || board.fits_with.is_some()) {
            break;
        }
        let (graph, plan) = optimized(graph, other);
        let smaller = estimate::estimate_all(&Cost::of(&graph, &plan));
        for (board, smaller) in boards.iter_mut().zip(smaller) {
            if !board.fits && board.fits_with.is_none() && smaller.fits {
                board.fits_with = Some(other);
                let needs = smaller.verdict.trim_start_matches("fits: ");
                board.verdict = format!("{}; fits with optimize={other}: {needs}", board.verdict);
            }
        }
    }
    boards
}

/// What to do where the outputs of a quantized model are noisy, with the layer that adds most of it by name.
pub(crate) fn advice(graph: &QuantGraph, sqnr: &[Sqnr]) -> Option<String> {
    let reached = sqnr.get(graph.output)?.reached.filter(|db| *db < GOOD_DB)?;
    let own = |node: &QNode| sqnr.get(node.output).and_then(|sqnr| sqnr.own);
    let layers = graph.nodes.iter().filter(|node| node.op.linear().is_some());
    let worst = layers.filter_map(|node| Some((node, own(node)?))).min_by(|(_, a), (_, b)| a.total_cmp(b));
    let begin = format!("int8 costs much: the outputs have a signal to quantization noise ratio of {reached:.1} dB");
    Some(match worst {
        Some((node, db)) => {
            let name = node.name.rsplit(';').next().unwrap_or(&node.name);
            format!(
                "{begin}; layer `{}` loses most by itself ({db:.1} dB): keep it float (--mixed), or calibrate with more \
                 and more typical examples",
                shown(name)
            )
        }
        None => format!("{begin}; calibrate with more and more typical examples"),
    })
}

/// Bytes of weights and biases as 32-bit floats.
fn float_weights_bytes(graph: &Graph) -> u64 {
    let of = |op: &Op| match op {
        Op::Conv2d { weights, bias, .. }
        | Op::DepthwiseConv2d { weights, bias, .. }
        | Op::Dense { weights, bias, .. } => weights.len() + bias.len(),
        _ => 0,
    };
    graph.nodes.iter().map(|node| 4 * of(&node.op) as u64).sum()
}

/// Every activation in the arena with the steps at which it is needed, in order of its first; then working memory.
fn buffers(graph: &QuantGraph, plan: &Plan) -> Vec<BufferReport> {
    let places = plan::places(graph, plan);
    let name = |place: &Place| {
        let node = match place.tensor {
            Some(tensor) if tensor == graph.input => return "input".to_owned(),
            Some(tensor) => graph.nodes.iter().find(|node| node.output == tensor),
            None => graph.nodes.get(place.first.saturating_sub(1)),
        };
        node.map_or_else(String::new, |node| node.name.clone())
    };
    let report = |place: &Place| BufferReport {
        name: name(place),
        offset: count(place.offset),
        bytes: count(place.tensor.map_or(place.bytes, |tensor| place.bytes.min(graph.tensors[tensor].bytes()))),
        first: count(place.first),
        last: count(place.last),
        working: place.tensor.is_none(),
    };
    let (activations, working): (Vec<&Place>, Vec<&Place>) = places.iter().partition(|place| place.tensor.is_some());
    activations.into_iter().chain(working).map(report).collect()
}

/// The operator with its fused activation, such as `conv2d+relu`. Without a float
/// operator the bounds tell; they hide an activation that the quantization makes superfluous.
fn operator(graph: &QuantGraph, node: &QNode, float: Option<&Op>) -> String {
    let clamp = match float {
        Some(
            Op::Conv2d { clamp, .. }
            | Op::DepthwiseConv2d { clamp, .. }
            | Op::Dense { clamp, .. }
            | Op::Add { clamp }
            | Op::Clamp { clamp },
        ) => *clamp,
        Some(_) => Clamp::NONE,
        None => {
            let zero = graph.tensors[node.output].zero_point;
            match node.op.bounds() {
                None | Some(Bounds::FULL) => Clamp::NONE,
                Some(Bounds { low, high: i8::MAX }) if i32::from(low) == zero => Clamp::RELU,
                Some(_) => Clamp { low: f32::NAN, high: f32::NAN },
            }
        }
    };
    let name = node.op.name();
    match clamp {
        Clamp::NONE => name.to_owned(),
        Clamp::RELU => format!("{name}+relu"),
        Clamp { low: 0.0, high: 6.0 } => format!("{name}+relu6"),
        _ => format!("{name}+clamp"),
    }
}
