//! How well the search for ranges does.

use model_compiler::dataset::Split;
use model_compiler::import::{self, ImportLimits};
use model_compiler::mixed::Mixed;
use model_compiler::qir::{Element, QOp, QuantGraph};
use model_compiler::ranges::Method;
use model_compiler::search::search;
use model_compiler::{codegen, evaluate, float, plan, reference};

use crate::board::usable;
use crate::chip::{AVR_LARGE, CORTEX_M4};
use crate::common::{Attribute, DIGITS, OnnxFile, STRICT, compiler, random_inputs, run_c, scaled};

/// A network in which one channel shouts and counts for little.
fn torture() -> Vec<u8> {
    let (inputs, hidden, outputs) = (16_usize, 16_usize, 4_usize);
    let noise = random_inputs(1, inputs * hidden + hidden * outputs, 3).remove(0);
    let mut first: Vec<f32> = noise[..inputs * hidden].iter().map(|v| f32::from(*v) / 128.0).collect();
    let mut second: Vec<f32> = noise[inputs * hidden..].iter().map(|v| f32::from(*v) / 128.0).collect();
    // MatMul weights are [inputs, outputs]: column 0 is the shouting channel, row 0 is what it counts for.
    first.iter_mut().step_by(hidden).for_each(|weight| *weight *= 60.0);
    second[..outputs].iter_mut().for_each(|weight| *weight *= 1e-4);
    OnnxFile::new(&[1, 16], "y")
        .floats("a", &[16, 16], first)
        .floats("b", &[16, 4], second)
        .node("MatMul", &["x", "a"], "h", &[])
        .node("Relu", &["h"], "r", &[])
        .node("MatMul", &["r", "b"], "y", &[])
        .bytes()
}

#[test]
fn auto_beats_min_max_where_outliers_spoil_the_range() {
    let graph = import::onnx(&torture(), &ImportLimits::default()).unwrap();
    let inputs: Vec<Vec<f32>> =
        random_inputs(200, 16, 9).into_iter().map(|row| row.iter().map(|v| f32::from(*v) / 128.0).collect()).collect();
    let plain = search(&graph, &inputs, Method::MinMax, &Mixed::Off).unwrap().report;
    let found = search(&graph, &inputs, Method::Auto, &Mixed::Off).unwrap();
    let auto = &found.report;
    println!("torture: min-max {:?}, auto {auto:?}", plain.sqnr_db);
    assert!(auto.sqnr_db.unwrap() > plain.sqnr_db.unwrap() + 6.0, "{plain:?} {auto:?}");
    assert_eq!(search(&graph, &inputs, Method::Auto, &Mixed::Off).unwrap(), found, "the same again");
}

#[test]
fn the_best_of_all_is_taken() {
    let calibration = scaled(&DIGITS.dataset, Split::Train);
    let auto = search(&DIGITS.graph, &calibration[..256], Method::Auto, &Mixed::Auto).unwrap().report;
    println!("digits: {auto:?}");
    let best = auto.tried.iter().filter_map(|tried| tried.sqnr_db).fold(0.0, f64::max);
    assert!(auto.sqnr_db.unwrap() >= best - 1e-9);
    assert_eq!(auto.tried.len(), 10);
}

/// Two convolutions with channels of very different sizes, a depthwise one and a dense layer.
fn uneven(spread: f32) -> Vec<u8> {
    let weights = |len: usize, seed: u64| crate::import::noise(len, seed);
    let mut first = weights(8 * 9, 1);
    first.iter_mut().enumerate().for_each(|(at, weight)| *weight *= spread.powi((at / 9) as i32 - 4));
    let mut second = weights(6 * 8, 2);
    second.iter_mut().enumerate().for_each(|(at, weight)| *weight /= spread.powi((at % 8) as i32 - 4));
    OnnxFile::new(&[1, 1, 8, 8], "y")
        .floats("a", &[8, 1, 3, 3], first)
        .floats("b", &[6, 8, 1, 1], second)
        .floats("c", &[6, 1, 3, 3], weights(6 * 9, 3))
        .floats("d", &[24, 4], weights(24 * 4, 4))
        .node("Conv", &["x", "a"], "p", &[])
        .node("Relu", &["p"], "q", &[])
        .node("Conv", &["q", "b"], "r", &[])
        .node("Relu", &["r"], "s", &[])
        .node("Conv", &["s", "c"], "t", &[("group", Attribute::Int(6)), ("strides", Attribute::Ints(vec![3, 3]))])
        .node("Flatten", &["t"], "u", &[])
        .node("MatMul", &["u", "d"], "y", &[])
        .bytes()
}

fn pictures(count: usize) -> Vec<Vec<f32>> {
    (0..count as u64).map(|seed| crate::import::noise(64, 100 + seed)).collect()
}

#[test]
fn equalization_changes_nothing_but_the_rounding() {
    let file = uneven(3.0);
    let graph = import::onnx(&file, &ImportLimits::default()).unwrap();
    let inputs = pictures(24);
    let found = search(&graph, &inputs, Method::Auto, &Mixed::Off).unwrap();
    println!("uneven: {:?}", found.report);
    assert!(found.report.equalized_pairs > 0, "{:?}", found.report);
    let before = found.report.tried.iter().filter_map(|tried| tried.sqnr_db).fold(0.0, f64::max);
    assert!(found.report.sqnr_db.unwrap() > before + 3.0, "{:?}", found.report);
    for input in &inputs {
        // Factors are powers of two: not a bit differs.
        assert_eq!(float::run(&graph, input), float::run(&found.graph, input));
    }
}

/// C, on this machine and on a Cortex-M4, answers as the interpreter does.
fn same_bits(graph: &QuantGraph) {
    let plan = plan::plan(graph);
    assert_eq!(plan::conflict(graph, &plan), None);
    let sources = codegen::c99(graph, &plan, "mixed");
    let inputs = random_inputs(16, graph.tensors[graph.input].bytes(), 8);
    let answers: Vec<i8> = inputs.iter().flat_map(|input| reference::run(graph, input).unwrap()).collect();
    let sanitized = ["-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"];
    for cc in ["gcc", "clang"].iter().filter_map(|name| compiler(name)) {
        let flags: Vec<&str> = STRICT.iter().copied().chain(sanitized).collect();
        assert_eq!(run_c(&cc, &flags, &sources, &inputs), answers, "{cc}");
    }
    let bytes = |values: &[i8]| -> Vec<u8> { values.iter().map(|value| value.cast_unsigned()).collect() };
    for chip in [CORTEX_M4, AVR_LARGE].iter().filter(|chip| usable(chip)) {
        let measured = chip.measure(&sources, &bytes(&inputs.concat()), &bytes(&answers), inputs.len());
        assert_eq!(measured.different, 0, "{:?}", chip.core);
    }
}

#[test]
fn any_layers_may_stay_float_and_all_machines_agree() {
    let graph = import::onnx(&uneven(1.3), &ImportLimits::default()).unwrap();
    let layers: Vec<String> = graph.nodes.iter().map(|node| node.name.clone()).collect();
    assert_eq!(layers.len(), 4, "{layers:?}");
    let inputs = pictures(16);
    // A layer between int8 ones, neighbours with floats between them, the first, the last, and two apart.
    for chosen in [vec![1], vec![0, 1], vec![1, 2, 3], vec![0, 3]] {
        let names: Vec<String> = chosen.iter().map(|at| layers[*at].clone()).collect();
        let found = search(&graph, &inputs, Method::MinMax, &Mixed::Layers(names.clone())).unwrap();
        assert_eq!(found.report.float_layers, names);
        let quantized = &found.quantized;
        for (at, node) in quantized.nodes.iter().enumerate() {
            assert_eq!(matches!(node.op, QOp::Real(_)), chosen.contains(&at), "{chosen:?} {at}");
            let between = chosen.contains(&at) && chosen.contains(&(at + 1));
            let element = quantized.tensors[node.output].element;
            assert_eq!(element == Element::Float32, between, "{chosen:?} {at}");
        }
        same_bits(quantized);
    }
    let error = |layer: &str| {
        let mixed = Mixed::Layers(vec![layer.to_owned()]);
        search(&graph, &inputs, Method::MinMax, &mixed).unwrap_err().to_string()
    };
    assert!(
        error("nothing").contains("the model has no layer of this name; these can be float: "),
        "{}",
        error("nothing")
    );
}

#[test]
fn what_int8_spoils_stays_float_by_itself() {
    // Weights of one output channel from 1 to 1e-3 that all count: eight bits lose the small ones.
    let (inputs, outputs) = (16, 4);
    let mut weights = crate::import::noise(inputs * 16, 5);
    let mut second = crate::import::noise(16 * outputs, 6);
    weights.iter_mut().enumerate().for_each(|(at, weight)| *weight *= 10_f32.powi(-(((at / 16) % 4) as i32)));
    second.iter_mut().for_each(|weight| *weight *= 2.0);
    let file = OnnxFile::new(&[1, 16], "y")
        .floats("a", &[16, 16], weights)
        .floats("b", &[16, 4], second)
        .node("MatMul", &["x", "a"], "h", &[])
        .node("Relu", &["h"], "r", &[])
        .node("MatMul", &["r", "b"], "y", &[])
        .bytes();
    let graph = import::onnx(&file, &ImportLimits::default()).unwrap();
    // The small weights meet large inputs, and the large ones inputs that hardly move.
    let rows: Vec<Vec<f32>> = (0..64_u64)
        .map(|seed| {
            let row = crate::import::noise(16, 300 + seed);
            row.iter().enumerate().map(|(at, v)| v * 10_f32.powi(((at % 4) as i32) * 2 - 4)).collect()
        })
        .collect();
    let plain = search(&graph, &rows, Method::Auto, &Mixed::Off).unwrap();
    let mixed = search(&graph, &rows, Method::Auto, &Mixed::Auto).unwrap();
    println!("spoiled: {:?}, mixed {:?}", plain.report.sqnr_db, mixed.report);
    assert!(plain.report.float_layers.is_empty());
    if plain.report.sqnr_db.unwrap() < 20.0 {
        assert!(!mixed.report.float_layers.is_empty(), "{:?}", mixed.report);
        assert!(mixed.report.sqnr_db.unwrap() > plain.report.sqnr_db.unwrap() + 3.0);
    }
    same_bits(&mixed.quantized);
    // What is good already stays int8.
    let calibration = scaled(&DIGITS.dataset, Split::Train);
    let digits = search(&DIGITS.graph, &calibration[..256], Method::Auto, &Mixed::Auto).unwrap();
    assert!(digits.report.float_layers.is_empty(), "{:?}", digits.report);
}

#[test]
fn a_layer_answers_for_its_own_noise_only() {
    let graph = import::onnx(&uneven(6.0), &ImportLimits::default()).unwrap();
    let inputs = pictures(16);
    let quantized = search(&graph, &inputs, Method::MinMax, &Mixed::Off).unwrap().quantized;
    let found = evaluate::sqnr(&graph, &quantized, &inputs);
    let output = found[quantized.output];
    println!("{found:?}");
    // What is lost before the last layer reaches its output, and is not its own.
    assert!(output.own.unwrap() > output.reached.unwrap() + 3.0, "{output:?}");
}
