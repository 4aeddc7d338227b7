//! Generated C on a Cortex-M4 in QEMU: the kernels with DSP instructions, which no other test runs.

use model_compiler::import::{self, ImportLimits};
use model_compiler::{codegen, plan, reference};

use crate::common::{DIGITS, random_inputs, shared_models};
use crate::cortex_m4;

/// True if this machine has what the board needs.
fn board() -> bool {
    let missing = cortex_m4::missing();
    if !missing.is_empty() {
        eprintln!("SKIPPED: no {missing:?} on this machine, nothing ran on a Cortex-M4");
    }
    missing.is_empty()
}

fn show(name: &str, measured: &cortex_m4::Measured) {
    let cortex_m4::Measured { instructions, stack, flash, .. } = measured;
    println!("{name} on a Cortex-M4: {instructions} instructions, stack {stack} B, flash {flash} B");
}

fn bytes(values: &[i8]) -> Vec<u8> {
    values.iter().map(|value| value.cast_unsigned()).collect()
}

#[test]
fn the_digits_differ_in_no_byte_on_a_cortex_m4() {
    if !board() {
        return;
    }
    let graph = &DIGITS.quantized;
    let sources = codegen::c99(graph, &plan::plan(graph), "digits");
    let inputs = random_inputs(64, 64, 3);
    let answers: Vec<i8> = inputs.iter().flat_map(|input| reference::run(graph, input).unwrap()).collect();
    let folder = tempfile::tempdir().unwrap();
    let measured = cortex_m4::measure(folder.path(), &sources, &bytes(&inputs.concat()), &bytes(&answers), 64);
    show("digits", &measured);
    assert_eq!(measured.different, 0);
}

#[test]
fn golden_vectors_of_real_models_differ_in_no_byte_on_a_cortex_m4() {
    let Some(models) = shared_models() else {
        eprintln!("SKIPPED: no shared/models beside the project: no .tflite file ran on a Cortex-M4");
        return;
    };
    if !board() {
        return;
    }
    for name in ["hello_world", "kws", "ad", "ic", "person_detect"] {
        let read = |end: &str| std::fs::read(models.join(format!("{name}.{end}"))).unwrap();
        let graph = import::tflite(&read("tflite"), &ImportLimits::default()).unwrap();
        let plan = plan::plan(&graph);
        let sources = codegen::c99(&graph, &plan, name);
        let (inputs, answers) = (read("inputs.bin"), read("outputs.bin"));
        let vectors = inputs.len() / graph.tensors[graph.input].len();
        let folder = tempfile::tempdir().unwrap();
        let measured = cortex_m4::measure(folder.path(), &sources, &inputs, &answers, vectors);
        show(name, &measured);
        assert_eq!(measured.different, 0, "{name}");
    }
}
