//! Measures a quantized network against labels, against targets and against the float network.

use contract::artifact::{OutputReport, REAL_THRESHOLD, threshold, winner};

use crate::ir::Graph;
use crate::qir::{Element, QuantGraph};
use crate::{float, reference};

/// What is known of an example's right answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Expected<'a> {
    /// Index of the right label.
    Label(usize),
    /// The right outputs.
    Targets(&'a [f32]),
    /// The model gives its input back.
    Itself,
    /// Nothing: int8 is compared with float only.
    Unknown,
}

/// An example to evaluate: the scaled input and what is known of the answer.
pub type Question<'a> = (&'a [f32], Expected<'a>);

/// How float and int8 did over one set.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Evaluation {
    /// Number of examples.
    pub rows: usize,
    /// Examples with a label.
    pub labelled: usize,
    /// Examples that the float network labels right, if there is one.
    pub float_right: Option<usize>,
    /// Examples that the int8 network labels right.
    pub int8_right: usize,
    /// `confusion[expected][predicted]` of the int8 network; empty without labels.
    pub confusion: Vec<Vec<u32>>,
    /// The outputs in numbers.
    pub outputs: Option<OutputReport>,
}

impl Evaluation {
    /// Share of right float answers, `None` without labels or float network.
    pub fn float_accuracy(&self) -> Option<f64> {
        let right = self.float_right.filter(|_| self.labelled > 0)?;
        Some(right as f64 / self.labelled as f64)
    }

    /// Share of right int8 answers, `None` without labels.
    pub fn int8_accuracy(&self) -> Option<f64> {
        (self.labelled > 0).then(|| self.int8_right as f64 / self.labelled as f64)
    }
}

/// Sums of squares while the rows go by.
#[derive(Debug, Default)]
struct Sums {
    signal: f64,
    noise: f64,
    largest: f64,
    compared: usize,
    agreeing: usize,
    targets: usize,
    float_target: f64,
    int8_target: f64,
}

impl Sums {
    fn compare(&mut self, float: &[f32], int8: &[f32]) {
        for (float, int8) in float.iter().zip(int8) {
            let difference = f64::from(*float) - f64::from(*int8);
            self.signal += f64::from(*float).powi(2);
            self.noise += difference.powi(2);
            self.largest = self.largest.max(difference.abs());
        }
        self.compared += float.len();
    }

    fn report(&self, float: bool, labels: bool, rows: usize) -> Option<OutputReport> {
        let mean = |sum: f64, count: usize| (count > 0).then(|| sum / count as f64);
        let compared = float.then_some(self.compared).filter(|count| *count > 0);
        let report = OutputReport {
            mse: compared.and_then(|count| mean(self.noise, count)),
            largest: compared.map(|_| self.largest),
            sqnr_db: compared.and_then(|_| decibels(self.signal, self.noise)),
            agreement: compared.filter(|_| labels).and_then(|_| mean(self.agreeing as f64, rows)),
            float_target_mse: mean(self.float_target, self.targets).filter(|_| float),
            int8_target_mse: mean(self.int8_target, self.targets),
        };
        (report != OutputReport::default()).then_some(report)
    }
}

/// Runs every example through the int8 network, and through the float network if it came from one.
///
/// `labels` is the number of labels, 0 where the model is no classifier. Examples of the wrong length count as
/// wrong. `progress` is told the share done.
pub fn evaluate<'a>(
    graph: Option<&Graph>,
    quantized: &QuantGraph,
    labels: usize,
    examples: impl ExactSizeIterator<Item = Question<'a>>,
    progress: &mut dyn FnMut(f32),
) -> Evaluation {
    let total = examples.len();
    let to = &quantized.tensors[quantized.output];
    let mut result = Evaluation {
        rows: total,
        float_right: graph.map(|_| 0),
        confusion: vec![vec![0; labels]; labels],
        ..Evaluation::default()
    };
    let mut sums = Sums::default();
    for (index, (input, expected)) in examples.enumerate() {
        if index % 64 == 0 {
            progress(index as f32 / total as f32);
        }
        result.labelled += usize::from(matches!(expected, Expected::Label(_)));
        let float = graph.and_then(|graph| float::run(graph, input));
        let int8 = reference::run(quantized, &quantize_input(quantized, input));
        let float_label = float.as_ref().and_then(|output| float_winner(output, labels, quantized));
        let int8_label = int8.as_ref().and_then(|output| match to.element {
            Element::Int8 => winner(output, (to.scale, to.zero_point), labels),
            Element::Float32 => float_winner(&to.reals(output), labels, quantized),
        });
        let int8: Option<Vec<f32>> = int8.map(|output| to.reals(&output));
        if let (Some(float), Some(int8)) = (&float, &int8) {
            sums.compare(float, int8);
            sums.agreeing += usize::from(float_label == int8_label);
        }
        match expected {
            Expected::Label(label) => {
                if let Some(right) = &mut result.float_right {
                    *right += usize::from(float_label == Some(label));
                }
                result.int8_right += usize::from(int8_label == Some(label));
                let row = result.confusion.get_mut(label);
                if let Some(cell) = row.and_then(|row| int8_label.and_then(|label| row.get_mut(label))) {
                    *cell += 1;
                }
            }
            Expected::Targets(_) | Expected::Itself => {
                let targets = if let Expected::Targets(targets) = expected { targets } else { input };
                sums.targets += targets.len();
                let error = |output: &Option<Vec<f32>>| {
                    let pairs = output.iter().flatten().zip(targets);
                    pairs.map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum::<f64>()
                };
                sums.float_target += error(&float);
                sums.int8_target += error(&int8);
            }
            Expected::Unknown => {}
        }
    }
    result.outputs = sums.report(graph.is_some(), labels > 0, total);
    result
}

/// A scaled input as the network takes it.
pub fn quantize_input(graph: &QuantGraph, input: &[f32]) -> Vec<i8> {
    graph.tensors[graph.input].stored(input.iter().copied())
}

/// The label of a float output, by the rule of [`winner`].
fn float_winner(output: &[f32], labels: usize, quantized: &QuantGraph) -> Option<usize> {
    if let ([score], 2) = (output, labels) {
        let to = &quantized.tensors[quantized.output];
        let half = match to.element {
            Element::Int8 => threshold(to.scale, to.zero_point),
            Element::Float32 => REAL_THRESHOLD,
        };
        return Some(usize::from(*score > half));
    }
    let mut best = 0;
    for (index, value) in output.iter().enumerate() {
        if value.total_cmp(output.get(best)?).is_gt() {
            best = index;
        }
    }
    (best < labels).then_some(best)
}

/// A ratio of powers in decibels; `None` where there is no signal or no noise at all.
pub(crate) fn decibels(signal: f64, noise: f64) -> Option<f64> {
    (signal > 0.0 && noise > 0.0).then(|| 10.0 * (signal / noise).log10())
}

/// Signal to quantization noise of one activation in decibels; `None` where there is no signal or no noise at all.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sqnr {
    /// From the input on.
    pub reached: Option<f64>,
    /// Of the layer that writes it alone, as if all before it were exact.
    pub own: Option<f64>,
}

/// The noise of every activation over `inputs` (scaled), indexed like the tensors.
pub fn sqnr(graph: &Graph, quantized: &QuantGraph, inputs: &[Vec<f32>]) -> Vec<Sqnr> {
    /// Squares of the signal, of the noise, and of the layer's own noise.
    type Power = [f64; 3];
    let mut power: Vec<Power> = vec![[0.0; 3]; graph.tensors.len()];
    for input in inputs {
        if input.len() != graph.tensors[graph.input].len() {
            continue;
        }
        let real = float::run_all(graph, input);
        let steps = reference::run_all(quantized, &quantize_input(quantized, input));
        let exact: Vec<Vec<i8>> =
            quantized.tensors.iter().zip(&real).map(|(tensor, values)| tensor.stored(values.iter().copied())).collect();
        let mut add = |tensor: usize, own: &[i8]| {
            let to = &quantized.tensors[tensor];
            let reached = to.reals(&steps[tensor]).into_iter().zip(to.reals(own));
            for (exact, (got, own)) in real[tensor].iter().zip(reached) {
                let exact = f64::from(*exact);
                power[tensor][0] += exact.powi(2);
                power[tensor][1] += (exact - f64::from(got)).powi(2);
                power[tensor][2] += (exact - f64::from(own)).powi(2);
            }
        };
        add(graph.input, &exact[graph.input]);
        for node in &quantized.nodes {
            let mut own = vec![0; quantized.tensors[node.output].bytes()];
            reference::step(quantized, node, &exact, &mut own);
            add(node.output, &own);
        }
    }
    power
        .into_iter()
        .map(|[signal, reached, own]| Sqnr { reached: decibels(signal, reached), own: decibels(signal, own) })
        .collect()
}
