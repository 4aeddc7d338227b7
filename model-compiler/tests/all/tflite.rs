//! int8 TFLite models: bit for bit what TFLite's reference kernels answer.

use model_compiler::dataset::{DatasetLimits, from_csv};
use model_compiler::evaluate::quantize_input;
use model_compiler::import::{self, ImportLimits};
use model_compiler::qir::QuantGraph;
use model_compiler::quantize::{QuantizeOptions, quantize};
use model_compiler::{CompileOptions, codegen, compile, float, plan, reference};
use proptest::prelude::*;

use crate::common::{STRICT, cases, compiler, run_c, shared_models};

const MODELS: [&str; 5] = ["hello_world", "kws", "ad", "ic", "person_detect"];

/// A model with its golden inputs and outputs.
struct Golden {
    name: &'static str,
    file: Vec<u8>,
    inputs: Vec<u8>,
    outputs: Vec<u8>,
}

/// The models that are on this machine.
fn models() -> Vec<Golden> {
    let Some(folder) = shared_models() else {
        eprintln!("SKIPPED: no shared/models beside the project: no .tflite file was tried");
        return Vec::new();
    };
    let mut found = Vec::new();
    for name in MODELS {
        let read = |end: &str| std::fs::read(folder.join(format!("{name}.{end}")));
        match (read("tflite"), read("inputs.bin"), read("outputs.bin")) {
            (Ok(file), Ok(inputs), Ok(outputs)) => found.push(Golden { name, file, inputs, outputs }),
            _ => eprintln!("SKIPPED: {name}.tflite or its vectors are not in shared/models"),
        }
    }
    found
}

fn signed(bytes: &[u8]) -> Vec<i8> {
    bytes.iter().map(|byte| byte.cast_signed()).collect()
}

fn vectors(golden: &Golden, graph: &QuantGraph) -> (Vec<Vec<i8>>, Vec<i8>) {
    let len = graph.tensors[graph.input].len();
    let inputs: Vec<Vec<i8>> = signed(&golden.inputs).chunks_exact(len).map(<[i8]>::to_vec).collect();
    assert_eq!(inputs.len(), 32, "{}", golden.name);
    (inputs, signed(&golden.outputs))
}

#[test]
fn golden_vectors_of_real_models_differ_in_no_byte() {
    for golden in models() {
        let graph = import::tflite(&golden.file, &ImportLimits::default()).unwrap();
        let (inputs, expected) = vectors(&golden, &graph);
        let got: Vec<i8> = inputs.iter().flat_map(|input| reference::run(&graph, input).unwrap()).collect();
        let different = got.iter().zip(&expected).filter(|(a, b)| a != b).count();
        assert_eq!(got.len(), expected.len());
        let plan = plan::plan(&graph);
        assert_eq!(plan::conflict(&graph, &plan), None);
        println!(
            "{}: {different} of {} bytes differ in the reference; arena {} B (bound {} B)",
            golden.name,
            got.len(),
            plan.arena_bytes,
            plan.bound_bytes
        );
        assert_eq!(different, 0, "{}", golden.name);
        let Some(cc) = compiler("cc") else { continue };
        let sources = codegen::c99(&graph, &plan, golden.name);
        let flags: Vec<&str> = STRICT.iter().copied().chain(["-O2"]).collect();
        let answers = run_c(&cc, &flags, &sources, &inputs);
        let different = answers.iter().zip(&expected).filter(|(a, b)| a != b).count();
        assert_eq!((answers.len(), different), (expected.len(), 0), "{} in C", golden.name);
    }
}

/// The files of `tests/data/tflite`, one for each operator and use, with vectors of TFLite's reference kernels.
fn operators() -> Vec<(String, Vec<u8>, Vec<u8>)> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tflite");
    let mut found: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "tflite"))
        .filter(|path| !path.file_stem().is_some_and(|name| name.to_string_lossy().starts_with("float_")))
        .map(|path| {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            (name, std::fs::read(&path).unwrap(), std::fs::read(path.with_extension("vectors")).unwrap())
        })
        .collect();
    found.sort();
    found
}

/// Inputs and answers as int8, whatever the file has at its edges.
fn int8_vectors(name: &str, graph: &QuantGraph, vectors: &[u8]) -> (Vec<Vec<i8>>, Vec<i8>) {
    let (input, output) = (&graph.tensors[graph.input], &graph.tensors[graph.output]);
    let float = |bytes: &[u8]| f32::from_le_bytes(bytes.try_into().unwrap());
    let (size, turn): (usize, fn(u8) -> i8) = match name {
        "edges_float" => (4, u8::cast_signed),
        name if name == "edges_uint8" || name.starts_with("unsigned_") => (1, |byte| (byte ^ 0x80).cast_signed()),
        _ => (1, u8::cast_signed),
    };
    let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
    for pair in vectors.chunks_exact(size * (input.len() + output.len())) {
        let (into, out) = pair.split_at(size * input.len());
        if size == 4 {
            inputs.push(into.chunks_exact(4).map(|value| input.quantize(float(value))).collect());
            outputs.extend(out.chunks_exact(4).map(|value| output.quantize(float(value))));
        } else {
            inputs.push(into.iter().map(|byte| turn(*byte)).collect());
            outputs.extend(out.iter().map(|byte| turn(*byte)));
        }
    }
    (inputs, outputs)
}

#[test]
fn each_operator_answers_as_the_reference_kernels_do() {
    let cc = compiler("cc");
    let mut wrong = Vec::new();
    for (name, file, vectors) in operators() {
        let graph = match import::tflite(&file, &ImportLimits::default()) {
            Ok(graph) => graph,
            Err(error) => {
                wrong.push(format!("{name}: {error}"));
                continue;
            }
        };
        let (inputs, expected) = int8_vectors(&name, &graph, &vectors);
        assert_eq!(inputs.len(), 8, "{name}");
        let got: Vec<i8> = inputs.iter().flat_map(|input| reference::run(&graph, input).unwrap()).collect();
        let different = got.iter().zip(&expected).filter(|(a, b)| a != b).count();
        let plan = plan::plan(&graph);
        assert_eq!(plan::conflict(&graph, &plan), None, "{name}");
        if different > 0 || got.len() != expected.len() {
            wrong.push(format!("{name}: {different} of {} bytes differ in the reference", expected.len()));
        }
        let Some(cc) = &cc else { continue };
        let flags: Vec<&str> = STRICT.iter().copied().chain(["-O1"]).collect();
        let answers = run_c(cc, &flags, &codegen::c99(&graph, &plan, &name), &inputs);
        if answers != got {
            wrong.push(format!("{name}: C differs from the reference"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn float_files_answer_as_the_reference_kernels_do() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tflite");
    for name in ["float_mixed", "float_halves"] {
        let file = std::fs::read(folder.join(format!("{name}.tflite"))).unwrap();
        let vectors = std::fs::read(folder.join(format!("{name}.vectors"))).unwrap();
        let Ok(import::Model::Float(graph)) = import::model(&file, &ImportLimits::default()) else {
            panic!("{name} is no float model");
        };
        let values: Vec<f32> = vectors.chunks_exact(4).map(|v| f32::from_le_bytes(v.try_into().unwrap())).collect();
        let len = graph.tensors[graph.input].len();
        let width = len + graph.tensors[graph.output].len();
        let mut largest = 0.0_f32;
        for vector in values.chunks_exact(width) {
            let (input, expected) = vector.split_at(len);
            let got = float::run(&graph, input).unwrap();
            largest = expected.iter().fold(largest, |most, value| most.max(value.abs()));
            let apart = got.iter().zip(expected).fold(0.0_f32, |most, (a, b)| most.max((a - b).abs()));
            assert!(apart < 2e-5 * largest.max(1.0), "{name}: {got:?} {expected:?}");
        }
        let inputs: Vec<Vec<f32>> = values.chunks_exact(width).map(|vector| vector[..len].to_vec()).collect();
        let quantized = quantize(&graph, &inputs, &QuantizeOptions::default()).unwrap();
        let output = &quantized.tensors[quantized.output];
        for input in &inputs {
            let exact = float::run(&graph, input).unwrap();
            let got = reference::run(&quantized, &quantize_input(&quantized, input)).unwrap();
            let apart =
                got.iter().zip(&exact).fold(0.0_f32, |most, (q, v)| most.max((output.dequantize(*q) - v).abs()));
            assert!(apart < 0.1 * largest, "{name}: int8 differs by {apart} of {largest}");
        }
    }
}

#[test]
fn an_int8_file_compiles_to_an_artifact_without_calibration() {
    let Some(golden) = models().into_iter().find(|golden| golden.name == "kws") else { return };
    let mut csv: String = (0..490).map(|at| format!("v{at},")).collect();
    csv += "label,split\n";
    for row in 0..24 {
        csv += &(0..490).map(|at| format!("{},", (row * 31 + at * 7) % 200 - 100)).collect::<String>();
        csv += &format!("{},{}\n", row % 12, if row < 12 { "train" } else { "test" });
    }
    let dataset = from_csv(csv.as_bytes(), &DatasetLimits::default()).unwrap();
    let options = CompileOptions { samples: 5, ..CompileOptions::new("kws") };
    let compiled = compile(&golden.file, &dataset, &options, &mut |_| {}).unwrap();
    let report = &compiled.report;
    assert_eq!((report.float_accuracy, report.calibrated, report.evaluated), (None, 0, 12));
    assert_eq!(compiled.artifact.meta.input.shape, [49, 10, 1]);
    let ops: Vec<&str> = report.layers.iter().take(2).map(|layer| layer.op.as_str()).collect();
    assert!(ops[0].starts_with("conv2d") && ops[1].starts_with("depthwise_conv2d"), "{ops:?}");
    let verdict = |board: &str| &report.boards.iter().find(|report| report.board == board).unwrap().verdict;
    assert!(verdict("uno").starts_with("does not fit: needs"), "{}", verdict("uno"));
    assert!(verdict("nano33ble").starts_with("fits"), "{}", verdict("nano33ble"));
}

#[test]
fn a_tflite_file_cut_anywhere_does_not_panic() {
    for golden in models() {
        for part in 0..200 {
            let cut = golden.file.len() * part / 200;
            // What lies behind the cut may be unused, so that a few cuts are harmless.
            let _ = import::tflite(&golden.file[..cut], &ImportLimits::default());
        }
        let half = golden.file.len() / 2;
        assert!(import::tflite(&golden.file[..half], &ImportLimits::default()).is_err());
    }
    let error = import::tflite(b"", &ImportLimits::default()).unwrap_err();
    assert!(error.to_string().contains("TFL3"), "{error}");
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn flipped_bytes_of_a_tflite_file_never_panic(flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12)) {
        let Some(folder) = shared_models() else { return Ok(()) };
        let Ok(mut file) = std::fs::read(folder.join("hello_world.tflite")) else { return Ok(()) };
        for (at, value) in flips {
            let at = at.index(file.len());
            file[at] = value;
        }
        file[4..8].copy_from_slice(b"TFL3");
        let limits = ImportLimits { max_elements: 1 << 20, max_macs: 1 << 20, ..ImportLimits::default() };
        if let Ok(graph) = import::tflite(&file, &limits) {
            let input = vec![1; graph.tensors[graph.input].len()];
            prop_assert!(reference::run(&graph, &input).is_some());
        }
    }
}
