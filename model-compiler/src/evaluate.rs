//! Measures a quantized network against labels and against the float network.

use crate::ir::Graph;
use crate::qir::QuantGraph;
use crate::{float, reference};

/// Right answers of float and int8 over one set.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// Number of examples.
    pub rows: usize,
    /// Examples that the float network labels right, if there is one.
    pub float_right: Option<usize>,
    /// Examples that the int8 network labels right.
    pub int8_right: usize,
    /// `confusion[expected][predicted]` of the int8 network.
    pub confusion: Vec<Vec<u32>>,
}

impl Evaluation {
    /// Share of right float answers, `None` without examples or float network.
    pub fn float_accuracy(&self) -> Option<f64> {
        let right = self.float_right.filter(|_| self.rows > 0)?;
        Some(right as f64 / self.rows as f64)
    }

    /// Share of right int8 answers, `None` without examples.
    pub fn int8_accuracy(&self) -> Option<f64> {
        (self.rows > 0).then(|| self.int8_right as f64 / self.rows as f64)
    }
}

/// Runs every example (scaled input, index of the right output) through the int8
/// network, and through the float network if it came from one.
///
/// Examples of the wrong length count as wrong. `progress` is told the share done.
pub fn evaluate<'a>(
    graph: Option<&Graph>,
    quantized: &QuantGraph,
    examples: impl ExactSizeIterator<Item = (&'a [f32], usize)>,
    progress: &mut dyn FnMut(f32),
) -> Evaluation {
    let classes = quantized.tensors[quantized.output].len();
    let total = examples.len();
    let mut result = Evaluation {
        rows: total,
        float_right: graph.map(|_| 0),
        int8_right: 0,
        confusion: vec![vec![0; classes]; classes],
    };
    for (index, (input, label)) in examples.enumerate() {
        if index % 64 == 0 {
            progress(index as f32 / total as f32);
        }
        if let (Some(graph), Some(right)) = (graph, &mut result.float_right)
            && let Some(output) = float::run(graph, input)
        {
            *right += usize::from(best(&output, f32::total_cmp) == label);
        }
        if let Some(output) = reference::run(quantized, &quantize_input(quantized, input)) {
            let predicted = best(&output, i8::cmp);
            result.int8_right += usize::from(predicted == label);
            if let Some(cell) = result.confusion.get_mut(label).and_then(|row| row.get_mut(predicted)) {
                *cell += 1;
            }
        }
    }
    result
}

/// A scaled input as the network takes it.
pub fn quantize_input(graph: &QuantGraph, input: &[f32]) -> Vec<i8> {
    let tensor = &graph.tensors[graph.input];
    input.iter().map(|value| tensor.quantize(*value)).collect()
}

/// Index of the largest value, the first of equals.
fn best<T>(values: &[T], compare: impl Fn(&T, &T) -> std::cmp::Ordering) -> usize {
    let mut best = 0;
    for (index, value) in values.iter().enumerate() {
        if compare(value, &values[best]).is_gt() {
            best = index;
        }
    }
    best
}

/// Signal to quantization noise of every tensor in decibels, over `inputs`
/// (scaled), indexed like the tensors. `None` where there is no signal or no
/// noise at all.
pub fn sqnr_db(graph: &Graph, quantized: &QuantGraph, inputs: &[Vec<f32>]) -> Vec<Option<f64>> {
    let mut power = vec![(0.0_f64, 0.0_f64); graph.tensors.len()];
    for input in inputs {
        if input.len() != graph.tensors[graph.input].len() {
            continue;
        }
        let real = float::run_all(graph, input);
        let steps = reference::run_all(quantized, &quantize_input(quantized, input));
        for (tensor, (signal, noise)) in power.iter_mut().enumerate() {
            for (exact, q) in real[tensor].iter().zip(&steps[tensor]) {
                let got = quantized.tensors[tensor].dequantize(*q);
                *signal += f64::from(*exact).powi(2);
                *noise += (f64::from(*exact) - f64::from(got)).powi(2);
            }
        }
    }
    power
        .into_iter()
        .map(|(signal, noise)| (signal > 0.0 && noise > 0.0).then(|| 10.0 * (signal / noise).log10()))
        .collect()
}
