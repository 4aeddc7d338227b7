//! Constant tables as C.

use std::fmt::Write as _;

use crate::qir::Linear;

/// The tables of a layer.
pub(super) fn constants(c: &mut String, index: usize, linear: &Linear) {
    table(c, "int8_t", "weights", index, linear.weights.iter().map(|v| i32::from(*v)));
    table(c, "int32_t", "bias", index, linear.bias.iter().copied());
    table(c, "int32_t", "multipliers", index, linear.requant.iter().map(|m| m.value));
    table(c, "int8_t", "shifts", index, linear.requant.iter().map(|m| m.shift));
}

pub(super) fn table(c: &mut String, kind: &str, what: &str, index: usize, values: impl Iterator<Item = i32>) {
    let values: Vec<i32> = values.collect();
    let _ = write!(c, "static const {kind} tml_{what}_{index}[{}] TML_FLASH = {{", values.len());
    for (at, value) in values.iter().enumerate() {
        c.push_str(if at % 16 == 0 { "\n    " } else { " " });
        let _ = write!(c, "{},", literal(*value));
    }
    c.push_str("\n};\n\n");
}

/// A C literal of type int32_t; INT32_MIN has none of its own.
pub(super) fn literal(value: i32) -> String {
    if value == i32::MIN {
        return "(-2147483647 - 1)".into();
    }
    value.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_integer_is_written_as_an_expression() {
        assert_eq!(literal(i32::MIN), "(-2147483647 - 1)");
        assert_eq!(literal(-5), "-5");
    }
}
