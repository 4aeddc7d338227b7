//! The float interpreter: runs a [`Graph`] in f32, for calibration, for the
//! float accuracy and as the yardstick of quantization.

use crate::ir::{Graph, Op, Window, padded};
use crate::real;

/// Runs the graph and returns every activation, indexed like [`Graph::tensors`].
///
/// `input` must have as many values as the graph's input; the caller checks it
/// ([`run`] does). Tensors that no node writes stay empty.
pub fn run_all(graph: &Graph, input: &[f32]) -> Vec<Vec<f32>> {
    debug_assert_eq!(input.len(), graph.tensors[graph.input].len());
    let mut values: Vec<Vec<f32>> = vec![Vec::new(); graph.tensors.len()];
    values[graph.input] = input.to_vec();
    for node in &graph.nodes {
        let mut output = vec![0.0; graph.tensors[node.output].len()];
        let x = &values[node.inputs[0]];
        match &node.op {
            Op::Conv2d { window, out_c, weights, bias, clamp } => {
                conv2d(window, *out_c, weights, bias, x, &mut output);
                output.iter_mut().for_each(|v| *v = clamp.apply(*v));
            }
            Op::DepthwiseConv2d { window, multiplier, weights, bias, clamp } => {
                depthwise(window, *multiplier, weights, bias, x, &mut output);
                output.iter_mut().for_each(|v| *v = clamp.apply(*v));
            }
            Op::Dense { inputs, weights, bias, clamp, .. } => {
                for ((out, row), bias) in output.iter_mut().zip(weights.chunks_exact(*inputs)).zip(bias) {
                    *out = clamp.apply(bias + dot(row, x));
                }
            }
            Op::MaxPool { window } => pool(window, x, &mut output, |values| values.fold(f32::NEG_INFINITY, f32::max)),
            Op::AveragePool { window } => pool(window, x, &mut output, |values| {
                let (sum, count) = values.fold((0.0, 0), |(sum, count), v| (sum + v, count + 1));
                sum / count.max(1) as f32
            }),
            Op::Add { clamp } => {
                let y = &values[node.inputs[1]];
                for ((out, a), b) in output.iter_mut().zip(x).zip(y) {
                    *out = clamp.apply(a + b);
                }
            }
            Op::Softmax { depth, .. } => {
                for (out, row) in output.chunks_exact_mut(*depth).zip(x.chunks_exact(*depth)) {
                    softmax(row, out);
                }
            }
            Op::Normalize { depth, norm, .. } => {
                for (out, row) in output.chunks_exact_mut(*depth).zip(x.chunks_exact(*depth)) {
                    real::rows(*norm, row, out);
                }
            }
            Op::Trees { forest } => forest.run(x, &mut output),
            Op::Clamp { clamp } => {
                for (out, v) in output.iter_mut().zip(x) {
                    *out = clamp.apply(*v);
                }
            }
            Op::Unary { function } => {
                for (out, v) in output.iter_mut().zip(x) {
                    *out = function.apply(*v);
                }
            }
            Op::Concat { outer, inner } => {
                let step: usize = inner.iter().sum();
                let mut begin = 0;
                for (operand, inner) in node.inputs.iter().zip(inner) {
                    for at in 0..*outer {
                        output[at * step + begin..][..*inner]
                            .copy_from_slice(&values[*operand][at * inner..][..*inner]);
                    }
                    begin += inner;
                }
            }
            Op::Pad { dims, before, after, fill } => {
                let mut data = x.iter();
                for (out, inside) in output.iter_mut().zip(padded(dims, before, after)) {
                    *out = if inside { data.next().copied().unwrap_or(*fill) } else { *fill };
                }
            }
            Op::Binary { function, meet, constant, clamp } => {
                let y = constant.as_ref().unwrap_or_else(|| &values[node.inputs[node.inputs.len() - 1]]);
                for (out, (a, b)) in output.iter_mut().zip(meet.pairs()) {
                    *out = clamp.apply(function.apply(x[a], y[b]));
                }
            }
            Op::Strided { path } => {
                for (out, source) in output.iter_mut().zip(path.sources()) {
                    *out = x[source];
                }
            }
            Op::Gather { count, inner, indices, .. } => gather(x, &mut output, *count, *inner, indices),
            Op::Interpolate { width, channels, rows, columns } => {
                for (out, row) in output.chunks_exact_mut(columns.len() * channels).zip(rows) {
                    for (out, column) in out.chunks_exact_mut(*channels).zip(columns) {
                        let pixel = |y: usize, x: usize| (y * width + x) * channels;
                        let corners = [(row.low, column.low), (row.low, column.high), (row.high, column.low)];
                        let [a, b, c] = corners.map(|(y, x)| pixel(y, x));
                        let d = pixel(row.high, column.high);
                        for (at, out) in out.iter_mut().enumerate() {
                            let upper = x[a + at] * (1.0 - column.share) + x[b + at] * column.share;
                            let lower = x[c + at] * (1.0 - column.share) + x[d + at] * column.share;
                            *out = upper * (1.0 - row.share) + lower * row.share;
                        }
                    }
                }
            }
        }
        values[node.output] = output;
    }
    values
}

/// Runs the graph and returns its output, or `None` if `input` has the wrong length.
pub fn run(graph: &Graph, input: &[f32]) -> Option<Vec<f32>> {
    if input.len() != graph.tensors[graph.input].len() {
        return None;
    }
    Some(std::mem::take(&mut run_all(graph, input)[graph.output]))
}

/// Entries `indices` of the middle axis of `[_, count, inner]`.
pub(crate) fn gather<T: Copy>(x: &[T], out: &mut [T], count: usize, inner: usize, indices: &[usize]) {
    for (out, x) in out.chunks_exact_mut(indices.len() * inner).zip(x.chunks_exact(count * inner)) {
        for (out, index) in out.chunks_exact_mut(inner).zip(indices) {
            out.copy_from_slice(&x[index * inner..][..inner]);
        }
    }
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn conv2d(w: &Window, out_c: usize, weights: &[f32], bias: &[f32], x: &[f32], output: &mut [f32]) {
    for oy in 0..w.out_h {
        for ox in 0..w.out_w {
            let out = &mut output[(oy * w.out_w + ox) * out_c..][..out_c];
            out.copy_from_slice(bias);
            for ky in 0..w.kernel_h {
                let Some(iy) = w.row(oy, ky) else { continue };
                for kx in 0..w.kernel_w {
                    let Some(ix) = w.column(ox, kx) else { continue };
                    let pixel = &x[(iy * w.in_w + ix) * w.in_c..][..w.in_c];
                    for (oc, sum) in out.iter_mut().enumerate() {
                        let tap = (oc * w.kernel_h + ky) * w.kernel_w + kx;
                        *sum += dot(&weights[tap * w.in_c..][..w.in_c], pixel);
                    }
                }
            }
        }
    }
}

fn depthwise(w: &Window, multiplier: usize, weights: &[f32], bias: &[f32], x: &[f32], output: &mut [f32]) {
    let out_c = w.in_c * multiplier;
    for oy in 0..w.out_h {
        for ox in 0..w.out_w {
            let out = &mut output[(oy * w.out_w + ox) * out_c..][..out_c];
            out.copy_from_slice(bias);
            for ky in 0..w.kernel_h {
                let Some(iy) = w.row(oy, ky) else { continue };
                for kx in 0..w.kernel_w {
                    let Some(ix) = w.column(ox, kx) else { continue };
                    let pixel = &x[(iy * w.in_w + ix) * w.in_c..][..w.in_c];
                    let taps = &weights[(ky * w.kernel_w + kx) * out_c..][..out_c];
                    for (oc, (sum, tap)) in out.iter_mut().zip(taps).enumerate() {
                        *sum += tap * pixel[oc / multiplier];
                    }
                }
            }
        }
    }
}

/// Calls `reduce` with the values that each window sees, channel by channel.
fn pool(w: &Window, x: &[f32], output: &mut [f32], reduce: impl Fn(&mut dyn Iterator<Item = f32>) -> f32) {
    for oy in 0..w.out_h {
        for ox in 0..w.out_w {
            for c in 0..w.in_c {
                let mut seen = (0..w.kernel_h).filter_map(|ky| w.row(oy, ky)).flat_map(|iy| {
                    (0..w.kernel_w).filter_map(|kx| w.column(ox, kx)).map(move |ix| x[(iy * w.in_w + ix) * w.in_c + c])
                });
                output[(oy * w.out_w + ox) * w.in_c + c] = reduce(&mut seen);
            }
        }
    }
}

fn softmax(row: &[f32], out: &mut [f32]) {
    let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    for (out, v) in out.iter_mut().zip(row) {
        *out = (v - max).exp();
    }
    let sum: f32 = out.iter().sum();
    out.iter_mut().for_each(|v| *v /= sum);
}
