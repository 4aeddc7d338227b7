//! Bad input: a clear error where there is somebody to tell, a counter, and the relay goes on.

use serde_json::json;

use crate::bench::Bench;
use crate::model::{Kind, from_tar, make};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_artifacts() {
    let mut bench = Bench::new().await;
    bench.set("RELAY_FETCH_S", "2");
    bench.add_board(1, 0);
    bench.start_relay();
    let host = &bench.host;
    host.devices(1).await;
    let code = async |id: &str, model: &crate::model::Model| {
        host.install(id, "board-1", model).await;
        let end = host.end(id).await;
        assert_eq!(end["state"], "failed", "{end}");
        end["code"].as_str().unwrap().to_owned()
    };
    host.behaviour.lock().unwrap().wrong_key = true;
    assert_eq!(code("stranger", &make(60, Kind::Good, 100)).await, "signature_invalid");
    host.behaviour.lock().unwrap().wrong_key = false;

    let mut other = make(61, Kind::Good, 100);
    other.manifest.purpose = "erase".into();
    assert_eq!(code("purpose", &other).await, "signature_invalid");

    host.behaviour.lock().unwrap().truncate = true;
    assert_eq!(code("truncated", &make(62, Kind::Good, 100)).await, "digest_mismatch");
    host.behaviour.lock().unwrap().truncate = false;

    let mut lying = make(63, Kind::Good, 100);
    lying.tar[600] ^= 1; // every block is intact, the whole is not
    assert_eq!(code("lying", &lying).await, "digest_mismatch");

    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(1);
    archive.append_data(&mut header, "passwd", [0u8].as_slice()).unwrap();
    assert_eq!(code("foreign", &from_tar(archive.into_inner().unwrap(), 0)).await, "artifact_invalid");
    assert_eq!(code("no-tar", &from_tar(vec![7; 5000], 0)).await, "artifact_invalid");

    assert_eq!(code("no-c", &make(64, Kind::Broken, 100)).await, "build_failed");
    let log = host.events("no-c").last().unwrap()["detail"]["log"].to_string();
    assert!(log.contains("error"), "{log}");
    let mut huge = make(65, Kind::Good, 100);
    huge.manifest.arena_bytes = u32::MAX;
    assert_eq!(code("huge", &huge).await, "does_not_fit");
    host.send(json!({"id": "none", "verb": "install", "device": "board-1", "model": "nothing"})).await;
    assert_eq!(host.end("none").await["code"], "unknown_model");
    host.behaviour.lock().unwrap().withhold_from = Some(0);
    assert_eq!(code("silence", &make(66, Kind::Good, 100)).await, "fetch_timeout");
    host.behaviour.lock().unwrap().withhold_from = None;

    // Damage on the way is repaired by asking again.
    host.behaviour.lock().unwrap().damage = 2;
    host.install("damaged", "board-1", &make(67, Kind::Good, 100)).await;
    host.succeeds("damaged").await;
    host.state("counted", |s| s["counters"]["bad_blocks"].as_u64() >= Some(2)).await;
    host.assert_gap_free();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_payloads() {
    let bench = Bench::with_boards(1, 0).await;
    let host = &bench.host;
    for leaf in ["commands", "responses", "sync"] {
        host.publish(leaf, b"\xff\xfe not json {".to_vec()).await;
        host.publish(leaf, Vec::new()).await;
        host.publish(leaf, b"[1,2,3]".to_vec()).await;
        host.publish(leaf, br#"{"id":7,"verb":[],"through":{"events":-1},"request":{}}"#.to_vec()).await;
    }
    host.publish("commands", vec![b'a'; 1_000_000]).await;
    host.event("too large", |e| e["type"] == "notice" && e["code"] == "too_large").await;
    // More than the client reads at all: the session is shed, and the relay is back.
    host.publish("commands", vec![b'b'; 5_000_000]).await;
    host.event("shed", |e| e["type"] == "notice" && e["message"].as_str().unwrap().contains("given up")).await;
    host.state("counted", |s| s["counters"]["malformed"].as_u64() >= Some(10)).await;

    let reply = async |command: serde_json::Value| {
        let id = command["id"].as_str().unwrap().to_owned();
        host.send(command).await;
        let end = host.end(&id).await;
        assert_eq!(end["state"], "rejected", "{end}");
        end
    };
    let unknown = reply(json!({"id": "u", "verb": "explode", "device": "board-1"})).await;
    assert_eq!(unknown["code"], "unknown_verb");
    assert!(unknown["message"].as_str().unwrap().contains("install"));
    assert_eq!(reply(json!({"id": "m", "verb": "install", "device": "board-1"})).await["code"], "missing_field");
    assert_eq!(
        reply(json!({"id": "w", "verb": "install", "device": "BOARD", "model": "x"})).await["code"],
        "invalid_field"
    );
    let observe = json!({"id": "o", "verb": "observe", "device": "board-1", "observe": {"interval_ms": 1}});
    assert_eq!(reply(observe).await["code"], "invalid_field");

    // Nobody may confirm what was never sent, or in another journal's numbers.
    host.publish("sync", br#"{"journal":"other","through":{"events":1000000},"resend":true,"rebirth":true}"#.to_vec())
        .await;
    host.send(json!({"id": "ok", "verb": "rescan"})).await;
    host.succeeds("ok").await;
    host.assert_gap_free();
}
