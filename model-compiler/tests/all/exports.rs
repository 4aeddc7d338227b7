//! Files as exporters of PyTorch and Keras write them, and as old ones did (`tests/data/onnx`), against onnxruntime.

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

#[test]
fn quantized_networks_keep_their_scales_in_both_forms() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/quantized");
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|end| end == "onnx"));
    paths.sort();
    assert_eq!(paths.len(), 8);
    let mut wrong = Vec::new();
    for path in paths {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let graph = match import::onnx(&std::fs::read(&path).unwrap(), &ImportLimits::default()) {
            Ok(graph) => graph,
            Err(error) => {
                wrong.push(format!("{name}: {error}"));
                continue;
            }
        };
        let vectors = std::fs::read(path.with_extension("vectors")).unwrap();
        let vectors: Vec<f32> = vectors.chunks_exact(4).map(|v| f32::from_le_bytes(v.try_into().unwrap())).collect();
        let len = graph.tensors[graph.input].len();
        let width = len + graph.tensors[graph.output].len();
        let calibration: Vec<Vec<f32>> = vectors.chunks_exact(width).map(|vector| vector[..len].to_vec()).collect();
        let quantized = quantize(&graph, &calibration, &QuantizeOptions::default()).unwrap();
        let (into, outof) = (&quantized.tensors[quantized.input], &quantized.tensors[quantized.output]);
        assert!(
            graph.tensors[graph.input].quantization.is_some() && graph.tensors[graph.output].quantization.is_some()
        );
        for vector in vectors.chunks_exact(width) {
            let (input, theirs) = vector.split_at(len);
            let ours = reference::run(&quantized, &into.stored(input.iter().copied())).unwrap();
            // Steps of the output: onnxruntime rounds in floats.
            let steps = outof.reals(&ours).into_iter().zip(theirs).map(|(a, b)| (a - b).abs() / outof.scale);
            let most = steps.fold(0.0, f32::max);
            if most > 2.01 {
                wrong.push(format!("{name}: {most} steps from onnxruntime"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
