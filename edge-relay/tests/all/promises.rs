//! Promises of the relay that need an unlucky machine: a full disk, a fleet of equal boards, a board that goes while its
//! firmware is built, a programmer that fails.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::bench::{Bench, CHIP};
use crate::model::{Kind, make};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_board_that_goes_while_its_firmware_is_built() {
    let mut bench = Bench::new().await;
    bench.set("RELAY_DEVICE_S", "3");
    bench.compiler("if grep -q 'id\\[\\] = \"000000000000005' src/model.c; then sleep 2; fi");
    bench.add_board(1, 0);
    bench.start_relay();
    bench.host.devices(1).await;
    // It comes back in time: the command goes on.
    bench.host.install("back", "board-1", &make(0x51, Kind::Good, 100)).await;
    bench.host.reaches("back", "building").await;
    bench.boards.pop().unwrap().kill();
    bench.add_board(1, 0);
    bench.host.succeeds("back").await;
    bench.host.more_readings("board-1", 1).await;
    // It does not: the command ends with a code, what was built is kept, and the relay goes on.
    bench.host.install("gone", "board-1", &make(0x52, Kind::Good, 100)).await;
    bench.host.reaches("gone", "building").await;
    bench.boards.pop().unwrap().kill();
    let end = bench.host.end("gone").await;
    assert_eq!((&end["state"], &end["code"]), (&json!("failed"), &json!("device_lost")), "{end}");
    bench.add_board(1, 0);
    bench.host.install("again", "board-1", &make(0x52, Kind::Good, 100)).await;
    bench.host.succeeds("again").await;
    assert!(!bench.host.states("again").contains(&"building".to_owned()), "{:?}", bench.host.states("again"));
    bench.host.assert_gap_free();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_named_and_the_relay_goes_on() {
    if !Bench::can_mount() {
        eprintln!("SKIPPED a_full_disk_is_named_and_the_relay_goes_on: 'unshare -rm' is not allowed here");
        return;
    }
    let mut bench = Bench::new().await;
    bench.add_board(1, 0);
    bench.disk = Some("64m");
    bench.start_relay();
    bench.host.devices(1).await;
    let before = make(0x60, Kind::Good, 100);
    bench.host.install("before", "board-1", &before).await;
    bench.host.succeeds("before").await;
    // Somebody fills the disk up to what the relay keeps for its journal.
    let pid = bench.relay.as_ref().unwrap().0.id();
    let ballast = format!("/proc/{pid}/root{}", bench.path("relay").join("ballast").display());
    std::fs::write(&ballast, vec![1; 44 * 1024 * 1024]).unwrap();
    bench.host.install("full", "board-1", &make(0x61, Kind::Good, 100)).await;
    let end = bench.host.end("full").await;
    assert_eq!((&end["state"], &end["code"]), (&json!("failed"), &json!("storage_full")), "{end}");
    assert!(end["message"].as_str().unwrap().contains("make room"), "{end}");
    // What needs no room works, and nothing is lost.
    bench.host.send(json!({"id": "t", "verb": "self_test", "device": "board-1"})).await;
    bench.host.succeeds("t").await;
    bench.host.more_readings("board-1", 2).await;
    std::fs::remove_file(&ballast).unwrap();
    bench.host.install("room", "board-1", &make(0x62, Kind::Good, 100)).await;
    bench.host.succeeds("room").await;
    assert_eq!(bench.host.presence("online").await["epoch"], 1, "the relay was never restarted");
    bench.host.assert_gap_free();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_equal_boards_compile_once() {
    let mut bench = Bench::new().await;
    let count = bench.path("compiled");
    bench.compiler(&format!("echo once >> {}", count.display()));
    for number in 1..=100 {
        bench.add_board(number, 0);
    }
    bench.start_relay();
    bench.host.devices(100).await;
    let model = make(0x70, Kind::Good, 100);
    let since = Instant::now();
    for number in 1..=100 {
        bench.host.install(&format!("i{number}"), &format!("board-{number}"), &model).await;
    }
    for number in 1..=100 {
        bench.host.succeeds(&format!("i{number}")).await;
    }
    eprintln!("100 boards have their firmware after {:?}", since.elapsed());
    let calls = std::fs::read_to_string(&count).unwrap().lines().count();
    assert_eq!(calls, 2, "the compiler is called for the core and for the model, once each");
    bench.host.gap_free().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_comes_or_goes_is_on_mqtt_within_a_second() {
    let mut bench = Bench::new().await;
    bench.start_relay();
    bench.host.presence("online").await;
    let (mut came, mut went) = (Vec::new(), Vec::new());
    for number in 1..=5 {
        let name = format!("board-{number}");
        bench.add_board(number, 0);
        let since = Instant::now();
        bench.host.event("plugged in", |e| e["type"] == "device" && e["device"] == *name).await;
        came.push(since.elapsed());
        bench.boards.pop().unwrap().kill();
        let since = Instant::now();
        let gone = |e: &serde_json::Value| e["type"] == "device" && e["device"] == *name && e["status"] == "lost";
        bench.host.event("lost", gone).await;
        went.push(since.elapsed());
    }
    came.sort();
    went.sort();
    eprintln!("plugged in after {came:?}, lost after {went:?}");
    // The middle one, because the machine may be busy with something else at a moment.
    assert!(came[2] < Duration::from_secs(1) && went[2] < Duration::from_secs(1), "{came:?} {went:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_programmer_that_fails_for_good_is_rolled_back() {
    let missing = virtual_board::simulator::Arduino::Uno.missing();
    if !missing.is_empty() {
        eprintln!("SKIPPED a_programmer_that_fails_for_good_is_rolled_back: apt install {}", missing.join(" "));
        return;
    }
    let _chip = CHIP.lock().await;
    let mut bench = Bench::new().await;
    // The real avrdude does not fail on demand: this one stops it in the middle, four times, if it is asked to.
    let fail = bench.path("fail");
    let flag = fail.display();
    bench.program(
        "avrdude",
        &format!(
            "if [ -s {flag} ]; then sed -i 1d {flag}; timeout -s KILL 1.5 \"$REAL\" \"$@\"; \
             echo 'avrdude: stopped on purpose' >&2; exit 1; fi; exec \"$REAL\" \"$@\""
        ),
    );
    bench.add_uno(1);
    bench.start_relay();
    bench.host.devices(1).await;
    let good = make(0x65, Kind::Good, 100);
    bench.host.install("good", "board-1", &good).await;
    bench.host.succeeds("good").await;
    std::fs::write(&fail, "1\n2\n3\n4\n").unwrap();
    bench.host.install("cut", "board-1", &make(0x66, Kind::Good, 900)).await;
    let end = bench.host.end("cut").await;
    assert_eq!((&end["state"], &end["code"]), (&json!("failed"), &json!("rolled_back")), "{end}");
    assert!(end["message"].as_str().unwrap().contains("stopped on purpose"), "{end}");
    let log = bench.host.log("board-1").join("\n");
    assert_eq!(log.matches("trying again").count(), 3, "{log}");
    let restored = |s: &serde_json::Value| s["devices"][0]["firmware"]["artifact"] == good.id.as_str();
    let state = bench.host.state("the good one again", restored).await;
    assert_eq!(state["devices"][0]["firmware"]["verified"], true);
    bench.host.more_readings("board-1", 1).await;
}
