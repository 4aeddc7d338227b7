//! Random small networks: generated C against the reference interpreter.

use model_compiler::evaluate::quantize_input;
use model_compiler::import::{self, ImportLimits};
use model_compiler::mixed::Mixed;
use model_compiler::qir::{Element, QOp, QuantGraph};
use model_compiler::quantize::{QuantizeOptions, quantize};
use model_compiler::ranges::Method;
use model_compiler::search::search;
use model_compiler::{codegen, float, optimize, plan, reference};
use proptest::prelude::*;

use crate::common::{Attribute, OnnxFile, STRICT, cases, compiler, random_inputs, run_c, sanitizes, tract};
use crate::import::noise;
use crate::poison::poisoned;

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
    Transposed { out: usize, kernel: usize, stride: usize, pad: usize },
    Linear { height: usize, width: usize, corners: bool },
    Around { mode: &'static str, pad: usize },
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
        (1_usize..4, 1_usize..4, 1_usize..4, 0_usize..2).prop_map(|(out, kernel, stride, pad)| Layer::Transposed {
            out,
            kernel,
            stride,
            pad
        }),
        (2_usize..9, 2_usize..9, any::<bool>()).prop_map(|(height, width, corners)| Layer::Linear {
            height,
            width,
            corners
        }),
        (prop::sample::select(vec!["reflect", "edge"]), 1_usize..3).prop_map(|(mode, pad)| Layer::Around { mode, pad }),
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
            Layer::Transposed { out: oc, kernel, stride, pad } if pad < kernel && h * w * stride * stride < 400 => {
                let size = |len: usize| (len - 1) * stride + kernel - 2 * pad;
                if size(h) == 0 || size(w) == 0 || (h - 1) * stride + kernel < 2 * pad + 1 {
                    continue;
                }
                let dims = [c as i64, *oc as i64, *kernel as i64, *kernel as i64];
                file = file.floats(&weights, &dims, noise(oc * c * kernel * kernel, seed)).node(
                    "ConvTranspose",
                    &[&last, &weights],
                    &name,
                    &[("pads", quad(*pad)), ("strides", pair(*stride))],
                );
                shape = [*oc, size(h), size(w)];
            }
            Layer::Linear { height, width, corners } => {
                let at = if *corners { "align_corners" } else { "half_pixel" };
                file = file.ints(&format!("p{index}"), vec![1, c as i64, *height as i64, *width as i64]).node(
                    "Resize",
                    &[&last, "", "", &format!("p{index}")],
                    &name,
                    &[("mode", Attribute::Text("linear")), ("coordinate_transformation_mode", Attribute::Text(at))],
                );
                shape = [c, *height, *width];
            }
            Layer::Around { mode, pad } if h > *pad && w > *pad => {
                let p = *pad as i64;
                file = file.ints(&format!("p{index}"), vec![0, 0, p, 0, 0, 0, 0, p]).node(
                    "Pad",
                    &[&last, &format!("p{index}")],
                    &name,
                    &[("mode", Attribute::Text(mode))],
                );
                shape = [c, h + pad, w + pad];
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

/// How far a probability of the int8 network may be from tract's: networks of random weights can double what int8 adds
/// from layer to layer.
const NEAR: f32 = 0.15;
/// Makes some channels of some convolutions constant, as pruning does.
fn kill_channels(graph: &mut QuantGraph, seed: u64) {
    for (index, node) in graph.nodes.iter_mut().enumerate() {
        let QOp::Conv2d { linear, .. } = &mut node.op else { continue };
        let terms = linear.weights.len() / linear.bias.len();
        for channel in 0..linear.bias.len() {
            if (seed >> ((index * 5 + channel) % 29)) & 3 == 3 {
                linear.weights[channel * terms..][..terms].fill(0);
            }
        }
    }
}

proptest! {
    #![proptest_config(cases(16))]

    #[test]
    fn random_networks_agree(
        shape in (1_usize..4, 3_usize..9, 3_usize..9),
        layers in prop::collection::vec(layer(), 1..6),
        classes in 2_usize..6,
        seed in any::<u32>(),
        floats in prop::option::of(any::<u16>()),
    ) {
        let (file, input) = network([shape.0, shape.1, shape.2], &layers, classes, u64::from(seed));
        let mut graph = import::onnx(&file, &ImportLimits::default()).map_err(|e| TestCaseError::fail(e.to_string()))?;
        // Some layers in floats, in any mixture.
        for (at, node) in graph.nodes.iter_mut().enumerate() {
            node.real = floats.is_some_and(|floats| floats >> (at % 16) & 1 == 1);
        }
        let len = graph.tensors[graph.input].len();
        let calibration: Vec<Vec<f32>> = (0..8).map(|i| noise(len, u64::from(seed) + i)).collect();

        let ours = float::run(&graph, &calibration[0]).unwrap();
        let theirs = tract(&file, &input, &calibration[0]);
        for (a, b) in ours.iter().zip(&theirs) {
            prop_assert!((a - b).abs() < 1e-4, "float: {ours:?} tract: {theirs:?}");
        }

        let mut quantized = quantize(&graph, &calibration, &QuantizeOptions::default()).unwrap();
        kill_channels(&mut quantized, u64::from(seed));
        let input = &quantized.tensors[quantized.input];
        let noisy = |seed: u64| input.stored(noise(len, seed));
        let inputs = match input.element {
            Element::Int8 => random_inputs(20, len, u64::from(seed)),
            Element::Float32 => (0..20).map(|at| noisy(u64::from(seed) + at)).collect(),
        };
        let expected: Vec<i8> = inputs.iter().flat_map(|i| reference::run(&quantized, i).unwrap()).collect();
        for optimize in optimize::Optimize::ALL {
            let (graph, plan) = optimize::optimized(&quantized, optimize);
            let got: Vec<i8> = inputs.iter().flat_map(|i| reference::run(&graph, i).unwrap()).collect();
            prop_assert_eq!(&got, &expected, "without what is dead");
            prop_assert_eq!(plan::conflict(&graph, &plan), None);
            prop_assert!(plan.bound_bytes <= plan.arena_bytes);
            // One compiler a case and mode, in turns: a build takes longer than all the rest.
            let turn = (seed >> 8) as usize % 6;
            let (name, level) = [("cc", "-O1"), ("clang", "-O2")][turn % 2];
            if optimize != optimize::Optimize::ALL[turn / 2] {
                continue;
            }
            let Some(name) = compiler(name) else { continue };
            let sources = poisoned(&codegen::c99(&graph, &plan, "random"), &graph, &plan);
            let mut flags: Vec<&str> = STRICT.iter().copied().chain([level]).collect();
            if sanitizes(&name) {
                flags.extend(["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]);
            }
            prop_assert_eq!(run_c(&name, &flags, &sources, &inputs), expected.clone(), "{} for {:?}", name, optimize);
        }
    }
    #[test]
    fn int8_stays_near_tract(
        shape in (1_usize..4, 3_usize..9, 3_usize..9),
        layers in prop::collection::vec(layer(), 1..6),
        classes in 2_usize..6,
        seed in any::<u32>(),
    ) {
        let (file, input) = network([shape.0, shape.1, shape.2], &layers, classes, u64::from(seed));
        let graph = import::onnx(&file, &ImportLimits::default()).map_err(|e| TestCaseError::fail(e.to_string()))?;
        let len = graph.tensors[graph.input].len();
        let calibration: Vec<Vec<f32>> = (0..16).map(|i| noise(len, u64::from(seed) + i)).collect();
        let found = search(&graph, &calibration, Method::Auto, &Mixed::Auto).unwrap();
        let output = &found.quantized.tensors[found.quantized.output];
        let mut most = 0.0_f32;
        for real in &calibration {
            let theirs = tract(&file, &input, real);
            let ours = output.reals(&reference::run(&found.quantized, &quantize_input(&found.quantized, real)).unwrap());
            most = ours.iter().zip(&theirs).fold(most, |most, (a, b)| most.max((a - b).abs()));
        }
        println!("probabilities differ by {most}, {:?} dB", found.report.sqnr_db);
        prop_assert!(most < NEAR, "{most} {layers:?}");
    }
}
