//! Imports of real models and of each operator, against tract.

use model_compiler::evaluate::quantize_input;
use model_compiler::import::{self, ImportLimits};
use model_compiler::quantize::{QuantizeOptions, quantize};
use model_compiler::{float, reference};

use crate::common::{Attribute, OnnxFile, shared_models, tract};

/// Numbers in -1 to 1 that look random.
pub fn noise(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 40) as f32 / 8_388_608.0 - 1.0
        })
        .collect()
}

/// Compares the float interpreter with tract on noise.
fn agrees(name: &str, onnx: &[u8]) {
    let graph = import::onnx(onnx, &ImportLimits::default()).unwrap_or_else(|e| panic!("{name}: {e}"));
    for seed in 0..3 {
        let input = noise(graph.tensors[graph.input].len(), seed);
        let ours = float::run(&graph, &input).unwrap();
        let theirs = tract(onnx, &graph.input_shape, &input);
        assert_eq!(ours.len(), theirs.len(), "{name}");
        let largest = theirs.iter().fold(1.0_f32, |m, v| m.max(v.abs()));
        for (a, b) in ours.iter().zip(&theirs) {
            assert!((a - b).abs() <= 2e-5 * largest, "{name}: {a} {b}");
        }
    }
}

#[test]
fn real_float_models_agree_with_tract() {
    let Some(folder) = shared_models() else {
        eprintln!("SKIPPED: no shared/models beside the project: kws, ad and ic were not imported");
        return;
    };
    for name in ["kws_float.onnx", "ad_float.onnx", "ic_float.onnx"] {
        let Ok(onnx) = std::fs::read(folder.join(name)) else {
            eprintln!("SKIPPED: {name} is not in shared/models");
            continue;
        };
        agrees(name, &onnx);
    }
}

#[test]
fn every_operator_agrees_with_tract() {
    use Attribute::{Int, Ints};
    let image = || OnnxFile::new(&[1, 3, 6, 5], "y");
    let ints = |v: &[i64]| Ints(v.to_vec());
    let cases: Vec<(&str, OnnxFile)> = vec![
        (
            "conv with padding, stride and dilation",
            image().floats("w", &[4, 3, 3, 2], noise(72, 1)).floats("b", &[4], noise(4, 2)).node(
                "Conv",
                &["x", "w", "b"],
                "y",
                &[("pads", ints(&[2, 1, 0, 1])), ("strides", ints(&[2, 1])), ("dilations", ints(&[1, 2]))],
            ),
        ),
        (
            "depthwise with multiplier 2",
            image().floats("w", &[6, 1, 3, 3], noise(54, 3)).node(
                "Conv",
                &["x", "w"],
                "y",
                &[("group", Int(3)), ("pads", ints(&[1, 1, 1, 1]))],
            ),
        ),
        (
            "conv with two groups",
            OnnxFile::new(&[1, 4, 3, 3], "y").floats("w", &[6, 2, 1, 1], noise(12, 4)).node(
                "Conv",
                &["x", "w"],
                "y",
                &[("group", Int(2))],
            ),
        ),
        (
            "conv over a signal",
            OnnxFile::new(&[1, 2, 9], "y")
                .floats("w", &[3, 2, 3], noise(18, 5))
                .node("Conv", &["x", "w"], "a", &[("strides", ints(&[2]))])
                .node("Relu", &["a"], "b", &[])
                .node("MaxPool", &["b"], "y", &[("kernel_shape", ints(&[2]))]),
        ),
        (
            "batch norm after conv, relu6 by clip",
            image()
                .floats("w", &[4, 3, 1, 1], noise(12, 6))
                .floats("scale", &[4], noise(4, 7))
                .floats("b", &[4], noise(4, 8))
                .floats("mean", &[4], noise(4, 9))
                .floats("var", &[4], vec![0.5, 1.0, 2.0, 0.1])
                .floats("zero", &[], vec![0.0])
                .floats("six", &[], vec![6.0])
                .node("Conv", &["x", "w"], "a", &[])
                .node("BatchNormalization", &["a", "scale", "b", "mean", "var"], "c", &[])
                .node("Clip", &["c", "zero", "six"], "y", &[]),
        ),
        (
            "batch norm on the input, residual add, global average",
            image()
                .floats("scale", &[3], noise(3, 7))
                .floats("mean", &[3], noise(3, 9))
                .floats("var", &[3], vec![0.5, 1.0, 2.0])
                .floats("w", &[3, 3, 3, 3], noise(81, 6))
                .node("BatchNormalization", &["x", "scale", "mean", "mean", "var"], "a", &[])
                .node("Conv", &["a", "w"], "b", &[("pads", ints(&[1, 1, 1, 1]))])
                .node("Add", &["a", "b"], "c", &[])
                .node("Relu", &["c"], "d", &[])
                .node("GlobalAveragePool", &["d"], "y", &[]),
        ),
        (
            "average pool with padding, then flatten and gemm",
            image()
                .floats("w", &[2, 36], noise(72, 10))
                .floats("b", &[2], noise(2, 11))
                .node(
                    "AveragePool",
                    &["x"],
                    "a",
                    &[("kernel_shape", ints(&[3, 2])), ("pads", ints(&[1, 1, 1, 0])), ("strides", ints(&[2, 1]))],
                )
                .node("MaxPool", &["a"], "c", &[("kernel_shape", ints(&[1, 2])), ("pads", ints(&[0, 0, 0, 0]))])
                .node("Flatten", &["c"], "f", &[])
                .node("Gemm", &["f", "w", "b"], "y", &[("transB", Int(1))]),
        ),
        (
            "max pool with ceil_mode",
            image().node(
                "MaxPool",
                &["x"],
                "y",
                &[("kernel_shape", ints(&[2, 2])), ("strides", ints(&[2, 2])), ("ceil_mode", Int(1))],
            ),
        ),
        (
            "arithmetic with constants",
            image()
                .floats("c", &[3, 1, 1], noise(3, 12))
                .floats("half", &[], vec![0.5])
                .node("Mul", &["x", "half"], "a", &[])
                .node("Sub", &["a", "c"], "b", &[])
                .node("Div", &["b", "half"], "d", &[])
                .node("Sub", &["half", "d"], "y", &[]),
        ),
        (
            "a reshape that splits a flattened image again",
            image()
                .floats("w", &[2, 3, 1, 1], noise(6, 13))
                .ints("flat", vec![1, -1])
                .ints("again", vec![0, 4, 15])
                .node("Conv", &["x", "w"], "a", &[])
                .node("Reshape", &["a", "flat"], "b", &[])
                .node("Relu", &["b"], "c", &[])
                .node("Reshape", &["c", "again"], "d", &[])
                .node("Softmax", &["d"], "y", &[("axis", Int(2))]),
        ),
        (
            "channels-last input behind a transposition, mean over the image",
            OnnxFile::new(&[1, 6, 5, 3], "y")
                .floats("w", &[4, 3, 3, 3], noise(108, 14))
                .node("Transpose", &["x"], "a", &[("perm", ints(&[0, 3, 1, 2]))])
                .node("Conv", &["a", "w"], "b", &[])
                .node("Transpose", &["b"], "c", &[("perm", ints(&[0, 2, 3, 1]))])
                .node("ReduceMean", &["c"], "y", &[("axes", ints(&[1, 2])), ("keepdims", Int(0))]),
        ),
        (
            "a dense layer over rows",
            OnnxFile::new(&[1, 4, 6], "y")
                .floats("w", &[6, 5], noise(30, 15))
                .floats("b", &[5], noise(5, 16))
                .node("MatMul", &["x", "w"], "a", &[])
                .node("Add", &["a", "b"], "y", &[]),
        ),
        (
            "a padded image, branches put together, functions",
            image()
                .ints("pads", vec![0, 0, 1, 0, 0, 0, 2, 1])
                .floats("w", &[4, 3, 3, 3], noise(108, 20))
                .floats("v", &[2, 3, 3, 3], noise(54, 21))
                .node("Pad", &["x", "pads"], "p", &[])
                .node("Conv", &["p", "w"], "a", &[])
                .node("Sigmoid", &["a"], "b", &[])
                .node("Pad", &["x", "pads"], "q", &[])
                .node("Conv", &["q", "v"], "c", &[])
                .node("HardSwish", &["c"], "d", &[])
                .node("Concat", &["b", "d", "a"], "e", &[("axis", Int(1))])
                .node("LeakyRelu", &["e"], "f", &[])
                .node("Elu", &["f"], "g", &[])
                .node("HardSigmoid", &["g"], "h", &[])
                .node("Tanh", &["h"], "i", &[])
                .node("MaxPool", &["i"], "y", &[("kernel_shape", ints(&[2, 1]))]),
        ),
        (
            "padding that stays, concatenation along the width",
            image()
                .ints("pads", vec![0, 1, 0, 2, 0, 0, 3, 0])
                .node("Pad", &["x", "pads"], "p", &[])
                .node("Concat", &["p", "p"], "a", &[("axis", Int(3))])
                .node("Relu", &["a"], "y", &[]),
        ),
        (
            "squeeze, unsqueeze and a shape computed from the graph",
            OnnxFile::new(&[1, 3, 1, 1], "y")
                .ints("axes", vec![2, 3])
                .ints("zero", vec![0])
                .ints("rest", vec![-1])
                .floats("w", &[3, 2], noise(6, 17))
                .node("Squeeze", &["x", "axes"], "a", &[])
                .node("Shape", &["a"], "s", &[])
                .node("Gather", &["s", "zero"], "n", &[])
                .node("Concat", &["n", "rest"], "t", &[("axis", Int(0))])
                .node("Reshape", &["a", "t"], "b", &[])
                .node("Gemm", &["b", "w"], "y", &[]),
        ),
    ];
    for (name, file) in cases {
        agrees(name, &file.bytes());
    }
}

#[test]
fn scales_of_a_qdq_file_are_kept() {
    let file = OnnxFile::new(&[1, 1, 4, 4], "y")
        .floats("sx", &[], vec![0.0125])
        .bytes8("zx", &[], true, &[120])
        .floats("sw", &[3], vec![0.01, 0.02, 0.005])
        .bytes8("zw", &[3], false, &[0, 0, 0])
        .floats("wf", &[3, 1, 2, 2], noise(12, 3))
        .floats("sc", &[], vec![0.02])
        .bytes8("zc", &[], false, &[-100])
        .node("QuantizeLinear", &["x", "sx", "zx"], "xq", &[])
        .node("DequantizeLinear", &["xq", "sx", "zx"], "xd", &[])
        .node("QuantizeLinear", &["wf", "sw", "zw"], "wq", &[("axis", Attribute::Int(0))])
        .node("DequantizeLinear", &["wq", "sw", "zw"], "w", &[("axis", Attribute::Int(0))])
        .node("Conv", &["xd", "w"], "c", &[])
        .node("Relu", &["c"], "r", &[])
        .node("QuantizeLinear", &["r", "sc", "zc"], "rq", &[])
        .node("DequantizeLinear", &["rq", "sc", "zc"], "y", &[])
        .bytes();
    let graph = import::onnx(&file, &ImportLimits::default()).unwrap();
    let inputs: Vec<Vec<f32>> = (0..8).map(|seed| noise(16, seed)).collect();
    let quantized = quantize(&graph, &inputs, &QuantizeOptions::default()).unwrap();
    let (input, output) = (&quantized.tensors[quantized.input], &quantized.tensors[quantized.output]);
    assert_eq!((input.scale, input.zero_point), (0.0125, -8));
    assert_eq!((output.scale, output.zero_point), (0.02, -100));
    for input in &inputs {
        let ours = reference::run(&quantized, &quantize_input(&quantized, input)).unwrap();
        let theirs = tract(&file, &[1, 1, 4, 4], input);
        for (a, b) in ours.iter().zip(&theirs) {
            assert!((output.dequantize(*a) - b).abs() <= 0.0201, "{a} is not {b}");
        }
    }
}

#[test]
fn transpositions_that_meet_cost_nothing() {
    let file = OnnxFile::new(&[1, 6, 5, 3], "y")
        .floats("w", &[4, 3, 3, 3], noise(108, 14))
        .node("Transpose", &["x"], "a", &[("perm", Attribute::Ints(vec![0, 3, 1, 2]))])
        .node("Conv", &["a", "w"], "b", &[])
        .node("Relu", &["b"], "c", &[])
        .node("Transpose", &["c"], "y", &[("perm", Attribute::Ints(vec![0, 2, 3, 1]))])
        .bytes();
    let graph = import::onnx(&file, &ImportLimits::default()).unwrap();
    let ops: Vec<&str> = graph.nodes.iter().map(|node| node.op.name()).collect();
    assert_eq!(ops, ["Conv2d"]);
}

#[test]
fn integers_at_run_time_are_refused_by_operator_and_reason() {
    let file = OnnxFile::new(&[1, 4], "y")
        .node("Cast", &["x"], "i", &[("to", Attribute::Int(7))])
        .node("Cast", &["i"], "y", &[("to", Attribute::Int(1))])
        .bytes();
    let error = import::onnx(&file, &ImportLimits::default()).unwrap_err().to_string();
    assert!(error.starts_with("node `the_i`: Cast is not supported: values become integers at run time"), "{error}");
}
