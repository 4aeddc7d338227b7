//! Models that are no classifiers, and data that has no labels.

use model_compiler::dataset::{Dataset, Example};
use model_compiler::import::{self, ImportLimits, Model};
use model_compiler::mixed::Mixed;
use model_compiler::optimize::Optimize;
use model_compiler::{CompileError, CompileOptions, Data, compile};

use crate::common::{Attribute, DIGITS, OnnxFile, random_inputs, shared_models};

fn shared(name: &str) -> Option<Vec<u8>> {
    let file = shared_models().and_then(|folder| std::fs::read(folder.join(name)).ok());
    if file.is_none() {
        eprintln!("SKIPPED: no shared/models/{name} beside the project: it was not compiled");
    }
    file
}

/// Rows of smooth noise: what a sensor gives, more or less.
fn rows(columns: usize, count: usize, scale: f32) -> Dataset {
    let example = |bytes: Vec<i8>| {
        let values = bytes.windows(2).map(|pair| (f32::from(pair[0]) + f32::from(pair[1])) * scale).collect();
        Example { values, ..Example::default() }
    };
    let examples = random_inputs(count, columns + 1, 7).into_iter().map(example).collect();
    Dataset::new((0..columns).map(|at| format!("v{at}")).collect(), examples)
}

/// The float files of MLPerf Tiny, each with the least SQNR that its int8 outputs must reach, in dB.
#[test]
fn float_models_compile_with_unlabelled_rows() {
    for (name, columns, scale, least) in
        [("ad_float.onnx", 640, 0.01, 20.0), ("kws_float.onnx", 490, 0.1, 15.0), ("ic_float.onnx", 3072, 1.0, 15.0)]
    {
        let Some(file) = shared(name) else { continue };
        let options = CompileOptions { calibration_rows: 24, ..CompileOptions::new("model") };
        let compiled = compile(&file, &rows(columns, 40, scale), &options, &mut |_| {}).unwrap();
        let outputs = compiled.report.outputs.unwrap();
        println!("{name}: {outputs:?}; {:?}", compiled.report.times);
        assert!(outputs.sqnr_db.unwrap() > least, "{name}: {outputs:?}");
        assert_eq!((compiled.report.int8_accuracy, compiled.report.evaluated), (None, 8));
        // An autoencoder is measured against its own inputs.
        assert_eq!(outputs.int8_target_mse.is_some(), name == "ad_float.onnx");
        assert!(compiled.artifact.meta.labels.is_empty());
    }
}

#[test]
fn a_regression_is_measured_against_its_targets() {
    let Some(file) = shared("hello_world.tflite") else { return };
    let examples = (0..100).map(|step| {
        let x = step as f32 * std::f32::consts::TAU / 100.0;
        Example { values: vec![x], targets: vec![x.sin()], ..Example::default() }
    });
    let dataset = Dataset::new(vec!["x".into()], examples.collect());
    let compiled = compile(&file, &dataset, &CompileOptions::new("sine"), &mut |_| {}).unwrap();
    let outputs = compiled.report.outputs.unwrap();
    assert!(outputs.int8_target_mse.unwrap() < 0.02, "{outputs:?}");
    assert_eq!((outputs.mse, compiled.report.float_accuracy), (None, None));
}

#[test]
fn a_float_model_needs_data_and_an_int8_one_does_not() {
    let none = compile(&DIGITS.onnx, Data::None, &CompileOptions::new("digits"), &mut |_| {});
    assert!(matches!(none, Err(CompileError::NoData)));
    let random = compile(&DIGITS.onnx, Data::Random, &CompileOptions::new("digits"), &mut |_| {}).unwrap();
    assert!(random.report.warnings[0].contains("accuracy is unknown"), "{:?}", random.report.warnings);
    let Some(file) = shared("kws.tflite") else { return };
    assert!(matches!(import::model(&file, &ImportLimits::default()), Ok(Model::Int8(_))));
    let compiled = compile(&file, Data::None, &CompileOptions::new("kws"), &mut |_| {}).unwrap();
    assert_eq!((compiled.artifact.meta.golden_count, compiled.artifact.meta.sample_count), (9, 0));
    let float = CompileOptions { mixed: Mixed::Layers(vec!["dense".into()]), ..CompileOptions::new("kws") };
    let refused = compile(&file, Data::None, &float, &mut |_| {}).map(|_| ()).unwrap_err();
    assert!(matches!(refused, CompileError::Option { option: "mixed", .. }), "{refused}");
}

#[test]
fn a_verdict_names_the_setting_with_which_a_model_fits() {
    // 12 rows and columns become 1,152 B of activations: too many for 2 kB of RAM, unless they come band by band.
    let file = OnnxFile::new(&[1, 1, 12, 12], "y")
        .floats("a", &[8, 1, 3, 3], crate::import::noise(8 * 9, 1))
        .floats("b", &[8, 8, 3, 3], crate::import::noise(64 * 9, 2))
        .node("Conv", &["x", "a"], "p", &[("pads", Attribute::Ints(vec![1; 4]))])
        .node("Relu", &["p"], "q", &[])
        .node("Conv", &["q", "b"], "y", &[("strides", Attribute::Ints(vec![2, 2]))])
        .bytes();
    let uno = |optimize: Optimize| {
        let options = CompileOptions { optimize, ..CompileOptions::new("tight") };
        let report = compile(&file, Data::Random, &options, &mut |_| {}).unwrap().report;
        assert_eq!((report.optimize, report.mixed), (optimize, Mixed::Auto));
        report.boards.into_iter().find(|board| board.board == "uno").unwrap()
    };
    let (speed, ram) = (uno(Optimize::Speed), uno(Optimize::Ram));
    println!("{}; {}", speed.verdict, ram.verdict);
    assert_eq!((speed.fits, speed.fits_with, ram.fits, ram.fits_with), (false, Some(Optimize::Ram), true, None));
    let needs = ram.verdict.trim_start_matches("fits: ");
    assert!(speed.verdict.starts_with("does not fit: needs "), "{}", speed.verdict);
    assert!(speed.verdict.ends_with(&format!("; fits with optimize=ram: {needs}")), "{}", speed.verdict);
}
