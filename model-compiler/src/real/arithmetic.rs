//! Functions of one 32-bit float, made of additions, products and quotients only: the C library's own differ from
//! machine to machine in their last bits. `kernels/real_functions.c` has the same.
//!
//! Reductions and coefficients of exponential and logarithm are those of Cephes (S. L. Moshier, `expf` and `logf`).

use crate::ir::Unary;

/// `exp(x)` within a few units in the last place; 0 below -87, about 1.65e38 above 88.
pub fn exp(x: f32) -> f32 {
    if x < -87.0 {
        return 0.0;
    }
    if x.is_nan() {
        return x;
    }
    let x = if x > 88.0 { 88.0 } else { x };
    let turns = x * std::f32::consts::LOG2_E;
    // Within -126 to 127.
    let n = (if turns < 0.0 { turns - 0.5 } else { turns + 0.5 }) as i32;
    let whole = n as f32;
    let r = x - whole * 0.693_359_4;
    let r = r - whole * -2.121_944_4e-4;
    let mut p = 1.987_569_1e-4;
    for c in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 0.166_666_66, 0.5] {
        p = p * r + c;
    }
    let y = p * (r * r) + r;
    let y = y + 1.0;
    y * f32::from_bits(((n + 127) as u32) << 23)
}

/// `ln(x)` for normal numbers above 0; -87.3 for all others.
pub fn ln(x: f32) -> f32 {
    if x.is_nan() || x < f32::MIN_POSITIVE {
        return -87.3;
    }
    let bits = x.to_bits();
    let mut exponent = (bits >> 23) as i32 - 126;
    // 0.5 to 1
    let mut m = f32::from_bits((bits & 0x007f_ffff) | 0x3f00_0000);
    if m < 0.707_106_77 {
        exponent -= 1;
        m += m;
    }
    let m = m - 1.0;
    let z = m * m;
    let mut p = 7.037_683_6e-2;
    for c in [
        -0.115_146_1,
        0.116_769_984,
        -0.124_201_41,
        0.142_493_23,
        -0.166_680_58,
        0.200_007_14,
        -0.249_999_94,
        0.333_333_3,
    ] {
        p = p * m + c;
    }
    let e = exponent as f32;
    let mut y = p * m * z;
    y += e * -2.121_944_4e-4;
    y -= 0.5 * z;
    let y = m + y;
    y + e * 0.693_359_4
}

/// Square root by Newton's method; 0 for what is not above 0.
pub fn sqrt(x: f32) -> f32 {
    if x.is_nan() || x < f32::MIN_POSITIVE {
        return 0.0;
    }
    let mut y = f32::from_bits((x.to_bits() >> 1) + 0x1fbd_1df5);
    for _ in 0..4 {
        y = 0.5 * (y + x / y);
    }
    y
}

/// `1 / (1 + exp(-x))`, by its value below zero.
pub fn sigmoid(x: f32) -> f32 {
    let e = exp(if x < 0.0 { x } else { -x });
    let half = 1.0 / (1.0 + e);
    if x < 0.0 { 1.0 - half } else { half }
}

/// Hyperbolic tangent.
pub fn tanh(x: f32) -> f32 {
    let e = exp(if x < 0.0 { 2.0 * x } else { -2.0 * x });
    let y = (1.0 - e) / (1.0 + e);
    if x < 0.0 { -y } else { y }
}

/// Quantile of the normal distribution, as ONNX's post transform PROBIT approximates it (S. Winitzki's inverse error
/// function).
pub fn probit(x: f32) -> f32 {
    let x = 2.0 * x - 1.0;
    let log = ln((1.0 - x) * (1.0 + x));
    let v = 4.330_747 + 0.5 * log;
    let v2 = 6.802_721 * log;
    let inner = v * v - v2;
    let root = sqrt(sqrt(inner) - v);
    let y = std::f32::consts::SQRT_2 * root;
    if x < 0.0 { -y } else { y }
}

/// Number of a function in `kernels/real_functions.c` with its two parameters; `None` if it is not there.
pub fn code(function: Unary) -> Option<(u8, f32, f32)> {
    Some(match function {
        Unary::Sigmoid => (0, 0.0, 0.0),
        Unary::Tanh => (1, 0.0, 0.0),
        Unary::LeakyRelu { alpha } => (2, alpha, 0.0),
        Unary::Elu { alpha } => (3, alpha, 1.0),
        Unary::Selu { alpha, gamma } => (3, alpha, gamma),
        Unary::HardSigmoid { alpha, beta } => (4, alpha, beta),
        Unary::Exp => (5, 0.0, 0.0),
        Unary::Abs => (6, 0.0, 0.0),
        Unary::Sqrt => (7, 0.0, 0.0),
        Unary::Probit => (8, 0.0, 0.0),
        Unary::HardSwish => (9, 0.0, 0.0),
        Unary::Log => (10, 0.0, 0.0),
        Unary::Reciprocal => (11, 0.0, 0.0),
        Unary::Truth => (12, 0.0, 0.0),
        _ => return None,
    })
}

/// A function by its number.
pub fn apply((code, a, b): (u8, f32, f32), x: f32) -> f32 {
    let share = |y: f32| if y > 1.0 { 1.0 } else { positive(y) };
    match code {
        0 => sigmoid(x),
        1 => tanh(x),
        2 if x < 0.0 => a * x,
        2 => x,
        3 if x < 0.0 => b * (a * (exp(x) - 1.0)),
        3 => b * x,
        4 => share(a * x + b),
        5 => exp(x),
        6 if x < 0.0 => -x,
        6 => x,
        7 => sqrt(x),
        8 => probit(x),
        9 => x * share(x / 6.0 + 0.5),
        10 => ln(x),
        11 => reciprocal(x),
        _ => f32::from(u8::from(x != 0.0)),
    }
}

/// `1 / x`; 0 for 0.
pub fn reciprocal(x: f32) -> f32 {
    if x == 0.0 { 0.0 } else { 1.0 / x }
}

fn positive(y: f32) -> f32 {
    if y > 0.0 { y } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_those_of_their_names() {
        let close = |a: f32, b: f32| (a - b).abs() <= 3e-7 * b.abs().max(1.0);
        for step in -800..=800 {
            let x = step as f32 / 10.0;
            assert!((exp(x) / x.exp() - 1.0).abs() < 4e-7, "exp {x}: {} {}", exp(x), x.exp());
            assert!(close(sigmoid(x), 1.0 / (1.0 + (-x).exp())), "sigmoid {x}");
            assert!(close(tanh(x), x.tanh()), "tanh {x}");
            let y = (step + 801) as f32 * 0.37;
            assert!(close(ln(y), y.ln()), "ln {y}: {} {}", ln(y), y.ln());
            assert!((sqrt(y) / y.sqrt() - 1.0).abs() < 2e-7, "sqrt {y}");
        }
        assert_eq!((exp(0.0), exp(-100.0), sqrt(-1.0)), (1.0, 0.0, 0.0));
        assert!(exp(f32::NAN).is_nan() && exp(1e30).is_finite() && ln(f32::NAN).is_finite());
        assert!((probit(0.975) - 1.96).abs() < 0.02 && probit(0.5) == 0.0);
    }
}
