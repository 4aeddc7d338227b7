//! Damaged model files: an error, never a panic, never a wrong size.

use model_compiler::evaluate::quantize_input;
use std::sync::LazyLock;

use model_compiler::import::{self, ImportError, ImportLimits, Model};
use model_compiler::ir::Graph;
use model_compiler::quantize::{QuantizeOptions, quantize};
use model_compiler::{codegen, plan, reference};
use proptest::prelude::*;

use crate::common::{Attribute, DIGITS, OnnxFile, cases, shared_models};

fn limits() -> ImportLimits {
    // Small enough that no damaged file can make a test slow.
    ImportLimits { max_elements: 1 << 20, max_macs: 10_000_000, ..ImportLimits::default() }
}

/// The files of `tests/data` (one for each TFLite operator and use, exports of ONNX, tree ensembles), and the real
/// models where they are.
static SMALL: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let data = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let mut paths: Vec<_> = ["tflite", "onnx", "tables"]
        .iter()
        .flat_map(|folder| std::fs::read_dir(data.join(folder)).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "tflite" || end == "onnx"))
        .collect();
    let real = shared_models().into_iter().flat_map(|folder| std::fs::read_dir(folder).unwrap());
    paths.extend(real.map(|entry| entry.unwrap().path()).filter(|path| {
        // Mutations of larger files hit weights only.
        let small = std::fs::metadata(path).is_ok_and(|file| file.len() < 100_000);
        small && path.extension().is_some_and(|end| end == "tflite" || end == "onnx")
    }));
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
});

/// Replaces, removes, repeats and inserts parts of a file, as a fuzzer does.
fn mutated(mut file: Vec<u8>, changes: &[(u8, prop::sample::Index, prop::sample::Index, u8)]) -> Vec<u8> {
    for (kind, at, len, value) in changes {
        if file.is_empty() {
            return file;
        }
        let at = at.index(file.len());
        let end = at + len.index((file.len() - at).min(32)) + 1;
        match kind % 6 {
            0 => file[at] = *value,
            1 => file[at] = file[at].wrapping_add(*value % 5).wrapping_sub(2),
            2 => drop(file.drain(at..end.min(file.len()))),
            3 => {
                let part = file[at..end.min(file.len())].to_vec();
                file.splice(at..at, part);
            }
            4 => file.insert(at, *value),
            // Sizes and offsets that are huge.
            _ => file[at..(at + 4).min(end)].fill(0xff),
        }
    }
    file
}

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
    fn mutated_files_never_panic(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec(
            (any::<u8>(), any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()),
            1..8,
        ),
    ) {
        let file = mutated(which.get(&SMALL).clone(), &changes);
        match import::model(&file, &limits()) {
            Ok(Model::Float(graph)) => whole_way(&graph),
            Ok(Model::Int8(graph)) => {
                let input = vec![1; graph.tensors[graph.input].bytes()];
                prop_assert!(reference::run(&graph, &input).is_some());
                let plan = plan::plan(&graph);
                prop_assert_eq!(plan::conflict(&graph, &plan), None);
            }
            Err(error) => prop_assert!(error.to_string().len() < 4_000),
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
fn a_small_file_cannot_ask_for_much_memory() {
    // 4 GB each: a constant, an activation, a fill, a repetition, a picture that grows.
    let many = 1_i64 << 30;
    let ints = |v: &[i64]| Attribute::Ints(v.to_vec());
    let files = [
        OnnxFile::new(&[1, 4], "y").floats("w", &[many, 1], vec![]).node("Add", &["x", "w"], "y", &[]),
        OnnxFile::new(&[1, many], "y").node("Relu", &["x"], "y", &[]),
        OnnxFile::new(&[1, 4], "y").ints("s", vec![many]).node("ConstantOfShape", &["s"], "w", &[]).node(
            "Add",
            &["x", "w"],
            "y",
            &[],
        ),
        OnnxFile::new(&[1, 1, 1024, 1024], "y").floats("s", &[4], vec![1.0, 1.0, 64.0, 64.0]).node(
            "Resize",
            &["x", "", "s"],
            "y",
            &[],
        ),
        OnnxFile::new(&[1, 1, 1024, 1024], "y").ints("p", vec![0, 0, 4096, 4096, 0, 4096, 4096, 4096]).node(
            "Pad",
            &["x", "p"],
            "y",
            &[],
        ),
        OnnxFile::new(&[1, 1, 2, 2], "y").floats("w", &[1, 1, 1, 1], vec![1.0]).node(
            "ConvTranspose",
            &["x", "w"],
            "y",
            &[("strides", ints(&[4096, 4096])), ("output_padding", ints(&[65_000, 65_000]))],
        ),
        OnnxFile::new(&[1, 2], "y")
            .ints("i", vec![1; 1000])
            .node("Gather", &["x", "i"], "a", &[("axis", Attribute::Int(1))])
            .node("Gather", &["a", "i"], "b", &[("axis", Attribute::Int(0))])
            .node("Relu", &["b"], "y", &[]),
    ];
    for (at, file) in files.into_iter().enumerate() {
        let file = file.bytes();
        assert!(file.len() < 9_000, "{at}: {}", file.len());
        let error = import::onnx(&file, &limits()).unwrap_err();
        println!("{at}: {error}");
    }
}

#[test]
fn names_of_a_file_never_become_code() {
    let hostile = "a*/ } int main(void) { return 7; } /* \u{202e}\n#include \"/etc/passwd\"\\";
    let file = OnnxFile::new(&[1, 4], "y")
        .floats("w", &[4, 4], vec![0.5; 16])
        .node("MatMul", &["x", "w"], hostile, &[])
        .node("Relu", &[hostile], "y", &[])
        .bytes();
    let graph = import::onnx(&file, &limits()).unwrap();
    let quantized = quantize(&graph, &[vec![0.5; 4]], &QuantizeOptions::default()).unwrap();
    let sources = codegen::c99(&quantized, &plan::plan(&quantized), hostile);
    for text in [&sources.model_c, &sources.model_h] {
        assert!(!text.contains("main(void)") && !text.contains("passwd\"") && text.is_ascii(), "{text}");
        let includes: Vec<&str> = text.lines().filter(|line| line.trim_start().starts_with("#include")).collect();
        assert!(includes.iter().all(|line| !line.contains("etc")), "{includes:?}");
    }
}

#[test]
fn unsupported_operators_are_named_with_their_node() {
    let file = OnnxFile::new(&[1, 4], "y").node("GRU", &["x"], "y", &[]).bytes();
    let error = import::onnx(&file, &limits()).unwrap_err().to_string();
    assert!(error.contains("node `the_y`: GRU is not supported"), "{error}");
    assert!(error.contains("Supported: Abs, Add, AveragePool"), "{error}");
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
