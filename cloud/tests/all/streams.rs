//! Each message of a stream once, gaps asked for, watermarks told.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::world::World;

fn seqs(readings: &Value) -> Vec<u64> {
    readings.as_array().unwrap().iter().map(|reading| reading["seq"].as_u64().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn repeats_count_once_and_watermarks_follow() {
    let world = World::new();
    let cloud = world.cloud().await;
    let relay = world.relay();
    relay.birth(&["a", "b"]).await;
    relay.next("sync", 5, |sync| sync["through"]["telemetry"] == 0).await;
    for _ in 0..3 {
        for seq in 1..=20 {
            relay.reading(if seq % 2 == 0 { "a" } else { "b" }, seq, 1).await;
        }
    }
    relay.next("sync", 5, |sync| sync["through"]["telemetry"] == 20 && sync["journal"] == "journal-1").await;
    let device = cloud.api.get("/relays/bench/devices/a").await;
    assert_eq!((&device["readings"], &device["labelled"], &device["correct"]), (&10.into(), &10.into(), &10.into()));
    let device = cloud.api.get("/relays/bench/devices/b").await;
    assert_eq!((&device["readings"], &device["labelled"], &device["correct"]), (&10.into(), &10.into(), &0.into()));
    assert_eq!(device["last_reading"]["seq"], 19);
    let page = cloud.api.get("/relays/bench/devices/a/readings?limit=3").await;
    assert_eq!(seqs(&page), [20, 18, 16]);
    assert_eq!(page[0]["from_the_future"], true, "unknown fields are passed on");
    let page = cloud.api.get("/relays/bench/devices/a/readings?before=16&limit=3").await;
    assert_eq!(seqs(&page), [14, 12, 10]);
    let counters = cloud.api.until("/counters", |counters| counters["duplicates"] == 40).await;
    assert_eq!(counters["readings"], 20);
    // What was said is not said again while nothing moves.
    relay.skip();
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert!(relay.all("sync").iter().filter(|sync| sync["through"]["telemetry"] == 20).count() <= 3);
    cloud.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_is_asked_for_after_two_seconds_and_closes() {
    let world = World::new();
    let cloud = world.cloud().await;
    let relay = world.relay();
    relay.birth(&["a"]).await;
    for seq in [1, 2, 5, 6] {
        relay.reading("a", seq, 1).await;
    }
    let begun = Instant::now();
    let sync = relay.next("sync", 8, |sync| sync["resend"] == true).await;
    let waited = begun.elapsed();
    assert!(waited > Duration::from_millis(1800) && waited < Duration::from_secs(4), "{waited:?}");
    assert_eq!(sync["through"]["telemetry"], 2);
    for seq in 3..=6 {
        relay.reading("a", seq, 1).await;
    }
    relay.next("sync", 5, |sync| sync["through"]["telemetry"] == 6).await;
    assert_eq!(seqs(&cloud.api.get("/relays/bench/devices/a/readings").await), [6, 5, 4, 3, 2, 1]);
    // The relay gave 7 to 9 up: the floor says so, and nobody waits.
    relay.reading("a", 10, 10).await;
    let sync = relay.next("sync", 5, |sync| sync["through"]["telemetry"] == 10).await;
    assert_eq!(sync["resend"], false);
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(relay.all("sync").iter().filter(|sync| sync["resend"] == true).count(), 1);
    cloud.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_journal_counts_from_one_and_pages_cross_it() {
    let world = World::new();
    let cloud = world.cloud().await;
    let mut relay = world.relay();
    relay.birth(&["a"]).await;
    for seq in 1..=3 {
        relay.reading("a", seq, 1).await;
    }
    relay.next("sync", 5, |sync| sync["through"]["telemetry"] == 3).await;
    relay.journal = "journal-2".into();
    relay.birth(&["a"]).await;
    for seq in 1..=2 {
        relay.reading("a", seq, 1).await;
    }
    relay.next("sync", 5, |sync| sync["journal"] == "journal-2" && sync["through"]["telemetry"] == 2).await;
    let all = cloud.api.get("/relays/bench/devices/a/readings").await;
    assert_eq!(seqs(&all), [2, 1, 3, 2, 1]);
    let page = cloud.api.get("/relays/bench/devices/a/readings?before=2&limit=2").await;
    assert_eq!(seqs(&page), [1, 3]);
    let page = cloud.api.get("/relays/bench/devices/a/readings?before=3&journal=journal-1").await;
    assert_eq!(seqs(&page), [2, 1]);
    cloud.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_are_kept_per_device_and_command() {
    let world = World::new();
    let cloud = world.cloud().await;
    let relay = world.relay();
    relay.birth(&["a"]).await;
    relay.log("a", 1, "one").await;
    relay.log("a", 2, "two").await;
    relay.log("a", 3, "one").await;
    relay.next("sync", 5, |sync| sync["through"]["logs"] == 3).await;
    assert_eq!(seqs(&cloud.api.get("/relays/bench/devices/a/logs").await), [3, 2, 1]);
    let one = cloud.api.get("/relays/bench/devices/a/logs?command=one").await;
    assert_eq!(seqs(&one), [3, 1]);
    assert_eq!(one[0]["lines"][0]["text"], "line 3");
    cloud.stop().await;
}

/// Prints how many readings a second reach the database; fails only if one is lost.
#[tokio::test(flavor = "multi_thread")]
async fn many_readings() {
    const N: u64 = 5000;
    let world = World::new();
    let cloud = world.cloud().await;
    let relay = world.relay();
    relay.birth(&["a"]).await;
    relay.next("sync", 5, |sync| sync["journal"] == "journal-1").await;
    let begun = Instant::now();
    for seq in 1..=N {
        relay.reading("a", seq, 1).await;
    }
    cloud.api.until("/relays/bench/devices/a", |device| device["readings"] == N).await;
    let rate = N as f64 / begun.elapsed().as_secs_f64();
    eprintln!("ingest: {rate:.0} readings/s with an unoptimized build");
    relay.next("sync", 10, |sync| sync["through"]["telemetry"] == N).await;
    cloud.stop().await;
}
