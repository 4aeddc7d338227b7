//! An Arduino Mega 2560: another chip, another bootloader, another protocol of avrdude.

use serde_json::json;
use virtual_board::simulator::Arduino;

use crate::bench::{Bench, CHIP};
use crate::model::{Kind, make};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_is_built_flashed_verified_and_observed_on_a_mega() {
    let missing = Arduino::Mega2560.missing();
    if !missing.is_empty() {
        eprintln!(
            "SKIPPED a_model_is_built_flashed_verified_and_observed_on_a_mega: apt install {}",
            missing.join(" ")
        );
        return;
    }
    let _chip = CHIP.lock().await;
    let mut bench = Bench::new().await;
    bench.add_arduino(Arduino::Mega2560, 1);
    bench.start_relay();
    let host = &bench.host;
    host.devices(1).await;
    let state = host.state("a Mega", |s| s["devices"][0]["board"] == "mega2560").await;
    assert_eq!(state["devices"][0]["product"], "atmega2560 in simavr");
    // Its 4 kB of constants lie in RAM, where an Uno has no room for them.
    let good = make(50, Kind::Good, 4000);
    host.offer(&good);
    bench.mosquitto_pub(&json!({"id": "i1", "verb": "install", "device": "board-1", "artifact": good.id}));
    let end = host.succeeds("i1").await;
    eprintln!("on a Mega: {}", end["detail"]);
    assert_eq!(end["detail"]["self_test"]["vectors"], 12);
    let log = host.log("board-1").join("\n");
    assert!(log.contains("probably m2560") && log.contains("bytes of flash verified"), "{log}");
    host.more_readings("board-1", 2).await;
    host.install("wrong", "board-1", &make(51, Kind::Wrong, 100)).await;
    assert_eq!(host.end("wrong").await["code"], "rolled_back");
    host.send(json!({"id": "t", "verb": "self_test", "device": "board-1"})).await;
    host.succeeds("t").await;
    host.install("large", "board-1", &make(52, Kind::Good, 8000)).await;
    assert_eq!(host.end("large").await["code"], "does_not_fit");
    host.assert_gap_free();
}
