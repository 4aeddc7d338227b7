//! Generated C on simulated chips: kernels with DSP instructions, and those of an 8-bit chip, which no other test runs.

use model_compiler::estimate::{self, Cost};
use model_compiler::import::{self, ImportLimits};
use model_compiler::optimize::{self, Optimize};
use model_compiler::plan::Plan;
use model_compiler::qir::QuantGraph;
use model_compiler::{codegen, reference};

use crate::chip::{AVR, CORTEX_M0, CORTEX_M3, CORTEX_M4, Chip, Measured};
use crate::common::{DIGITS, random_inputs, shared_models};

/// True if this machine has what the chip needs.
pub fn usable(chip: &Chip) -> bool {
    let missing = chip.missing();
    if !missing.is_empty() {
        eprintln!("SKIPPED: no {missing:?} on this machine, nothing ran on {:?}", chip.core);
    }
    missing.is_empty()
}

/// The stack that is promised for a model is never passed.
fn within(name: &str, chip: &Chip, graph: &QuantGraph, plan: &Plan, measured: &Measured) {
    let promised = estimate::figures(&Cost::of(graph, plan), chip.core).stack_bytes;
    println!("    stack: promised {promised} B, measured {} B", measured.stack);
    assert!(
        measured.stack <= promised,
        "{name} on {:?}: {} B of stack, promised {promised}",
        chip.core,
        measured.stack
    );
}

fn show(name: &str, optimize: Optimize, chip: &Chip, measured: &Measured) {
    let Measured { instructions, stack, flash, .. } = measured;
    println!(
        "{name} for {optimize:?} on {:?}: {instructions} instructions, stack {stack} B, flash {flash} B",
        chip.core
    );
}

fn bytes(values: &[i8]) -> Vec<u8> {
    values.iter().map(|value| value.cast_unsigned()).collect()
}

fn golden_vectors_agree(chip: &Chip, names: &[&str]) {
    let Some(models) = shared_models() else {
        eprintln!("SKIPPED: no shared/models beside the project: no .tflite file ran on {:?}", chip.core);
        return;
    };
    if !usable(chip) {
        return;
    }
    for name in names {
        let read = |end: &str| std::fs::read(models.join(format!("{name}.{end}"))).unwrap();
        let graph = import::tflite(&read("tflite"), &ImportLimits::default()).unwrap();
        let (inputs, answers) = (read("inputs.bin"), read("outputs.bin"));
        let vectors = inputs.len() / graph.tensors[graph.input].len();
        for optimize in optimize::Optimize::ALL {
            let (graph, plan) = optimize::optimized(&graph, optimize);
            let measured = chip.measure(&codegen::c99(&graph, &plan, name), &inputs, &answers, vectors);
            show(name, optimize, chip, &measured);
            assert_eq!(measured.different, 0, "{name} for {optimize:?}");
            within(name, chip, &graph, &plan, &measured);
        }
    }
}

#[test]
fn the_digits_differ_in_no_byte_on_any_chip() {
    let graph = &DIGITS.quantized;
    let inputs = random_inputs(16, 64, 3);
    let answers: Vec<i8> = inputs.iter().flat_map(|input| reference::run(graph, input).unwrap()).collect();
    for chip in [CORTEX_M0, CORTEX_M3, CORTEX_M4, AVR] {
        if !usable(&chip) {
            continue;
        }
        for optimize in optimize::Optimize::ALL {
            let (graph, plan) = optimize::optimized(graph, optimize);
            let sources = codegen::c99(&graph, &plan, "digits");
            let measured = chip.measure(&sources, &bytes(&inputs.concat()), &bytes(&answers), 16);
            show("digits", optimize, &chip, &measured);
            assert_eq!(measured.different, 0, "{:?} for {optimize:?}", chip.core);
            within("digits", &chip, &graph, &plan, &measured);
        }
    }
}

#[test]
fn golden_vectors_of_real_models_differ_in_no_byte_on_a_cortex_m4() {
    golden_vectors_agree(&CORTEX_M4, &["hello_world", "kws", "ad", "ic", "person_detect"]);
}

#[test]
fn golden_vectors_of_a_real_model_differ_in_no_byte_on_an_avr() {
    golden_vectors_agree(&AVR, &["hello_world"]);
}

#[test]
fn golden_vectors_of_real_models_differ_in_no_byte_on_a_cortex_m0_and_m3() {
    golden_vectors_agree(&CORTEX_M0, &["hello_world", "ad"]);
    golden_vectors_agree(&CORTEX_M3, &["hello_world", "ad"]);
}
