//! Random small networks: generated C against the reference interpreter.

use model_compiler::import::{self, ImportLimits};
use model_compiler::quantize::{QuantizeOptions, quantize};
use model_compiler::{codegen, float, plan, reference};
use proptest::prelude::*;

use crate::common::{Attribute, OnnxFile, STRICT, cases, compiler, random_inputs, run_c, tract};
use crate::import::noise;

/// One layer of a random network.
#[derive(Debug, Clone)]
enum Layer {
    Conv { out: usize, kernel: usize, stride: usize, pad: usize, relu: bool },
    Depthwise { multiplier: usize, kernel: usize, pad: usize },
    MaxPool { kernel: usize, stride: usize },
    AveragePool { kernel: usize, pad: usize },
    Residual { relu: bool },
    Relu6,
    Transpose,
    Branches { out: usize },
    Unary(&'static str),
    Pad { before: usize, after: usize },
    Gate,
    Slice { from: usize, step: usize },
    PRelu,
    Resize { factor: usize },
    Extreme(&'static str),
}

fn layer() -> impl Strategy<Value = Layer> {
    prop_oneof![
        (1_usize..6, 1_usize..4, 1_usize..3, 0_usize..2, any::<bool>())
            .prop_map(|(out, kernel, stride, pad, relu)| Layer::Conv { out, kernel, stride, pad, relu }),
        (1_usize..3, 1_usize..4, 0_usize..2).prop_map(|(multiplier, kernel, pad)| Layer::Depthwise {
            multiplier,
            kernel,
            pad
        }),
        (1_usize..4, 1_usize..3).prop_map(|(kernel, stride)| Layer::MaxPool { kernel, stride }),
        (2_usize..4, 0_usize..2).prop_map(|(kernel, pad)| Layer::AveragePool { kernel, pad }),
        any::<bool>().prop_map(|relu| Layer::Residual { relu }),
        Just(Layer::Relu6),
        Just(Layer::Transpose),
        (1_usize..4).prop_map(|out| Layer::Branches { out }),
        prop::sample::select(vec!["Sigmoid", "Tanh", "HardSwish", "LeakyRelu", "Elu"]).prop_map(Layer::Unary),
        (0_usize..3, 0_usize..3).prop_map(|(before, after)| Layer::Pad { before, after }),
        Just(Layer::Gate),
        (0_usize..2, 1_usize..3).prop_map(|(from, step)| Layer::Slice { from, step }),
        Just(Layer::PRelu),
        (1_usize..3).prop_map(|factor| Layer::Resize { factor }),
        prop::sample::select(vec!["Max", "Min", "Sub"]).prop_map(Layer::Extreme),
    ]
}

/// Builds the ONNX file of a network; layers that no longer fit are left out.
fn network(mut shape: [usize; 3], layers: &[Layer], classes: usize, seed: u64) -> (Vec<u8>, Vec<usize>) {
    let input = vec![1, shape[0], shape[1], shape[2]];
    let dims: Vec<i64> = input.iter().map(|d| *d as i64).collect();
    let mut file = OnnxFile::new(&dims, "y").floats("low", &[], vec![0.0]).floats("high", &[], vec![6.0]);
    let mut last = "x".to_owned();
    let pair = |v: usize| Attribute::Ints(vec![v as i64; 2]);
    let quad = |v: usize| Attribute::Ints(vec![v as i64; 4]);
    for (index, layer) in layers.iter().enumerate() {
        let [c, h, w] = shape;
        let fits = |kernel: usize, pad: usize| h + 2 * pad >= kernel && w + 2 * pad >= kernel && pad < kernel;
        let out = |size: usize, kernel: usize, pad: usize, stride: usize| (size + 2 * pad - kernel) / stride + 1;
        let name = format!("t{index}");
        let weights = format!("w{index}");
        let seed = seed.wrapping_add(index as u64 * 977);
        match layer {
            Layer::Conv { out: oc, kernel, stride, pad, relu } if fits(*kernel, *pad) => {
                let dims = [*oc as i64, c as i64, *kernel as i64, *kernel as i64];
                file = file
                    .floats(&weights, &dims, noise(oc * c * kernel * kernel, seed))
                    .floats(&format!("b{index}"), &[*oc as i64], noise(*oc, seed + 1))
                    .node(
                        "Conv",
                        &[&last, &weights, &format!("b{index}")],
                        &format!("c{index}"),
                        &[("pads", quad(*pad)), ("strides", pair(*stride))],
                    )
                    .node(if *relu { "Relu" } else { "Identity" }, &[&format!("c{index}")], &name, &[]);
                shape = [*oc, out(h, *kernel, *pad, *stride), out(w, *kernel, *pad, *stride)];
            }
            Layer::Depthwise { multiplier, kernel, pad } if fits(*kernel, *pad) && c > 1 && c < 8 => {
                let oc = c * multiplier;
                let dims = [oc as i64, 1, *kernel as i64, *kernel as i64];
                file = file.floats(&weights, &dims, noise(oc * kernel * kernel, seed)).node(
                    "Conv",
                    &[&last, &weights],
                    &name,
                    &[("pads", quad(*pad)), ("group", Attribute::Int(c as i64))],
                );
                shape = [oc, out(h, *kernel, *pad, 1), out(w, *kernel, *pad, 1)];
            }
            Layer::MaxPool { kernel, stride } if fits(*kernel, 0) => {
                file = file.node(
                    "MaxPool",
                    &[&last],
                    &name,
                    &[("kernel_shape", pair(*kernel)), ("strides", pair(*stride))],
                );
                shape = [c, out(h, *kernel, 0, *stride), out(w, *kernel, 0, *stride)];
            }
            Layer::AveragePool { kernel, pad } if fits(*kernel, *pad) => {
                file =
                    file.node("AveragePool", &[&last], &name, &[("kernel_shape", pair(*kernel)), ("pads", quad(*pad))]);
                shape = [c, out(h, *kernel, *pad, 1), out(w, *kernel, *pad, 1)];
            }
            Layer::Residual { relu } => {
                file = file
                    .floats(&weights, &[c as i64, c as i64, 1, 1], noise(c * c, seed))
                    .node("Conv", &[&last, &weights], &format!("c{index}"), &[])
                    .node("Add", &[&last, &format!("c{index}")], &format!("s{index}"), &[])
                    .node(if *relu { "Relu" } else { "Identity" }, &[&format!("s{index}")], &name, &[]);
            }
            Layer::Relu6 => file = file.node("Clip", &[&last, "low", "high"], &name, &[]),
            Layer::Transpose => {
                file = file.node("Transpose", &[&last], &name, &[("perm", Attribute::Ints(vec![0, 3, 1, 2]))]);
                shape = [w, c, h];
            }
            Layer::Branches { out } => {
                let dims = [*out as i64, c as i64, 1, 1];
                file = file
                    .floats(&weights, &dims, noise(out * c, seed))
                    .node("Conv", &[&last, &weights], &format!("c{index}"), &[])
                    .node("Concat", &[&format!("c{index}"), &last], &name, &[("axis", Attribute::Int(1))]);
                shape = [c + out, h, w];
            }
            Layer::Unary(op) => file = file.node(op, &[&last], &name, &[]),
            Layer::Pad { before, after } => {
                let (b, a) = (*before as i64, *after as i64);
                file = file.ints(&format!("p{index}"), vec![0, 0, b, 0, 0, 0, a, b]).node(
                    "Pad",
                    &[&last, &format!("p{index}")],
                    &name,
                    &[],
                );
                shape = [c, h + before + after, w + before];
            }
            Layer::Gate => {
                file = file
                    .node("GlobalAveragePool", &[&last], &format!("c{index}"), &[])
                    .node("Sigmoid", &[&format!("c{index}")], &format!("s{index}"), &[])
                    .node("Mul", &[&last, &format!("s{index}")], &name, &[]);
            }
            Layer::Slice { from, step } if h > *from => {
                file = file
                    .ints(&format!("b{index}"), vec![*from as i64])
                    .ints(&format!("e{index}"), vec![i64::MAX])
                    .ints(&format!("a{index}"), vec![2])
                    .ints(&format!("p{index}"), vec![*step as i64])
                    .node(
                        "Slice",
                        &[
                            &last,
                            &format!("b{index}"),
                            &format!("e{index}"),
                            &format!("a{index}"),
                            &format!("p{index}"),
                        ],
                        &name,
                        &[],
                    );
                shape = [c, (h - from).div_ceil(*step), w];
            }
            Layer::PRelu => {
                file = file.floats(&weights, &[c as i64, 1, 1], noise(c, seed)).node(
                    "PRelu",
                    &[&last, &weights],
                    &name,
                    &[],
                );
            }
            Layer::Resize { factor } if h * w * factor * factor < 400 => {
                let factor = *factor as f32;
                file = file.floats(&format!("p{index}"), &[4], vec![1.0, 1.0, factor, factor]).node(
                    "Resize",
                    &[&last, "", &format!("p{index}")],
                    &name,
                    &[],
                );
                shape = [c, h * factor as usize, w * factor as usize];
            }
            Layer::Extreme(op) => {
                file = file
                    .floats(&weights, &[c as i64, c as i64, 1, 1], noise(c * c, seed))
                    .node("Conv", &[&last, &weights], &format!("c{index}"), &[])
                    .node(op, &[&last, &format!("c{index}")], &name, &[]);
            }
            _ => continue,
        }
        last = name;
    }
    let len = shape.iter().product::<usize>();
    let file = file
        .floats("dense", &[len as i64, classes as i64], noise(len * classes, seed + 5))
        .node("Flatten", &[&last], "flat", &[])
        .node("MatMul", &["flat", "dense"], "logits", &[])
        .node("Softmax", &["logits"], "y", &[]);
    (file.bytes(), input)
}

proptest! {
    #![proptest_config(cases(16))]

    #[test]
    fn random_networks_agree(
        shape in (1_usize..4, 3_usize..9, 3_usize..9),
        layers in prop::collection::vec(layer(), 1..6),
        classes in 2_usize..6,
        seed in any::<u32>(),
    ) {
        let (file, input) = network([shape.0, shape.1, shape.2], &layers, classes, u64::from(seed));
        let graph = import::onnx(&file, &ImportLimits::default()).map_err(|e| TestCaseError::fail(e.to_string()))?;
        let len = graph.tensors[graph.input].len();
        let calibration: Vec<Vec<f32>> = (0..8).map(|i| noise(len, u64::from(seed) + i)).collect();

        let ours = float::run(&graph, &calibration[0]).unwrap();
        let theirs = tract(&file, &input, &calibration[0]);
        for (a, b) in ours.iter().zip(&theirs) {
            prop_assert!((a - b).abs() < 1e-4, "float: {ours:?} tract: {theirs:?}");
        }

        let quantized = quantize(&graph, &calibration, &QuantizeOptions::default()).unwrap();
        let plan = plan::plan(&quantized);
        prop_assert_eq!(plan::conflict(&quantized, &plan), None);
        prop_assert!(plan.bound_bytes <= plan.arena_bytes);
        let sources = codegen::c99(&quantized, &plan, "random");
        let inputs = random_inputs(20, len, u64::from(seed));
        let expected: Vec<i8> = inputs.iter().flat_map(|i| reference::run(&quantized, i).unwrap()).collect();
        if let Some(cc) = compiler("cc") {
            let flags: Vec<&str> =
                STRICT.iter().copied().chain(["-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]).collect();
            prop_assert_eq!(run_c(&cc, &flags, &sources, &inputs), expected);
        }
    }
}
