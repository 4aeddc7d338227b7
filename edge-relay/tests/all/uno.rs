//! An Arduino Uno with real parts: avr-gcc builds, avrdude flashes over the bootloader, simavr is the chip.

use serde_json::json;

use crate::bench::Bench;
use crate::model::{Kind, make};

/// Says so and returns true where the packages are missing.
fn skipped(test: &str) -> bool {
    let missing = virtual_board::simulator::missing_for_uno();
    if !missing.is_empty() {
        eprintln!("SKIPPED {test}: apt install {}", missing.join(" "));
    }
    !missing.is_empty()
}

async fn bench() -> Bench {
    let mut bench = Bench::new().await;
    bench.add_uno(1);
    bench.start_relay();
    bench.host.devices(1).await;
    bench
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_is_built_flashed_verified_and_observed_on_an_uno() {
    if skipped("a_model_is_built_flashed_verified_and_observed_on_an_uno") {
        return;
    }
    let bench = bench().await;
    let host = &bench.host;
    let model = make(9, Kind::Good, 600);
    host.install("i1", "board-1", &model).await;
    let end = host.succeeds("i1").await;
    assert_eq!(end["detail"]["self_test"]["vectors"], 12);
    assert_eq!(host.states("i1"), ["accepted", "fetching", "building", "flashing", "verifying", "succeeded"]);
    let (flash, ram) = (&end["detail"]["build"]["flash_bytes"], &end["detail"]["build"]["ram_bytes"]);
    eprintln!("on an Uno: {flash} bytes of flash, {ram} of RAM; {}", end["detail"]);
    let log = host.log("board-1").join("\n");
    assert!(log.contains("bytes of flash verified"), "{log}");
    host.more_readings("board-1", 3).await;

    // The same core is not compiled again for another model.
    let other = make(10, Kind::Good, 100);
    host.install("i2", "board-1", &other).await;
    let end = host.succeeds("i2").await;
    assert_eq!(end["detail"]["build"]["core"], "kept");
    let state = host.state("verified", |s| s["devices"][0]["firmware"]["artifact"] == other.id.as_str()).await;
    assert_eq!(state["devices"][0]["board"], "uno");

    host.send(json!({"id": "r", "verb": "restart", "device": "board-1"})).await;
    host.succeeds("r").await;
    host.send(json!({"id": "e", "verb": "erase", "device": "board-1"})).await;
    host.succeeds("e").await;
    host.send(json!({"id": "n", "verb": "identify", "device": "board-1"})).await;
    assert_eq!(host.end("n").await["code"], "no_firmware");
    host.assert_gap_free();
}
