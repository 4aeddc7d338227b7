//! Real int8 models on simulated chips. What they must answer is what TFLite's reference kernels answered, byte for byte:
//! these vectors stand in the artifact in the place of the compiler's own.

use std::path::{Path, PathBuf};

use model_compiler::artifact::{self, Contents};
use model_compiler::import::{self, ImportLimits};
use model_compiler::{CompileOptions, Data, codegen, compile, optimize};
use serde_json::Value;
use virtual_board::simulator::Arduino;

use crate::bench::{Bench, CHIP};
use crate::model::{self, Model};

/// The model with this name as an artifact with so many of its vectors, if it is on this machine.
fn real(test: &str, name: &str, vectors: usize) -> Option<Model> {
    let folder =
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().and_then(Path::parent).map(|dir| dir.join("shared/models"));
    let file =
        |end: &str| folder.as_deref().map(|dir: &Path| dir.join(format!("{name}.{end}"))).filter(|path| path.is_file());
    let [Some(tflite), Some(inputs), Some(outputs)] = ["tflite", "inputs.bin", "outputs.bin"].map(file) else {
        eprintln!("SKIPPED {test}: {name}.tflite and its vectors are not in ../shared/models");
        return None;
    };
    let read = |path: PathBuf| std::fs::read(path).unwrap();
    let tflite = read(tflite);
    let compiled = compile(&tflite, Data::None, &CompileOptions::new(name), &mut |_| {}).unwrap();
    let graph = import::tflite(&tflite, &ImportLimits::default()).unwrap();
    let (graph, plan) = optimize::optimized(&graph, optimize::Optimize::Speed);
    let sources = codegen::c99(&graph, &plan, name);
    let meta = compiled.artifact.meta;
    let records = |bytes: Vec<u8>, len: usize| -> Vec<Vec<i8>> {
        bytes.chunks_exact(len).map(|record| record.iter().map(|byte| byte.cast_signed()).collect()).collect()
    };
    let inputs = records(read(inputs), meta.input.elements());
    let outputs = records(read(outputs), meta.output.elements());
    let golden: Vec<_> = inputs.into_iter().zip(outputs).take(vectors).collect();
    assert_eq!(golden.len(), vectors);
    let contents =
        Contents { model_c: &sources.model_c, model_h: &sources.model_h, meta, golden: &golden, samples: &[] };
    let packed = artifact::build(contents).unwrap();
    let mut model = model::from_tar(packed.tar, 0);
    model.manifest.model = format!("{}@1", name.replace('_', "-")).parse().unwrap();
    model.manifest.arena_bytes = packed.meta.arena_bytes;
    model.manifest.weights_bytes = packed.meta.weights_bytes;
    Some(model)
}

/// Installs it, and says what it needs.
async fn install(bench: &Bench, name: &str, model: &Model, vectors: usize) -> Value {
    bench.host.install(name, "board-1", model).await;
    let end = bench.host.succeeds(name).await;
    let detail = end["detail"].clone();
    assert_eq!((&detail["self_test"]["vectors"], &detail["self_test"]["wrong"]), (&vectors.into(), &0.into()), "{end}");
    eprintln!("{name}: {} {}", detail["build"], detail["self_test"]);
    detail
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_models_answer_as_tflite_does_on_a_cortex_m4() {
    let test = "real_models_answer_as_tflite_does_on_a_cortex_m4";
    let missing = virtual_board::Machine::CortexM4.missing();
    if !missing.is_empty() {
        eprintln!("SKIPPED {test}: apt install {}", missing.join(" "));
        return;
    }
    let _chip = CHIP.lock().await;
    let mut bench = Bench::new().await;
    bench.add_cortex_m4(1);
    bench.start_relay();
    bench.host.devices(1).await;
    for (name, vectors) in [("kws", 32), ("person_detect", 8), ("ad", 32), ("ic", 8)] {
        let Some(model) = real(test, name, vectors) else { continue };
        let detail = install(&bench, name, &model, vectors).await;
        let used = 262_144 - detail["build"]["ram_bytes"].as_u64().unwrap();
        let stack = used - detail["self_test"]["stack_left_bytes"].as_u64().unwrap();
        eprintln!("{name}: {stack} bytes of stack");
        assert!(stack < 700, "{name} needs {stack} bytes of stack, and the board's file keeps 1024");
    }
}

/// Installs hello_world on a board of so many bytes of RAM and looks how much stack it has needed.
async fn hello_world(test: &str, arduino: Arduino, ram: u64, most: u64) {
    let missing = arduino.missing();
    if !missing.is_empty() {
        eprintln!("SKIPPED {test}: apt install {}", missing.join(" "));
        return;
    }
    let Some(model) = real(test, "hello_world", 32) else { return };
    let _chip = CHIP.lock().await;
    let mut bench = Bench::new().await;
    bench.add_arduino(arduino, 1);
    bench.start_relay();
    bench.host.devices(1).await;
    let detail = install(&bench, "hello_world", &model, 32).await;
    let free = ram - detail["build"]["ram_bytes"].as_u64().unwrap();
    let stack = free - detail["self_test"]["stack_left_bytes"].as_u64().unwrap();
    eprintln!("hello_world: {stack} bytes of stack");
    assert!(stack < most, "hello_world needs {stack} bytes of stack, and the board's file keeps 400");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_model_answers_as_tflite_does_on_an_uno() {
    hello_world("a_real_model_answers_as_tflite_does_on_an_uno", Arduino::Uno, 2048, 340).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_model_answers_as_tflite_does_on_a_mega() {
    hello_world("a_real_model_answers_as_tflite_does_on_a_mega", Arduino::Mega2560, 8192, 340).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_models_answer_as_tflite_does_on_a_pico() {
    let test = "real_models_answer_as_tflite_does_on_a_pico";
    let Some(program) = crate::pico::program(test) else { return };
    let _chip = CHIP.lock().await;
    let mut bench = Bench::new().await;
    bench.add_pico(1, &program);
    bench.start_relay();
    bench.host.devices(1).await;
    // A chip in JavaScript: few vectors of a large model.
    for (name, vectors) in [("hello_world", 32), ("kws", 8)] {
        let Some(model) = real(test, name, vectors) else { continue };
        install(&bench, name, &model, vectors).await;
    }
}
