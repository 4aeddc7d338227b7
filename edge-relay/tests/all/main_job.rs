//! The way that everything goes well.

use serde_json::json;

use crate::bench::Bench;
use crate::model::{Kind, make, reference};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_is_fetched_built_flashed_verified_and_observed() {
    let bench = Bench::with_boards(2, 0).await;
    let model = make(3, Kind::Good, 2000);
    bench.host.offer(&model);
    bench.host.send(json!({"id": "i1", "verb": "install", "device": "board-1", "model": "sum"})).await;
    let end = bench.host.succeeds("i1").await;
    assert_eq!(end["artifact"], json!(model.id));
    assert_eq!(end["detail"]["self_test"]["vectors"], 12);
    assert_eq!(bench.host.states("i1"), ["accepted", "fetching", "building", "flashing", "verifying", "succeeded"]);

    bench.host.more_readings("board-1", 3).await;
    let reading = bench.host.readings("board-1")[0].clone();
    let sample = reading["sample"].as_u64().unwrap() as usize;
    let expected = reference(&crate::model::input(100 + sample), 3);
    let outputs: Vec<f64> = expected.iter().map(|byte| 0.5 * f64::from(i32::from(*byte as i8) + 128)).collect();
    assert_eq!(reading["outputs"], json!(outputs));
    assert_eq!(reading["expected"], json!(format!("class-{sample}")));
    assert!(reading["input"]["data"].is_string() && reading["latency_us"].is_u64(), "{reading}");

    // The same for the other board: nothing is fetched or compiled again.
    bench.host.send(json!({"id": "i2", "verb": "install", "device": "board-2", "artifact": model.id})).await;
    bench.host.succeeds("i2").await;
    assert_eq!(bench.host.states("i2"), ["accepted", "flashing", "verifying", "succeeded"]);
    let state = bench.host.state("both running", |state| {
        state["devices"].as_array().unwrap().iter().all(|device| device["status"] == "running")
    });
    let state = state.await;
    assert_eq!(state["devices"][1]["firmware"]["artifact"], json!(model.id));
    assert_eq!(state["devices"][1]["firmware"]["verified"], true);
    bench.host.assert_gap_free();
}
