//! The command line's own commands, their JSON and exit codes.

use std::process::Command;

use crate::fleet::{BINARY, Fleet, project};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn everything_that_can_be_typed() {
    let fleet = Fleet::start(&["--boards", "2"]);

    let output = fleet.cli(&["model", "list"]);
    assert!(text(&output.stdout).contains("No model yet"), "{}", text(&output.stdout));
    let csv = project().join("models/digits/digits.csv");
    let onnx = project().join("models/digits/digits.onnx");
    let dataset = fleet.cli_json(&["dataset", "import", csv.to_str().unwrap(), "--input-scale", "0.0625"]);
    assert_eq!(dataset["rows"], 1797);
    let model = fleet.cli_json(&["model", "import", onnx.to_str().unwrap(), "--dataset", "digits"]);
    assert_eq!(model["model"], "digits@1");
    let compiled = fleet.cli_json(&["model", "compile", "digits"]);
    assert!(compiled["report"]["int8_accuracy"].as_f64().unwrap() > 0.95);
    let shown = fleet.cli(&["model", "show", "digits"]);
    for word in ["accuracy", "uno", "fits", "LAYER"] {
        assert!(text(&shown.stdout).contains(word), "'{word}' in {}", text(&shown.stdout));
    }

    let lines = fleet.cli_json_lines(&["install", "digits", "--device", "board-1"]);
    let states: Vec<&str> = lines.iter().filter_map(|line| line["state"].as_str()).collect();
    assert_eq!(states.first(), Some(&"accepted"));
    assert_eq!(states.last(), Some(&"succeeded"));
    let output = fleet.cli(&["install", "digits@1", "--device", "demo/board-2", "--interval-ms", "200"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("✓ install demo/board-2"), "{}", text(&output.stdout));

    let relays = fleet.cli_json(&["relay", "list"]);
    assert_eq!(relays[0]["relay"], "demo");
    assert_eq!(relays[0]["online"], true);
    let devices = fleet.cli(&["device", "list"]);
    assert!(text(&devices.stdout).contains("demo/board-2"), "{}", text(&devices.stdout));
    assert!(text(&devices.stdout).contains("digits@1"), "{}", text(&devices.stdout));
    for verb in ["self-test", "identify", "restart"] {
        let output = fleet.cli(&["device", verb, "board-1"]);
        assert!(output.status.success(), "{verb}: {}", text(&output.stderr));
    }
    let output = fleet.cli(&["device", "evaluate", "board-1"]);
    for word in ["samples right", "µs each", "on the device", "in the cloud"] {
        assert!(text(&output.stdout).contains(word), "'{word}' in {output:?}");
    }
    for (board, shown) in [("native", "native (set by hand)"), ("auto", "native\n")] {
        let output = fleet.cli(&["device", "set-board", "board-1", board]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        fleet.until(10, shown, |fleet| text(&fleet.cli(&["device", "show", "board-1"]).stdout).contains(shown));
    }
    let output = fleet.cli(&["watch", "--count", "3", "--device", "board-2"]);
    assert_eq!(text(&output.stdout).lines().count(), 3, "{output:?}");
    assert!(text(&output.stdout).contains("says"), "{}", text(&output.stdout));
    let logs = fleet.cli(&["logs", "board-1"]);
    assert!(logs.status.success() && !logs.stdout.is_empty(), "{}", text(&logs.stderr));
    assert!(fleet.cli(&["health"]).status.success());
    assert!(fleet.cli(&["relay", "diagnose", "demo"]).status.success());
    assert!(fleet.cli(&["relay", "rescan", "demo"]).status.success());
    let output = fleet.cli(&["device", "erase", "board-2"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    fleet.until(10, "board-2 is empty", |fleet| fleet.device("board-2").state.firmware.is_none());
}

#[test]
fn each_failure_has_its_exit_code_and_one_sentence() {
    let fleet = Fleet::start(&["--boards", "1"]);
    let expect = |args: &[&str], code: i32, words: &[&str]| {
        let output = fleet.cli(args);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
        for word in words {
            assert!(said.contains(word), "{args:?}: '{word}' is not in: {said}");
        }
    };
    expect(&["install", "digits", "--device", "nowhere"], 5, &["nowhere", "demo/board-1"]);
    expect(&["install", "unheard-of", "--device", "board-1"], 5, &["unheard-of"]);
    expect(&["install", "Not A Name", "--device", "board-1"], 2, &["model"]);
    expect(&["model", "show", "unheard-of"], 5, &["unheard-of"]);
    expect(&["relay", "show", "unheard-of"], 5, &["unheard-of"]);
    expect(&["device", "self-test", "board-1"], 1, &["no_firmware"]);
    expect(&["device", "set-board", "board-1", "unno"], 1, &["unknown_board", "uno"]);
    expect(&["cancel", "demo", "unheard-of"], 1, &["unknown_command"]);
    expect(&["frobnicate"], 2, &["frobnicate"]);

    let corrupt = fleet.dir.join("corrupt.onnx");
    std::fs::write(&corrupt, b"this is no model").unwrap();
    expect(&["model", "import", corrupt.to_str().unwrap(), "--name", "corrupt"], 1, &[]);

    let unreachable = Command::new(BINARY)
        .args(["relay", "list", "--api", "http://127.0.0.1:1", "--data-dir", fleet.dir.to_str().unwrap()])
        .output()
        .unwrap();
    assert_eq!(unreachable.status.code(), Some(3), "{}", text(&unreachable.stderr));
    assert!(text(&unreachable.stderr).contains("tinymlaas up"), "{}", text(&unreachable.stderr));

    let wrong = Command::new(BINARY)
        .args(["watch", "--mqtt", &format!("127.0.0.1:{}", fleet.mqtt), "--count", "1"])
        .env("TINYMLAAS_TOKEN", "wrong")
        .output()
        .unwrap();
    assert_eq!(wrong.status.code(), Some(4), "{}", text(&wrong.stderr));
}
