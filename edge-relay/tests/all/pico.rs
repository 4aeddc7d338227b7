//! A Raspberry Pi Pico with real parts: arm-none-eabi-gcc builds, a UF2 file goes to a drive that is mounted, and an RP2040 in
//! rp2040js boots from it as a chip does.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use crate::bench::{Bench, CHIP};
use crate::model::{Kind, make};

/// The chip's program, or a line that says why there is none.
pub fn program(test: &str) -> Option<PathBuf> {
    if !Bench::can_mount() {
        eprintln!("SKIPPED {test}: this user may not mount a file system in a namespace of its own");
        return None;
    }
    match virtual_board::pico::install(Path::new(env!("CARGO_TARGET_TMPDIR"))) {
        Ok(program) => Some(program),
        Err(error) => {
            eprintln!("SKIPPED {test}: {error}");
            None
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pico_takes_a_uf2_file_boots_it_and_answers() {
    let Some(program) = program("a_pico_takes_a_uf2_file_boots_it_and_answers") else { return };
    let _chip = CHIP.lock().await;
    let mut bench = Bench::new().await;
    bench.add_pico(1, &program);
    // The drive is there before the relay is: an empty Pico starts in its bootloader.
    let identity = bench.path("boards/board-1/board.json");
    while !identity.exists() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    bench.start_relay();
    let host = bench.host.clone();
    host.devices(1).await;
    let model = make(40, Kind::Good, 600);
    host.offer(&model);
    bench.mosquitto_pub(&json!({"id": "i1", "verb": "install", "device": "board-1", "artifact": model.id}));
    let end = host.succeeds("i1").await;
    assert_eq!(end["detail"]["self_test"]["vectors"], 12);
    assert_eq!(host.states("i1"), ["accepted", "fetching", "building", "flashing", "verifying", "succeeded"]);
    eprintln!("on a Pico: {}", end["detail"]);
    let log = host.log("board-1").join("\n");
    assert!(log.contains("bytes of UF2 to"), "{log}");
    host.more_readings("board-1", 3).await;

    // From running firmware: a frame takes it into its bootloader by the ROM, and the drive comes.
    let other = make(41, Kind::Good, 100);
    host.install("i2", "board-1", &other).await;
    let end = host.succeeds("i2").await;
    assert_eq!(end["detail"]["build"]["core"], "kept");
    let state = host.state("verified", |s| s["devices"][0]["firmware"]["artifact"] == other.id.as_str()).await;
    assert_eq!(state["devices"][0]["board"], "pico-uart");

    // By its watchdog.
    host.send(json!({"id": "r", "verb": "restart", "device": "board-1"})).await;
    host.succeeds("r").await;
    host.more_readings("board-1", 3).await;
    host.send(json!({"id": "e", "verb": "erase", "device": "board-1"})).await;
    let end = host.end("e").await;
    assert_eq!(end["code"], "not_supported", "{end}");

    // Killed while it runs, it comes back with what it has in flash. The drive was its only mount, and is gone with it.
    bench.kill_relay();
    bench.boards.clear();
    bench.add_pico(1, &program);
    while std::fs::read(&identity).map_or(true, |text| !String::from_utf8_lossy(&text).contains("/dev/pts/")) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    bench.start_relay();
    host.more_readings("board-1", 3).await;
    host.gap_free().await;
}
