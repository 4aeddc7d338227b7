//! Damaged model files: an error, never a panic, never a wrong size.

use model_compiler::evaluate::quantize_input;
use std::sync::LazyLock;

use model_compiler::import::{self, ImportError, ImportLimits, Model};
use model_compiler::ir::Graph;
use model_compiler::quantize::{QuantizeOptions, quantize};
use model_compiler::{codegen, plan, reference};
use proptest::prelude::*;

use crate::common::{Attribute, DIGITS, OnnxFile, cases};

fn limits() -> ImportLimits {
    // Small enough that no damaged file can make a test slow.
    ImportLimits { max_elements: 1 << 20, max_macs: 10_000_000, ..ImportLimits::default() }
}

/// The files of `tests/data`: one for each TFLite operator and use, and exports of ONNX.
static SMALL: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let data = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let mut paths: Vec<_> = ["tflite", "onnx"]
        .iter()
        .flat_map(|folder| std::fs::read_dir(data.join(folder)).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "tflite" || end == "onnx"))
        .collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
});

#[test]
fn a_file_cut_anywhere_is_an_error() {
    let file = &DIGITS.onnx;
    for part in 0..200 {
        let cut = file.len() * part / 200;
        let result = import::onnx(&file[..cut], &limits());
        assert!(result.is_err(), "the first {cut} bytes were accepted");
    }
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn flipped_bytes_never_panic(flips in prop::collection::vec((0_usize..1 << 20, any::<u8>()), 1..12)) {
        let mut file = DIGITS.onnx.clone();
        for (at, value) in flips {
            let at = at % file.len();
            file[at] = value;
        }
        if let Ok(graph) = import::onnx(&file, &limits()) {
            whole_way(&graph);
        }
    }

    #[test]
    fn flipped_structure_never_panics(flips in prop::collection::vec((0_usize..1 << 20, any::<u8>()), 1..4)) {
        // Without weights nearly every byte is structure.
        let mut file = structure();
        for (at, value) in flips {
            let at = at % file.len();
            file[at] = value;
        }
        if let Ok(graph) = import::onnx(&file, &limits()) {
            whole_way(&graph);
        }
    }

    #[test]
    fn flipped_bytes_of_small_files_never_panic(
        which in any::<prop::sample::Index>(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::weighted(0.1, any::<prop::sample::Index>()),
    ) {
        // Files of one operator are nearly all structure.
        let mut file = which.get(&SMALL).clone();
        for (at, value) in flips {
            let at = at.index(file.len());
            file[at] = value;
        }
        if let Some(cut) = cut {
            file.truncate(cut.index(file.len()));
        }
        match import::model(&file, &limits()) {
            Ok(Model::Float(graph)) => whole_way(&graph),
            Ok(Model::Int8(graph)) => {
                let input = vec![1; graph.tensors[graph.input].len()];
                prop_assert!(reference::run(&graph, &input).is_some());
                let plan = plan::plan(&graph);
                prop_assert_eq!(plan::conflict(&graph, &plan), None);
                prop_assert!(!codegen::c99(&graph, &plan, "damaged").model_c.is_empty());
            }
            Err(_) => {}
        }
    }

    #[test]
    fn noise_is_no_model(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        prop_assert!(import::onnx(&bytes, &limits()).is_err());
    }
}

/// What follows an import must not panic either.
fn whole_way(graph: &Graph) {
    let len = graph.tensors[graph.input].len();
    let inputs = [vec![0.5; len], vec![-1.0; len]];
    if let Ok(quantized) = quantize(graph, &inputs, &QuantizeOptions::default()) {
        assert!(reference::run(&quantized, &quantize_input(&quantized, &inputs[0])).is_some());
        let plan = plan::plan(&quantized);
        assert_eq!(plan::conflict(&quantized, &plan), None);
        assert!(!codegen::c99(&quantized, &plan, "damaged").model_c.is_empty());
    }
}

fn structure() -> Vec<u8> {
    let ints = |v: &[i64]| Attribute::Ints(v.to_vec());
    OnnxFile::new(&[1, 2, 5, 4], "y")
        .floats("w", &[2, 2, 2, 2], vec![0.1; 16])
        .floats("d", &[3, 8], vec![0.2; 24])
        .ints("s", vec![1, -1])
        .node("Conv", &["x", "w"], "a", &[("pads", ints(&[1, 0, 0, 1])), ("strides", ints(&[2, 1]))])
        .node("MaxPool", &["a"], "b", &[("kernel_shape", ints(&[2, 2])), ("strides", ints(&[2, 2]))])
        .node("Transpose", &["b"], "c", &[("perm", ints(&[0, 2, 3, 1]))])
        .node("AveragePool", &["c"], "e", &[("kernel_shape", ints(&[1, 1]))])
        .node("Reshape", &["e", "s"], "f", &[])
        .node("Softmax", &["f"], "y", &[("axis", Attribute::Int(-1))])
        .bytes()
}

#[test]
fn the_undamaged_structure_is_accepted() {
    import::onnx(&structure(), &limits()).unwrap();
}

#[test]
fn limits_are_named() {
    let small = ImportLimits { max_bytes: 100, ..limits() };
    let error = import::onnx(&DIGITS.onnx, &small).unwrap_err();
    assert!(error.to_string().contains("at most 100 is allowed"), "{error}");
    let few = ImportLimits { max_macs: 1000, ..limits() };
    let error = import::onnx(&DIGITS.onnx, &few).unwrap_err();
    assert!(error.to_string().contains("multiply-accumulates"), "{error}");
    let huge = OnnxFile::new(&[1, 1 << 40], "y").node("Relu", &["x"], "y", &[]).bytes();
    let error = import::onnx(&huge, &limits()).unwrap_err();
    assert!(matches!(error, ImportError::Limit { .. }), "{error}");
    let many_fields = [0x42, 0].repeat(400_000);
    let error = import::onnx(&many_fields, &limits()).unwrap_err();
    assert!(error.to_string().contains("fields of the model file"), "{error}");
}

#[test]
fn unsupported_operators_are_named_with_their_node() {
    let file = OnnxFile::new(&[1, 4], "y").node("GRU", &["x"], "y", &[]).bytes();
    let error = import::onnx(&file, &limits()).unwrap_err().to_string();
    assert!(error.contains("node `the_y`: GRU is not supported"), "{error}");
    assert!(error.contains("Supported: Add, AveragePool"), "{error}");
    let file = OnnxFile::new(&[1, 4], "y").node("Add", &["x", "nothing"], "y", &[]).bytes();
    let error = import::onnx(&file, &limits()).unwrap_err().to_string();
    assert!(error.contains("reads `nothing`, which nothing before it makes"), "{error}");
    let file = OnnxFile::new(&[3, 4], "y").node("Relu", &["x"], "y", &[]).bytes();
    let error = import::onnx(&file, &limits()).unwrap_err().to_string();
    assert!(error.contains("batch size 3"), "{error}");
    let file =
        OnnxFile::new(&[1, 4], "y").floats("w", &[4, 2], vec![0.0; 7]).node("MatMul", &["x", "w"], "y", &[]).bytes();
    let error = import::onnx(&file, &limits()).unwrap_err().to_string();
    assert!(error.contains("constant `w`: shape [4, 2] needs 8 elements, the tensor holds 7"), "{error}");
}
