//! What pages say of a compile report: the figure that matters most, and rows with bars.

use contract::artifact::{Calibration, CompileReport, LayerReport, QuantizationReport};

use crate::view::{Real, count, percent};

/// An SQNR that fills a bar, in dB: better is not to be told apart.
const FULL_DB: f64 = 60.0;
/// Below this many dB an output is hardly its float one's.
const BAD_DB: f64 = 10.0;
/// Below this many dB it is worth a look.
const LOW_DB: f64 = 20.0;

/// The core for which layers show their instructions, as reports name it.
const CORE: &str = "cortex-m4";

/// How good the compiled model is, in the figure that its data allow.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Quality {
    pub(crate) name: &'static str,
    pub(crate) value: String,
    pub(crate) more: String,
}

/// Right answers of a classifier, the error of a model with targets, else the distance from the float model.
pub(crate) fn quality(report: &CompileReport) -> Quality {
    let held_out = format!("{} held out", count(report.evaluated));
    if let Some(accuracy) = report.int8_accuracy {
        let float = report.float_accuracy.map(|share| format!("float: {}, ", percent(share))).unwrap_or_default();
        return Quality {
            name: if report.is_float() { "Right" } else { "Right as int8" },
            value: percent(accuracy),
            more: format!("{float}{held_out}"),
        };
    }
    let outputs = report.outputs.as_ref();
    if let Some(mse) = outputs.and_then(|outputs| outputs.int8_target_mse) {
        let float = outputs.and_then(|outputs| outputs.float_target_mse);
        let float = float.map(|mse| format!(", float: {}", number(mse))).unwrap_or_default();
        let more = format!("mean squared{float}; {held_out}");
        return Quality { name: if report.is_float() { "Error" } else { "Error as int8" }, value: number(mse), more };
    }
    if let Some(db) = outputs.and_then(|outputs| outputs.sqnr_db) {
        return Quality { name: "Against the float model", value: decibels(db), more: format!("SQNR, {held_out}") };
    }
    let more = "no example was held out to measure it".to_owned();
    Quality { name: "Accuracy", value: "unknown".to_owned(), more }
}

/// `0.0123`, `1.20e-5`: three digits that matter.
pub(crate) fn number(value: f64) -> String {
    let size = value.abs();
    match size {
        0.0 => "0".to_owned(),
        _ if !(1e-3..1e5).contains(&size) => format!("{value:.2e}"),
        _ if size < 1.0 => format!("{value:.4}"),
        _ if size < 100.0 => format!("{value:.2}"),
        _ => format!("{value:.0}"),
    }
}

/// `38.2 dB`.
pub(crate) fn decibels(db: impl Real) -> String {
    format!("{:.1} dB", db.real())
}

/// What an SQNR looks like as a bar.
#[derive(Debug, PartialEq)]
pub(crate) struct Noise {
    pub(crate) text: String,
    /// Percent of the bar.
    pub(crate) share: u64,
    pub(crate) tone: &'static str,
}

fn noise(db: f64) -> Noise {
    let tone = match db {
        _ if db < BAD_DB => "bad",
        _ if db < LOW_DB => "busy",
        _ => "good",
    };
    // Within 0 and 100 by then.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let share = (db / FULL_DB * 100.0).clamp(1.0, 100.0) as u64;
    Noise { text: decibels(db), share, tone }
}

/// A layer with its place in the order.
pub(crate) struct LayerRow<'a> {
    pub(crate) number: usize,
    pub(crate) layer: &'a LayerReport,
    /// The last part of a name that a converter joined of many.
    pub(crate) name: &'a str,
    pub(crate) noise: Option<Noise>,
    /// Instructions on [`CORE`].
    pub(crate) instructions: Option<u64>,
    /// What it would lose if all before it were exact.
    pub(crate) own: Option<String>,
    /// Whether no other layer loses more by itself.
    pub(crate) worst: bool,
}

/// The layers in order; the one that loses most by itself is marked where more than one was measured.
pub(crate) fn layers(report: &CompileReport) -> Vec<LayerRow<'_>> {
    let own = |layer: &LayerReport| layer.own_sqnr_db.or(layer.sqnr_db);
    let measured = || report.layers.iter().filter_map(own);
    let least = measured().fold(f64::INFINITY, f64::min);
    let several = measured().nth(1).is_some();
    let mut marked = false;
    let row = |(index, layer)| {
        let layer: &LayerReport = layer;
        let worst = several && !marked && own(layer).is_some_and(|db| db <= least);
        marked |= worst;
        let name = layer.name.rsplit(';').next().unwrap_or(&layer.name);
        LayerRow {
            number: index + 1,
            layer,
            name,
            noise: layer.sqnr_db.map(noise),
            instructions: layer.instructions.get(CORE).copied(),
            own: layer.own_sqnr_db.map(decibels),
            worst,
        }
    };
    report.layers.iter().enumerate().map(row).collect()
}

/// A bar of the size chart.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SizeRow {
    pub(crate) name: &'static str,
    pub(crate) bytes: u64,
    pub(crate) tone: &'static str,
    /// Percent of the longest.
    pub(crate) share: u64,
}

/// Sizes before and after quantization.
pub(crate) fn sizes(report: &CompileReport) -> Vec<SizeRow> {
    let all = [
        ("model file", report.source_bytes, "busy"),
        ("weights, float", report.float_weights_bytes, "busy"),
        ("weights, compiled", u64::from(report.weights_bytes), "good"),
    ];
    let most = all.iter().map(|(_, bytes, _)| *bytes).max().unwrap_or(0);
    let row = |(name, bytes, tone)| SizeRow { name, bytes, tone, share: crate::view::share(bytes, most) };
    all.into_iter().filter(|(_, bytes, _)| *bytes > 0).map(row).collect()
}

/// How many times smaller the weights became; `None` for files that were int8.
pub(crate) fn shrunk(report: &CompileReport) -> Option<String> {
    // Sizes are far below 2^53.
    #[allow(clippy::cast_precision_loss)]
    let ratio = report.float_weights_bytes as f64 / f64::from(report.weights_bytes.max(1));
    (report.float_weights_bytes > 0).then(|| format!("{ratio:.1}"))
}

/// A method that was tried.
pub(crate) struct TriedRow {
    pub(crate) name: String,
    pub(crate) noise: Option<Noise>,
    pub(crate) won: bool,
}

/// All methods that were tried, and the one that won.
pub(crate) fn tried(found: &QuantizationReport) -> Vec<TriedRow> {
    let row = |tried: &contract::artifact::TriedMethod| TriedRow {
        name: method(&tried.method, tried.bias_correction),
        noise: tried.sqnr_db.map(noise),
        won: tried.method == found.method && tried.bias_correction == found.bias_correction,
    };
    found.tried.iter().map(row).collect()
}

/// `mse with bias correction`.
pub(crate) fn method(name: &str, bias_correction: bool) -> String {
    if bias_correction { format!("{name}, biases corrected") } else { name.to_owned() }
}

/// What the ranges of the int8 values come from.
pub(crate) fn calibration(report: &CompileReport) -> String {
    match report.calibration {
        _ if report.is_float() => "Nothing is quantized: all of it computes in 32-bit floats.".to_owned(),
        Calibration::None => "The file was int8 already: its own scales are used.".to_owned(),
        Calibration::Random => format!("Ranges are guesses from {} random inputs.", count(report.calibrated)),
        Calibration::Dataset => format!("Ranges come from {} rows of the dataset.", count(report.calibrated)),
    }
}

/// Names and values of what is known of the outputs.
pub(crate) fn outputs(report: &CompileReport) -> Vec<(&'static str, String)> {
    let Some(outputs) = &report.outputs else { return Vec::new() };
    let all = [
        ("Signal to quantization noise", outputs.sqnr_db.map(decibels)),
        ("Mean squared difference", outputs.mse.map(number)),
        ("Largest difference", outputs.largest.map(number)),
        ("The same label", outputs.agreement.map(percent)),
        ("Float against targets, squared", outputs.float_target_mse.map(number)),
        ("Compiled against targets, squared", outputs.int8_target_mse.map(number)),
    ];
    all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

#[cfg(test)]
mod tests {
    use contract::artifact::OutputReport;

    use super::*;

    #[test]
    fn the_figure_follows_what_the_data_allow() {
        let mut report = CompileReport { evaluated: 1200, ..CompileReport::default() };
        assert_eq!((quality(&report).name, quality(&report).value.as_str()), ("Accuracy", "unknown"));
        report.outputs = Some(OutputReport { sqnr_db: Some(31.26), ..OutputReport::default() });
        assert_eq!(
            (quality(&report).value.as_str(), quality(&report).more.as_str()),
            ("31.3 dB", "SQNR, 1,200 held out")
        );
        report.outputs = Some(OutputReport {
            float_target_mse: Some(0.01),
            int8_target_mse: Some(0.012_34),
            ..OutputReport::default()
        });
        let found = quality(&report);
        assert_eq!((found.name, found.value.as_str()), ("Error as int8", "0.0123"));
        assert_eq!(found.more, "mean squared, float: 0.0100; 1,200 held out");
        report.int8_accuracy = Some(0.5);
        assert_eq!(quality(&report).value, "50.0%");
    }

    #[test]
    fn the_worst_layer_is_one() {
        let layer = |sqnr_db| LayerReport {
            name: "a;b".into(),
            op: String::new(),
            shape: Vec::new(),
            macs: 0,
            weights_bytes: 0,
            float: false,
            instructions: [("cortex-m4".to_owned(), 7)].into(),
            sqnr_db,
            own_sqnr_db: None,
        };
        let report = CompileReport {
            layers: [Some(30.0), None, Some(9.0), Some(9.0)].map(layer).into(),
            ..CompileReport::default()
        };
        let rows = layers(&report);
        assert_eq!(rows.iter().map(|row| row.worst).collect::<Vec<_>>(), [false, false, true, false]);
        assert_eq!((rows[0].name, rows[2].number, rows[1].instructions), ("b", 3, Some(7)));
        assert_eq!(rows[2].noise, Some(Noise { text: "9.0 dB".into(), share: 15, tone: "bad" }));
    }

    #[test]
    fn numbers_keep_three_digits() {
        let texts = [0.0, 1.23e-5, 0.0123, 1.5, 1234.5, 1e9].map(number);
        assert_eq!(texts, ["0", "1.23e-5", "0.0123", "1.50", "1234", "1.00e9"]);
    }
}
