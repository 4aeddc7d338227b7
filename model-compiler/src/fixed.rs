//! The integer arithmetic of TFLite's int8 specification, as gemmlowp defines it:
//! multipliers in Q31 with a shift, double rounding, fixed-point exponential.
//!
//! Sources: tensorflow/lite/kernels/internal/common.h and quantization_util.cc,
//! gemmlowp/fixedpoint/fixedpoint.h. The generated C repeats these functions; both
//! must change together.

/// A positive real factor `value * 2^(shift - 31)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Multiplier {
    /// In `[2^30, 2^31)`, or 0 for a factor too small to matter.
    pub value: i32,
    /// Power of two; positive shifts left.
    pub shift: i32,
}

impl Multiplier {
    /// The nearest multiplier to a positive factor.
    pub fn of(real: f64) -> Self {
        if real <= 0.0 || !real.is_finite() {
            return Self { value: 0, shift: 0 };
        }
        let (fraction, mut shift) = frexp(real);
        let mut value = (fraction * f64::from(1_u32 << 31)).round() as i64;
        if value == 1 << 31 {
            value /= 2;
            shift += 1;
        }
        if shift < -31 {
            return Self { value: 0, shift: 0 };
        }
        if shift > 30 {
            return Self { value: i32::MAX, shift: 30 };
        }
        Self {
            // At most 2^31 - 1 after the halving above.
            value: value as i32,
            shift,
        }
    }

    /// `x` times the factor, rounded twice as TFLite does.
    #[inline]
    pub fn apply(self, x: i32) -> i32 {
        let left = self.shift.max(0) as u32;
        let right = (-self.shift).max(0) as u32;
        rounding_divide_by_pot(doubling_high_mul(x.wrapping_shl(left), self.value), right)
    }
}

/// Splits a positive finite number into a fraction in `[0.5, 1)` and a power of two.
fn frexp(real: f64) -> (f64, i32) {
    // 2^54 makes subnormal numbers normal.
    let (scaled, offset) = if real < f64::MIN_POSITIVE { (real * 18_014_398_509_481_984.0, -54) } else { (real, 0) };
    let bits = scaled.to_bits();
    let exponent = ((bits >> 52) & 0x7ff) as i32 - 1022;
    let fraction = f64::from_bits((bits & !(0x7ff << 52)) | (1022 << 52));
    (fraction, exponent + offset)
}

/// gemmlowp's SaturatingRoundingDoublingHighMul: `round(a * b / 2^31)`, ties up.
#[inline]
pub fn doubling_high_mul(a: i32, b: i32) -> i32 {
    if a == i32::MIN && b == i32::MIN {
        return i32::MAX;
    }
    // Truncation after gemmlowp's sign-dependent nudge equals this floor.
    ((i64::from(a) * i64::from(b) + (1 << 30)) >> 31) as i32
}

/// gemmlowp's RoundingDivideByPOT: `x / 2^exponent`, ties away from zero; `exponent` below 32.
#[inline]
pub fn rounding_divide_by_pot(x: i32, exponent: u32) -> i32 {
    let mask = ((1_i64 << exponent) - 1) as i32;
    let threshold = (mask >> 1) + i32::from(x < 0);
    let floor = if exponent > 31 { 0 } else { x >> exponent };
    floor + i32::from((x & mask) > threshold)
}

/// gemmlowp's SaturatingRoundingMultiplyByPOT for positive exponents.
fn multiply_by_pot(x: i32, exponent: u32) -> i32 {
    let limit = i32::MAX >> exponent;
    if x > limit {
        i32::MAX
    } else if x < -limit - 1 {
        i32::MIN
    } else {
        x << exponent
    }
}

/// gemmlowp's exp_on_negative_values for Q5.26 in, Q0.31 out.
pub fn exp_on_negative_values(a: i32) -> i32 {
    exp_with_integer_bits(a, 5)
}

/// The same for 4 or 5 integer bits in.
fn exp_with_integer_bits(a: i32, integer_bits: u32) -> i32 {
    let quarter = 1_i32 << (29 - integer_bits);
    if a == 0 {
        return i32::MAX;
    }
    let a_mod_quarter = (a & (quarter - 1)) - quarter;
    let mut result = exp_on_last_quarter(multiply_by_pot(a_mod_quarter, integer_bits));
    let remainder = a_mod_quarter.wrapping_sub(a);
    // exp(-2^(k-2)) for k = 0..7 as Q0.31.
    const FACTORS: [i32; 7] = [1_672_461_947, 1_302_514_674, 790_015_084, 290_630_308, 39_332_535, 720_401, 242];
    for (bit, factor) in FACTORS.iter().enumerate().take(integer_bits as usize + 2) {
        if remainder & (quarter << bit) != 0 {
            result = doubling_high_mul(result, *factor);
        }
    }
    result
}

/// exp on `[-1/4, 0)`, Q0.31: a Taylor expansion around -1/8.
fn exp_on_last_quarter(a: i32) -> i32 {
    const EXP_MINUS_EIGHTH: i32 = 1_895_147_668;
    const THIRD: i32 = 715_827_883;
    let x = a.wrapping_add(1 << 28);
    let x2 = doubling_high_mul(x, x);
    let x3 = doubling_high_mul(x2, x);
    let x4 = doubling_high_mul(x2, x2);
    let x4_over_4 = rounding_divide_by_pot(x4, 2);
    let inner = doubling_high_mul(x4_over_4.wrapping_add(x3), THIRD).wrapping_add(x2);
    let series = x.wrapping_add(rounding_divide_by_pot(inner, 1));
    EXP_MINUS_EIGHTH.wrapping_add(doubling_high_mul(EXP_MINUS_EIGHTH, series))
}

/// gemmlowp's one_over_one_plus_x_for_x_in_0_1, Q0.31.
fn one_over_one_plus(a: i32) -> i32 {
    multiply_by_pot(two_over_one_plus(a), 1)
}

/// gemmlowp's logistic for Q4.27 in, Q0.31 out.
pub fn logistic(a: i32) -> i32 {
    let positive = || one_over_one_plus(exp_with_integer_bits(a.wrapping_abs().wrapping_neg(), 4));
    match a {
        0 => 1 << 30,
        1.. => positive(),
        _ => i32::MAX - positive(),
    }
}

/// gemmlowp's tanh for Q4.27 in, Q0.31 out.
pub fn tanh(a: i32) -> i32 {
    if a == 0 {
        return 0;
    }
    // exp(-2 |a|): the doubling reads Q4.27 as Q5.26. Then (1 - e) / (1 + e) = 2 / (1 + e) - 1.
    let e = exp_with_integer_bits(a.wrapping_abs().wrapping_neg(), 5);
    let size = multiply_by_pot(two_over_one_plus(e).wrapping_sub(1 << 29), 2);
    if a > 0 { size } else { -size }
}

/// `2 / (1 + a)` for a Q0.31 `a` in 0 to 1, as Q2.29: three Newton steps.
fn two_over_one_plus(a: i32) -> i32 {
    const C48_OVER_17: i32 = 1_515_870_810;
    const C_NEG_32_OVER_17: i32 = -1_010_580_540;
    // RoundingHalfSum of a and one; both are positive.
    let half_denominator = ((i64::from(a) + i64::from(i32::MAX) + 1) / 2) as i32;
    let mut x = C48_OVER_17.wrapping_add(doubling_high_mul(half_denominator, C_NEG_32_OVER_17));
    for _ in 0..3 {
        let product = doubling_high_mul(half_denominator, x);
        let rest = (1_i32 << 29).wrapping_sub(product);
        x = x.wrapping_add(multiply_by_pot(doubling_high_mul(x, rest), 2));
    }
    x
}

/// Reciprocal of a positive Q12.19 sum: a Q0.31 factor and the bits by which the
/// sum is above one.
pub fn reciprocal(sum: i32) -> (i32, i32) {
    let zeros = sum.cast_unsigned().leading_zeros() as i32;
    let shifted = sum.cast_unsigned().wrapping_shl(zeros as u32);
    let minus_one = shifted.wrapping_sub(1 << 31).cast_signed();
    (one_over_one_plus(minus_one), 12 - zeros)
}

/// Fixed parameters of an int8 softmax whose input has this scale: a multiplier
/// (shift is a left shift) and the difference to the maximum below which the
/// exponential is zero.
pub fn softmax_parameters(input_scale: f32, beta: f32) -> (Multiplier, i32) {
    let real = (f64::from(beta) * f64::from(input_scale) * f64::from(1 << 26)).min(f64::from(i32::MAX));
    let multiplier = Multiplier::of(real);
    let radius = 31.0 * f64::from(1 << 26) / 2_f64.powi(multiplier.shift);
    let diff_min = -(radius.floor().min(f64::from(i32::MAX)) as i32);
    (multiplier, diff_min)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn multipliers_are_those_of_frexp() {
        assert_eq!(Multiplier::of(0.5), Multiplier { value: 1 << 30, shift: 0 });
        assert_eq!(Multiplier::of(1.0), Multiplier { value: 1 << 30, shift: 1 });
        let just_below = Multiplier::of(1.0 - 1e-12);
        assert_eq!(just_below, Multiplier { value: 1 << 30, shift: 1 });
        assert_eq!(Multiplier::of(1e-30), Multiplier { value: 0, shift: 0 });
        assert_eq!(Multiplier::of(f64::NAN).value, 0);
    }

    #[test]
    fn division_rounds_ties_away_from_zero() {
        let results: Vec<i32> = [5, 6, 7, -5, -6, -7].iter().map(|x| rounding_divide_by_pot(*x, 2)).collect();
        assert_eq!(results, [1, 2, 2, -1, -2, -2]);
        assert_eq!(rounding_divide_by_pot(i32::MIN, 31), -1);
    }

    proptest! {
        #[test]
        fn a_multiplier_is_within_one_of_the_product(x in -1_000_000_i32..1_000_000, real in 1e-6_f64..0.99) {
            let exact = f64::from(x) * real;
            let got = f64::from(Multiplier::of(real).apply(x));
            prop_assert!((exact - got).abs() <= 1.01, "{x} * {real} = {exact}, got {got}");
        }

        #[test]
        fn the_fixed_point_exponential_is_one(a in i32::MIN..=0) {
            let exact = (f64::from(a) / f64::from(1 << 26)).exp();
            let got = f64::from(exp_on_negative_values(a)) / 2_f64.powi(31);
            prop_assert!((exact - got).abs() < 1e-6, "exp of {a}: {exact}, got {got}");
        }

        #[test]
        fn the_reciprocal_is_one(sum in 1_i32 << 19..i32::MAX) {
            let (value, bits) = reciprocal(sum);
            let exact = f64::from(1 << 19) / f64::from(sum);
            let got = f64::from(value) / 2_f64.powi(31) / 2_f64.powi(bits);
            prop_assert!((exact - got).abs() < 1e-6, "1/{sum}: {exact}, got {got}");
        }
    }
}
