//! The reference interpreter: executes a [`QuantGraph`] with exactly the integer
//! (and float) arithmetic of the generated C. Activations are bytes as a board holds them. Golden vectors and int8 accuracy come from here.

use crate::fixed::{Multiplier, doubling_high_mul, exp_on_negative_values, reciprocal, rounding_divide_by_pot};
use crate::float::gather;
use crate::ir::{Window, padded};
use crate::qir::{Bounds, Linear, QBlend, QNode, QOp, QTensor, QuantGraph};
use crate::real;

/// Runs the network; `None` if `input` has the wrong length.
pub fn run(graph: &QuantGraph, input: &[i8]) -> Option<Vec<i8>> {
    if input.len() != graph.tensors[graph.input].bytes() {
        return None;
    }
    Some(std::mem::take(&mut run_all(graph, input)[graph.output]))
}

/// Runs the network and returns every activation, indexed like [`QuantGraph::tensors`].
///
/// `input` must have the length of the input, which [`run`] checks.
pub fn run_all(graph: &QuantGraph, input: &[i8]) -> Vec<Vec<i8>> {
    let mut values: Vec<Vec<i8>> = vec![Vec::new(); graph.tensors.len()];
    values[graph.input] = input.to_vec();
    for node in &graph.nodes {
        let mut out = vec![0; graph.tensors[node.output].bytes()];
        step(graph, node, &values, &mut out);
        values[node.output] = out;
    }
    values
}

/// Runs one node; `values` holds what it reads, `out` has the size of what it writes.
pub(crate) fn step(graph: &QuantGraph, node: &QNode, values: &[Vec<i8>], out: &mut [i8]) {
    let x = values[node.inputs[0]].as_slice();
    let from = &graph.tensors[node.inputs[0]];
    let to = &graph.tensors[node.output];
    match &node.op {
        QOp::Conv2d { window, out_c, linear } => conv2d(window, *out_c, linear, (from, x), (to, out)),
        QOp::DepthwiseConv2d { window, multiplier, linear } => {
            depthwise(window, *multiplier, linear, (from, x), (to, out))
        }
        QOp::Dense { inputs, linear, .. } => {
            for (channel, (out, row)) in out.iter_mut().zip(linear.weights.chunks_exact(*inputs)).enumerate() {
                let sum = linear.bias[channel].wrapping_add(dot(row, x, from.zero_point));
                *out = finish(linear, channel, sum, to);
            }
        }
        QOp::MaxPool { window, bounds } => {
            pool(window, x, out, |seen| bounds.saturate(seen.max().unwrap_or(i32::from(i8::MIN))))
        }
        QOp::AveragePool { window, bounds } => pool(window, x, out, |seen| {
            let (sum, count) = seen.fold((0, 0), |(sum, count), v| (sum + v, count + 1));
            bounds.saturate(rounded_mean(sum, count.max(1)))
        }),
        QOp::Add { operands, sum, bounds } => {
            let other = &graph.tensors[node.inputs[1]];
            let y = &values[node.inputs[1]];
            for ((out, a), b) in out.iter_mut().zip(x).zip(y) {
                let a = operands[0].apply((i32::from(*a) - from.zero_point) << 20);
                let b = operands[1].apply((i32::from(*b) - other.zero_point) << 20);
                *out = bounds.saturate(sum.apply(a.wrapping_add(b)).wrapping_add(to.zero_point));
            }
        }
        QOp::Softmax { depth, multiplier, diff_min, .. } => {
            for (out, row) in out.chunks_exact_mut(*depth).zip(x.chunks_exact(*depth)) {
                softmax(*multiplier, *diff_min, row, out);
            }
        }
        QOp::Rescale { multiplier, bounds } => {
            for (out, v) in out.iter_mut().zip(x) {
                let steps = multiplier.apply(i32::from(*v) - from.zero_point);
                *out = bounds.saturate(steps.wrapping_add(to.zero_point));
            }
        }
        QOp::Lookup { table } => {
            for (out, v) in out.iter_mut().zip(x) {
                // -128 to 127 become 0 to 255.
                *out = table[(i32::from(*v) + 128) as usize];
            }
        }
        QOp::Concat { outer, inner, multipliers } => {
            let step: usize = inner.iter().sum();
            let mut begin = 0;
            for ((operand, inner), multiplier) in node.inputs.iter().zip(inner).zip(multipliers) {
                let zero_point = graph.tensors[*operand].zero_point;
                for (at, row) in values[*operand].chunks_exact(*inner).take(*outer).enumerate() {
                    for (out, v) in out[at * step + begin..].iter_mut().zip(row) {
                        let steps = multiplier.apply(i32::from(*v) - zero_point);
                        *out = Bounds::FULL.saturate(steps.wrapping_add(to.zero_point));
                    }
                }
                begin += inner;
            }
        }
        QOp::Pad { dims, before, after, fill } => {
            let mut data = x.iter();
            for (out, inside) in out.iter_mut().zip(padded(dims, before, after)) {
                *out = if inside { data.next().copied().unwrap_or(*fill) } else { *fill };
            }
        }
        QOp::Binary { function, meet, constant, other_zero, bounds } => {
            let y = constant.as_ref().unwrap_or_else(|| &values[node.inputs[node.inputs.len() - 1]]);
            for (out, (a, b)) in out.iter_mut().zip(meet.pairs()) {
                let steps = function.apply(i32::from(x[a]) - from.zero_point, i32::from(y[b]) - other_zero);
                *out = bounds.saturate(steps.wrapping_add(to.zero_point));
            }
        }
        QOp::Mean { outer, count, inner, multiplier } => {
            for o in 0..*outer {
                for i in 0..*inner {
                    let sum = (0..*count).fold(0_i32, |sum, k| {
                        sum.wrapping_add(i32::from(x[(o * count + k) * inner + i]) - from.zero_point)
                    });
                    let steps = multiplier.apply(sum);
                    out[o * inner + i] = Bounds::FULL.saturate(steps.wrapping_add(to.zero_point));
                }
            }
        }
        QOp::Strided { path } => {
            for (out, source) in out.iter_mut().zip(path.sources()) {
                *out = x[source];
            }
        }
        QOp::Real(real) => {
            let x = from.reals(x);
            let y = node.inputs.get(1).map(|other| graph.tensors[*other].reals(&values[*other]));
            out.copy_from_slice(&to.rounded(&real::run(real, &x, y.as_deref(), to.len())));
        }
        QOp::Gather { count, inner, indices, .. } => gather(x, out, *count, *inner, indices),
        QOp::Interpolate { width, channels, rows, columns } => interpolate(x, out, (*width, *channels), rows, columns),
    }
}

/// Ten bits for each axis, rounded half away from zero, as TFLite does.
fn interpolate(x: &[i8], out: &mut [i8], (width, channels): (usize, usize), rows: &[QBlend], columns: &[QBlend]) {
    for (out, row) in out.chunks_exact_mut(columns.len() * channels).zip(rows) {
        for (out, column) in out.chunks_exact_mut(channels).zip(columns) {
            let (upper, right) = (i32::from(row.share), i32::from(column.share));
            for (at, out) in out.iter_mut().enumerate() {
                let value = |y: u16, c: u16| i32::from(x[(usize::from(y) * width + usize::from(c)) * channels + at]);
                let sum = (value(row.low, column.low) * (1024 - right) + value(row.low, column.high) * right)
                    * (1024 - upper)
                    + (value(row.high, column.low) * (1024 - right) + value(row.high, column.high) * right) * upper;
                let half = if sum > 0 { 1 << 19 } else { -(1 << 19) };
                // A mean of int8 values.
                *out = ((sum + half) / (1 << 20)) as i8;
            }
        }
    }
}

#[inline]
fn dot(weights: &[i8], x: &[i8], zero_point: i32) -> i32 {
    weights.iter().zip(x).fold(0_i32, |sum, (w, x)| sum.wrapping_add(i32::from(*w) * (i32::from(*x) - zero_point)))
}

#[inline]
fn finish(linear: &Linear, channel: usize, sum: i32, to: &QTensor) -> i8 {
    let steps = linear.multiplier(channel).apply(sum);
    linear.bounds.saturate(steps.wrapping_add(to.zero_point))
}

fn conv2d(w: &Window, out_c: usize, linear: &Linear, (from, x): (&QTensor, &[i8]), (to, out): (&QTensor, &mut [i8])) {
    let mut sums = vec![0_i32; out_c];
    for oy in 0..w.out_h {
        for ox in 0..w.out_w {
            sums.copy_from_slice(&linear.bias);
            for ky in 0..w.kernel_h {
                let Some(iy) = w.row(oy, ky) else { continue };
                for kx in 0..w.kernel_w {
                    let Some(ix) = w.column(ox, kx) else { continue };
                    let pixel = &x[(iy * w.in_w + ix) * w.in_c..][..w.in_c];
                    for (oc, sum) in sums.iter_mut().enumerate() {
                        let tap = (oc * w.kernel_h + ky) * w.kernel_w + kx;
                        let row = &linear.weights[tap * w.in_c..][..w.in_c];
                        *sum = sum.wrapping_add(dot(row, pixel, from.zero_point));
                    }
                }
            }
            let pixel = &mut out[(oy * w.out_w + ox) * out_c..][..out_c];
            for (oc, (out, sum)) in pixel.iter_mut().zip(&sums).enumerate() {
                *out = finish(linear, oc, *sum, to);
            }
        }
    }
}

fn depthwise(
    w: &Window,
    multiplier: usize,
    linear: &Linear,
    (from, x): (&QTensor, &[i8]),
    (to, out): (&QTensor, &mut [i8]),
) {
    let out_c = w.in_c * multiplier;
    let mut sums = vec![0_i32; out_c];
    for oy in 0..w.out_h {
        for ox in 0..w.out_w {
            sums.copy_from_slice(&linear.bias);
            for ky in 0..w.kernel_h {
                let Some(iy) = w.row(oy, ky) else { continue };
                for kx in 0..w.kernel_w {
                    let Some(ix) = w.column(ox, kx) else { continue };
                    let pixel = &x[(iy * w.in_w + ix) * w.in_c..][..w.in_c];
                    let taps = &linear.weights[(ky * w.kernel_w + kx) * out_c..][..out_c];
                    for (oc, (sum, tap)) in sums.iter_mut().zip(taps).enumerate() {
                        let value = i32::from(pixel[oc / multiplier]) - from.zero_point;
                        *sum = sum.wrapping_add(i32::from(*tap) * value);
                    }
                }
            }
            let pixel = &mut out[(oy * w.out_w + ox) * out_c..][..out_c];
            for (oc, (out, sum)) in pixel.iter_mut().zip(&sums).enumerate() {
                *out = finish(linear, oc, *sum, to);
            }
        }
    }
}

/// Calls `reduce` with the values that each window sees, channel by channel.
fn pool(w: &Window, x: &[i8], out: &mut [i8], reduce: impl Fn(&mut dyn Iterator<Item = i32>) -> i8) {
    for oy in 0..w.out_h {
        for ox in 0..w.out_w {
            for c in 0..w.in_c {
                let mut seen = (0..w.kernel_h).filter_map(|ky| w.row(oy, ky)).flat_map(|iy| {
                    (0..w.kernel_w)
                        .filter_map(|kx| w.column(ox, kx))
                        .map(move |ix| i32::from(x[(iy * w.in_w + ix) * w.in_c + c]))
                });
                out[(oy * w.out_w + ox) * w.in_c + c] = reduce(&mut seen);
            }
        }
    }
}

/// `sum / count`, half away from zero.
fn rounded_mean(sum: i32, count: i32) -> i32 {
    if sum > 0 { (sum + count / 2) / count } else { (sum - count / 2) / count }
}

fn softmax(multiplier: Multiplier, diff_min: i32, row: &[i8], out: &mut [i8]) {
    let max = row.iter().copied().max().map_or(0, i32::from);
    let exp = |v: i8| {
        let diff = i32::from(v) - max;
        (diff >= diff_min).then(|| {
            let steps = diff.wrapping_shl(multiplier.shift.max(0) as u32);
            exp_on_negative_values(doubling_high_mul(steps, multiplier.value))
        })
    };
    let sum = row.iter().filter_map(|v| exp(*v)).fold(0_i32, |sum, e| sum.wrapping_add(rounding_divide_by_pot(e, 12)));
    let (scale, bits_over_one) = reciprocal(sum);
    let exponent = (bits_over_one + 31 - 8).clamp(0, 31) as u32;
    for (out, v) in out.iter_mut().zip(row) {
        *out = exp(*v).map_or(i8::MIN, |e| {
            let share = rounding_divide_by_pot(doubling_high_mul(scale, e), exponent);
            Bounds::FULL.saturate(share.wrapping_add(i32::from(i8::MIN)))
        });
    }
}
