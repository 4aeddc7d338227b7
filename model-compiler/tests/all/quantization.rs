//! How well the search for ranges does.

use model_compiler::import::{self, ImportLimits};
use model_compiler::ranges::Method;
use model_compiler::search::search;

use crate::common::{DIGITS, OnnxFile, random_inputs, scaled};
use model_compiler::dataset::Split;

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
    let (_, plain) = search(&graph, &inputs, Method::MinMax).unwrap();
    let (quantized, auto) = search(&graph, &inputs, Method::Auto).unwrap();
    println!("torture: min-max {:?}, auto {auto:?}", plain.sqnr_db);
    assert!(auto.sqnr_db.unwrap() > plain.sqnr_db.unwrap() + 6.0, "{plain:?} {auto:?}");
    assert_eq!(search(&graph, &inputs, Method::Auto).unwrap().0, quantized, "the same again");
}

#[test]
fn the_best_of_all_is_taken() {
    let calibration = scaled(&DIGITS.dataset, Split::Train);
    let (_, auto) = search(&DIGITS.graph, &calibration[..256], Method::Auto).unwrap();
    println!("digits: {auto:?}");
    let best = auto.tried.iter().filter_map(|tried| tried.sqnr_db).fold(0.0, f64::max);
    assert!(auto.sqnr_db.unwrap() >= best - 1e-9);
    assert_eq!(auto.tried.len(), 10);
}
