//! A scripted relay: speaks MQTT as one would, and does exactly what a test says.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rumqttc::{AsyncClient, Event, LastWill, MqttOptions, NetworkOptions, Packet, QoS};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

pub const ROOT: &str = "tinymlaas/v1";
const NOW: &str = "2026-01-31T12:00:00Z";

type Inbox = Arc<Mutex<Vec<(String, Value)>>>;

pub struct Relay {
    pub name: String,
    pub journal: String,
    pub epoch: u64,
    client: AsyncClient,
    inbox: Inbox,
    seen: Mutex<usize>,
    task: JoinHandle<()>,
}

/// A connection that collects what it is sent.
pub fn listen(
    id: &str,
    user: &str,
    token: &str,
    port: u16,
    filters: &[String],
    will: Option<LastWill>,
) -> (AsyncClient, Inbox, JoinHandle<()>) {
    let mut options = MqttOptions::new(id, "127.0.0.1", port);
    options.set_credentials(user, token).set_max_packet_size(4 << 20, 4 << 20).set_keep_alive(Duration::from_secs(5));
    options.set_clean_session(true);
    if let Some(will) = will {
        options.set_last_will(will);
    }
    let (client, mut events) = AsyncClient::new(options, 100_000);
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    events.set_network_options(network);
    let inbox = Inbox::default();
    let (sink, subscriber, filters) = (Arc::clone(&inbox), client.clone(), filters.to_vec());
    let task = tokio::spawn(async move {
        loop {
            match events.poll().await {
                Ok(Event::Incoming(Packet::ConnAck(_))) => {
                    for filter in &filters {
                        subscriber.try_subscribe(filter, QoS::AtLeastOnce).unwrap();
                    }
                }
                Ok(Event::Incoming(Packet::Publish(publish))) => {
                    let body = serde_json::from_slice(&publish.payload).unwrap_or(Value::Null);
                    sink.lock().unwrap().push((publish.topic, body));
                }
                Ok(_) => {}
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    });
    (client, inbox, task)
}

/// Waits for a message that satisfies `pick`, among those from `from` on; returns it and the position after it.
pub async fn wait(
    inbox: &Inbox,
    from: usize,
    what: &str,
    seconds: u64,
    pick: impl Fn(&str, &Value) -> bool,
) -> (Value, usize) {
    let end = Instant::now() + Duration::from_secs(seconds);
    loop {
        {
            let messages = inbox.lock().unwrap();
            for (at, (topic, body)) in messages.iter().enumerate().skip(from) {
                if pick(topic, body) {
                    return (body.clone(), at + 1);
                }
            }
            assert!(Instant::now() < end, "no {what}; there are {:?}", &messages[from.min(messages.len())..]);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

impl Relay {
    pub fn new(name: &str, journal: &str, port: u16, token: &str) -> Self {
        let filters = ["commands", "responses", "sync"].map(|leaf| format!("{ROOT}/relays/{name}/{leaf}"));
        let (client, inbox, task) = listen(&format!("relay-{name}"), name, token, port, &filters, None);
        let (name, journal) = (name.to_owned(), journal.to_owned());
        Self { name, journal, epoch: 1, client, inbox, seen: Mutex::new(0), task }
    }

    pub async fn publish(&self, leaf: &str, retain: bool, body: Vec<u8>) {
        let topic = format!("{ROOT}/relays/{}/{leaf}", self.name);
        self.client.publish(topic, QoS::AtLeastOnce, retain, body).await.unwrap();
    }

    pub async fn json(&self, leaf: &str, body: Value) {
        let retain = matches!(leaf, "presence" | "state");
        self.publish(leaf, retain, body.to_string().into_bytes()).await;
    }

    pub fn presence(&self, status: &str, epoch: u64) -> Value {
        json!({"relay": self.name, "journal": self.journal, "epoch": epoch, "status": status, "at": NOW, "version": "0"})
    }

    pub fn state(&self, epoch: u64, version: u64, devices: &[&str]) -> Value {
        let devices: Vec<_> = devices
            .iter()
            .map(|name| json!({"device": name, "board": "native", "status": "running", "port": "/dev/pts/1"}))
            .collect();
        json!({"relay": self.name, "journal": self.journal, "epoch": epoch, "version": version, "at": NOW, "agent": "0",
               "host": {"hostname": "h", "os": "linux", "arch": "x86_64"}, "toolchains": [], "devices": devices})
    }

    /// Presence and state as after a connect.
    pub async fn birth(&self, devices: &[&str]) {
        self.json("presence", self.presence("online", self.epoch)).await;
        self.json("state", self.state(self.epoch, 1, devices)).await;
    }

    pub fn head(&self, seq: u64, floor: u64) -> Value {
        json!({"relay": self.name, "journal": self.journal, "epoch": self.epoch, "seq": seq, "floor": floor, "at": NOW})
    }

    pub async fn reading(&self, device: &str, seq: u64, floor: u64) {
        let mut body = self.head(seq, floor);
        let right = seq.is_multiple_of(2);
        body["device"] = json!(device);
        body["device_seq"] = json!(seq);
        body["mono_ms"] = json!(seq * 10);
        body["artifact"] = json!(format!("sha256:{}", "0".repeat(64)));
        body["prediction"] = json!({"label": "3", "index": 3, "score": 0.9});
        body["expected"] = json!(if right { "3" } else { "4" });
        body["from_the_future"] = json!(true);
        self.json(&format!("devices/{device}/telemetry"), body).await;
    }

    pub async fn event(&self, seq: u64, command: &str, state: &str, code: &str) {
        let mut body = self.head(seq, 1);
        body["type"] = json!("command");
        body["command"] = json!(command);
        body["verb"] = json!("rescan");
        body["state"] = json!(state);
        body["code"] = json!(code);
        body["progress"] = json!(if state == "succeeded" { 1.0 } else { 0.5 });
        self.json("events", body).await;
    }

    pub async fn log(&self, device: &str, seq: u64, command: &str) {
        let mut body = self.head(seq, 1);
        body["device"] = json!(device);
        body["command"] = json!(command);
        body["phase"] = json!("build");
        body["lines"] = json!([{"at": NOW, "text": format!("line {seq}")}]);
        self.json(&format!("devices/{device}/logs"), body).await;
    }

    /// Waits for the next message on one of the relay's own topics; what came before it is skipped.
    pub async fn next(&self, leaf: &str, seconds: u64, pick: impl Fn(&Value) -> bool) -> Value {
        let end = format!("/{leaf}");
        let from = *self.seen.lock().unwrap();
        let (body, at) =
            wait(&self.inbox, from, leaf, seconds, |topic, body| topic.ends_with(&end) && pick(body)).await;
        *self.seen.lock().unwrap() = at;
        body
    }

    /// All messages so far on one of the relay's own topics.
    pub fn all(&self, leaf: &str) -> Vec<Value> {
        let end = format!("/{leaf}");
        let inbox = self.inbox.lock().unwrap();
        inbox.iter().filter(|(topic, _)| topic.ends_with(&end)).map(|(_, body)| body.clone()).collect()
    }

    /// What was seen so far is skipped from here on.
    pub fn skip(&self) {
        *self.seen.lock().unwrap() = self.inbox.lock().unwrap().len();
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}
