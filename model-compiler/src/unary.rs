//! Functions of one number.

/// A function of one number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Unary {
    /// `1 / (1 + exp(-x))`
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
    /// `x`, or `alpha * x` below zero.
    LeakyRelu {
        /// Slope below zero.
        alpha: f32,
    },
    /// `x`, or `alpha * (exp(x) - 1)` below zero.
    Elu {
        /// Limit below zero, negated.
        alpha: f32,
    },
    /// `alpha * x + beta`, clamped to 0 to 1.
    HardSigmoid {
        /// Slope.
        alpha: f32,
        /// Value at zero.
        beta: f32,
    },
    /// `x * clamp(x / 6 + 1 / 2, 0, 1)`
    HardSwish,
    /// `|x|`
    Abs,
    /// `exp(x)`
    Exp,
    /// Square root; 0 below zero.
    Sqrt,
    /// Gauss error function.
    Erf,
    /// `ln(1 + exp(x))`
    Softplus,
    /// `x / (1 + |x|)`
    Softsign,
    /// `gamma * x`, or `gamma * alpha * (exp(x) - 1)` below zero.
    Selu {
        /// Limit below zero, negated, before `gamma`.
        alpha: f32,
        /// Slope from zero on.
        gamma: f32,
    },
    /// `x / 2 * (1 + erf(x / sqrt(2)))`
    Gelu,
    /// 0 for 0, else 1.
    Truth,
    /// `1 / x`; 0 for 0.
    Reciprocal,
    /// Natural logarithm.
    Log,
    /// Quantile of the normal distribution, approximated as ONNX's PROBIT is.
    Probit,
    /// Gelu with a hyperbolic tangent for the error function.
    GeluTanh,
}

impl Unary {
    /// The function's value.
    pub fn apply(self, x: f32) -> f32 {
        match self {
            Self::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            Self::Tanh => x.tanh(),
            Self::LeakyRelu { alpha } => {
                if x < 0.0 {
                    alpha * x
                } else {
                    x
                }
            }
            Self::Elu { alpha } => {
                if x < 0.0 {
                    alpha * x.exp_m1()
                } else {
                    x
                }
            }
            Self::HardSigmoid { alpha, beta } => (alpha * x + beta).clamp(0.0, 1.0),
            Self::HardSwish => x * (x / 6.0 + 0.5).clamp(0.0, 1.0),
            Self::Truth => f32::from(u8::from(x != 0.0)),
            Self::Reciprocal => crate::real::arithmetic::reciprocal(x),
            Self::Log => x.ln(),
            Self::Probit => crate::real::arithmetic::probit(x),
            Self::Abs => x.abs(),
            Self::Exp => x.exp(),
            Self::Sqrt => x.max(0.0).sqrt(),
            Self::Erf => erf(x),
            Self::Softplus => x.max(0.0) + (-x.abs()).exp().ln_1p(),
            Self::Softsign => x / (1.0 + x.abs()),
            Self::Selu { alpha, gamma } => gamma * if x < 0.0 { alpha * x.exp_m1() } else { x },
            Self::Gelu => 0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2)),
            Self::GeluTanh => {
                let inner = (2.0 / std::f32::consts::PI).sqrt() * (x + 0.044_715 * x * x * x);
                0.5 * x * (1.0 + inner.tanh())
            }
        }
    }

    /// Name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sigmoid => "Sigmoid",
            Self::Tanh => "Tanh",
            Self::LeakyRelu { .. } => "LeakyRelu",
            Self::Elu { .. } => "Elu",
            Self::HardSigmoid { .. } => "HardSigmoid",
            Self::HardSwish => "HardSwish",
            Self::Truth => "Cast",
            Self::Reciprocal => "Reciprocal",
            Self::Log => "Log",
            Self::Probit => "Probit",
            Self::Abs => "Abs",
            Self::Exp => "Exp",
            Self::Sqrt => "Sqrt",
            Self::Erf => "Erf",
            Self::Softplus => "Softplus",
            Self::Softsign => "Softsign",
            Self::Selu { .. } => "Selu",
            Self::Gelu | Self::GeluTanh => "Gelu",
        }
    }
}

/// Gauss error function by its Taylor series, and by its continued fraction where that is better; in 64 bits.
fn erf(x: f32) -> f32 {
    let x = f64::from(x);
    if x.abs() > 6.0 {
        return x.signum() as f32;
    }
    if x.abs() < 2.5 {
        let (mut term, mut sum) = (x, x);
        for n in 1..60 {
            let n = f64::from(n);
            term *= -x * x / n;
            sum += term / (2.0 * n + 1.0);
        }
        return (sum * std::f64::consts::FRAC_2_SQRT_PI) as f32;
    }
    let a = x.abs();
    let fraction = (1..40).rev().fold(a, |below, n| a + f64::from(n) / 2.0 / below);
    let rest = (-a * a).exp() / (fraction * std::f64::consts::PI.sqrt());
    (x.signum() * (1.0 - rest)) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_function_is_right_on_both_sides_of_its_methods() {
        for (x, y) in [(0.5, 0.520_499_9), (2.4, 0.999_311_5), (2.6, 0.999_764), (-1.0, -0.842_700_8), (7.0, 1.0)] {
            assert!((erf(x) - y).abs() < 1e-6, "{x} {}", erf(x));
        }
    }
}
