//! Boards that are more than a process: an Arduino Uno in simavr and a Cortex-M4 in QEMU, from the demo's first line on.

use contract::state::DeviceStatus;

use crate::fleet::Fleet;

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
    fleet
}

#[test]
fn digits_on_an_arduino_uno() {
    let missing = virtual_board::simulator::missing_for_uno();
    if !missing.is_empty() {
        eprintln!("SKIPPED digits_on_an_arduino_uno: apt install {}", missing.join(" "));
        return;
    }
    let fleet = demo("uno");
    let latency = fleet.readings("board-1", 1)[0].latency_us;
    eprintln!("digits on an ATmega328P at 16 MHz: {latency:?} us");
}

#[test]
fn digits_on_a_cortex_m4() {
    let missing = virtual_board::Machine::CortexM4.missing();
    if !missing.is_empty() {
        eprintln!("SKIPPED digits_on_a_cortex_m4: apt install {}", missing.join(" "));
        return;
    }
    let fleet = demo("cortex-m4");
    let latency = fleet.readings("board-1", 1)[0].latency_us;
    eprintln!("digits on a Cortex-M4 at 125 million instructions a second: {latency:?} us");
}
