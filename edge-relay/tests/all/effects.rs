//! One effect for one id, cancelling, time limits, devices side by side.

use contract::timestamp::Timestamp;
use serde_json::json;

use crate::bench::Bench;
use crate::model::{Kind, make};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_id_twice_has_one_effect() {
    let bench = Bench::with_boards(1, 0).await;
    let model = make(10, Kind::Good, 100);
    bench.host.install("c", "board-1", &model).await;
    bench.host.install("c", "board-1", &model).await;
    bench.host.succeeds("c").await;
    bench.host.install("c", "board-1", &make(11, Kind::Good, 100)).await;
    let again = bench
        .host
        .event("the end again", |e| e["command"] == "c" && e["code"] == "duplicate" && e["state"] == "succeeded");
    assert_eq!(again.await["artifact"], json!(model.id));
    let count =
        |state: &str| bench.host.events("c").iter().filter(|e| e["state"] == state && e["code"] == "ok").count();
    assert_eq!((count("accepted"), count("succeeded")), (1, 1));
    assert!(count("flashing") >= 1);
    let state = bench.host.state("firmware", |s| s["devices"][0]["firmware"]["artifact"] == model.id.as_str()).await;
    assert_eq!(state["counters"]["duplicate_commands"].as_u64().map(|n| n >= 1), Some(true), "{state}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_that_loops_is_killed_and_the_other_device_works() {
    let mut bench = Bench::new().await;
    // Only the model with this salt loops; the compiler is a process group with a child.
    bench.compiler("if grep -q 0000000000000014 src/model.c; then sh -c 'while :; do :; done'; fi");
    bench.set("RELAY_BUILD_S", "15");
    bench.add_board(1, 0);
    bench.add_board(2, 0);
    bench.start_relay();
    bench.host.devices(2).await;
    bench.host.install("loops", "board-1", &make(0x14, Kind::Good, 100)).await;
    bench.host.reaches("loops", "building").await;
    bench.host.install("works", "board-2", &make(21, Kind::Good, 100)).await;
    bench.host.succeeds("works").await;
    assert!(!bench.host.states("loops").contains(&"failed".to_owned()), "the other device had to wait");
    let end = bench.host.end("loops").await;
    assert_eq!((&end["state"], &end["code"]), (&json!("failed"), &json!("build_timeout")), "{end}");
    let left = std::process::Command::new("pgrep").args(["-f", "while :; do :; done"]).output().unwrap();
    assert!(left.stdout.is_empty(), "{}", String::from_utf8_lossy(&left.stdout));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelling_in_every_phase() {
    let mut bench = Bench::new().await;
    bench.compiler("if grep -q 000000000000001e src/model.c; then sleep 300; fi");
    bench.add_board(1, 57_600);
    bench.start_relay();
    let host = bench.host.clone();
    host.devices(1).await;
    let cancel = async |id: &str, of: &str| {
        host.send(json!({"id": id, "verb": "cancel", "command": of})).await;
        host.end(id).await
    };

    host.install("builds", "board-1", &make(30, Kind::Good, 100)).await;
    host.reaches("builds", "building").await;
    host.install("waits", "board-1", &make(31, Kind::Good, 100)).await;
    host.reaches("waits", "accepted").await;
    assert_eq!(cancel("x1", "waits").await["state"], "succeeded");
    assert_eq!(host.end("waits").await["state"], "cancelled");
    assert_eq!(cancel("x2", "builds").await["state"], "succeeded");
    assert_eq!(host.end("builds").await["state"], "cancelled");

    host.behaviour.lock().unwrap().withhold_from = Some(0);
    host.install("fetches", "board-1", &make(32, Kind::Good, 100)).await;
    host.reaches("fetches", "fetching").await;
    assert_eq!(cancel("x3", "fetches").await["state"], "succeeded");
    assert_eq!(host.end("fetches").await["code"], "cancelled");
    host.behaviour.lock().unwrap().withhold_from = None;

    host.install("flashes", "board-1", &make(33, Kind::Slow, 100)).await;
    host.reaches("flashes", "flashing").await;
    let refused = cancel("x4", "flashes").await;
    assert_eq!((&refused["state"], &refused["code"]), (&json!("failed"), &json!("cancel_refused")), "{refused}");
    host.reaches("flashes", "verifying").await;
    assert_eq!(cancel("x5", "flashes").await["code"], "cancel_refused");
    host.succeeds("flashes").await;
    assert_eq!(cancel("x6", "flashes").await["code"], "cancel_refused");
    assert_eq!(cancel("x7", "nothing").await["code"], "unknown_command");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_of_time_and_number_and_expectations() {
    let mut bench = Bench::new().await;
    bench.compiler("if grep -q 0000000000000028 src/model.c; then sleep 300; fi");
    bench.add_board(1, 0);
    bench.start_relay();
    let host = &bench.host;
    host.devices(1).await;
    let model = make(40, Kind::Good, 100);
    host.offer(&model);
    let past = Timestamp::now().plus_seconds(-5);
    host.send(json!({"id": "late", "verb": "identify", "device": "board-1", "expires_at": past})).await;
    assert_eq!(host.end("late").await["state"], "expired");
    host.send(json!({"id": "stale", "verb": "identify", "device": "board-1", "expect": 999_999})).await;
    assert_eq!(host.end("stale").await["code"], "expect_mismatch");
    let version = host.state("state", |_| true).await["version"].clone();
    host.send(json!({"id": "fresh", "verb": "observe", "device": "board-1", "observe": {"enabled": false}, "expect": version})).await;
    host.succeeds("fresh").await;
    host.send(json!({"id": "who", "verb": "identify", "device": "board-9"})).await;
    let rejected = host.end("who").await;
    assert_eq!((&rejected["state"], &rejected["code"]), (&json!("rejected"), &json!("unknown_device")));
    assert!(rejected["message"].as_str().unwrap().contains("board-1"), "{rejected}");
    host.send(json!({"id": "b", "verb": "build", "board": "toaster", "artifact": model.id})).await;
    assert_eq!(host.end("b").await["code"], "unknown_board");
    host.send(json!({"id": "empty", "verb": "identify", "device": "board-1"})).await;
    assert_eq!(host.end("empty").await["code"], "no_firmware");

    host.send(json!({"id": "long", "verb": "install", "device": "board-1", "artifact": model.id, "timeout_s": 8}))
        .await;
    host.reaches("long", "building").await;
    let soon = Timestamp::now().plus_seconds(1);
    host.send(json!({"id": "soon", "verb": "identify", "device": "board-1", "expires_at": soon})).await;
    for number in 0..16 {
        host.send(json!({"id": format!("q{number}"), "verb": "identify", "device": "board-1"})).await;
    }
    assert_eq!(host.end("q15").await["code"], "queue_full");
    assert_eq!(host.end("long").await["state"], "timed_out");
    assert_eq!(host.end("soon").await["state"], "expired");
    host.end("q14").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_small_verbs() {
    let bench = Bench::with_boards(1, 0).await;
    let host = &bench.host;
    let model = make(50, Kind::Good, 100);
    host.offer(&model);
    host.send(json!({"id": "b", "verb": "build", "board": "native", "artifact": model.id})).await;
    assert!(host.succeeds("b").await["detail"]["image_bytes"].as_u64() > Some(1000));
    host.install("i", "board-1", &model).await;
    host.succeeds("i").await;
    assert!(!host.states("i").contains(&"building".to_owned()), "the cache was warm");
    for (id, verb) in [("r", "restart"), ("w", "identify"), ("t", "self_test")] {
        host.send(json!({"id": id, "verb": verb, "device": "board-1"})).await;
        host.succeeds(id).await;
    }
    assert_eq!(host.events("t").last().unwrap()["detail"]["vectors"], 12);
    host.send(json!({"id": "s", "verb": "rescan"})).await;
    assert_eq!(host.succeeds("s").await["detail"]["connected"], 1);
    host.send(json!({"id": "d", "verb": "diagnose"})).await;
    let detail = host.succeeds("d").await["detail"].clone();
    assert!(detail["toolchains"][0]["version"].as_str().unwrap().len() > 3 && detail["disk"].is_object(), "{detail}");
    host.send(json!({"id": "fast", "verb": "observe", "device": "board-1", "observe": {"interval_ms": 20}})).await;
    host.succeeds("fast").await;
    host.more_readings("board-1", 20).await;
    host.send(json!({"id": "e", "verb": "erase", "device": "board-1"})).await;
    host.succeeds("e").await;
    host.state("empty", |s| s["devices"][0]["status"] == "empty" && s["devices"][0]["firmware"].is_null()).await;
    host.send(json!({"id": "t2", "verb": "self_test", "device": "board-1"})).await;
    assert_eq!(host.end("t2").await["code"], "no_firmware");
    host.assert_gap_free();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn held_out_samples_are_evaluated_on_the_board() {
    let bench = Bench::with_boards(1, 0).await;
    let evaluate = |id: &str| json!({"id": id, "verb": "evaluate", "device": "board-1"});
    bench.host.send(evaluate("empty")).await;
    assert_eq!(bench.host.end("empty").await["code"], "no_firmware");
    let salt = 30;
    bench.host.install("i", "board-1", &make(salt, Kind::Good, 100)).await;
    bench.host.succeeds("i").await;
    bench.host.send(evaluate("e")).await;
    let end = bench.host.succeeds("e").await;
    // The test's labels are class-0 to class-4 in this order; what the board answers is known.
    let right = (0..5).filter(|sample| {
        let output = crate::model::reference(&crate::model::input(100 + sample), salt);
        let signed: Vec<i8> = output.iter().map(|byte| byte.cast_signed()).collect();
        let most = *signed.iter().max().unwrap();
        signed.iter().position(|value| *value == most) == Some(*sample)
    });
    let right = right.count();
    let detail = &end["detail"];
    assert_eq!(
        (&detail["samples"], &detail["labelled"], &detail["correct"]),
        (&json!(5), &json!(5), &json!(right)),
        "{end}"
    );
    assert!(detail["accuracy"].is_number() && detail["latency_us"]["max"].is_number(), "{end}");
    bench.host.more_readings("board-1", 1).await;
    bench.host.assert_gap_free();
}
