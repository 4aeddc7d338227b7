//! The interpreter of operators in 32-bit floats.

use super::{Real, arithmetic};
use crate::ir::{Binary, Clamp, Norm, Window};

/// Runs an operator over real operands; the result has `len` elements.
pub(crate) fn run(real: &Real, x: &[f32], y: Option<&[f32]>, len: usize) -> Vec<f32> {
    let mut out = vec![0.0; len];
    match real {
        Real::Linear { window, out_c, multiplier, weights, bias, clamp } => {
            let channels = (window, *out_c, *multiplier);
            linear(channels, weights, bias, x, &mut out);
            out.iter_mut().for_each(|value| *value = bounded(clamp, *value));
        }
        Real::Binary { function, meet, constant, clamp } => {
            let y = constant.as_deref().or(y).unwrap_or(x);
            for (out, (a, b)) in out.iter_mut().zip(meet.pairs()) {
                *out = bounded(clamp, binary(*function, x[a], y[b]));
            }
        }
        Real::Unary { function, clamp } => {
            let code = function.and_then(arithmetic::code);
            for (out, x) in out.iter_mut().zip(x) {
                *out = bounded(clamp, code.map_or(*x, |code| arithmetic::apply(code, *x)));
            }
        }
        Real::Rows { depth, norm, .. } => {
            for (out, row) in out.chunks_exact_mut(*depth).zip(x.chunks_exact(*depth)) {
                rows(*norm, row, out);
            }
        }
        Real::Trees { forest } => forest.run(x, &mut out),
    }
    out
}

/// Bounds as C compares them; a NaN stays one.
fn bounded(clamp: &Clamp, value: f32) -> f32 {
    let value = if value < clamp.low { clamp.low } else { value };
    if value > clamp.high { clamp.high } else { value }
}

fn binary(function: Binary, a: f32, b: f32) -> f32 {
    match function {
        Binary::Add => a + b,
        Binary::Sub => a - b,
        Binary::SubFrom => b - a,
        Binary::Mul => a * b,
        Binary::Maximum => {
            if b > a {
                b
            } else {
                a
            }
        }
        Binary::Minimum => {
            if b < a {
                b
            } else {
                a
            }
        }
        Binary::PRelu => {
            if a < 0.0 {
                a * b
            } else {
                a
            }
        }
    }
}

fn linear(
    (w, out_c, multiplier): (&Window, usize, Option<usize>),
    weights: &[f32],
    bias: &[f32],
    x: &[f32],
    out: &mut [f32],
) {
    for oy in 0..w.out_h {
        for ox in 0..w.out_w {
            for oc in 0..out_c {
                let mut sum = bias[oc];
                for ky in 0..w.kernel_h {
                    let Some(iy) = w.row(oy, ky) else { continue };
                    for kx in 0..w.kernel_w {
                        let Some(ix) = w.column(ox, kx) else { continue };
                        let pixel = &x[(iy * w.in_w + ix) * w.in_c..][..w.in_c];
                        let tap = ky * w.kernel_w + kx;
                        match multiplier {
                            Some(multiplier) => sum += pixel[oc / multiplier] * weights[tap * out_c + oc],
                            None => {
                                let row = &weights[(oc * w.taps() + tap) * w.in_c..][..w.in_c];
                                for (x, weight) in pixel.iter().zip(row) {
                                    sum += x * weight;
                                }
                            }
                        }
                    }
                }
                out[(oy * w.out_w + ox) * out_c + oc] = sum;
            }
        }
    }
}

/// True for what is no zero, as onnxruntime tells them.
fn counts(x: f32) -> bool {
    x.abs() > 1e-7
}

/// A function of one row.
pub(crate) fn rows(norm: Norm, row: &[f32], out: &mut [f32]) {
    let mut largest = row[0];
    for x in row {
        if *x > largest {
            largest = *x;
        }
    }
    let share = |x: f32| match norm {
        Norm::Softmax => arithmetic::exp(x - largest),
        Norm::SoftmaxOfNonzero if counts(x) => arithmetic::exp(x - largest),
        Norm::SoftmaxOfNonzero => x * arithmetic::exp(-largest),
        _ => x,
    };
    let mut sum = 0.0;
    for x in row {
        sum += match norm {
            Norm::Softmax => share(*x),
            Norm::SoftmaxOfNonzero if counts(*x) => share(*x),
            Norm::SoftmaxOfNonzero => 0.0,
            Norm::Max => 0.0,
            Norm::L1 if *x < 0.0 => -x,
            Norm::L1 => *x,
            Norm::L2 => x * x,
        };
    }
    let divisor = match norm {
        Norm::Max => largest,
        Norm::L2 => arithmetic::sqrt(sum),
        _ => sum,
    };
    let divisor = if divisor == 0.0 { 1.0 } else { divisor };
    for (out, x) in out.iter_mut().zip(row) {
        *out = share(*x) / divisor;
    }
}
