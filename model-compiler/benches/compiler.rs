//! What generated C costs on a Cortex-M4, against TensorFlow Lite Micro, and on cores without DSP instructions:
//! instructions, flash, arena, stack. The answers to the golden vectors are compared on the board.
//!
//! `cargo xtask bench compiler` prints the table and writes it to docs/compiler-benchmark.md.

#![allow(clippy::unwrap_used, missing_docs)]

#[path = "chip/mod.rs"]
mod chip;

use std::fmt::Write as _;
use std::path::Path;
use std::time::Instant;

use model_compiler::dataset::{DatasetLimits, Split, from_csv};
use model_compiler::estimate::{self, Cost};
use model_compiler::evaluate::quantize_input;
use model_compiler::import::{self, ImportLimits};
use model_compiler::optimize::{self, Optimize};
use model_compiler::qir::QuantGraph;
use model_compiler::quantize::{QuantizeOptions, quantize};
use model_compiler::{codegen, reference};

/// A model and what TensorFlow Lite Micro needs for it, reference kernels and CMSIS-NN: measured once on this board in
/// QEMU with gcc 12.2 (core at -Os, kernels at -O2), with the same timer; flash with the model, less an empty harness.
struct Peer {
    name: &'static str,
    flash: (u64, u64),
    arena: (u64, u64),
    instructions: (f64, f64),
}

const PEERS: [Peer; 5] = [
    peer("hello_world", (23_000, 30_680), (676, 772), (5_200.0, 3_500.0)),
    peer("kws", (95_220, 107_164), (22_772, 22_820), (43.04e6, 7.70e6)),
    peer("ad", (297_272, 304_952), (2_260, 2_580), (1.95e6, 0.58e6)),
    peer("ic", (146_560, 152_024), (54_340, 54_996), (107.4e6, 29.86e6)),
    peer("person_detect", (337_556, 344_060), (82_292, 82_308), (95.7e6, 22.93e6)),
];

const fn peer(name: &'static str, flash: (u64, u64), arena: (u64, u64), instructions: (f64, f64)) -> Peer {
    Peer { name, flash, arena, instructions }
}

/// Shares of CMSIS-NN's figures that we want to stay within.
const INSTRUCTIONS_SHARE: f64 = 0.6;
const ARENA_SHARE: f64 = 0.7;
/// Flash beside weights and biases, bytes.
const FLASH_BESIDE: u64 = 10 * 1024;
/// The same on an AVR.
const AVR_BESIDE: u64 = 6 * 1024;

fn main() {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let models = project.join("../shared/models");
    let missing = chip::CORTEX_M4.missing();
    if !missing.is_empty() || !models.is_dir() {
        println!("cannot measure: needed are {missing:?} and a folder with models, ../shared/models");
        return;
    }
    let mut rows = String::new();
    let mut misses = String::new();
    let mut estimates = String::new();
    let mut modes = String::new();
    for peer in &PEERS {
        let read = |end: &str| std::fs::read(models.join(format!("{}.{end}", peer.name)));
        let (Ok(file), Ok(inputs), Ok(answers)) = (read("tflite"), read("inputs.bin"), read("outputs.bin")) else {
            println!("{}: no such model here", peer.name);
            continue;
        };
        let started = Instant::now();
        let graph = import::tflite(&file, &ImportLimits::default()).unwrap();
        let imported = graph;
        let (graph, plan) = optimize::optimized(&imported, Optimize::Speed);
        let sources = codegen::c99(&graph, &plan, peer.name);
        let compile_ms = started.elapsed().as_secs_f64() * 1e3;
        let vectors = inputs.len() / graph.tensors[graph.input].len();
        let measured = chip::CORTEX_M4.measure(&sources, &inputs, &answers, vectors);

        let live = live(&graph);
        let arena = plan.arena_bytes as u64;
        let share = |ours: f64, theirs: f64| format!("{:.2}", ours / theirs);
        let instructions = measured.instructions as f64;
        let _ = writeln!(
            rows,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {compile_ms:.0} |",
            peer.name,
            measured.different,
            millions(instructions),
            share(instructions, peer.instructions.1),
            share(instructions, peer.instructions.0),
            measured.flash,
            measured.flash as i64 - live as i64,
            share(measured.flash as f64, peer.flash.1 as f64),
            arena,
            share(arena as f64, peer.arena.1 as f64),
            measured.stack,
        );
        let mut miss = |what: &str, ours: f64, limit: f64| {
            if ours > limit {
                let _ = writeln!(misses, "- {}: {what} {ours:.0}, wanted at most {limit:.0}", peer.name);
            }
        };
        miss("instructions", instructions, INSTRUCTIONS_SHARE * peer.instructions.1);
        let tables: usize =
            graph.nodes.iter().filter_map(|node| node.op.linear()).map(|linear| 5 * linear.requant.len()).sum();
        let flash = format!("flash (multipliers and shifts of its output channels take {tables} of them)");
        miss(&flash, measured.flash as f64, (live + FLASH_BESIDE) as f64);
        miss("arena", arena as f64, ARENA_SHARE * peer.arena.1 as f64);
        miss("bytes that differ", measured.different as f64, 0.0);
        for mode in optimize::Optimize::ALL {
            let (graph, plan) = optimize::optimized(&imported, mode);
            let sources = codegen::c99(&graph, &plan, peer.name);
            let measured = chip::CORTEX_M4.measure(&sources, &inputs, &answers, vectors);
            let _ = writeln!(
                modes,
                "| {} | {} | {} | {} | {} | {} | {} | {} |",
                peer.name,
                format!("{mode:?}").to_lowercase(),
                measured.different,
                millions(measured.instructions as f64),
                measured.flash,
                measured.flash as i64 - live as i64,
                plan.arena_bytes,
                measured.stack,
            );
        }
        let cost = Cost::of(&graph, &plan);
        let guess = estimate::figures(&cost, chip::CORTEX_M4.core);
        let _ = writeln!(
            estimates,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            peer.name,
            millions(guess.instructions as f64),
            millions(instructions),
            percent(guess.instructions, measured.instructions),
            guess.flash_bytes,
            measured.flash,
            percent(guess.flash_bytes, measured.flash),
            guess.stack_bytes,
            measured.stack,
        );
    }
    if misses.is_empty() {
        misses.push_str("None.\n");
    }
    let text = format!(
        "# Generated C against TensorFlow Lite Micro\n\n\
         Written by `cargo xtask bench compiler`. Cortex-M4 in QEMU (`-M mps2-an386 -icount shift=0,sleep=off`), \
         instructions by the board's timer, gcc flags `{}`. Every model answers its golden vectors on the board; bytes \
         that differ are counted. Shares are of TensorFlow Lite Micro with CMSIS-NN, and of its reference kernels where \
         a column says so; its figures were measured once on the same board with gcc 12.2, core at -Os and kernels \
         at -O2. Flash is the whole firmware less one without a model; beside means flash less weights and biases \
         (one byte and four bytes each). Stack is the deepest of an inference, `tml_invoke` included; its estimate is a \
         bound.\n\n\
         | model | bytes that differ | instructions | share | share of reference | flash | beside | share | arena | share \
         | stack | compiled, ms |\n|---|---|---|---|---|---|---|---|---|---|---|---|\n{rows}\n\
         ## Targets missed\n\nInstructions at most {INSTRUCTIONS_SHARE} and arena at most {ARENA_SHARE} of CMSIS-NN, \
         flash at most weights and biases and {FLASH_BESIDE} B.\n\n{misses}\n\
         ## Speed, size or RAM\n\nWhat `--optimize` trades on the same board; the answers are the same.\n\n| model | \
         optimize | bytes that differ | instructions | flash | beside | arena | stack |\n|---|---|---|---|---|---|---|---|\n\
         {modes}\n\
         ## Estimate and measurement\n\n| model | instructions estimated | measured | error | flash estimated | measured \
         | error | stack estimated | measured |\n|---|---|---|---|---|---|---|---|---|\n{estimates}\n{}",
        chip::CORTEX_M4.flags.join(" "),
        others(&models),
    );
    println!("{text}");
    std::fs::write(project.join("docs/compiler-benchmark.md"), text).unwrap();
}

/// Bytes of weights and biases that are not dead.
fn live(graph: &QuantGraph) -> u64 {
    let linear = graph.nodes.iter().filter_map(|node| node.op.linear());
    linear.map(|linear| (linear.weights.len() + 4 * linear.bias.len()) as u64).sum()
}

/// A model with inputs and the answers to them.
struct Case {
    name: &'static str,
    graph: QuantGraph,
    inputs: Vec<u8>,
    answers: Vec<u8>,
}

/// The digits of this project, calibrated with their train split, and held-out ones.
fn digits() -> Case {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/digits");
    let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
    let rows = from_csv(&read("digits.csv"), &DatasetLimits::default()).unwrap();
    let inputs = |split: Split, count: usize| -> Vec<Vec<f32>> {
        rows.split(split).take(count).map(|row| row.values.iter().map(|value| value / 16.0).collect()).collect()
    };
    let graph = import::onnx(&read("digits.onnx"), &ImportLimits::default()).unwrap();
    let graph = quantize(&graph, &inputs(Split::Train, 256), &QuantizeOptions::default()).unwrap();
    let asked: Vec<Vec<i8>> = inputs(Split::Test, 16).iter().map(|input| quantize_input(&graph, input)).collect();
    let answers: Vec<i8> = asked.iter().flat_map(|input| reference::run(&graph, input).unwrap()).collect();
    let bytes = |values: Vec<i8>| values.into_iter().map(i8::cast_unsigned).collect();
    Case { name: "digits", graph, inputs: bytes(asked.concat()), answers: bytes(answers) }
}

/// Models on cores without DSP instructions: an AVR in simavr, Cortex-M0+ and M3 in QEMU.
fn others(models: &Path) -> String {
    let case = |name: &'static str| {
        let read = |end: &str| std::fs::read(models.join(format!("{name}.{end}"))).ok();
        let graph = import::tflite(&read("tflite")?, &ImportLimits::default()).unwrap();
        Some(Case { name, graph, inputs: read("inputs.bin")?, answers: read("outputs.bin")? })
    };
    let small: Vec<Case> = case("hello_world").into_iter().chain([digits()]).collect();
    let large: Vec<Case> = ["kws", "ad", "ic", "person_detect"].into_iter().filter_map(case).collect();
    let mut rows = String::new();
    for (chip, name) in [(chip::AVR, "ATmega328P"), (chip::CORTEX_M0, "Cortex-M0+"), (chip::CORTEX_M3, "Cortex-M3")] {
        let missing = chip.missing();
        if !missing.is_empty() {
            println!("{name}: not measured, needed are {missing:?}");
            continue;
        }
        // Only the small ones fit into 2 kB of RAM.
        let more: &[Case] = if chip == chip::AVR { &[] } else { &large };
        for case in small.iter().chain(more) {
            let (graph, plan) = optimize::optimized(&case.graph, Optimize::Speed);
            let vectors = case.inputs.len() / graph.tensors[graph.input].len();
            let sources = codegen::c99(&graph, &plan, case.name);
            let measured = chip.measure(&sources, &case.inputs, &case.answers, vectors);
            let guess = estimate::figures(&Cost::of(&graph, &plan), chip.core);
            let _ = writeln!(
                rows,
                "| {name} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
                case.name,
                measured.different,
                millions(measured.instructions as f64),
                millions(guess.instructions as f64),
                percent(guess.instructions, measured.instructions),
                measured.flash,
                measured.flash as i64 - live(&graph) as i64,
                guess.flash_bytes,
                percent(guess.flash_bytes, measured.flash),
                plan.arena_bytes,
                measured.stack,
                guess.stack_bytes,
            );
        }
    }
    format!(
        "## Other cores\n\nThe chip of an Arduino Uno in simavr, which counts cycles (flags `{}`); Cortex-M0+ and M3 in \
         QEMU, which counts instructions. A Cortex-M0+'s code runs on a simulated Cortex-M3, which knows all of its \
         instructions. Beside is flash less weights and biases: on the AVR at most {AVR_BESIDE} B are wanted.\n\n| core | \
         model | bytes that differ | cycles or instructions | estimated | error | flash | beside | estimated | error | \
         arena | stack | estimated |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|\n{rows}",
        chip::AVR.flags.join(" "),
    )
}

fn percent(guess: u64, is: u64) -> String {
    format!("{:+.1} %", 100.0 * (guess as f64 / is as f64 - 1.0))
}

fn millions(count: f64) -> String {
    if count < 1e5 { format!("{count:.0}") } else { format!("{:.2} M", count / 1e6) }
}
