//! Garbage on every topic that the cloud listens to: counted, and the system goes on.

use rumqttc::QoS;
use serde_json::json;

use crate::relay::{ROOT, listen, wait};
use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn garbage_on_every_topic_is_counted_and_the_cloud_goes_on() {
    let world = World::new();
    let cloud = world.cloud().await;
    let relay = world.relay();
    relay.birth(&["a"]).await;
    cloud.api.until("/relays", |relays| relays[0]["online"] == true).await;
    let (script, inbox, task) =
        listen("script", "admin", &world.tokens.admin, world.broker.port, &[format!("{ROOT}/cloud/events")], None);
    let megabyte = vec![b'x'; 1 << 20];
    let deep = "[".repeat(100_000).into_bytes();
    let foreign = json!({"relay": "other", "journal": "j", "epoch": 1, "seq": 1, "floor": 1, "at": "2026-01-31T12:00:00Z",
        "status": "online", "version": "0", "type": "notice", "code": "ok", "message": "", "device": "b"});
    let garbage: Vec<Vec<u8>> = vec![
        b"garbage".to_vec(),
        vec![0xff, 0x00, 0xfe],
        b"{}".to_vec(),
        b"[1,2]".to_vec(),
        b"\"text\"".to_vec(),
        deep,
        megabyte,
        foreign.to_string().into_bytes(),
    ];
    let leaves = ["presence", "state", "commands", "events", "requests", "devices/a/telemetry", "devices/a/logs"];
    for leaf in leaves {
        for payload in &garbage {
            script
                .publish(format!("{ROOT}/relays/bench/{leaf}"), QoS::AtLeastOnce, false, payload.clone())
                .await
                .unwrap();
        }
    }
    for payload in &garbage {
        script.publish(format!("{ROOT}/cloud/commands"), QoS::AtLeastOnce, false, payload.clone()).await.unwrap();
    }
    let wrong = r#"{"id":"w","verb":"fly"}"#;
    script.publish(format!("{ROOT}/cloud/commands"), QoS::AtLeastOnce, false, wrong).await.unwrap();
    script.publish(format!("{ROOT}/relays/UPPER/events"), QoS::AtLeastOnce, false, "x").await.unwrap();
    let (event, _) = wait(&inbox, 0, "rejection", 20, |_, event| event["command"] == "w").await;
    assert_eq!((&event["state"], &event["code"]), (&json!("rejected"), &json!("unknown_verb")));
    wait(&inbox, 0, "notice", 5, |_, event| event["type"] == "notice" && event["code"] == "too_large").await;
    // A message whose beginning can be read is not waited for.
    let mut half = relay.head(1, 1);
    half["device"] = json!(7);
    relay.json("devices/a/telemetry", half).await;
    relay.reading("a", 2, 1).await;
    relay.next("sync", 10, |sync| sync["through"]["telemetry"] == 2).await;
    let counters = cloud.api.until("/counters", |counters| counters["foreign_topic"] == 1).await;
    let n = garbage.len() as u64;
    for (name, expected) in [
        ("malformed_presence", n),
        ("malformed_state", n),
        ("malformed_commands", n),
        ("malformed_events", n),
        ("malformed_requests", n),
        ("malformed_telemetry", n),
        ("malformed_logs", n),
        ("malformed_cloud_commands", n + 1),
        ("unreadable", 1),
    ] {
        assert_eq!(counters[name], expected, "{name} of {counters}");
    }
    let relays = cloud.api.get("/relays").await;
    assert_eq!(relays.as_array().unwrap().len(), 1, "nobody speaks for another relay: {relays}");
    assert_eq!(cloud.api.get("/health").await["status"], "ok");
    cloud.stop().await;
    // Counters outlive a restart.
    let cloud = world.cloud().await;
    assert_eq!(cloud.api.get("/counters").await["malformed_logs"], n);
    task.abort();
    cloud.stop().await;
}
