//! The quantization with the least error: methods of choosing ranges are tried on calibration data, then single
//! tensors, and biases take up what rounding shifts on average.
//!
//! Bias correction follows Nagel et al., 'Data-Free Quantization Through Weight Equalization and Bias Correction'
//! (2019), with means taken from calibration data.

use contract::artifact::{QuantizationReport, TriedMethod};

use crate::evaluate::{decibels, quantize_input};
use crate::fixed::Multiplier;
use crate::ir::{Graph, Op, Window};
use crate::mixed::{self, Mixed};
use crate::qir::{Linear, QNode, QOp, QTensor, QuantGraph};
use crate::quantize::{QuantizeError, quantized, tensors};
use crate::ranges::{Method, Range, observe};
use crate::{equalize, float, reference};

/// Methods that [`Method::Auto`] tries.
const METHODS: [Method; 5] =
    [Method::MinMax, Method::Percentile(0.9999), Method::Percentile(0.999), Method::Percentile(0.99), Method::Mse];

/// Most rows that a candidate is measured on.
const ROWS: usize = 32;
/// Most float values that are kept for that.
const KEPT: usize = 1 << 24;
/// Most multiply-accumulates of all candidates together: a second or two.
const WORK: u64 = 800_000_000;
/// A range of one tensor is changed only if the error falls below this share of what it was.
const WORTH: f64 = 0.98;

/// Low and high of each tensor.
type Ranges = Vec<(f32, f32)>;

/// Rows with what the float network makes of them.
struct Measure<'a> {
    graph: Graph,
    inputs: &'a [Vec<f32>],
    exact: Vec<Vec<Vec<f32>>>,
    signal: f64,
}

/// A quantized network and the squared error of its outputs.
struct Candidate {
    graph: QuantGraph,
    noise: f64,
}

/// What the search found.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The float network that was quantized: it computes what the original does, its channels may be equalized and
    /// layers marked as float.
    pub graph: Graph,
    /// The quantized network.
    pub quantized: QuantGraph,
    /// How it was found.
    pub report: QuantizationReport,
}

/// Quantizes with the best ranges that `method` allows, with the layers float that `mixed` says.
///
/// # Errors
/// [`QuantizeError`] names the layer.
pub fn search(graph: &Graph, calibration: &[Vec<f32>], method: Method, mixed: &Mixed) -> Result<Found, QuantizeError> {
    let mut graph = graph.clone();
    if let Mixed::Layers(layers) = mixed {
        mixed::mark(&mut graph, layers)?;
    }
    let mut observed = observe(&graph, calibration)?;
    let elements: usize = graph.tensors.iter().map(|tensor| tensor.len()).sum();
    let work = graph.nodes.iter().map(|node| node.op.work()).sum::<u64>().max(1);
    let affordable = usize::try_from(WORK / work / 8).unwrap_or(ROWS).max(1);
    let rows = ROWS.min(calibration.len()).min((KEPT / elements.max(1)).max(1)).min(affordable);
    // Evenly spread over all.
    let inputs: Vec<Vec<f32>> = (0..rows).map(|at| calibration[at * calibration.len() / rows].clone()).collect();
    let mut measure = Measure::new(graph, &inputs);

    // Scales that the file prescribes come with biases that fit them.
    let prescribed = measure.graph.tensors.iter().any(|tensor| tensor.quantization.is_some());
    let methods: &[Method] = match method {
        Method::Auto if !prescribed => &METHODS,
        Method::Auto => &METHODS[..1],
        _ => std::slice::from_ref(&method),
    };
    let corrections: &[bool] = if prescribed { &[false] } else { &[true, false] };
    let mut tried = Vec::new();
    let mut best: Option<(Candidate, Method, bool, Ranges)> = None;
    for method in methods {
        let ranges: Ranges = observed.iter().map(|range| range.chosen(*method)).collect();
        for corrected in corrections {
            let candidate = measure.candidate(&ranges, *corrected)?;
            tried.push(TriedMethod {
                method: method.to_string(),
                bias_correction: *corrected,
                sqnr_db: decibels(measure.signal, candidate.noise),
            });
            if best.as_ref().is_none_or(|(best, ..)| candidate.noise < best.noise) {
                best = Some((candidate, *method, *corrected, ranges.clone()));
            }
        }
    }
    let Some((mut best, chosen, corrected, mut ranges)) = best else {
        return Err(QuantizeError::NoCalibration);
    };
    let (mut adjusted, mut equalized) = (0, 0);
    if method == Method::Auto && !prescribed {
        for pair in equalize::pairs(&measure.graph) {
            let cost = (calibration.len() + rows) as u64 * work;
            if cost.saturating_mul(u64::from(equalized) + 1) > WORK {
                break;
            }
            let Some(next) = measure.equalized(pair) else { continue };
            let seen = observe(&next.graph, calibration)?;
            let next_ranges: Ranges = seen.iter().map(|range| range.chosen(chosen)).collect();
            let candidate = next.candidate(&next_ranges, corrected)?;
            if candidate.noise < WORTH * best.noise {
                (measure, observed, ranges, best) = (next, seen, next_ranges, candidate);
                equalized += 1;
            }
        }
        let used = tried.len() as u64 * rows as u64 * work;
        let trials = WORK.saturating_sub(used) / (rows as u64 * work);
        adjusted = measure.refine(&observed, &mut ranges, &mut best, corrected, trials)?;
    }
    if *mixed == Mixed::Auto && !prescribed {
        measure.keep_float(&ranges, &mut best, corrected, (WORK / (rows as u64 * work)).min(64))?;
    }
    let float_layers = measure.graph.nodes.iter().filter(|node| node.real && mixed::can_be_float(&node.op));
    let whole = measure.graph.nodes.iter().all(|node| node.real);
    let report = QuantizationReport {
        method: chosen.to_string(),
        bias_correction: corrected,
        adjusted_tensors: adjusted,
        equalized_pairs: equalized,
        float_layers: if whole { Vec::new() } else { float_layers.map(|node| node.name.clone()).collect() },
        tried,
        sqnr_db: decibels(measure.signal, best.noise),
    };
    Ok(Found { graph: measure.graph, quantized: best.graph, report })
}

impl<'a> Measure<'a> {
    fn new(graph: Graph, inputs: &'a [Vec<f32>]) -> Self {
        let exact: Vec<Vec<Vec<f32>>> = inputs.iter().map(|input| float::run_all(&graph, input)).collect();
        let signal = exact.iter().flat_map(|values| &values[graph.output]).map(|value| f64::from(*value).powi(2)).sum();
        Self { graph, inputs, exact, signal }
    }

    /// The same with one pair of layers equalized, if that changes anything.
    fn equalized(&self, pair: equalize::Pair) -> Option<Self> {
        let tensor = self.graph.nodes[pair.0].output;
        let channels = self.graph.tensors[tensor].shape.last().copied().unwrap_or(1);
        let reach = equalize::reach(self.exact.iter().map(|values| values[tensor].as_slice()), channels);
        Some(Self::new(equalize::equalized(&self.graph, pair, &reach)?, self.inputs))
    }

    /// While the outputs are noisy: makes the run of layers float that lowers the noise most, within the budget.
    fn keep_float(
        &mut self,
        ranges: &[(f32, f32)],
        best: &mut Candidate,
        corrected: bool,
        mut trials: u64,
    ) -> Result<(), QuantizeError> {
        let total: usize = self.graph.nodes.iter().map(|node| mixed::int8_bytes(&node.op)).sum();
        let mut bytes = (total / 4).max(mixed::BUDGET);
        let work = self.graph.nodes.iter().map(|node| node.op.work()).sum::<u64>() as f64;
        let mut share = mixed::MOST_WORK.max(if total < mixed::BUDGET { 1.0 } else { 0.0 });
        while decibels(self.signal, best.noise).is_some_and(|db| db < mixed::GOOD_DB) {
            let mut winner: Option<(Candidate, Vec<usize>)> = None;
            for run in self.runs() {
                let growth: usize = run.iter().map(|at| mixed::growth(&self.graph.nodes[*at].op)).sum();
                let part = run.iter().map(|at| self.graph.nodes[*at].op.work()).sum::<u64>() as f64 / work.max(1.0);
                if trials == 0 || growth > bytes || part > share {
                    continue;
                }
                trials -= 1;
                run.iter().for_each(|at| self.graph.nodes[*at].real = true);
                let candidate = self.candidate(ranges, corrected);
                run.iter().for_each(|at| self.graph.nodes[*at].real = false);
                let candidate = candidate?;
                if candidate.noise < winner.as_ref().map_or(0.5 * best.noise, |(winner, _)| WORTH * winner.noise) {
                    winner = Some((candidate, run));
                }
            }
            let Some((candidate, run)) = winner else { break };
            for at in run {
                bytes = bytes.saturating_sub(mixed::growth(&self.graph.nodes[at].op));
                share -= self.graph.nodes[at].op.work() as f64 / work.max(1.0);
                self.graph.nodes[at].real = true;
            }
            *best = candidate;
        }
        Ok(())
    }

    /// Single layers, and up to three in a row, that are int8 so far and could be float; not all of the network.
    fn runs(&self) -> Vec<Vec<usize>> {
        let nodes = &self.graph.nodes;
        let free = |at: usize| mixed::can_be_float(&nodes[at].op) && !nodes[at].real;
        let mut runs: Vec<Vec<usize>> = Vec::new();
        for begin in (0..nodes.len()).filter(|at| free(*at)) {
            let mut run = vec![begin];
            runs.push(run.clone());
            while let Some(last) = run.last().copied()
                && run.len() < 3
            {
                let next = (0..nodes.len()).find(|at| free(*at) && nodes[*at].inputs == [nodes[last].output]);
                let Some(next) = next else { break };
                run.push(next);
                runs.push(run.clone());
            }
        }
        runs.retain(|run| run.len() < nodes.len());
        runs
    }

    /// Tries the other methods for one tensor after another; returns how many were changed.
    fn refine(
        &self,
        observed: &[Range],
        ranges: &mut [(f32, f32)],
        best: &mut Candidate,
        corrected: bool,
        mut trials: u64,
    ) -> Result<u32, QuantizeError> {
        let mut adjusted = 0;
        for (tensor, observed) in observed.iter().enumerate() {
            let before = ranges[tensor];
            let mut tried = vec![before];
            let mut changed = false;
            for method in METHODS {
                let range = observed.chosen(method);
                if trials == 0 || tried.contains(&range) {
                    continue;
                }
                tried.push(range);
                trials -= 1;
                let kept = std::mem::replace(&mut ranges[tensor], range);
                let candidate = self.candidate(ranges, corrected)?;
                if candidate.noise < WORTH * best.noise {
                    *best = candidate;
                    changed = true;
                } else {
                    ranges[tensor] = kept;
                }
            }
            adjusted += u32::from(changed);
        }
        Ok(adjusted)
    }

    /// Quantizes layer by layer while the rows run along.
    fn candidate(&self, ranges: &[(f32, f32)], correct: bool) -> Result<Candidate, QuantizeError> {
        let graph = &self.graph;
        let mut result = QuantGraph {
            name: graph.name.clone(),
            tensors: tensors(graph, ranges),
            nodes: Vec::with_capacity(graph.nodes.len()),
            input: graph.input,
            output: graph.output,
            input_shape: graph.input_shape.clone(),
            output_shape: graph.output_shape.clone(),
        };
        let mut rows: Vec<Vec<Vec<i8>>> = Vec::with_capacity(self.inputs.len());
        for input in self.inputs {
            let mut values = vec![Vec::new(); graph.tensors.len()];
            values[graph.input] = quantize_input(&result, input);
            rows.push(values);
        }
        for node in &graph.nodes {
            let mut op = quantized(node, &result.tensors)?;
            if correct {
                self.correct(&node.op, &mut op, node.inputs[0], node.output, &rows, &result.tensors);
            }
            let node = QNode { name: node.name.clone(), inputs: node.inputs.clone(), output: node.output, op };
            for values in &mut rows {
                let mut out = vec![0; result.tensors[node.output].bytes()];
                reference::step(&result, &node, values, &mut out);
                values[node.output] = out;
            }
            result.nodes.push(node);
        }
        let to = &result.tensors[graph.output];
        let noise = rows.iter().zip(&self.exact).flat_map(|(values, exact)| {
            let pairs = to.reals(&values[graph.output]).into_iter().zip(&exact[graph.output]);
            pairs.map(|(got, exact)| (f64::from(got) - f64::from(*exact)).powi(2)).collect::<Vec<_>>()
        });
        let noise = noise.sum();
        Ok(Candidate { graph: result, noise })
    }

    /// Adds to the biases what the sums lack on average.
    fn correct(
        &self,
        float: &Op,
        op: &mut QOp,
        input: usize,
        output: usize,
        rows: &[Vec<Vec<i8>>],
        tensors: &[QTensor],
    ) {
        let (weights, channel_last, window) = match float {
            Op::Conv2d { window, weights, .. } => (weights, false, Some(window)),
            Op::DepthwiseConv2d { window, weights, .. } => (weights, true, Some(window)),
            Op::Dense { weights, .. } => (weights, false, None),
            _ => return,
        };
        let (QOp::Conv2d { linear, .. } | QOp::DepthwiseConv2d { linear, .. } | QOp::Dense { linear, .. }) = op else {
            return;
        };
        let (from, to) = (&tensors[input], &tensors[output]);
        let exact = self.exact.iter().map(|values| values[input].iter().map(|value| f64::from(*value)));
        let exact = means(window, from.len(), exact);
        let steps = rows.iter().map(|values| values[input].iter().map(|q| f64::from(i32::from(*q) - from.zero_point)));
        let steps = means(window, from.len(), steps);
        let channels = linear.bias.len();
        let terms = weights.len() / channels;
        let multiplier = window.filter(|_| channel_last).map_or(1, |window| channels / window.in_c);
        let mut corrected: Linear = linear.clone();
        for channel in 0..channels {
            let step = real(linear.multiplier(channel)) * f64::from(to.scale);
            if step <= 0.0 {
                continue;
            }
            let mut lacking = 0.0;
            for term in 0..terms {
                // Depthwise weights are [tap, channel] over [tap, input channel]; all others [channel, term].
                let (weight, mean) = if channel_last {
                    (term * channels + channel, term * (channels / multiplier) + channel / multiplier)
                } else {
                    (channel * terms + term, term)
                };
                lacking += f64::from(weights[weight]) * exact[mean] / step;
                lacking -= f64::from(linear.weights[weight]) * steps[mean];
            }
            let bias = f64::from(linear.bias[channel]) + lacking;
            // `as` saturates; what could overflow is left as it was.
            corrected.bias[channel] = bias.round() as i32;
        }
        if !corrected.can_overflow(channel_last) {
            *linear = corrected;
        }
    }
}

/// Mean of what each kernel position (and input channel) sees, over rows and output positions; padding is zero.
fn means<R: Iterator<Item = f64>>(window: Option<&Window>, len: usize, rows: impl Iterator<Item = R>) -> Vec<f64> {
    let mut count = 0_usize;
    let mut sum = vec![0.0; len];
    for row in rows {
        sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
        count += 1;
    }
    let count = count.max(1) as f64;
    let Some(w) = window else { return sum.into_iter().map(|sum| sum / count).collect() };
    let count = count * w.out_pixels() as f64;
    let mut seen = vec![0.0; w.taps() * w.in_c];
    for oy in 0..w.out_h {
        for ky in 0..w.kernel_h {
            let Some(iy) = w.row(oy, ky) else { continue };
            for ox in 0..w.out_w {
                for kx in 0..w.kernel_w {
                    let Some(ix) = w.column(ox, kx) else { continue };
                    let pixel = &sum[(iy * w.in_w + ix) * w.in_c..][..w.in_c];
                    let seen = &mut seen[(ky * w.kernel_w + kx) * w.in_c..][..w.in_c];
                    seen.iter_mut().zip(pixel).for_each(|(seen, value)| *seen += value / count);
                }
            }
        }
    }
    seen
}

/// The factor that a multiplier stands for.
fn real(multiplier: Multiplier) -> f64 {
    f64::from(multiplier.value) * 2_f64.powi(multiplier.shift - 31)
}
