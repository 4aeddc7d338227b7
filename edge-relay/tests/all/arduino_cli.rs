//! Boards of Arduino cores: the sketch, the core's side of the firmware, and the driver of arduino-cli. The program itself
//! is in no Debian release; what stands in for it is `arduino-cli.sh`.

use serde_json::json;

use crate::bench::{Bench, CHIP};
use crate::model::{Kind, make};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sketch_is_built_uploaded_and_verified() {
    let mut missing = virtual_board::simulator::Arduino::Uno.missing();
    if !std::path::Path::new("/usr/bin/arduino-builder").exists() {
        missing.push("arduino-builder");
    }
    if !missing.is_empty() {
        eprintln!("SKIPPED a_sketch_is_built_uploaded_and_verified: apt install {}", missing.join(" "));
        return;
    }
    let _chip = CHIP.lock().await;
    let mut bench = Bench::new().await;
    bench.script("arduino-cli", include_str!("arduino-cli.sh"));
    let board = json!({
        "board": "sketch", "title": "An Uno with Arduino's core", "toolchain": "arduino-cli", "target": "arduino:avr:uno",
        "firmware": "arduino", "flash_bytes": 32256, "ram_bytes": 2048, "stack_bytes": 300, "baud": 115_200,
        "programmer": "arduino-cli", "reset": "dtr", "usb": [],
        // It speaks by itself as soon as it is not fed, which disturbs nothing here.
        "sensor": { "kind": "adc", "pin": 0, "rate_hz": 1000 },
    });
    let folder = bench.path("relay").join("boards");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("sketch.json"), board.to_string()).unwrap();
    let mut wrong = board;
    (wrong["board"], wrong["flags"]) = (json!("wrong"), json!(["--fast"]));
    std::fs::write(folder.join("wrong.json"), wrong.to_string()).unwrap();
    bench.add_uno(1);
    bench.start_relay();
    let host = &bench.host;
    host.devices(1).await;
    host.send(json!({"id": "s", "verb": "set_board", "device": "board-1", "board": "sketch"})).await;
    host.succeeds("s").await;
    let model = make(40, Kind::Good, 100);
    host.install("i1", "board-1", &model).await;
    let end = host.succeeds("i1").await;
    eprintln!("a sketch: {}", end["detail"]);
    assert_eq!(end["detail"]["self_test"]["vectors"], 12);
    assert_eq!(host.states("i1"), ["accepted", "fetching", "building", "flashing", "verifying", "succeeded"]);
    host.log_lines("board-1", "bytes of flash verified", 1).await;
    host.more_readings("board-1", 2).await;
    host.install("wrong", "board-1", &make(41, Kind::Wrong, 100)).await;
    assert_eq!(host.end("wrong").await["code"], "rolled_back");
    // The compiler's output is the device's log, and the end says where to look.
    host.install("broken", "board-1", &make(42, Kind::Broken, 100)).await;
    let end = host.end("broken").await;
    assert_eq!(end["code"], "build_failed", "{end}");
    host.log_lines("board-1", "error: ", 1).await;
    host.send(json!({"id": "e", "verb": "erase", "device": "board-1"})).await;
    assert_eq!(host.end("e").await["code"], "not_supported");
    // A core that is not installed is named, with the command that installs it.
    host.offer(&model);
    host.send(json!({"id": "b", "verb": "build", "board": "nano33ble", "artifact": model.id})).await;
    let end = host.end("b").await;
    assert_eq!(end["code"], "toolchain_missing", "{end}");
    assert!(end["message"].as_str().unwrap().contains("core install arduino:mbed_nano"), "{end}");
    // What it refuses before it builds anything is told.
    host.send(json!({"id": "f", "verb": "build", "board": "wrong", "artifact": model.id})).await;
    let end = host.end("f").await;
    assert_eq!(end["code"], "build_failed", "{end}");
    assert!(end["message"].as_str().unwrap().contains("unknown flag: --fast"), "{end}");
    host.assert_gap_free();
}
