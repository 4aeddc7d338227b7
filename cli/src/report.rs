//! The compiler's report as text: `compile`, `model compile` and `model show` print it alike.

use contract::artifact::{Calibration, CompileReport};

use crate::exit::Failure;
use crate::output::{self, print};

/// Longest name of a layer.
const NAME: usize = 40;
/// Columns of a bar.
const WIDTH: u64 = 40;
/// Rows and columns of the picture of the arena.
const ARENA_ROWS: u64 = 10;
const ARENA_COLUMNS: usize = 64;

/// Prints all of it; `board` alone where one was asked for.
pub fn show(report: &CompileReport, board: Option<&str>) -> Result<(), Failure> {
    for warning in &report.warnings {
        print(&format!("warning   {warning}"))?;
    }
    quality(report)?;
    print(&format!(
        "size      weights {}, arena {} (no plan needs less than {}), {} MACs",
        output::size(u64::from(report.weights_bytes)),
        output::size(u64::from(report.arena_bytes)),
        output::size(u64::from(report.arena_bound_bytes)),
        report.macs,
    ))?;
    print(&format!("code      best at {}; float layers: {}", report.optimize, report.mixed))?;
    if !report.times.is_empty() {
        let steps: Vec<String> = report.times.iter().map(|step| format!("{} {} ms", step.step, step.ms)).collect();
        print(&format!("time      {} ms: {}", report.compile_ms, steps.join(", ")))?;
    }
    boards(report, board)?;
    layers(report, board)?;
    sizes(report)?;
    arena(report)
}

fn quality(report: &CompileReport) -> Result<(), Failure> {
    if report.int8_accuracy.is_some() {
        let float = report.float_accuracy.map(|share| format!("float {}, ", output::share(Some(share))));
        print(&format!(
            "accuracy  {}{} {} of {} held-out rows",
            float.unwrap_or_default(),
            report.element(),
            output::share(report.int8_accuracy),
            report.evaluated
        ))?;
    }
    if let Some(outputs) = &report.outputs {
        let mut parts = Vec::new();
        let mut add = |value: Option<f64>, text: &dyn Fn(f64) -> String| parts.extend(value.map(text));
        let element = report.element();
        add(outputs.mse, &|mse| format!("{element} against float: mean squared error {mse:.3e}"));
        add(outputs.largest, &|value| format!("largest difference {value:.4}"));
        add(outputs.sqnr_db, &|db| format!("SQNR {db:.1} dB"));
        add(outputs.agreement, &|share| format!("the same label in {}", output::share(Some(share))));
        add(outputs.float_target_mse, &|mse| format!("float against targets {mse:.3e}"));
        add(outputs.int8_target_mse, &|mse| format!("{element} against targets {mse:.3e}"));
        print(&format!("outputs   {}", parts.join(", ")))?;
    }
    if report.evaluated == 0 {
        print("accuracy  unknown: no example was held out to measure it")?;
    }
    match report.calibration {
        _ if report.is_float() => print("computed  in 32-bit floats: nothing is quantized"),
        Calibration::None => print("quantized by the model file itself"),
        Calibration::Random => print(&format!("quantized with {} random inputs", report.calibrated)),
        Calibration::Dataset => print(&format!("quantized with {} rows", report.calibrated)),
    }?;
    let Some(found) = &report.quantization else { return Ok(()) };
    let biases = |corrected: bool| if corrected { "+bias" } else { "" };
    let adjusted = match found.adjusted_tensors {
        0 => String::new(),
        count => format!(", then {count} tensors by other methods"),
    };
    let tried: Vec<String> = found
        .tried
        .iter()
        .map(|tried| {
            let db = tried.sqnr_db.map_or_else(|| "-".to_owned(), |db| format!("{db:.1} dB"));
            format!("{}{} {db}", tried.method, biases(tried.bias_correction))
        })
        .collect();
    let reached = found.sqnr_db.map(|db| format!(": {db:.1} dB")).unwrap_or_default();
    print(&format!("ranges    {}{}{adjusted}{reached}", found.method, biases(found.bias_correction)))?;
    if found.equalized_pairs > 0 {
        print(&format!("          channels of {} pairs of layers equalized", found.equalized_pairs))?;
    }
    if !found.float_layers.is_empty() {
        print(&format!("float     {}: these layers stay in 32-bit floats", found.float_layers.join(", ")))?;
    }
    print(&format!("          of {}", tried.join(", ")))
}

fn boards(report: &CompileReport, only: Option<&str>) -> Result<(), Failure> {
    let rows: Vec<Vec<String>> = report
        .boards
        .iter()
        .filter(|board| only.is_none_or(|only| only == board.board))
        .map(|board| {
            vec![
                board.board.clone(),
                format!("{} of {}", output::size(board.flash_bytes), output::size(board.flash_total)),
                format!("{} of {}", output::size(board.ram_bytes), output::size(board.ram_total)),
                output::size(board.stack_bytes),
                thousands(board.instructions),
                board.latency_us.map_or_else(|| "-".to_owned(), duration),
                board.verdict.clone(),
            ]
        })
        .collect();
    print("")?;
    output::table(
        &["BOARD", "FLASH", "RAM", "STACK", "INSTRUCTIONS", "LATENCY", "VERDICT"],
        &rows,
        "No board estimates.",
    )
}

/// A count for people: `900`, `21 k`, `4.5 M`.
fn thousands(count: u64) -> String {
    match count {
        0..10_000 => count.to_string(),
        10_000..1_000_000 => format!("{} k", (count + 500) / 1_000),
        _ => format!("{}.{} M", count / 1_000_000, count % 1_000_000 / 100_000),
    }
}

fn duration(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..1_000_000 => format!("{}.{} ms", us / 1_000, us % 1_000 / 100),
        _ => format!("{}.{} s", us / 1_000_000, us % 1_000_000 / 100_000),
    }
}

/// The core on which layers are shown where no board is asked for.
const CORE: &str = "cortex-m4";

/// Layer by layer; instructions are those of the board's core.
fn layers(report: &CompileReport, board: Option<&str>) -> Result<(), Failure> {
    let board = report.boards.iter().find(|one| Some(one.board.as_str()) == board);
    let core = board.map_or(CORE, |board| board.core.as_str());
    let measured = report.layers.iter().filter_map(|layer| layer.own_sqnr_db.or(layer.sqnr_db));
    let worst = measured.fold(f64::INFINITY, f64::min);
    let rows: Vec<Vec<String>> = report
        .layers
        .iter()
        .map(|layer| {
            let own = layer.own_sqnr_db.or(layer.sqnr_db);
            let mark = |db: f64| if db <= worst { "  <- worst" } else { "" };
            vec![
                short(&layer.name),
                layer.op.clone(),
                layer.shape.iter().map(ToString::to_string).collect::<Vec<_>>().join("x"),
                layer.macs.to_string(),
                layer.instructions.get(core).map_or_else(|| "-".to_owned(), |count| thousands(*count)),
                output::size(u64::from(layer.weights_bytes)),
                layer.sqnr_db.map_or_else(|| "-".to_owned(), |db| format!("{db:.1} dB")),
                own.map_or_else(|| "-".to_owned(), |db| format!("{db:.1} dB{}", mark(db))),
            ]
        })
        .collect();
    print("")?;
    let on = core.to_uppercase();
    output::table(&["LAYER", "OPERATOR", "OUTPUT", "MACS", &on, "WEIGHTS", "SQNR", "OWN"], &rows, "No layers.")
}

/// The end of a long name: converters join what they have fused, the last part is the layer's own.
fn short(name: &str) -> String {
    let name = name.rsplit(';').next().unwrap_or(name);
    let count = name.chars().count();
    if count <= NAME {
        return name.to_owned();
    }
    format!("…{}", name.chars().skip(count + 1 - NAME).collect::<String>())
}

fn sizes(report: &CompileReport) -> Result<(), Failure> {
    let mut rows = vec![("model file", report.source_bytes)];
    if report.float_weights_bytes > 0 {
        rows.push(("weights, float", report.float_weights_bytes));
    }
    rows.push(("weights", u64::from(report.weights_bytes)));
    let most = rows.iter().map(|(_, bytes)| *bytes).max().unwrap_or(1).max(1);
    print("")?;
    rows.iter().try_for_each(|(name, bytes)| {
        let full = usize::try_from((bytes * WIDTH).div_ceil(most)).unwrap_or(0);
        print(&format!("{name:14}  {:8}  {}", output::size(*bytes), "#".repeat(full)))
    })
}

/// Time goes to the right, one column a step; addresses go up.
fn arena(report: &CompileReport) -> Result<(), Failure> {
    let steps = report.layers.len() + 2;
    let arena = u64::from(report.arena_bytes);
    if report.buffers.is_empty() || arena == 0 {
        return Ok(());
    }
    let columns = steps.min(ARENA_COLUMNS);
    print("")?;
    print(&format!("arena over {steps} steps, {} high; each letter is a buffer:", output::size(arena)))?;
    for row in (0..ARENA_ROWS).rev() {
        let at = (2 * row + 1) * arena / (2 * ARENA_ROWS);
        let cell = |column: usize| {
            let step = column * steps / columns;
            let there = report.buffers.iter().rposition(|buffer| {
                let bytes = u64::from(buffer.offset)..u64::from(buffer.offset) + u64::from(buffer.bytes);
                buffer.first as usize <= step && step <= buffer.last as usize && bytes.contains(&at)
            });
            // Letters repeat: neighbours differ.
            there.map_or('.', |index| char::from(b'a' + u8::try_from(index % 26).unwrap_or(0)))
        };
        print(&format!("  |{}", (0..columns).map(cell).collect::<String>()))?;
    }
    print(&format!("  +{}", "-".repeat(columns)))
}
