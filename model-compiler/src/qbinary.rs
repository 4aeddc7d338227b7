//! Functions of two int8 values, with TFLite's roundings.

use crate::fixed::Multiplier;
use crate::ir::Binary;

/// A function of two int8 values, with its multipliers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QBinary {
    /// Sum or difference at a common scale with 20 more bits.
    Sum {
        /// Factors of the operands.
        operands: [Multiplier; 2],
        /// The operands enter with these signs.
        signs: [i8; 2],
        /// Factor of the sum.
        sum: Multiplier,
    },
    /// Product.
    Mul {
        /// Product of the operands' scales by that of the result.
        multiplier: Multiplier,
    },
    /// The larger one, each brought to the scale of the result.
    Maximum {
        /// Factors of the operands.
        operands: [Multiplier; 2],
    },
    /// The smaller one, each brought to the scale of the result.
    Minimum {
        /// Factors of the operands.
        operands: [Multiplier; 2],
    },
    /// The first operand; below zero its product with the second.
    PRelu {
        /// Factor from zero on.
        above: Multiplier,
        /// Factor of the product.
        below: Multiplier,
    },
}

impl QBinary {
    /// The function for operands and a result of these scales, with TFLite's roundings.
    pub fn of(function: Binary, a: f32, b: f32, out: f32) -> Self {
        let ratio = |scale: f32| Multiplier::of(f64::from(scale) / f64::from(out));
        let sum = |signs: [i8; 2]| {
            let twice_max = 2.0 * f64::from(a.max(b));
            Self::Sum {
                operands: [a, b].map(|scale| Multiplier::of(f64::from(scale) / twice_max)),
                signs,
                sum: Multiplier::of(twice_max / (f64::from(1 << 20) * f64::from(out))),
            }
        };
        // TFLite takes these products and quotients in 32-bit floats.
        match function {
            Binary::Add => sum([1, 1]),
            Binary::Sub => sum([1, -1]),
            Binary::SubFrom => sum([-1, 1]),
            Binary::Mul => Self::Mul { multiplier: Multiplier::of(f64::from(a * b / out)) },
            Binary::Maximum => Self::Maximum { operands: [ratio(a), ratio(b)] },
            Binary::Minimum => Self::Minimum { operands: [ratio(a), ratio(b)] },
            Binary::PRelu => {
                Self::PRelu { above: Multiplier::of(f64::from(a / out)), below: Multiplier::of(f64::from(a * b / out)) }
            }
        }
    }

    /// The result above its zero point, for operands above theirs.
    #[inline]
    pub fn apply(self, a: i32, b: i32) -> i32 {
        match self {
            Self::Sum { operands, signs, sum } => {
                let a = operands[0].apply(a << 20).wrapping_mul(i32::from(signs[0]));
                let b = operands[1].apply(b << 20).wrapping_mul(i32::from(signs[1]));
                sum.apply(a.wrapping_add(b))
            }
            Self::Mul { multiplier } => multiplier.apply(a * b),
            Self::Maximum { operands } => operands[0].apply(a).max(operands[1].apply(b)),
            Self::Minimum { operands } => operands[0].apply(a).min(operands[1].apply(b)),
            Self::PRelu { above, below } => {
                if a >= 0 {
                    above.apply(a)
                } else {
                    below.apply(a * b)
                }
            }
        }
    }
}
