//! `tinymlaas compile` on files: no server, no data folder.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::fleet::BINARY;

fn compile(args: &[&str]) -> Output {
    Command::new(BINARY).arg("compile").args(args).output().unwrap()
}

fn digits(name: &str) -> String {
    format!("{}/../models/digits/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn shared(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared").join(name);
    if !path.exists() {
        eprintln!("SKIPPED: no shared/{name} beside the project: it was not compiled");
    }
    path.exists().then_some(path)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_float_model_with_a_csv_file() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let (onnx, csv) = (digits("digits.onnx"), digits("digits.csv"));
    let common = [onnx.as_str(), "--calibrate", &csv, "--input-scale", "0.0625"];
    let output = compile(&[&common[..], &["--board", "uno", "--out", out.to_str().unwrap()]].concat());
    let report = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    for word in ["accuracy  float 99", "fits:", "<- worst", "arena over 8 steps", "weights, float"] {
        assert!(report.contains(word), "'{word}' is not in:\n{report}");
    }
    for file in ["model.c", "model.h", "report.json", "arena.svg", "golden.bin", "samples.bin"] {
        assert!(out.join(file).is_file(), "{file}");
    }
    let output = compile(&[&common[..], &["--json"]].concat());
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(report["int8_accuracy"].as_f64().unwrap() >= 0.98, "{report}");
    let buffers = report["buffers"].as_array().unwrap();
    assert_eq!(buffers.iter().filter(|buffer| buffer["working"].is_null()).count(), 7, "input and six layers");
}

#[test]
fn without_examples_the_way_out_is_said() {
    let onnx = digits("digits.onnx");
    let output = compile(&[&onnx]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("--calibrate random"), "{}", text(&output.stderr));
    let output = compile(&[&onnx, "--calibrate", "random"]);
    assert!(output.status.success());
    assert!(text(&output.stdout).contains("accuracy is unknown"), "{}", text(&output.stdout));
    let output = compile(&[&onnx, "--calibrate", "random", "--board", "toaster"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("known are native, uno"), "{}", text(&output.stderr));
    let output = compile(&[&onnx, "--tflm"]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_model_that_does_not_fit_ends_with_1() {
    let Some(kws) = shared("models/kws.tflite") else { return };
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_str().unwrap();
    let output = compile(&[kws.to_str().unwrap(), "--board", "uno", "--tflm", "--out", out]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("RAM, the board has 2 kB"), "{}", text(&output.stderr));
    let array = std::fs::read_to_string(folder.path().join("model_tflite.c")).unwrap();
    assert!(array.contains("model_tflite_len = 53936;"));
}

#[test]
fn pictures_calibrate_and_measure() {
    let (Some(model), Some(parking)) = (shared("models/person_detect.tflite"), shared("datasets/parking")) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    for label in ["Empty", "Occupied"] {
        let to = folder.path().join(label);
        std::fs::create_dir(&to).unwrap();
        for entry in std::fs::read_dir(parking.join(label)).unwrap().take(10) {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
    let output = compile(&[model.to_str().unwrap(), "--json", "--calibrate", folder.path().to_str().unwrap()]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["evaluated"], &report["labels"][0]), (&Value::from(4), &Value::from("Empty")));
    std::fs::write(folder.path().join("Empty/broken.jpg"), "no picture").unwrap();
    let output = compile(&[model.to_str().unwrap(), "--calibrate", folder.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("Empty/broken.jpg"), "{}", text(&output.stderr));
}
