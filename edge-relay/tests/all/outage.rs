//! Broker and cloud come and go: nothing that was acknowledged is lost.

use std::time::Duration;

use contract::stream::Stream;
use serde_json::json;

use crate::bench::Bench;
use crate::model::{Kind, make};

async fn observing(bench: &Bench) {
    bench.host.install("i", "board-1", &make(70, Kind::Good, 100)).await;
    bench.host.succeeds("i").await;
    bench.host.send(json!({"id": "o", "verb": "observe", "device": "board-1", "observe": {"interval_ms": 20}})).await;
    bench.host.succeeds("o").await;
    bench.host.more_readings("board-1", 20).await;
}

/// The readings' own numbers from the board have no gaps: not even between board and outbox was anything lost.
async fn assert_complete(bench: &Bench) {
    bench.host.gap_free().await;
    let mut numbers: Vec<u64> =
        bench.host.readings("board-1").iter().map(|reading| reading["device_seq"].as_u64().unwrap()).collect();
    numbers.sort_unstable();
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{numbers:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_restart_loses_nothing() {
    let mut bench = Bench::with_boards(1, 0).await;
    observing(&bench).await;
    let before = bench.host.latest_seq(Stream::Telemetry);
    for _ in 0..2 {
        bench.restart_broker(Duration::from_millis(1500)).await;
        bench.host.more_readings("board-1", 40).await;
    }
    bench.host.confirm(true).await;
    bench.host.more_readings("board-1", 20).await;
    assert!(bench.host.latest_seq(Stream::Telemetry) > before + 100);
    assert_complete(&bench).await;
    // A command that is sent after it works as ever.
    bench.host.send(json!({"id": "after", "verb": "self_test", "device": "board-1"})).await;
    bench.host.succeeds("after").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_confirms_is_kept_and_sent_again() {
    let mut bench = Bench::with_boards(1, 0).await;
    bench.host.behaviour.lock().unwrap().silent = true;
    observing(&bench).await;
    // A second cloud that has seen nothing: the relay sends all of it again on request, in another process's life too.
    bench.kill_relay();
    bench.start_relay();
    bench.host.presence("online").await;
    let key = bench.key.clone();
    bench.host.kill();
    let fresh = crate::host::Host::start(bench.port, key).await;
    fresh.devices(1).await;
    let old = std::mem::replace(&mut bench.host, fresh);
    bench.host.more_readings("board-1", 1).await;
    bench.host.confirm(true).await;
    bench.host.publish("sync", br#"{"resend":true,"rebirth":true}"#.to_vec()).await;
    bench.host.succeeds("i").await;
    bench.host.more_readings("board-1", 30).await;
    assert!(bench.host.readings("board-1").len() > 30 && !old.readings("board-1").is_empty());
    // What is sent again may still be on its way, so the end need not be the last that was seen.
    assert!(bench.host.states("i").contains(&"succeeded".to_owned()));
    bench.host.confirm(true).await;
    bench.host.gap_free().await;
    // Once it is confirmed it is forgotten.
    bench.host.send(json!({"id": "d", "verb": "diagnose"})).await;
    let kept = bench.host.succeeds("d").await["detail"]["outbox"]["telemetry"].as_u64().unwrap();
    assert!(kept < 60, "{kept} readings are still kept");
}
