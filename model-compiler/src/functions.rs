//! Functions of one int8 value as TFLite's int8 reference kernels compute them
//! (tensorflow/lite/kernels/internal/reference/integer_ops, hard_swish.h,
//! leaky_relu.h): tabulated once, so that a board needs no arithmetic at all.

use crate::fixed::{self, Multiplier, rounding_divide_by_pot};
use crate::qir::{Bounds, QTensor};

/// The table of a function of the steps above the zero point.
pub fn table(zero_point: i32, function: impl Fn(i32) -> i32) -> Vec<i8> {
    (i8::MIN..=i8::MAX).map(|q| Bounds::FULL.saturate(function(i32::from(q) - zero_point))).collect()
}

/// Input steps to Q4.27 for the sigmoid and the hyperbolic tangent, and the
/// steps from which on they are saturated.
fn to_q4(scale: f32) -> (Multiplier, i32) {
    let multiplier = Multiplier::of(f64::from(scale) * f64::from(1 << 27));
    let radius = 15.0 * f64::from(1 << 27) / 2_f64.powi(multiplier.shift);
    (multiplier, radius.floor().min(f64::from(i32::MAX)) as i32)
}

/// Any function, computed in 32-bit floats as TFLite does where it tabulates uint8.
pub fn rounded(input: &QTensor, output: &QTensor, function: impl Fn(f32) -> f32) -> Vec<i8> {
    let inverse = 1.0 / output.scale;
    table(input.zero_point, |steps| {
        let value = (function(input.scale * steps as f32) * inverse).round();
        // `as` saturates.
        (value + output.zero_point as f32) as i32
    })
}

/// Logistic sigmoid; the result has scale 1/256 and zero point -128.
pub fn logistic(input: &QTensor) -> Vec<i8> {
    let (multiplier, radius) = to_q4(input.scale);
    table(input.zero_point, |steps| {
        if steps <= -radius {
            return -128;
        }
        if steps >= radius {
            return 127;
        }
        rounding_divide_by_pot(fixed::logistic(multiplier.apply(steps)), 23) - 128
    })
}

/// Hyperbolic tangent; the result has scale 1/128 and zero point 0.
pub fn tanh(input: &QTensor) -> Vec<i8> {
    let (multiplier, radius) = to_q4(input.scale);
    table(input.zero_point, |steps| {
        if steps <= -radius {
            return -128;
        }
        if steps >= radius {
            return 127;
        }
        rounding_divide_by_pot(fixed::tanh(multiplier.apply(steps)), 24)
    })
}

/// `x`, or `alpha * x` below zero.
pub fn leaky_relu(input: &QTensor, output: &QTensor, alpha: f32) -> Vec<i8> {
    let identity = Multiplier::of(f64::from(input.scale / output.scale));
    let below = Multiplier::of(f64::from(input.scale * alpha / output.scale));
    table(input.zero_point, |steps| {
        let multiplier = if steps >= 0 { identity } else { below };
        multiplier.apply(steps).wrapping_add(output.zero_point)
    })
}

/// Hard swish in 16 bits; `None` if the result's scale is too fine for it.
pub fn hard_swish(input: &QTensor, output: &QTensor) -> Option<Vec<i8>> {
    let fine = (1.0 / 128.0) * input.scale;
    let out = Multiplier::of(f64::from(fine / output.scale));
    let relu = Multiplier::of(f64::from(fine / (3.0 / 32_768.0)));
    if out.shift > 0 || out.shift < -15 || relu.shift < -15 {
        return None;
    }
    let (out_factor, relu_factor) = (to_16_bits(out.value), to_16_bits(relu.value));
    Some(table(input.zero_point, |steps| {
        // 255 * 128 fits 16 bits.
        let fine = (steps * 128) as i16;
        let scaled = high_mul_16(fine, out_factor);
        let mut reluish = fine;
        if relu.shift > 0 {
            reluish = shift_left_16(reluish, relu.shift - 1);
        }
        reluish = high_mul_16(reluish, relu_factor);
        if relu.shift > 0 {
            reluish = shift_left_16(reluish, 1);
        }
        let below = (-relu.shift).max(0) as u32;
        let reluish = (rounding_divide_by_pot(i32::from(reluish), below) + (1 << 15)) >> 1;
        // Both factors are 16 bits wide; the product is cut toward zero.
        let product = ((reluish * i32::from(scaled)) / (1 << 15)).clamp(i32::from(i16::MIN), i32::from(i16::MAX));
        rounding_divide_by_pot(product, (-out.shift) as u32) + output.zero_point
    }))
}

/// The upper half of a multiplier, rounded.
fn to_16_bits(value: i32) -> i16 {
    if value >= i32::MAX - (1 << 15) {
        return i16::MAX;
    }
    // Below 2^15 after the shift.
    ((value + (1 << 15)) >> 16) as i16
}

fn high_mul_16(a: i16, b: i16) -> i16 {
    if a == i16::MIN && b == i16::MIN {
        return i16::MAX;
    }
    // Fits after the division by 2^15.
    ((i32::from(a) * i32::from(b) + (1 << 14)) >> 15) as i16
}

fn shift_left_16(value: i16, amount: i32) -> i16 {
    let wide = i64::from(value) << amount.clamp(0, 32);
    // Within i16 after the clamp.
    wide.clamp(i64::from(i16::MIN), i64::from(i16::MAX)) as i16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(scale: f32, zero_point: i32) -> QTensor {
        QTensor { name: "x".into(), shape: vec![1], scale, zero_point, element: crate::qir::Element::Int8 }
    }

    /// Largest distance of a table from the function that it stands for, in steps.
    fn error(table: &[i8], input: &QTensor, output: &QTensor, function: impl Fn(f32) -> f32) -> f32 {
        let exact = (i8::MIN..=i8::MAX).map(|q| function(input.dequantize(q)));
        let got = table.iter().map(|q| output.dequantize(*q));
        let (lowest, highest) = (output.dequantize(i8::MIN), output.dequantize(i8::MAX));
        exact.zip(got).fold(0.0, |worst, (a, b)| worst.max((a.clamp(lowest, highest) - b).abs() / output.scale))
    }

    #[test]
    fn tables_are_within_a_step_of_their_functions() {
        for scale in [0.001, 0.02, 0.05, 0.3] {
            let input = tensor(scale, 7);
            let unit = tensor(1.0 / 256.0, -128);
            assert!(error(&logistic(&input), &input, &unit, |x| 1.0 / (1.0 + (-x).exp())) < 1.01);
            assert!(error(&tanh(&input), &input, &tensor(1.0 / 128.0, 0), f32::tanh) < 1.01);
            let output = tensor(scale, -100);
            let swish = hard_swish(&input, &output).unwrap();
            let worst = error(&swish, &input, &output, |x| x * (x / 6.0 + 0.5).clamp(0.0, 1.0));
            assert!(worst < 1.6, "{scale}: {worst}");
        }
    }
}
