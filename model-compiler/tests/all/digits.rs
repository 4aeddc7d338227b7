//! The demo's model through the whole compiler.

use std::time::Instant;

use contract::artifact::ModelMeta;
use model_compiler::codegen::Sources;
use model_compiler::dataset::Split;
use model_compiler::{CompileError, CompileOptions, compile, evaluate, float, plan};

use crate::common::{DIGITS, STRICT, compiler, run_c, scaled, tract};

fn options() -> CompileOptions {
    CompileOptions { input_scale: 1.0 / 16.0, ..CompileOptions::new("digits") }
}

#[test]
fn int8_reads_95_percent_of_the_held_out_digits_and_fits_an_uno() {
    let started = Instant::now();
    let mut steps = Vec::new();
    let compiled = compile(&DIGITS.onnx, &DIGITS.dataset, &options(), &mut |progress| {
        steps.push(progress);
    })
    .unwrap();
    let took = started.elapsed();
    let report = &compiled.report;
    let (float, int8) = (report.float_accuracy.unwrap(), report.int8_accuracy.unwrap());
    let uno = report.boards.iter().find(|board| board.board == "uno").unwrap();
    println!(
        "digits: float {float:.4}, int8 {int8:.4} of {} images; weights {} B, arena {} B (bound {} B), {} MACs; \
         artifact {} B; compiled in {} ms (whole call {} ms); uno: {}",
        report.evaluated,
        report.weights_bytes,
        report.arena_bytes,
        report.arena_bound_bytes,
        report.macs,
        compiled.artifact.tar.len(),
        report.compile_ms,
        took.as_millis(),
        uno.verdict
    );
    for layer in &report.layers {
        println!("  {layer:?}");
    }
    assert_eq!(report.evaluated, 360);
    assert!(float >= 0.98, "float accuracy {float}");
    assert!(int8 >= 0.95, "int8 accuracy {int8}");
    assert!(uno.fits, "{}", uno.verdict);
    assert!(report.arena_bytes < 900, "arena {}", report.arena_bytes);
    let counted: u32 = report.confusion.iter().flatten().sum();
    assert_eq!(counted, report.evaluated);
    assert!(report.layers.iter().all(|layer| layer.sqnr_db.is_none_or(|db| db > 15.0)));
    assert!(steps.is_sorted_by(|a, b| a.fraction <= b.fraction));
    assert!((steps.last().unwrap().fraction - 1.0).abs() < 1e-6);
    assert!(took.as_secs_f64() < 10.0, "compiling took {took:?}");
}

#[test]
fn the_artifact_is_deterministic_and_holds_what_the_contract_names() {
    let make = || compile(&DIGITS.onnx, &DIGITS.dataset, &options(), &mut |_| {}).unwrap().artifact;
    let (first, second) = (make(), make());
    assert_eq!(first, second);
    let mut archive = tar::Archive::new(first.tar.as_slice());
    let mut files = std::collections::BTreeMap::new();
    let mut names = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        assert_eq!(entry.header().mtime().unwrap(), 0);
        assert_eq!(entry.header().mode().unwrap(), 0o644);
        let name = entry.path().unwrap().to_str().unwrap().to_owned();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
        names.push(name.clone());
        files.insert(name, bytes);
    }
    assert_eq!(names, ["golden.bin", "meta.json", "model.c", "model.h", "samples.bin", "samples.json"]);
    let meta: ModelMeta = serde_json::from_slice(&files["meta.json"]).unwrap();
    assert_eq!(meta, first.meta);
    assert_eq!(meta.input.shape, [8, 8, 1]);
    assert_eq!(meta.output.shape, [10]);
    assert_eq!(meta.labels, ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);
    assert_eq!((meta.golden_count, meta.sample_count), (24, 100));
    assert_eq!(files["golden.bin"].len(), 24 * (64 + 10));
    assert_eq!(files["samples.bin"].len(), 100 * 64);
    let header = String::from_utf8_lossy(&files["model.h"]);
    assert!(header.contains("#define TML_INPUT_BYTES 64"));
    assert!(header.contains(&format!("#define TML_ARENA_BYTES {}", meta.arena_bytes)));
    // The C of the artifact answers its own golden vectors.
    let Some(cc) = compiler("cc") else { return };
    let text = |name: &str| String::from_utf8(files[name].clone()).unwrap();
    let sources = Sources { model_c: text("model.c"), model_h: text("model.h"), kernels: 0 };
    let golden: Vec<i8> = files["golden.bin"].iter().map(|byte| byte.cast_signed()).collect();
    let inputs: Vec<Vec<i8>> = golden.chunks_exact(74).map(|record| record[..64].to_vec()).collect();
    let answers: Vec<i8> = golden.chunks_exact(74).flat_map(|record| record[64..].to_vec()).collect();
    assert_eq!(run_c(&cc, &STRICT, &sources, &inputs), answers);
}

#[test]
fn the_float_interpreter_agrees_with_tract() {
    for input in scaled(&DIGITS.dataset, Split::Test).iter().take(20) {
        let ours = float::run(&DIGITS.graph, input).unwrap();
        let theirs = tract(&DIGITS.onnx, &[1, 1, 8, 8], input);
        for (a, b) in ours.iter().zip(&theirs) {
            assert!((a - b).abs() < 1e-5, "{ours:?} {theirs:?}");
        }
    }
}

#[test]
fn the_plan_reaches_its_bound_without_conflict() {
    let plan = plan::plan(&DIGITS.quantized);
    assert_eq!(plan::conflict(&DIGITS.quantized, &plan), None);
    assert_eq!(plan.arena_bytes, plan.bound_bytes);
}

#[test]
fn a_percentile_range_costs_no_accuracy_here() {
    let calibration = scaled(&DIGITS.dataset, Split::Train);
    let options =
        model_compiler::quantize::QuantizeOptions { method: model_compiler::ranges::Method::Percentile(0.9999) };
    let quantized = model_compiler::quantize::quantize(&DIGITS.graph, &calibration[..256], &options).unwrap();
    let inputs = scaled(&DIGITS.dataset, Split::Test);
    let labels = DIGITS.dataset.split(Split::Test).map(|row| evaluate::Expected::Label(row.label.unwrap()));
    let examples: Vec<(&[f32], evaluate::Expected)> = inputs.iter().map(Vec::as_slice).zip(labels).collect();
    let evaluation = evaluate::evaluate(Some(&DIGITS.graph), &quantized, 10, examples.into_iter(), &mut |_| {});
    assert!(evaluation.int8_accuracy().unwrap() > 0.95);
}

#[test]
fn model_and_data_that_do_not_match_are_refused() {
    let error = |edit: &dyn Fn(&mut model_compiler::dataset::Dataset)| {
        let mut dataset = DIGITS.dataset.clone();
        edit(&mut dataset);
        compile(&DIGITS.onnx, &dataset, &options(), &mut |_| {}).unwrap_err().to_string()
    };
    let columns = error(&|dataset| {
        dataset.columns.pop();
    });
    assert!(columns.contains("63 values") && columns.contains("takes 64"), "{columns}");
    let labels = error(&|dataset| {
        dataset.labels.pop();
    });
    assert!(labels.contains("9 labels, the model has 10 outputs"), "{labels}");
    let train = error(&|dataset| dataset.rows.retain(|row| row.split == Split::Test));
    assert!(train.contains("no row has the split `train`"), "{train}");
    let scale = CompileOptions { input_scale: 0.0, ..options() };
    let refused = compile(&DIGITS.onnx, &DIGITS.dataset, &scale, &mut |_| {});
    assert!(matches!(refused, Err(CompileError::Option { option: "input_scale", .. })));
}
