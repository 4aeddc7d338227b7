//! Figures worth knowing; the bounds are generous, because the machine may be busy with other things.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::bench::Bench;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accepted_latency_and_memory() {
    let bench = Bench::with_boards(2, 0).await;
    let mut times = Vec::new();
    for number in 0..200 {
        let id = format!("l{number}");
        let since = Instant::now();
        bench.host.send(json!({"id": id, "verb": "observe", "device": "board-1", "observe": {"enabled": false}})).await;
        bench.host.reaches(&id, "accepted").await;
        times.push(since.elapsed());
        bench.host.end(&id).await;
    }
    times.sort();
    let (p50, p99) = (times[100], times[198]);
    bench.host.send(json!({"id": "d", "verb": "diagnose"})).await;
    let resident = bench.host.succeeds("d").await["detail"]["resident_bytes"].as_u64().unwrap();
    println!(
        "publish to accepted: p50 {p50:?}, p99 {p99:?} (5 ms polling in the test); resident: {} KiB",
        resident / 1024
    );
    assert!(p50 < Duration::from_millis(500), "{p50:?}");
    assert!(resident < 64 << 20, "{resident}");
}
