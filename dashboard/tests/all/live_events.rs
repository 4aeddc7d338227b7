//! MQTT in, server-sent events out.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{System, fleet, stub_api};

/// An open stream, read event by event.
struct Events {
    response: reqwest::Response,
    buffer: String,
}

impl Events {
    async fn open(system: &System, path: &str) -> Events {
        Self::open_as(stub_api::COOKIE, system, path).await
    }

    async fn open_as(cookie: &str, system: &System, path: &str) -> Events {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let request = client.get(system.url(path)).header("cookie", cookie);
        let response = request.header("accept", "text/event-stream").send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut events = Events { response, buffer: String::new() };
        // The feed connects in its own time; then the stream is live.
        while events.next().await != Some(("feed".into(), json!({"connected": true}))) {}
        events
    }

    /// Name and data of the next event; `None` at the end of the stream or after 5 s of silence.
    async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some(end) = self.buffer.find("\n\n") {
                let block: String = self.buffer.drain(..end + 2).collect();
                let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
                let (Some(kind), Some(data)) = (field("event:"), field("data:")) else { continue };
                return Some((kind.to_owned(), serde_json::from_str(data).unwrap()));
            }
            let chunk = tokio::time::timeout(Duration::from_secs(5), self.response.chunk()).await.ok()?;
            self.buffer.push_str(std::str::from_utf8(&chunk.ok()??).unwrap());
        }
    }
}

fn reading(device: &str, seq: u64) -> Vec<u8> {
    fleet::reading("bench-1", device, seq, contract::Timestamp::now()).to_string().into_bytes()
}

#[tokio::test]
async fn a_reading_published_over_mqtt_reaches_the_page_drawn() {
    let Some(system) = System::start("a live reading").await else { return };
    let mut events = Events::open(&system, "/live?relay=bench-1&device=board-1").await;
    let publisher = system.broker.publisher();
    let topic = |device: &str| format!("tinymlaas/v1/relays/bench-1/devices/{device}/telemetry");
    // Neither garbage, nor another device's, nor one that speaks for another device comes through.
    publisher.publish(&topic("board-1"), *b"\xff\x00{garbage").await;
    publisher.publish(&topic("board-1"), vec![b'x'; 300_000]).await;
    publisher.publish(&topic("board-2"), reading("board-2", 6)).await;
    publisher.publish(&topic("board-1"), reading("board-2", 7)).await;
    publisher.publish(&topic("board-1"), reading("board-1", 8)).await;
    let (kind, data) = loop {
        // The oversize packet may have cost the feed its connection, and it says so.
        let event = events.next().await.expect("the reading arrives");
        match event {
            (kind, _) if kind == "feed" => publisher.publish(&topic("board-1"), reading("board-1", 8)).await,
            other => break other,
        }
    };
    assert_eq!((kind.as_str(), &data["device"], &data["seq"]), ("reading", &json!("board-1"), &json!(8)));
    assert_eq!(data["correct"], json!(true));
    assert!(data["picture"]["src"].as_str().unwrap().starts_with("data:image/bmp;base64,"));
    assert_eq!(data["outputs"].as_array().unwrap().len(), 10);
}

#[tokio::test]
async fn events_and_logs_come_through_and_stale_presence_does_not() {
    let Some(system) = System::start("live events").await else { return };
    let mut events = Events::open(&system, "/live?relay=bench-1&device=board-2").await;
    let publisher = system.broker.publisher();
    let presence = |epoch: u64, status: &str| {
        json!({"relay": "bench-1", "journal": "7f3a", "epoch": epoch, "status": status,
               "at": "2026-01-31T12:00:00Z", "version": "0.1.0"})
        .to_string()
    };
    publisher.publish("tinymlaas/v1/relays/bench-1/presence", presence(13, "online")).await;
    publisher.publish("tinymlaas/v1/relays/bench-1/presence", presence(12, "offline")).await;
    let command = fleet::command_with_events(fleet::INSTALL).unwrap();
    publisher.publish("tinymlaas/v1/relays/bench-1/events", command["events"][3].to_string()).await;
    let log = &fleet::logs("board-2")[0];
    publisher.publish("tinymlaas/v1/relays/bench-1/devices/board-2/logs", log.to_string()).await;
    assert_eq!(events.next().await.unwrap(), ("presence".into(), json!({"relay": "bench-1", "online": true})));
    let (kind, event) = events.next().await.unwrap();
    assert_eq!(
        (kind.as_str(), &event["state"], &event["command"]),
        ("event", &json!("flashing"), &json!(fleet::INSTALL))
    );
    let (kind, logs) = events.next().await.unwrap();
    assert_eq!((kind.as_str(), &logs["lines"][1]["text"]), ("logs", &json!(fleet::HOSTILE)));
}

#[tokio::test]
async fn a_page_of_many_devices_gets_thinned_readings() {
    let Some(system) = System::start("thinned readings").await else { return };
    let mut events = Events::open(&system, "/live").await;
    let publisher = system.broker.publisher();
    for seq in 1..=50 {
        publisher.publish("tinymlaas/v1/relays/bench-1/devices/board-1/telemetry", reading("board-1", seq)).await;
    }
    publisher.publish("tinymlaas/v1/relays/bench-1/devices/board-2/telemetry", reading("board-2", 51)).await;
    let mut seen = Vec::new();
    while !seen.contains(&51) {
        seen.push(events.next().await.unwrap().1["seq"].as_u64().unwrap());
    }
    assert!(seen.len() < 10, "{seen:?}");
}

#[tokio::test]
async fn whoever_is_limited_to_groups_watches_their_relays_only() {
    let Some(system) = System::start("live, limited").await else { return };
    let mut events = Events::open_as(stub_api::ATTIC_COOKIE, &system, "/live").await;
    let publisher = system.broker.publisher();
    publisher.publish("tinymlaas/v1/relays/bench-1/devices/board-1/telemetry", reading("board-1", 1)).await;
    let own = fleet::reading("attic", "uno-1", 2, contract::Timestamp::now()).to_string();
    publisher.publish("tinymlaas/v1/relays/attic/devices/uno-1/telemetry", own).await;
    assert_eq!(events.next().await.unwrap().1["relay"], json!("attic"));
}

#[tokio::test]
async fn a_shutdown_ends_open_streams() {
    let Some(system) = System::start("shutdown").await else { return };
    let mut events = Events::open(&system, "/live").await;
    system.shutdown.cancel();
    assert_eq!(events.next().await, None);
}
