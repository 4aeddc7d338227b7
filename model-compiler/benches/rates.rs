//! Measures what each kernel costs on each core, in simulators, and writes src/estimate/rates/measured.rs.
//!
//! A kernel runs over layers of several shapes; non-negative rates are fitted to the amounts that
//! `estimate::Work` counts, with the least relative error.

#![allow(clippy::unwrap_used, missing_docs)]

#[path = "chip/mod.rs"]
mod chip;
#[path = "rates/shapes.rs"]
mod shapes;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use chip::{AVR, CORTEX_M0, CORTEX_M3, CORTEX_M4, Chip};
use model_compiler::codegen::{self, Sources};
use model_compiler::estimate::{AMOUNTS, Cost, Family, Kernel, Work};
use model_compiler::optimize::Optimize;
use model_compiler::plan::{self, Plan};
use model_compiler::qir::{Element, QuantGraph};

/// RAM for the arena of a measured layer on the chip of an Arduino Uno, bytes.
const SMALL_ARENA: usize = 1_500;

/// Flash for its constants, bytes.
const SMALL_FLASH: u64 = 16_000;

/// A fitted kernel.
struct Fit {
    rates: [f64; AMOUNTS],
    stack: u64,
    /// Largest relative error over its shapes.
    error: f64,
}

fn main() {
    let chips = [AVR, CORTEX_M0, CORTEX_M3, CORTEX_M4];
    let missing: Vec<&str> = chips.iter().flat_map(Chip::missing).collect();
    if !missing.is_empty() {
        println!("cannot measure: needed are {missing:?}");
        return;
    }
    let only = std::env::args().skip(1).find(|word| !word.starts_with('-'));
    let mut text = String::new();
    let forms = chips.iter().flat_map(|chip| {
        // An AVR has one form only.
        let forms: &[Optimize] = if *chip == AVR { &[Optimize::Speed] } else { &[Optimize::Speed, Optimize::Size] };
        forms.iter().map(move |form| (chip, *form))
    });
    for (chip, form) in forms {
        let chosen = |kernel: &Kernel| only.as_ref().is_none_or(|only| format!("{kernel:?}").contains(only.as_str()));
        let mut flash = Flash { chip, form, known: BTreeMap::new() };
        for kernel in Kernel::ALL.iter().copied().filter(chosen) {
            let fit = fit(chip, form, kernel);
            let (code, call, shared) = flash.of(kernel);
            println!(
                "{:?} {form:?} {kernel:?}: error {:.1} %, stack {}, code {code}, call {call}, shared {shared}, {:?}",
                chip.core,
                100.0 * fit.error,
                fit.stack,
                fit.rates
            );
            let rates: Vec<String> = fit.rates.iter().map(|rate| format!("{rate:.2}")).collect();
            let _ = writeln!(
                text,
                "    row({:?}, {}, Kernel::{kernel:?}, [{}], [{}, {code}, {call}, {shared}]),",
                chip.core,
                form == Optimize::Size,
                rates.join(", "),
                fit.stack,
            );
        }
    }
    if only.is_none() {
        let text = format!(
            "//! Written by `cargo xtask bench rates`. Do not edit.\n\nuse Core::{{Avr, CortexM0, CortexM3, CortexM4}};\n\nuse \
             super::super::work::Kernel;\nuse super::{{Core, Rate, row}};\n\n/// Cortex-M in instructions, AVR in \
             cycles; then stack, code, call and shared code in bytes.\n#[rustfmt::skip]\npub(super) const MEASURED: \
             &[Rate] = &[\n{text}];\n"
        );
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/estimate/rates/measured.rs");
        std::fs::write(file, text).unwrap();
    }
}

fn planned(graph: &QuantGraph, form: Optimize) -> (Plan, Sources) {
    let plan = plan::plan_for(graph, form);
    let sources = codegen::c99(graph, &plan, "rates");
    (plan, sources)
}

fn fit(chip: &Chip, form: Optimize, kernel: Kernel) -> Fit {
    let mut samples: Vec<([f64; AMOUNTS], f64)> = Vec::new();
    let mut stack = 0;
    for graph in shapes::of(kernel) {
        let (plan, sources) = planned(&graph, form);
        if *chip == AVR && (plan.arena_bytes > SMALL_ARENA || Cost::of(&graph, &plan).constant_bytes > SMALL_FLASH) {
            continue;
        }
        let into = &graph.tensors[graph.input];
        let noise = shapes::noise(2 * into.len(), 5);
        let inputs: Vec<u8> = match into.element {
            Element::Int8 => noise,
            Element::Float32 => into.stored(noise.iter().map(|value| f32::from(*value) / 50.0)),
        }
        .iter()
        .map(|value| value.cast_unsigned())
        .collect();
        let answers = vec![0; 2 * graph.tensors[graph.output].bytes()];
        let measured = chip.measure(&sources, &inputs, &answers, 2);
        stack = stack.max(measured.stack);
        let mut amounts = [0.0; AMOUNTS];
        for node in &graph.nodes {
            let work = Work::of(&graph, node);
            assert_eq!(work.kernel, kernel, "a shape of another kernel");
            for (sum, amount) in amounts.iter_mut().zip(work.amounts) {
                *sum += amount as f64;
            }
        }
        samples.push((amounts, measured.instructions as f64));
    }
    let rates = non_negative(&samples);
    if std::env::var_os("SAMPLES").is_some() {
        for (amounts, is) in &samples {
            println!("    {:+.1} % of {is}: {amounts:?}", 100.0 * (sum(&rates, amounts) / is - 1.0));
        }
    }
    let error = samples.iter().map(|(amounts, is)| (sum(&rates, amounts) / is - 1.0).abs()).fold(0.0, f64::max);
    Fit { rates, stack, error }
}

fn sum(rates: &[f64; AMOUNTS], amounts: &[f64; AMOUNTS]) -> f64 {
    rates.iter().zip(amounts).map(|(rate, amount)| rate * amount).sum()
}

/// Rates of at least 0 with the least sum of squares of relative errors: coordinate descent.
fn non_negative(samples: &[([f64; AMOUNTS], f64)]) -> [f64; AMOUNTS] {
    let rows: Vec<[f64; AMOUNTS]> = samples.iter().map(|(amounts, is)| amounts.map(|amount| amount / is)).collect();
    let mut rates = [0.0; AMOUNTS];
    let mut rest: Vec<f64> = vec![-1.0; rows.len()];
    let norms: Vec<f64> = (0..AMOUNTS).map(|k| rows.iter().map(|row| row[k] * row[k]).sum()).collect();
    for _ in 0..40_000 {
        for k in (0..AMOUNTS).filter(|k| norms[*k] > 0.0) {
            let slope: f64 = rows.iter().zip(&rest).map(|(row, rest)| row[k] * rest).sum();
            let step = (rates[k] - slope / norms[k]).max(0.0) - rates[k];
            rates[k] += step;
            for (row, rest) in rows.iter().zip(&mut rest) {
                *rest += row[k] * step;
            }
        }
    }
    rates
}

/// Sizes of firmwares with some kernels.
struct Flash<'a> {
    chip: &'a Chip,
    form: Optimize,
    known: BTreeMap<Vec<Kernel>, i64>,
}

impl Flash<'_> {
    /// Flash beside constants of a model whose layers have these kernels.
    fn with(&mut self, kernels: &[Kernel]) -> i64 {
        if let Some(known) = self.known.get(kernels) {
            return *known;
        }
        let graphs: Vec<QuantGraph> =
            kernels.iter().enumerate().map(|(at, kernel)| shapes::of(*kernel).swap_remove(at % 2)).collect();
        let graph = shapes::joined(&graphs);
        let (plan, sources) = planned(&graph, self.form);
        let size = self.chip.flash(&sources) as i64 - Cost::of(&graph, &plan).constant_bytes as i64;
        self.known.insert(kernels.to_vec(), size);
        size
    }

    /// Code of a kernel, of its call, and what it shares with its family, bytes.
    fn of(&mut self, kernel: Kernel) -> (u64, u64, u64) {
        let (base, other) = match kernel.family() {
            Family::General => (Kernel::Rescale, Kernel::Mul),
            Family::Packed => (Kernel::ConvPacked, Kernel::DepthwisePacked),
            Family::Real => (Kernel::RealBinary, Kernel::RealLinear),
        };
        let base = if kernel.source() == base { other } else { base };
        // Shapes hold two layers each.
        let call = (self.with(&[kernel, kernel]) - self.with(&[kernel])) / 2;
        let shared = self.with(&[kernel]) + self.with(&[base]) - self.with(&[base, kernel]);
        let code = self.with(&[kernel]) - 2 * call - shared;
        let positive = |bytes: i64| u64::try_from(bytes).unwrap_or(0);
        (positive(code), positive(call), positive(shared))
    }
}
