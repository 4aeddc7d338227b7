//! Boards that are more than a process: an Arduino Uno in simavr and a Cortex-M4 in QEMU, from the demo's first line on.

use contract::state::DeviceStatus;
use virtual_board::simulator::Arduino;

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::fleet::Fleet;

/// One simulated chip at a time: each keeps a core busy, and a chip that starves looks like one that is broken.
static CHIP: Mutex<()> = Mutex::new(());

fn chip() -> MutexGuard<'static, ()> {
    CHIP.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The demo on one board of this type; what comes out of it is bit for bit what the reference computes.
fn demo(board: &str) -> Fleet {
    let fleet = Fleet::start(&["--demo", "--board", board, "--boards", "1"]);
    assert!(fleet.said("✓ live"), "{}", fleet.output.lock().unwrap());
    let view = fleet.device("board-1");
    assert_eq!(view.state.board, board);
    assert_eq!(view.state.status, DeviceStatus::Running);
    assert!(view.state.firmware.expect("firmware").verified, "board-1 passed its self-test");
    fleet.until(30, "readings are stored", |fleet| fleet.device("board-1").readings >= 3);
    for reading in fleet.readings("board-1", 3) {
        assert!(reading.prediction.is_some() && reading.latency_us > Some(0), "{reading:?}");
    }
    fleet.send(&serde_json::json!({"id": "again", "verb": "self_test", "device": "board-1"}));
    let end = fleet.ended("again", 60);
    let detail = end.events.last().and_then(|event| match &event.body {
        contract::event::EventBody::Command(report) => report.detail.clone(),
        _ => None,
    });
    let left = detail.as_ref().and_then(|detail| detail["stack_left_bytes"].as_u64());
    eprintln!("{board}: {detail:?}");
    assert!(left.is_some_and(|left| left > 100), "the stack has room: {detail:?}");
    fleet
}

fn digits(test: &str, arduino: Arduino) {
    let missing = arduino.missing();
    if !missing.is_empty() {
        eprintln!("SKIPPED {test}: apt install {}", missing.join(" "));
        return;
    }
    let _chip = chip();
    let fleet = demo(arduino.board());
    let latency = fleet.readings("board-1", 1)[0].latency_us;
    eprintln!("digits on {} at 16 MHz: {latency:?} us", arduino.board());
}

#[test]
fn digits_on_an_arduino_uno() {
    digits("digits_on_an_arduino_uno", Arduino::Uno);
}

#[test]
fn digits_on_an_arduino_mega() {
    digits("digits_on_an_arduino_mega", Arduino::Mega2560);
}

#[test]
fn digits_on_a_cortex_m4() {
    let missing = virtual_board::Machine::CortexM4.missing();
    if !missing.is_empty() {
        eprintln!("SKIPPED digits_on_a_cortex_m4: apt install {}", missing.join(" "));
        return;
    }
    let _chip = chip();
    let fleet = demo("cortex-m4");
    let latency = fleet.readings("board-1", 1)[0].latency_us;
    eprintln!("digits on a Cortex-M4 at 125 million instructions a second: {latency:?} us");
}

/// Imports a real .tflite file, compiles it, and installs it over MQTT; the self-test has compared bit for bit.
fn install(fleet: &Fleet, name: &str) {
    let path = crate::fleet::project().parent().map(|dir| dir.join("shared/models").join(format!("{name}.tflite")));
    let Some(path) = path.filter(|path| path.is_file()) else {
        eprintln!("SKIPPED {name} on a simulated board: {name}.tflite is not in ../shared/models");
        return;
    };
    let model = name.replace('_', "-");
    fleet.cli_json(&["model", "import", path.to_str().unwrap(), "--name", &model]);
    fleet.cli_json(&["model", "compile", &model]);
    let id = format!("install-{model}");
    fleet.send(&serde_json::json!({"id": id, "verb": "install", "device": "board-1", "model": model}));
    let end = fleet.ended(&id, 240);
    assert_eq!(end.state, Some(contract::lifecycle::State::Succeeded), "{name}: {}", end.message);
    eprintln!("{name}: {}", end.message);
    fleet.until(10, "the state names what is installed", |fleet| {
        let firmware = fleet.device("board-1").state.firmware;
        firmware.is_some_and(|now| now.verified && now.model.is_some_and(|of| of.name.as_str() == model))
    });
}

#[test]
fn uploaded_tflite_models_run_on_a_cortex_m4() {
    let missing = virtual_board::Machine::CortexM4.missing();
    if !missing.is_empty() {
        eprintln!("SKIPPED uploaded_tflite_models_run_on_a_cortex_m4: apt install {}", missing.join(" "));
        return;
    }
    let _chip = chip();
    let fleet = Fleet::start(&["--board", "cortex-m4", "--boards", "1"]);
    for name in ["kws", "person_detect"] {
        install(&fleet, name);
    }
}

#[test]
fn an_uploaded_tflite_model_runs_on_an_arduino_uno() {
    let missing = Arduino::Uno.missing();
    if !missing.is_empty() {
        eprintln!("SKIPPED an_uploaded_tflite_model_runs_on_an_arduino_uno: apt install {}", missing.join(" "));
        return;
    }
    let _chip = chip();
    install(&Fleet::start(&["--board", "uno", "--boards", "1"]), "hello_world");
}
