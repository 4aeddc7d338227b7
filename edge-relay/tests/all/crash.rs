//! kill -9 of the relay at every step: the command goes on after a restart, and the board runs old or new firmware.

use std::time::Duration;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::bench::Bench;
use crate::model::{Kind, make};

async fn pause(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

fn flash(bench: &Bench) -> Vec<u8> {
    Sha256::digest(std::fs::read(bench.path("boards/board-1/flash.bin")).unwrap()).to_vec()
}

fn resumed(bench: &Bench, id: &str) -> Vec<Value> {
    bench.host.events(id).into_iter().filter(|event| event["code"] == "resumed").collect()
}

fn assert_one_end(bench: &Bench, id: &str) {
    let ends = bench.host.events(id).iter().filter(|e| e["state"] == "succeeded" && e["code"] == "ok").count();
    assert_eq!(ends, 1, "{:?}", bench.host.states(id));
    bench.host.assert_gap_free();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_accepted_and_building() {
    let mut bench = Bench::new().await;
    let marker = bench.path("slept").display().to_string();
    bench.compiler(&format!("if [ ! -e {marker} ]; then touch {marker}; sleep 300; fi"));
    bench.add_board(1, 0);
    bench.start_relay();
    bench.host.devices(1).await;
    let (first, second) = (make(1, Kind::Good, 500), make(2, Kind::Good, 500));
    bench.host.install("building", "board-1", &first).await;
    bench.host.reaches("building", "building").await;
    bench.host.install("waiting", "board-1", &second).await;
    bench.host.reaches("waiting", "accepted").await;
    while !bench.path("slept").exists() {
        pause(20).await;
    }
    bench.kill_relay();
    bench.start_relay();
    bench.host.succeeds("building").await;
    bench.host.succeeds("waiting").await;
    assert_eq!(resumed(&bench, "building").len(), 1);
    assert_eq!(resumed(&bench, "building")[0]["state"], "building");
    assert_eq!(resumed(&bench, "waiting")[0]["state"], "accepted");
    assert_one_end(&bench, "building");
    assert_one_end(&bench, "waiting");
    // What the killed relay had started does not run on.
    let left = std::process::Command::new("pgrep").args(["-f", &marker]).output().unwrap();
    assert!(left.stdout.is_empty(), "{}", String::from_utf8_lossy(&left.stdout));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_fetching() {
    let mut bench = Bench::with_boards(1, 0).await;
    let model = make(3, Kind::Good, 9000);
    assert!(model.manifest.blocks > 4);
    bench.host.behaviour.lock().unwrap().withhold_from = Some(3);
    bench.host.install("c", "board-1", &model).await;
    bench.host.reaches("c", "fetching").await;
    let dir = bench.path("relay/blocks").join(model.id.hex());
    while !(0..3).all(|block| dir.join(block.to_string()).exists()) {
        pause(20).await;
    }
    bench.kill_relay();
    {
        let mut behaviour = bench.host.behaviour.lock().unwrap();
        behaviour.withhold_from = None;
        behaviour.asked.clear();
    }
    bench.start_relay();
    bench.host.succeeds("c").await;
    let asked = bench.host.behaviour.lock().unwrap().asked.clone();
    assert_eq!(asked, (3..model.manifest.blocks).collect(), "a cut resumes");
    assert_eq!(resumed(&bench, "c")[0]["state"], "fetching");
    assert_one_end(&bench, "c");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_flashing() {
    // So slow that it still flashes when a busy machine gets around to the kill.
    let mut bench = Bench::with_boards(1, 38_400).await;
    let (old, new) = (make(4, Kind::Good, 100), make(5, Kind::Good, 12_000));
    bench.host.install("old", "board-1", &old).await;
    bench.host.succeeds("old").await;
    let before = flash(&bench);
    bench.host.install("new", "board-1", &new).await;
    bench.host.reaches("new", "flashing").await;
    pause(500).await;
    bench.kill_relay();
    assert_eq!(flash(&bench), before, "the board has its old firmware until the new one is complete");
    bench.start_relay();
    bench.host.succeeds("new").await;
    assert_ne!(flash(&bench), before);
    assert_eq!(resumed(&bench, "new")[0]["state"], "flashing");
    assert_one_end(&bench, "new");
    let state = bench.host.state("new firmware", |s| s["devices"][0]["firmware"]["artifact"] == new.id.as_str()).await;
    assert_eq!(state["devices"][0]["firmware"]["verified"], true);
    bench.host.more_readings("board-1", 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_verifying() {
    let mut bench = Bench::with_boards(1, 0).await;
    let model = make(6, Kind::Slow, 100);
    bench.host.install("c", "board-1", &model).await;
    bench.host.reaches("c", "verifying").await;
    pause(700).await;
    bench.kill_relay();
    bench.start_relay();
    bench.host.succeeds("c").await;
    assert_eq!(resumed(&bench, "c")[0]["state"], "verifying");
    assert_one_end(&bench, "c");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_again_and_again_it_gives_up() {
    let mut bench = Bench::new().await;
    bench.compiler("sleep 300");
    bench.add_board(1, 0);
    bench.start_relay();
    bench.host.devices(1).await;
    bench.host.install("c", "board-1", &make(7, Kind::Good, 100)).await;
    for round in 0..3 {
        bench
            .host
            .event("building again", |e| {
                e["command"] == "c"
                    && e["state"] == "building"
                    && e["code"] == "ok"
                    && e["epoch"].as_u64() > Some(round)
            })
            .await;
        bench.kill_relay();
        bench.start_relay();
    }
    let end = bench.host.end("c").await;
    assert_eq!((&end["state"], &end["code"]), (&"failed".into(), &"interrupted".into()), "{end}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn observing_goes_on_after_a_kill_and_a_clean_stop_says_so() {
    let mut bench = Bench::with_boards(1, 0).await;
    bench.host.install("c", "board-1", &make(8, Kind::Good, 100)).await;
    bench.host.succeeds("c").await;
    bench.host.more_readings("board-1", 1).await;
    bench.kill_relay();
    assert_eq!(bench.host.presence("offline").await["reason"], "lost");
    bench.start_relay();
    let online = bench.host.presence("online").await;
    bench.host.more_readings("board-1", 2).await;
    assert!(bench.relay.take().unwrap().terminate().success());
    let offline = bench.host.presence("offline").await;
    assert_eq!(offline["reason"], "stopped");
    assert_eq!(offline["epoch"], online["epoch"]);
    bench.host.assert_gap_free();
}
