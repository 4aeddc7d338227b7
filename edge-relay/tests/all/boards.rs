//! Boards that fail: wrong answers, crashes, noise, unplugging.

use serde_json::json;

use crate::bench::Bench;
use crate::model::{Kind, make};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_its_self_test_is_rolled_back() {
    let bench = Bench::with_boards(1, 0).await;
    let host = &bench.host;
    // Without anything before it there is nothing to go back to.
    host.install("first", "board-1", &make(80, Kind::Wrong, 100)).await;
    assert_eq!(host.end("first").await["code"], "self_test_failed");
    let good = make(81, Kind::Good, 100);
    host.install("good", "board-1", &good).await;
    host.succeeds("good").await;
    for (id, kind) in [("wrong", Kind::Wrong), ("crashing", Kind::Crashing)] {
        host.install(id, "board-1", &make(82, kind, 100)).await;
        let end = host.end(id).await;
        assert_eq!((&end["state"], &end["code"]), (&json!("failed"), &json!("rolled_back")), "{end}");
        let state = host.state("the good one again", |s| {
            let device = &s["devices"][0];
            device["firmware"]["artifact"] == good.id.as_str() && device["status"] == "running"
        });
        assert_eq!(state.await["devices"][0]["firmware"]["verified"], true);
    }
    assert_eq!(
        host.states("wrong"),
        ["accepted", "fetching", "building", "flashing", "verifying", "flashing", "verifying", "failed"]
    );
    host.more_readings("board-1", 1).await;
    host.assert_gap_free();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn noise_is_counted_and_text_becomes_log() {
    let bench = Bench::with_boards(1, 0).await;
    bench.host.install("n", "board-1", &make(83, Kind::Noisy, 100)).await;
    bench.host.succeeds("n").await;
    bench.host.more_readings("board-1", 3).await;
    bench.host.state("noise", |s| s["counters"]["frame_errors"].as_u64() > Some(3)).await;
    assert!(bench.host.log("board-1").iter().any(|line| line.contains("hello")), "{:?}", bench.host.log("board-1"));
    bench.host.assert_gap_free();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unplugged_and_plugged_in_again() {
    let mut bench = Bench::new().await;
    bench.set("RELAY_DEVICE_S", "2");
    bench.add_board(1, 0);
    bench.start_relay();
    bench.host.devices(1).await;
    bench.host.install("i", "board-1", &make(84, Kind::Good, 100)).await;
    bench.host.succeeds("i").await;
    bench.host.more_readings("board-1", 1).await;
    let mut board = bench.boards.pop().unwrap();
    board.kill();
    bench.host.event("lost", |e| e["type"] == "device" && e["status"] == "lost" && e["device"] == "board-1").await;
    bench.host.state("lost", |s| s["devices"][0]["status"] == "lost").await;
    bench.host.send(json!({"id": "gone", "verb": "identify", "device": "board-1"})).await;
    assert_eq!(bench.host.end("gone").await["code"], "device_lost");
    bench.add_board(1, 0);
    bench.host.more_readings("board-1", 2).await;
    bench.host.state("running", |s| s["devices"][0]["status"] == "running").await;

    // The same while it is flashed.
    let mut board = bench.boards.pop().unwrap();
    board.kill();
    bench.add_board(1, 38_400);
    bench.host.more_readings("board-1", 1).await;
    bench.host.install("cut", "board-1", &make(85, Kind::Good, 3000)).await;
    bench.host.reaches("cut", "flashing").await;
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    bench.boards.pop().unwrap().kill();
    assert_eq!(bench.host.end("cut").await["code"], "device_lost");
    bench.add_board(1, 0);
    bench.host.more_readings("board-1", 1).await;
    bench.host.assert_gap_free();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_board_type_is_set_by_hand() {
    let mut bench = Bench::with_boards(1, 0).await;
    let set = |id: &str, board: &str| json!({"id": id, "verb": "set_board", "device": "board-1", "board": board});
    bench.host.send(set("typo", "unno")).await;
    let end = bench.host.end("typo").await;
    assert_eq!((&end["state"], &end["code"]), (&json!("rejected"), &json!("unknown_board")), "{end}");
    assert!(end["message"].as_str().unwrap().contains("uno"), "{end}");
    bench.host.send(set("wrong", "cortex-m4")).await;
    bench.host.succeeds("wrong").await;
    let by_hand = |s: &serde_json::Value| {
        let device = &s["devices"][0];
        device["board"] == "cortex-m4" && device["board_by_hand"] == true
    };
    bench.host.state("set by hand", by_hand).await;
    // It outlives the relay's process and the board's.
    bench.kill_relay();
    bench.boards.pop().unwrap().kill();
    bench.add_board(1, 0);
    bench.start_relay();
    bench
        .host
        .state("still set by hand", |s| by_hand(s) && s["epoch"] == 2 && s["devices"][0]["status"] == "empty")
        .await;
    bench.host.send(set("auto", "auto")).await;
    bench.host.succeeds("auto").await;
    let recognised = |s: &serde_json::Value| {
        let device = &s["devices"][0];
        device["board"] == "native" && device["board_by_hand"].is_null()
    };
    bench.host.state("recognised", recognised).await;
    bench.host.install("i", "board-1", &make(86, Kind::Good, 100)).await;
    bench.host.succeeds("i").await;
    bench.host.assert_gap_free();
}

#[test]
fn the_compiler_estimates_every_board_that_a_relay_knows() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("boards");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let file: serde_json::Value = serde_json::from_slice(&std::fs::read(entry.unwrap().path()).unwrap()).unwrap();
        let name = file["board"].as_str().unwrap();
        let board = model_compiler::estimate::find(name).unwrap_or_else(|| panic!("no estimate for board '{name}'"));
        let size = |field: &str| file[field].as_u64().unwrap();
        // A relay's native board is a process with a flash of its own; the others are chips.
        if name != "native" {
            assert!(board.flash_bytes <= size("flash_bytes"), "{name}: more flash than it has");
            assert!(board.ram_bytes <= size("ram_bytes"), "{name}: more RAM than it has");
        }
        count += 1;
    }
    assert!(count >= 14, "{count}");
}
