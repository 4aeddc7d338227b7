//! A small fleet as the API would tell of it: real digits, invented hosts, and hostile texts where people or boards
//! can write anything.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use contract::Timestamp;
use serde_json::{Value, json};

pub const HOSTILE: &str = "<script>alert('x')</script>\"'&";
pub const ARTIFACT: &str = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
pub const OLD_ARTIFACT: &str = "sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";
pub const INSTALL: &str = "0193a5c2-7d10-7c3e-9b51-2f6d1c0a4e11";

/// The moment `seconds` ago.
pub fn ago(seconds: i64) -> Timestamp {
    Timestamp::now().plus_seconds(-seconds)
}

/// Row `index` of the data set that the repository ships: its pixels as int8, and its label.
pub fn digit(index: usize) -> (String, String) {
    let csv = include_str!("../../../../models/digits/digits.csv");
    let row = csv.lines().skip(1).nth(index % 1797).unwrap();
    let mut cells = row.split(',');
    let pixel = |text: &str| (text.parse::<i32>().unwrap() * 255 / 16 - 128) as i8 as u8;
    let pixels: Vec<u8> = cells.by_ref().take(64).map(pixel).collect();
    (STANDARD.encode(pixels), cells.next().unwrap().to_owned())
}

pub fn head(relay: &str, seq: u64, at: Timestamp) -> Value {
    json!({"relay": relay, "journal": "7f3a", "epoch": 12, "seq": seq, "floor": 1, "at": at})
}

fn merge(mut head: Value, body: Value) -> Value {
    let (Value::Object(head_map), Value::Object(body)) = (&mut head, body) else { unreachable!() };
    head_map.extend(body);
    head
}

/// Reading number `seq`; every 29th is wrong.
pub fn reading(relay: &str, device: &str, seq: u64, at: Timestamp) -> Value {
    let (data, expected) = digit(seq as usize * 7);
    let right: usize = expected.parse().unwrap();
    let index = if seq % 29 == 11 { (right + 5) % 10 } else { right };
    let score = 0.80 + (seq % 20) as f32 / 100.0;
    let outputs: Vec<f32> = (0..10)
        .map(|class| {
            if class == index {
                score
            } else {
                (1.0 - score) / 9.0 * (0.4 + ((class * 7 + seq as usize) % 5) as f32 * 0.3)
            }
        })
        .collect();
    merge(
        head(relay, seq, at),
        json!({
            "device": device, "device_seq": seq, "mono_ms": seq * 1000, "artifact": ARTIFACT, "model": "digits@2",
            "prediction": {"label": index.to_string(), "index": index, "score": score}, "outputs": outputs,
            "latency_us": 41 + (seq * 7919) % 13, "expected": expected, "sample": seq % 360,
            "input": {"shape": [8, 8, 1], "scale": 0.003_921_569, "zero_point": -128, "data": data},
        }),
    )
}

/// Newest first.
pub fn readings(relay: &str, device: &str, count: u64) -> Vec<Value> {
    (0..count).map(|back| reading(relay, device, 1000 - back, ago(back as i64))).collect()
}

fn firmware(verified: bool) -> Value {
    json!({"artifact": ARTIFACT, "model": "digits@2", "installed_at": ago(1260), "verified": verified})
}

pub fn device(name: &str) -> Value {
    let mut device = json!({
        "device": name, "board": "native", "status": "running", "port": format!("/home/lab/tinymlaas/data/boards/{name}/tty"),
        "product": "Virtual board", "serial_number": "TML-0001", "firmware": firmware(true),
        "observe": {"enabled": true, "source": "samples", "interval_ms": 1000}, "queued": 0,
    });
    match name {
        "board-2" => device["status"] = json!("busy"),
        "board-3" => {
            device["status"] = json!("empty");
            device["firmware"] = Value::Null;
            device["product"] = json!(HOSTILE);
        }
        "uno-1" => {
            device["board"] = json!("uno");
            device["status"] = json!("faulty");
            device["firmware"] = firmware(false);
            device["problem"] = json!({"code": "port_denied", "message": "the relay may not open /dev/ttyACM0; add its user to the group 'dialout'"});
        }
        _ => {}
    }
    if name == "board-2" {
        device["command"] = json!(INSTALL);
        device["queued"] = json!(1);
    }
    device
}

pub fn device_view(relay: &str, name: &str) -> Value {
    let observed = name != "board-3";
    json!({
        "relay": relay, "online": relay == "bench-1", "state": device(name),
        "last_reading": observed.then(|| reading(relay, name, 1000, ago(1))),
        "readings": if observed { 12_804 } else { 0 }, "correct": if observed { 12_611 } else { 0 },
        "labelled": if observed { 12_804 } else { 0 },
    })
}

pub fn relay_state(relay: &str) -> Value {
    let devices: Vec<Value> =
        if relay == "bench-1" { ["board-1", "board-2", "board-3"].map(device).into() } else { vec![device("uno-1")] };
    json!({
        "relay": relay, "journal": "7f3a", "epoch": 12, "version": 48, "at": ago(31), "agent": "tinymlaas 0.1.0",
        "host": {"hostname": if relay == "bench-1" { "lab-nuc".to_owned() } else { HOSTILE.to_owned() }, "os": "linux", "arch": "x86_64"},
        "toolchains": [
            {"name": "cc", "version": "gcc (Debian 12.2.0-14) 12.2.0"},
            {"name": "avr-gcc", "version": "", "problem": "not installed; apt install gcc-avr avr-libc avrdude"},
        ],
        "devices": devices,
        "counters": {"malformed": 2, "dropped_telemetry": 0, "noise_bytes": 118, "builds": 14, "build_cache_hits": 9},
        "outbox": {"events": 0, "logs": 0, "telemetry": 3},
    })
}

pub fn relay_view(relay: &str) -> Value {
    let online = relay == "bench-1";
    json!({"relay": relay, "online": online, "epoch": 12, "last_seen": ago(if online { 1 } else { 7800 }), "state": relay_state(relay)})
}

fn report(seq: u64, at: Timestamp, body: Value) -> Value {
    let common =
        json!({"type": "command", "command": INSTALL, "verb": "install", "device": "board-2", "artifact": ARTIFACT});
    merge(head("bench-1", seq, at), merge(common, body))
}

fn command(id: &str, verb: &str, device: &str, state: &str, code: &str, message: &str, age: i64) -> Value {
    json!({
        "relay": "bench-1", "command": id, "verb": verb, "device": device, "state": state, "code": code,
        "message": message, "progress": if state == "succeeded" { 1.0 } else { 0.6 },
        "created_at": ago(age + 3), "updated_at": ago(age), "events": [],
    })
}

/// Newest first.
pub fn commands() -> Vec<Value> {
    vec![
        command(INSTALL, "install", "board-2", "flashing", "ok", "writing 18,432 of 31,872 bytes", 1),
        command("c-5", "self_test", "board-1", "succeeded", "ok", "16 of 16 golden vectors match bit for bit", 240),
        command("c-4", "install", "board-1", "succeeded", "ok", "digits@2 runs on board-1", 1260),
        command(
            "c-3",
            "install",
            "board-3",
            "failed",
            "build_failed",
            "cc: model.c:81: error: expected ';' before '}' token",
            4000,
        ),
        command("c-2", "erase", "board-3", "cancelled", "cancelled", HOSTILE, 5000),
        command(
            "../c 1?#",
            "restart",
            "board-9",
            "rejected",
            "unknown_device",
            "the relay has no device 'board-9'",
            90_000,
        ),
    ]
}

/// One command with its events.
pub fn command_with_events(id: &str) -> Option<Value> {
    let mut found = commands().into_iter().find(|command| command["command"] == id)?;
    if id == INSTALL {
        found["events"] = json!([
            report(901, ago(4), json!({"state": "accepted", "code": "ok", "message": "", "progress": 0.0})),
            report(
                902,
                ago(4),
                json!({"state": "fetching", "code": "ok", "message": "2 blocks of 32 KiB", "progress": 0.05, "duration_ms": 2})
            ),
            report(
                903,
                ago(3),
                json!({"state": "building", "code": "ok", "message": "cc -O2 for native", "progress": 0.2, "duration_ms": 41})
            ),
            report(
                904,
                ago(1),
                json!({"state": "flashing", "code": "ok", "message": "writing 18,432 of 31,872 bytes", "progress": 0.6, "duration_ms": 870, "detail": {"flash_bytes": 31872, "ram_bytes": 1210}})
            ),
        ]);
    }
    Some(found)
}

fn lines(seq: u64, device: &str, phase: &str, age: i64, texts: &[&str]) -> Value {
    let lines: Vec<Value> = texts.iter().map(|text| json!({"at": ago(age), "text": text})).collect();
    merge(head("bench-1", seq, ago(age)), json!({"device": device, "command": INSTALL, "phase": phase, "lines": lines}))
}

/// Newest first.
pub fn logs(device: &str) -> Vec<Value> {
    vec![
        lines(45, device, "serial", 4, &["model digits 3f9a1c20 ready, arena 576 B", HOSTILE]),
        lines(44, device, "verify", 6, &["golden vector 16 of 16: equal"]),
        lines(
            43,
            device,
            "flash",
            8,
            &["bootloader 1, 512 B a frame", "31,872 bytes written, digest matches, image swapped"],
        ),
        lines(
            42,
            device,
            "build",
            11,
            &[
                "cc -std=c99 -O2 -Wall -Wextra -DTML_ARTIFACT=\"sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\" -o firmware model.c main.c",
                "   text    data     bss     dec",
                "  30112     760    1120   31992",
            ],
        ),
        lines(41, device, "fetch", 12, &["manifest signed by 8c1f03ab55d2e790", "block 2 of 2"]),
    ]
}

pub fn datasets() -> Value {
    let labels: Vec<String> = (0..10).map(|label| label.to_string()).collect();
    json!([{"name": "digits", "rows": 1797, "train_rows": 1437, "test_rows": 360, "columns": 64, "labels": labels,
            "input_scale": 0.0625, "sha256": "ab".repeat(32), "created_at": ago(86_000)}])
}

fn compile_report() -> Value {
    let confusion: Vec<Vec<u32>> = (0..10_u32)
        .map(|right| {
            (0..10_u32)
                .map(|said| {
                    if right == said {
                        33 + right % 4
                    } else {
                        u32::from((right, said) == (8, 1)) + 2 * u32::from((right, said) == (9, 3))
                    }
                })
                .collect()
        })
        .collect();
    let board = |name: &str,
                 flash: u64,
                 flash_total: u64,
                 ram: u64,
                 ram_total: u64,
                 latency: Option<u64>,
                 verdict: &str| {
        json!({"board": name, "flash_bytes": flash, "flash_total": flash_total, "ram_bytes": ram, "ram_total": ram_total,
               "latency_us": latency, "fits": ram <= ram_total && flash <= flash_total, "verdict": verdict})
    };
    json!({
        "float_accuracy": 0.9944, "int8_accuracy": 0.9917, "evaluated": 360, "calibrated": 256, "confusion": confusion,
        "labels": (0..10).map(|label: i32| label.to_string()).collect::<Vec<_>>(),
        "weights_bytes": 3122, "arena_bytes": 640, "arena_bound_bytes": 576, "macs": 32_616, "source_bytes": 13_208, "compile_ms": 412,
        "calibration": "dataset", "float_weights_bytes": 11_240,
        "quantization": {"method": "mse", "bias_correction": true, "adjusted_tensors": 2, "sqnr_db": 36.4, "float_layers": ["/conv2/Conv"], "tried": [
            {"method": "min-max", "bias_correction": false, "sqnr_db": 33.1},
            {"method": "mse", "bias_correction": false, "sqnr_db": 34.8},
            {"method": "mse", "bias_correction": true, "sqnr_db": 35.9},
        ]},
        "outputs": {"mse": 0.000_012, "largest": 0.031, "sqnr_db": 36.0, "agreement": 0.997},
        "warnings": ["int8 costs 0.3 points of accuracy"],
        "buffers": [
            {"name": "input", "offset": 512, "bytes": 64, "first": 0, "last": 1},
            {"name": "/conv1/Conv", "offset": 0, "bytes": 512, "first": 1, "last": 2},
            {"name": "/pool1/MaxPool", "offset": 0, "bytes": 128, "first": 2, "last": 3},
            {"name": "/conv2/Conv", "offset": 128, "bytes": 384, "first": 3, "last": 4},
            {"name": "/pool2/MaxPool", "offset": 128, "bytes": 96, "first": 4, "last": 5},
            {"name": "/dense/Gemm", "offset": 0, "bytes": 10, "first": 5, "last": 6},
            {"name": HOSTILE, "offset": 0, "bytes": 10, "first": 6, "last": 7},
            {"name": "/conv2/Conv", "offset": 512, "bytes": 128, "first": 3, "last": 3, "working": true},
        ],
        "layers": [
            {"name": "/conv1/Conv", "op": "conv2d+relu", "shape": [8, 8, 8], "macs": 4608, "weights_bytes": 136, "sqnr_db": 38.2},
            {"name": "/pool1/MaxPool", "op": "max_pool", "shape": [4, 4, 8], "macs": 0, "weights_bytes": 0},
            {"name": "/conv2/Conv", "op": "conv2d (float)+relu", "shape": [4, 4, 24], "macs": 27_648, "weights_bytes": 1944, "sqnr_db": 34.9,
             "float": true, "instructions": {"avr": 10_412_345, "cortex-m4": 4_321_000}},
            {"name": "/pool2/MaxPool", "op": "max_pool", "shape": [2, 2, 24], "macs": 0, "weights_bytes": 0},
            {"name": "/dense/Gemm", "op": "dense", "shape": [10], "macs": 960, "weights_bytes": 1040, "sqnr_db": 36.0},
            {"name": HOSTILE, "op": "softmax", "shape": [10], "macs": 0, "weights_bytes": 2},
        ],
        "boards": [
            board("native", 31_992, 16_777_216, 1880, 8_388_608, Some(40), "fits"),
            board("uno", 11_840, 32_256, 1790, 2048, Some(21_300), "fits, with 258 B of RAM left"),
            board("attiny85", 9_900, 8192, 1500, 512, None, "does not fit: needs 9.7 kB flash, the board has 8 kB; needs 1.5 kB RAM, the board has 512 B"),
        ],
    })
}

/// An autoencoder of many layers: no labels, targets are its inputs.
fn autoencoder() -> Value {
    let mut report = compile_report();
    for name in ["float_accuracy", "int8_accuracy"] {
        report[name] = Value::Null;
    }
    report["confusion"] = json!([]);
    report["labels"] = json!([]);
    report["outputs"] = json!({
        "mse": 0.084, "largest": 2.31, "sqnr_db": 27.9, "float_target_mse": 9.81, "int8_target_mse": 9.93,
    });
    let layer = |index: u32| {
        json!({"name": format!("model/batch_normalization_{index}/FusedBatchNormV3;model/dense_{index}/Relu"), "op": "dense+relu",
               "shape": [128], "macs": 16_384, "weights_bytes": 16_896, "sqnr_db": 48.0 - f64::from(index * 2)})
    };
    report["layers"] = (0..24).map(layer).collect();
    let buffer =
        |index: u32| json!({"name": "x", "offset": (index % 2) * 128, "bytes": 128, "first": index, "last": index + 1});
    report["buffers"] = (0..25).map(buffer).collect();
    report["arena_bytes"] = json!(256);
    report["arena_bound_bytes"] = json!(256);
    report
}

/// Newest first.
pub fn models() -> Vec<Value> {
    let model = |version: u32, artifact: Value, report: Value, problem: Value| {
        json!({"model": format!("digits@{version}"), "format": "onnx", "size": 13_208, "sha256": "c0ffee00".repeat(8), "dataset": "digits",
               "created_at": ago(90_000 - i64::from(version) * 3600), "artifact": artifact, "report": report, "problem": problem})
    };
    let mut broken = model(
        1,
        Value::Null,
        Value::Null,
        json!(
            "the node 'attention' has the operator 'Attention', which is not supported; supported are Conv, Gemm, MatMul, Relu, MaxPool, Softmax"
        ),
    );
    broken["model"] = json!("speech@1");
    let mut machine = model(1, json!(OLD_ARTIFACT), autoencoder(), Value::Null);
    machine["model"] = json!("machine@1");
    vec![
        model(2, json!(ARTIFACT), compile_report(), Value::Null),
        machine,
        broken,
        model(1, json!(OLD_ARTIFACT), compile_report(), Value::Null),
    ]
}

pub fn manifest() -> Value {
    let document = json!({
        "artifact": ARTIFACT, "purpose": "install", "model": "digits@2", "size": 61_440, "block_bytes": 32_768, "blocks": 2,
        "compiler": "model-compiler 0.1.0", "created_at": ago(80_000), "arena_bytes": 640, "weights_bytes": 3122,
        "provenance": {"source_sha256": "c0ffee00".repeat(8), "dataset": "digits", "calibration_rows": 256},
    });
    json!({"document": document.to_string(), "key_id": "8c1f03ab55d2e790", "signature": "AA=="})
}
