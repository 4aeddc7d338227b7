//! Ranges of activations: what calibration shows of each tensor, and which part of it int8 is to represent.

use std::fmt;
use std::str::FromStr;

use crate::float;
use crate::ir::Graph;
use crate::quantize::QuantizeError;

/// How the range of an activation is chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Method {
    /// Whichever of the others gives the outputs with the least error on the calibration data.
    Auto,
    /// Everything that was seen.
    MinMax,
    /// All but the outermost values: the share of 0.5 to 1 that is kept at each end.
    Percentile(f64),
    /// Where the mean squared error of rounding and clipping is least.
    Mse,
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::MinMax => f.write_str("min-max"),
            Self::Percentile(share) => write!(f, "percentile={}", (share * 1e6).round() / 1e4),
            Self::Mse => f.write_str("mse"),
        }
    }
}

impl FromStr for Method {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "min-max" => Ok(Self::MinMax),
            "mse" => Ok(Self::Mse),
            _ => text
                .strip_prefix("percentile=")
                .and_then(|percent| percent.parse::<f64>().ok())
                .filter(|percent| (50.0..=100.0).contains(percent))
                .map(|percent| Self::Percentile(percent / 100.0))
                .ok_or_else(|| format!("'{text}' is none of auto, min-max, mse, percentile=P with P from 50 to 100")),
        }
    }
}

/// Most values of a tensor that are kept for percentiles and errors.
const KEPT_VALUES: usize = 1 << 14;

/// Clipped ranges that the least squared error is looked for among.
const CLIPS: usize = 40;

/// What was seen of one tensor.
#[derive(Debug, Clone, Default)]
pub(crate) struct Range {
    low: f32,
    high: f32,
    /// How many rows were seen.
    rows: usize,
    /// A sample, sorted once all is seen.
    kept: Vec<f32>,
}

impl Range {
    fn observe(&mut self, values: &[f32], keep: usize) {
        for value in values {
            self.low = self.low.min(*value);
            self.high = self.high.max(*value);
        }
        let stride = values.len().div_ceil(keep).max(1);
        // Another beginning each time: strides and channels often have a common factor.
        self.kept.extend(values.iter().skip(self.rows % stride).step_by(stride));
        self.rows += 1;
    }

    /// The range to represent; always holds zero.
    pub fn chosen(&self, method: Method) -> (f32, f32) {
        if self.kept.is_empty() {
            return (self.low, self.high);
        }
        match method {
            Method::Auto | Method::MinMax => (self.low, self.high),
            Method::Percentile(share) => {
                let last = self.kept.len() - 1;
                let at = |share: f64| self.kept[((last as f64) * share).round() as usize];
                // The sample may miss the ends.
                let (low, high) = if share >= 1.0 { (self.low, self.high) } else { (at(1.0 - share), at(share)) };
                (low.min(0.0), high.max(0.0))
            }
            Method::Mse => self.least_error(),
        }
    }

    /// First the upper end, then the lower one: outliers are rarely on both sides alike.
    fn least_error(&self) -> (f32, f32) {
        let mut best = (self.low, self.high);
        let mut least = self.error(best);
        for upper in [true, false] {
            for step in 1..CLIPS {
                let share = step as f32 / CLIPS as f32;
                let range = if upper { (best.0, self.high * share) } else { (self.low * share, best.1) };
                let error = self.error(range);
                if error < least {
                    (best, least) = (range, error);
                }
            }
        }
        best
    }

    fn error(&self, (low, high): (f32, f32)) -> f64 {
        let step = (f64::from(high) - f64::from(low)) / 255.0;
        if step <= 0.0 {
            return f64::INFINITY;
        }
        let of = |value: &f32| {
            let value = f64::from(*value);
            let there = ((value - f64::from(low)) / step).round().clamp(0.0, 255.0) * step + f64::from(low);
            (value - there).powi(2)
        };
        self.kept.iter().map(of).sum()
    }
}

/// Runs the calibration inputs through the float network.
pub(crate) fn observe(graph: &Graph, calibration: &[Vec<f32>]) -> Result<Vec<Range>, QuantizeError> {
    if calibration.is_empty() {
        return Err(QuantizeError::NoCalibration);
    }
    let expected = graph.tensors[graph.input].len();
    let keep = (KEPT_VALUES / calibration.len()).max(1);
    let mut ranges = vec![Range::default(); graph.tensors.len()];
    for input in calibration {
        if input.len() != expected {
            return Err(QuantizeError::InputLength { found: input.len(), expected });
        }
        let values = float::run_all(graph, input);
        for (range, values) in ranges.iter_mut().zip(&values) {
            range.observe(values, keep);
        }
        for node in &graph.nodes {
            if values[node.output].iter().any(|value| !value.is_finite()) {
                return Err(QuantizeError::NotFinite { layer: node.name.clone() });
            }
        }
    }
    for range in &mut ranges {
        range.kept.sort_unstable_by(f32::total_cmp);
    }
    Ok(ranges)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn methods_are_written_as_they_are_read() {
        for text in ["auto", "min-max", "mse", "percentile=99.9", "percentile=99.99"] {
            assert_eq!(text.parse::<Method>().unwrap().to_string(), text);
        }
        for text in ["", "percentile", "percentile=12", "percentile=x", "best"] {
            assert!(text.parse::<Method>().unwrap_err().contains("percentile=P"), "{text}");
        }
    }

    #[test]
    fn rare_outliers_are_clipped_where_that_costs_less() {
        let mut range = Range::default();
        let values: Vec<f32> = (0..100_000).map(|at| (at % 200) as f32 / 100.0 - 1.0).chain([2.0]).collect();
        range.observe(&values, usize::MAX);
        range.kept.sort_unstable_by(f32::total_cmp);
        assert_eq!(range.chosen(Method::MinMax), (-1.0, 2.0));
        assert!(range.chosen(Method::Percentile(0.999)).1 < 1.1);
        let (low, high) = range.chosen(Method::Mse);
        assert!(low < -0.9 && high < 1.9, "{low} {high}");
    }
}
