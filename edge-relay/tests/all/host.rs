//! The host plays the cloud: keeps what relays publish, confirms it, serves manifests and blocks, or misbehaves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use contract::keys::SignedKeyList;
use contract::request::{Request, Response, ResponseBody, Want};
use contract::stream::{Stream, Sync};
use ed25519_dalek::SigningKey;
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::bench::RELAY;
use crate::model::{self, Model};

/// How the host answers.
#[derive(Debug, Clone, Default)]
pub struct Behaviour {
    pub models: Vec<Model>,
    /// Blocks from this number on get no answer.
    pub withhold_from: Option<u32>,
    /// The first answers for blocks are damaged.
    pub damage: u32,
    /// Blocks are cut short.
    pub truncate: bool,
    /// Manifests are signed by a stranger.
    pub wrong_key: bool,
    /// Manifests are signed by this key instead of the first.
    pub key: Option<SigningKey>,
    /// Lists of keys.
    pub lists: Vec<SignedKeyList>,
    /// What was asked about keys.
    pub asked_keys: Vec<u64>,
    /// Nothing is confirmed.
    pub silent: bool,
    /// Blocks that were asked for.
    pub asked: BTreeSet<u32>,
}

#[derive(Default)]
struct Seen {
    /// Everything in the order of arrival: leaf of the topic, payload.
    all: Vec<(String, Value)>,
    /// Numbers per journal and stream.
    numbers: BTreeMap<(String, Stream), BTreeSet<u64>>,
    presence: Option<Value>,
    state: Option<Value>,
    connected: bool,
    journal: String,
}

#[derive(Clone)]
pub struct Host {
    pub client: AsyncClient,
    pub behaviour: Arc<Mutex<Behaviour>>,
    seen: Arc<Mutex<Seen>>,
    tasks: Arc<Tasks>,
}

/// The host's tasks; they end with it.
#[derive(Default)]
struct Tasks(Mutex<Vec<tokio::task::AbortHandle>>);

pub fn topic(leaf: &str) -> String {
    format!("tinymlaas/v1/relays/{RELAY}/{leaf}")
}

/// Far more than anything takes on a machine that has nothing else to do.
const LIMIT: Duration = Duration::from_secs(120);

impl Host {
    pub async fn start(port: u16, key: SigningKey) -> Self {
        let mut options = MqttOptions::new("cloud", "127.0.0.1", port);
        options.set_credentials("cloud", "cloud-token").set_clean_session(false).set_manual_acks(false);
        options.set_max_packet_size(1 << 24, 1 << 24).set_keep_alive(Duration::from_secs(5));
        let (client, mut events) = AsyncClient::new(options, 100);
        let mut network = rumqttc::NetworkOptions::new();
        network.set_tcp_nodelay(true);
        events.set_network_options(network);
        let host = Self { client, behaviour: Arc::default(), seen: Arc::default(), tasks: Arc::default() };
        let (this, syncing) = (host.clone(), host.clone());
        let polling = tokio::spawn(async move {
            loop {
                match events.poll().await {
                    Ok(Event::Incoming(Packet::ConnAck(_))) => {
                        this.seen.lock().unwrap().connected = true;
                        let client = this.client.clone();
                        tokio::spawn(async move { client.subscribe("tinymlaas/v1/#", QoS::AtLeastOnce).await });
                    }
                    Ok(Event::Incoming(Packet::Publish(message))) => this.take(&message.topic, &message.payload, &key),
                    Ok(_) => {}
                    Err(_) => {
                        this.seen.lock().unwrap().connected = false;
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                }
            }
        });
        let confirming = tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(200)).await;
                syncing.confirm(false).await;
            }
        });
        host.tasks.0.lock().unwrap().extend([polling.abort_handle(), confirming.abort_handle()]);
        host
    }

    /// Ends it as if it were killed.
    pub fn kill(&self) {
        self.tasks.0.lock().unwrap().iter().for_each(tokio::task::AbortHandle::abort);
    }

    fn take(&self, topic: &str, payload: &[u8], key: &SigningKey) {
        let Some(leaf) = topic.strip_prefix(&format!("tinymlaas/v1/relays/{RELAY}/")) else { return };
        let Ok(value) = serde_json::from_slice::<Value>(payload) else { return };
        match leaf {
            "presence" => self.seen.lock().unwrap().presence = Some(value),
            "state" => self.seen.lock().unwrap().state = Some(value),
            "requests" => self.serve(serde_json::from_value(value).unwrap(), key),
            "commands" | "responses" | "sync" => {}
            _ => {
                let stream = match leaf {
                    "events" => Stream::Events,
                    _ if leaf.ends_with("/logs") => Stream::Logs,
                    _ => Stream::Telemetry,
                };
                let journal = value["journal"].as_str().unwrap().to_owned();
                let (seq, floor) = (value["seq"].as_u64().unwrap(), value["floor"].as_u64().unwrap());
                assert!(floor >= 1 && floor <= seq, "{value}");
                assert!(value["epoch"].as_u64().unwrap() >= 1 && value["at"].is_string(), "{value}");
                let mut seen = self.seen.lock().unwrap();
                seen.journal.clone_from(&journal);
                if seen.numbers.entry((journal, stream)).or_default().insert(seq) {
                    seen.all.push((leaf.to_owned(), value));
                }
            }
        }
    }

    fn serve(&self, request: Request, key: &SigningKey) {
        let mut behaviour = self.behaviour.lock().unwrap();
        let find = |id: &contract::ArtifactId| behaviour.models.iter().find(|model| model.id == *id).cloned();
        let not_found = |code: contract::Code| ResponseBody::Error { code, message: "there is none".into() };
        let own = || behaviour.key.clone().unwrap_or_else(|| key.clone());
        let key = if behaviour.wrong_key { SigningKey::from_bytes(&[9; 32]) } else { own() };
        let body = match &request.want {
            Want::ArtifactManifest { artifact } => match find(artifact) {
                Some(model) => ResponseBody::Manifest { manifest: model::sign(&key, &model.manifest) },
                None => not_found(contract::Code::ARTIFACT_NOT_FOUND),
            },
            Want::ModelManifest { model, board } => {
                assert_eq!(board, "native");
                let found = behaviour.models.iter().rfind(|m| m.manifest.model.name == model.name);
                match found {
                    Some(model) => ResponseBody::Manifest { manifest: model::sign(&key, &model.manifest) },
                    None => not_found(contract::Code::UNKNOWN_MODEL),
                }
            }
            Want::Keys { since } => {
                behaviour.asked_keys.push(*since);
                ResponseBody::Keys { lists: behaviour.lists.clone() }
            }
            Want::Block { artifact, index } => {
                behaviour.asked.insert(*index);
                if behaviour.withhold_from.is_some_and(|from| *index >= from) {
                    return;
                }
                let model = behaviour.models.iter().find(|model| model.id == *artifact).cloned().unwrap();
                let size = model.manifest.block_bytes as usize;
                let start = *index as usize * size;
                let mut bytes = model.tar[start..model.tar.len().min(start + size)].to_vec();
                let digest = Sha256::digest(&bytes);
                let sha256 = digest.iter().map(|byte| format!("{byte:02x}")).collect();
                if behaviour.damage > 0 {
                    behaviour.damage -= 1;
                    bytes[0] ^= 1;
                }
                if behaviour.truncate {
                    bytes.pop();
                }
                ResponseBody::Block { artifact: artifact.clone(), index: *index, data: STANDARD.encode(&bytes), sha256 }
            }
        };
        let response = Response { request: request.request, body };
        let (client, payload) = (self.client.clone(), serde_json::to_vec(&response).unwrap());
        tokio::spawn(async move { client.publish(topic("responses"), QoS::AtLeastOnce, false, payload).await });
    }

    /// Publishes the contiguous watermarks.
    pub async fn confirm(&self, resend: bool) {
        if self.behaviour.lock().unwrap().silent {
            return;
        }
        let sync = {
            let seen = self.seen.lock().unwrap();
            if seen.journal.is_empty() || !seen.connected {
                return;
            }
            let through = Stream::ALL.into_iter().map(|stream| {
                let numbers = seen.numbers.get(&(seen.journal.clone(), stream));
                let mut next = 1;
                while numbers.is_some_and(|numbers| numbers.contains(&next)) {
                    next += 1;
                }
                (stream, next - 1)
            });
            Sync { journal: Some(seen.journal.clone()), through: through.collect(), resend, rebirth: false }
        };
        let _ = self.client.publish(topic("sync"), QoS::AtLeastOnce, false, serde_json::to_vec(&sync).unwrap()).await;
    }

    /// Waits for something that `find` makes of what was seen.
    async fn wait<T>(&self, what: &str, mut find: impl FnMut(&Seen) -> Option<T>) -> T {
        let end = Instant::now() + LIMIT;
        loop {
            if let Some(found) = find(&self.seen.lock().unwrap()) {
                return found;
            }
            if Instant::now() > end {
                let seen = self.seen.lock().unwrap();
                let events: Vec<String> =
                    seen.all.iter().filter(|(leaf, _)| leaf == "events").map(|(_, value)| value.to_string()).collect();
                panic!("{what} did not come; state: {:?}; events:\n{}", seen.state, events.join("\n"));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub async fn devices(&self, count: usize) {
        self.wait(&format!("{count} devices"), |seen| {
            let state = seen.state.as_ref()?;
            let devices = state["devices"].as_array()?;
            let here = devices.iter().filter(|device| device["status"] != "lost").count();
            (here == count).then_some(())
        })
        .await;
    }

    pub async fn state(&self, what: &str, check: impl Fn(&Value) -> bool) -> Value {
        self.wait(what, |seen| seen.state.clone().filter(&check)).await
    }

    pub async fn presence(&self, status: &str) -> Value {
        self.wait(status, |seen| seen.presence.clone().filter(|presence| presence["status"] == status)).await
    }

    pub async fn send(&self, command: Value) {
        self.publish("commands", command.to_string().into_bytes()).await;
    }

    pub async fn publish(&self, leaf: &str, payload: Vec<u8>) {
        self.client.publish(topic(leaf), QoS::AtLeastOnce, false, payload).await.unwrap();
    }

    /// Sends an install of an artifact that the host serves from now on.
    pub async fn install(&self, id: &str, device: &str, model: &Model) {
        self.offer(model);
        self.send(json!({"id": id, "verb": "install", "device": device, "artifact": model.id})).await;
    }

    pub fn offer(&self, model: &Model) {
        let mut behaviour = self.behaviour.lock().unwrap();
        behaviour.models.retain(|known| known.id != model.id);
        behaviour.models.push(model.clone());
    }

    /// All events of a command so far.
    pub fn events(&self, id: &str) -> Vec<Value> {
        let seen = self.seen.lock().unwrap();
        seen.all
            .iter()
            .filter(|(leaf, value)| leaf == "events" && value["command"] == id)
            .map(|(_, v)| v.clone())
            .collect()
    }

    /// The states of a command, repeated ones once.
    pub fn states(&self, id: &str) -> Vec<String> {
        let mut states: Vec<String> =
            self.events(id).iter().map(|event| event["state"].as_str().unwrap().to_owned()).collect();
        states.dedup();
        states
    }

    pub async fn event(&self, what: &str, check: impl Fn(&Value) -> bool) -> Value {
        self.wait(what, |seen| {
            seen.all.iter().find(|(leaf, value)| leaf == "events" && check(value)).map(|(_, value)| value.clone())
        })
        .await
    }

    pub async fn reaches(&self, id: &str, state: &str) -> Value {
        self.event(&format!("{id} {state}"), |event| event["command"] == id && event["state"] == state).await
    }

    /// Waits until a command is over.
    pub async fn end(&self, id: &str) -> Value {
        let over = ["succeeded", "rejected", "failed", "cancelled", "expired", "timed_out"];
        self.event(&format!("end of {id}"), |event| {
            event["command"] == id && over.contains(&event["state"].as_str().unwrap_or_default())
        })
        .await
    }

    pub async fn succeeds(&self, id: &str) -> Value {
        let end = self.end(id).await;
        assert_eq!(end["state"], "succeeded", "{end}");
        end
    }

    /// Readings of a device so far.
    pub fn readings(&self, device: &str) -> Vec<Value> {
        let leaf = format!("devices/{device}/telemetry");
        self.seen.lock().unwrap().all.iter().filter(|(of, _)| *of == leaf).map(|(_, value)| value.clone()).collect()
    }

    /// Waits for a reading of a device of which this is true.
    pub async fn reading(&self, device: &str, what: &str, check: impl Fn(&Value) -> bool) {
        let leaf = format!("devices/{device}/telemetry");
        self.wait(what, |seen| seen.all.iter().any(|(of, value)| *of == leaf && check(value)).then_some(())).await;
    }

    pub async fn more_readings(&self, device: &str, count: usize) {
        let leaf = format!("devices/{device}/telemetry");
        let before = self.readings(device).len();
        self.wait("readings", |seen| {
            (seen.all.iter().filter(|(of, _)| *of == leaf).count() >= before + count).then_some(())
        })
        .await;
    }

    /// Log lines of a device so far.
    pub fn log(&self, device: &str) -> Vec<String> {
        let leaf = format!("devices/{device}/logs");
        let seen = self.seen.lock().unwrap();
        let messages = seen.all.iter().filter(|(of, _)| *of == leaf);
        messages
            .flat_map(|(_, value)| value["lines"].as_array().unwrap().clone())
            .map(|line| line["text"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Waits until a device's log has so many lines with this word.
    pub async fn log_lines(&self, device: &str, word: &str, count: usize) {
        let end = Instant::now() + LIMIT;
        while self.log(device).iter().filter(|line| line.contains(word)).count() < count {
            assert!(Instant::now() < end, "no {count} lines with '{word}' in {:#?}", self.log(device));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Asserts that no number of any stream is missing below the highest one seen.
    pub fn assert_gap_free(&self) {
        for ((journal, stream), numbers) in &self.seen.lock().unwrap().numbers {
            let highest = *numbers.last().unwrap();
            assert_eq!(numbers.len() as u64, highest, "gaps in {stream:?} of {journal}");
        }
    }

    /// Waits until nothing is missing: what is sent again comes in order, beside what is new.
    pub async fn gap_free(&self) {
        let complete = |seen: &Seen| {
            seen.numbers.values().all(|numbers| numbers.last().copied() == Some(numbers.len() as u64)).then_some(())
        };
        self.wait("a moment without gaps", complete).await;
    }

    pub fn latest_seq(&self, stream: Stream) -> u64 {
        let seen = self.seen.lock().unwrap();
        seen.numbers
            .iter()
            .filter(|((_, of), _)| *of == stream)
            .filter_map(|(_, numbers)| numbers.last())
            .max()
            .copied()
            .unwrap_or(0)
    }
}
