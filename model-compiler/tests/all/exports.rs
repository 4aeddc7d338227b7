//! Files as PyTorch's exporters write them (`tests/data/onnx`), against onnxruntime.

use model_compiler::import::{self, ImportLimits};
use model_compiler::quantize::{QuantizeOptions, quantize};
use model_compiler::{codegen, float, plan, reference};

use crate::common::{STRICT, compiler, random_inputs, run_c};
use crate::import::noise;

/// Names and bytes of the exported files, and onnxruntime's answers.
fn exports() -> Vec<(String, Vec<u8>, Vec<u8>)> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/onnx");
    let mut found: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "onnx"))
        .map(|path| {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            (name, std::fs::read(&path).unwrap(), std::fs::read(path.with_extension("vectors")).unwrap())
        })
        .collect();
    found.sort();
    found
}

#[test]
fn exported_networks_agree_with_onnxruntime_and_their_c_with_the_reference() {
    let cc = compiler("cc");
    let mut wrong = Vec::new();
    for (name, file, vectors) in exports() {
        let graph = match import::onnx(&file, &ImportLimits::default()) {
            Ok(graph) => graph,
            Err(error) => {
                wrong.push(format!("{name}: {error}"));
                continue;
            }
        };
        let len = graph.tensors[graph.input].len();
        let inputs: Vec<Vec<f32>> = (0..8).map(|seed| noise(len, seed)).collect();
        let width = len + graph.tensors[graph.output].len();
        let vectors: Vec<f32> = vectors.chunks_exact(4).map(|v| f32::from_le_bytes(v.try_into().unwrap())).collect();
        if vectors.len() != 3 * width {
            wrong.push(format!("{name}: {} values in three vectors of {width}", vectors.len()));
            continue;
        }
        for vector in vectors.chunks_exact(width) {
            let (input, theirs) = vector.split_at(len);
            let ours = float::run(&graph, input).unwrap();
            let largest = theirs.iter().fold(1e-3_f32, |most, v| most.max(v.abs()));
            let apart = ours.iter().zip(theirs).fold(0.0_f32, |most, (a, b)| most.max((a - b).abs())) / largest;
            if apart > 1e-4 {
                wrong.push(format!("{name}: float differs by {apart}"));
            }
        }
        let quantized = quantize(&graph, &inputs, &QuantizeOptions::default()).unwrap();
        let plan = plan::plan(&quantized);
        assert_eq!(plan::conflict(&quantized, &plan), None, "{name}");
        let Some(cc) = &cc else { continue };
        let inputs = random_inputs(6, len, 5);
        let expected: Vec<i8> = inputs.iter().flat_map(|input| reference::run(&quantized, input).unwrap()).collect();
        let flags: Vec<&str> = STRICT.iter().copied().chain(["-O1"]).collect();
        if run_c(cc, &flags, &codegen::c99(&quantized, &plan, &name), &inputs) != expected {
            wrong.push(format!("{name}: C differs from the reference"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
