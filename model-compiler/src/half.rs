//! 16-bit floats (IEEE 754 binary16), as files hold weights to be smaller.

/// The same number in 32 bits, which is exact.
pub(crate) fn to_f32(half: u16) -> f32 {
    let sign = u32::from(half >> 15) << 31;
    let (exponent, fraction) = (u32::from(half >> 10 & 0x1f), u32::from(half & 0x3ff));
    match (exponent, fraction) {
        // Zero, and numbers below the smallest normal one: multiples of 2^-24.
        (0, _) => f32::from_bits(sign | (fraction as f32 * 2_f32.powi(-24)).to_bits()),
        (0x1f, _) => f32::from_bits(sign | 0x7f80_0000 | fraction << 13),
        _ => f32::from_bits(sign | (exponent + 112) << 23 | fraction << 13),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_widened_exactly() {
        let known =
            [(0x3c00, 1.0), (0xc000, -2.0), (0x3555, 0.333_251_95), (0x0001, 5.960_464_5e-8), (0x7bff, 65504.0)];
        for (half, value) in known {
            assert_eq!(to_f32(half), value);
        }
        assert!(to_f32(0x7c00).is_infinite() && to_f32(0x7e00).is_nan() && to_f32(0x8000).is_sign_negative());
    }
}
