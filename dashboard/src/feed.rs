//! The fleet over MQTT: what was published, read, checked, and handed to whoever watches. Publishes nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use contract::cloud_command::CloudEvent;
use contract::event::{Event as FleetEvent, EventBody};
use contract::ids::{CommandId, DeviceId, RelayId};
use contract::limits::MAX_PACKET_BYTES;
use contract::log::LogLines;
use contract::presence::{Presence, Status};
use contract::reading::Reading;
use contract::state::RelayState;
use contract::topic::filter;
use contract::wire::decode;
use contract::{Malformed, Topic};
use rumqttc::{AsyncClient, ConnectReturnCode, Event, EventLoop, MqttOptions, Packet, QoS, SubscribeFilter};
use serde::Serialize;
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use crate::DashboardConfig;
use crate::view::ReadingView;

/// Messages that a slow browser may lag behind before it is sent away to come back fresh.
const BACKLOG: usize = 1024;
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// One message for browsers.
#[derive(Debug)]
pub(crate) struct Live {
    /// The name of the server-sent event.
    pub(crate) kind: &'static str,
    /// The relay that it is about; `None` for the cloud's.
    pub(crate) relay: Option<RelayId>,
    /// The device that it is about, if it is about one.
    pub(crate) device: Option<DeviceId>,
    /// JSON on one line.
    pub(crate) data: String,
}

/// The feed, shared by its task and all watchers.
#[derive(Clone)]
pub(crate) struct Feed(Arc<Inner>);

struct Inner {
    watchers: broadcast::Sender<Arc<Live>>,
    connected: watch::Sender<bool>,
    /// Payloads that were not of the contract.
    ignored: AtomicU64,
    /// Ends open streams, so that a shutdown does not wait for browsers.
    closed: CancellationToken,
}

#[derive(Serialize)]
struct RelayChanged<'a> {
    relay: &'a RelayId,
    #[serde(skip_serializing_if = "Option::is_none")]
    online: Option<bool>,
}

#[derive(Serialize)]
struct Progress<'a> {
    relay: &'a RelayId,
    #[serde(flatten)]
    body: &'a EventBody,
}

impl Feed {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Inner {
            watchers: broadcast::Sender::new(BACKLOG),
            connected: watch::Sender::new(false),
            ignored: AtomicU64::new(0),
            closed: CancellationToken::new(),
        }))
    }

    /// What is published from now on.
    pub(crate) fn watch(&self) -> broadcast::Receiver<Arc<Live>> {
        self.0.watchers.subscribe()
    }

    /// Whether the broker is connected.
    pub(crate) fn connected(&self) -> watch::Receiver<bool> {
        self.0.connected.subscribe()
    }

    /// Cancelled when streams should end.
    pub(crate) fn closed(&self) -> &CancellationToken {
        &self.0.closed
    }

    /// Follows the broker until `shutdown`.
    pub(crate) async fn run(&self, config: &DashboardConfig, shutdown: CancellationToken) {
        // `EventLoop::poll` is not cancel-safe, so it gets a task of its own that is only ever stopped for good.
        let task = tokio::spawn(follow(self.clone(), config.clone()));
        shutdown.cancelled().await;
        self.0.closed.cancel();
        task.abort();
    }

    fn take(&self, newest: &mut Newest, topic: &str, payload: &[u8]) {
        match read(newest, topic, payload) {
            Ok(Some(live)) => {
                // Nobody watching is no error.
                let _ = self.0.watchers.send(Arc::new(live));
            }
            Ok(None) => {}
            Err(why) => {
                let count = self.0.ignored.fetch_add(1, Ordering::Relaxed) + 1;
                tracing::debug!(topic, %why, count, "ignored a payload");
            }
        }
    }
}

async fn follow(feed: Feed, config: DashboardConfig) {
    let mut pause = FIRST_PAUSE;
    let mut newest = Newest::default();
    let mut told = String::new();
    loop {
        let why = match tokio::fs::read_to_string(&config.mqtt_token_file).await.map(Zeroizing::new) {
            Ok(token) => {
                let (client, mut events) = connect(&config, token.trim());
                let why = poll(&feed, &client, &mut events, &mut newest, &mut pause).await;
                feed.0.connected.send_replace(false);
                why
            }
            Err(error) => format!("the token file '{}' cannot be read: {error}", config.mqtt_token_file.display()),
        };
        // Once per reason: a broker that is away for a night is one line.
        if told != why {
            tracing::warn!(reason = why, "the dashboard is not live; it keeps trying");
            told = why;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn connect(config: &DashboardConfig, token: &str) -> (AsyncClient, EventLoop) {
    let client_id = format!("{}-{}", config.mqtt_user, CommandId::generate());
    let mut options = MqttOptions::new(client_id, &config.broker_host, config.broker_port);
    options
        .set_credentials(&config.mqtt_user, token)
        .set_clean_session(true)
        .set_keep_alive(Duration::from_secs(20))
        .set_max_packet_size(MAX_PACKET_BYTES, MAX_PACKET_BYTES);
    let (client, mut events) = AsyncClient::new(options, 8);
    let mut network = events.network_options();
    // Without it a PUBACK may wait 40 ms for the peer's delayed ACK.
    network.set_tcp_nodelay(true);
    network.set_connection_timeout(5);
    events.set_network_options(network);
    (client, events)
}

/// Polls until the connection ends, and says why it did.
async fn poll(
    feed: &Feed,
    client: &AsyncClient,
    events: &mut EventLoop,
    newest: &mut Newest,
    pause: &mut Duration,
) -> String {
    const WATCHED: [&str; 6] =
        [filter::PRESENCE, filter::STATE, filter::EVENTS, filter::TELEMETRY, filter::LOGS, filter::CLOUD_EVENTS];
    loop {
        match events.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(ack))) if ack.code == ConnectReturnCode::Success => {
                let filters = WATCHED.map(|path| SubscribeFilter::new(path.to_owned(), QoS::AtLeastOnce));
                // Never awaited here: the queue that it would wait for is emptied by this very loop.
                if let Err(error) = client.try_subscribe_many(filters) {
                    return format!("subscribing failed: {error}");
                }
            }
            Ok(Event::Incoming(Packet::SubAck(ack))) => {
                if ack.return_codes.contains(&rumqttc::SubscribeReasonCode::Failure) {
                    tracing::warn!("the broker refused a subscription; is the dashboard's identity a viewer?");
                }
                *pause = FIRST_PAUSE;
                feed.0.connected.send_replace(true);
                tracing::info!("the dashboard is live");
            }
            Ok(Event::Incoming(Packet::Publish(publish))) => feed.take(newest, &publish.topic, &publish.payload),
            Ok(_) => {}
            Err(error) => return error.to_string(),
        }
    }
}

/// Per relay the newest journal and epoch: retained leftovers and late wills are not news.
type Newest = HashMap<RelayId, (String, u64)>;

fn is_stale(newest: &mut Newest, relay: &RelayId, journal: &str, epoch: u64) -> bool {
    match newest.get(relay) {
        Some((known, highest)) if known == journal && epoch < *highest => true,
        _ => {
            newest.insert(relay.clone(), (journal.to_owned(), epoch));
            false
        }
    }
}

/// Reads one message; `None` for what is stale or of no interest to a page.
fn read(newest: &mut Newest, topic: &str, payload: &[u8]) -> Result<Option<Live>, Malformed> {
    let foreign = || Malformed::new(contract::Code::INVALID_FIELD, "the payload speaks for another relay or device");
    match Topic::parse(topic) {
        Some(Topic::Presence(relay)) => {
            let presence: Presence = decode(payload, MAX_PACKET_BYTES)?;
            if presence.relay != relay {
                return Err(foreign());
            }
            if is_stale(newest, &relay, &presence.journal, presence.epoch) {
                return Ok(None);
            }
            let online = Some(presence.status == Status::Online);
            Ok(Some(live("presence", &RelayChanged { relay: &relay, online }, Some(&relay), None)))
        }
        Some(Topic::State(relay)) => {
            let state: RelayState = decode(payload, MAX_PACKET_BYTES)?;
            if state.relay != relay {
                return Err(foreign());
            }
            if is_stale(newest, &relay, &state.journal, state.epoch) {
                return Ok(None);
            }
            Ok(Some(live("state", &RelayChanged { relay: &relay, online: None }, Some(&relay), None)))
        }
        Some(Topic::Events(relay)) => {
            let event: FleetEvent = decode(payload, MAX_PACKET_BYTES)?;
            if event.head.relay != relay {
                return Err(foreign());
            }
            let device = match &event.body {
                EventBody::Command(report) => report.device.clone(),
                EventBody::Device(report) => Some(report.device.clone()),
                EventBody::Notice(_) | EventBody::Unknown => None,
            };
            let body = Progress { relay: &relay, body: &event.body };
            Ok(Some(live("event", &body, Some(&relay), device.as_ref())))
        }
        Some(Topic::Telemetry(relay, device)) => {
            let reading: Reading = decode(payload, MAX_PACKET_BYTES)?;
            if reading.head.relay != relay || reading.device != device {
                return Err(foreign());
            }
            Ok(Some(live("reading", &ReadingView::of(&reading), Some(&relay), Some(&device))))
        }
        Some(Topic::Logs(relay, device)) => {
            let logs: LogLines = decode(payload, MAX_PACKET_BYTES)?;
            if logs.head.relay != relay || logs.device != device {
                return Err(foreign());
            }
            Ok(Some(live("logs", &logs, Some(&relay), Some(&device))))
        }
        Some(Topic::CloudEvents) => {
            let event: CloudEvent = decode(payload, MAX_PACKET_BYTES)?;
            Ok(Some(live("cloud", &event, None, None)))
        }
        _ => Ok(None),
    }
}

fn live<T: Serialize>(kind: &'static str, body: &T, relay: Option<&RelayId>, device: Option<&DeviceId>) -> Live {
    // Plain structs with string keys: serialization to memory cannot fail.
    let data = serde_json::to_string(body).unwrap_or_default();
    Live { kind, relay: relay.cloned(), device: device.cloned(), data }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn presence(epoch: u64, status: &str) -> Vec<u8> {
        format!(
            r#"{{"relay":"bench","journal":"j","epoch":{epoch},"status":"{status}","at":"2026-01-31T12:00:00Z","version":"0.1.0"}}"#
        )
        .into_bytes()
    }

    #[test]
    fn a_late_will_is_no_news() {
        let mut newest = Newest::default();
        let topic = "tinymlaas/v1/relays/bench/presence";
        let fresh = read(&mut newest, topic, &presence(4, "online")).unwrap().unwrap();
        assert_eq!((fresh.kind, fresh.data.as_str()), ("presence", r#"{"relay":"bench","online":true}"#));
        assert!(read(&mut newest, topic, &presence(3, "offline")).unwrap().is_none());
        assert!(read(&mut newest, topic, &presence(4, "offline")).unwrap().is_some());
    }

    #[test]
    fn garbage_and_impostors_are_refused() {
        let mut newest = Newest::default();
        for topic in ["presence", "state", "events", "devices/d/telemetry", "devices/d/logs"]
            .map(|leaf| format!("relays/a/{leaf}"))
        {
            let topic = format!("tinymlaas/v1/{topic}");
            assert!(read(&mut newest, &topic, b"\xff{garbage").is_err(), "{topic}");
            assert!(read(&mut newest, &topic, b"").is_err(), "{topic}");
        }
        assert!(read(&mut newest, "tinymlaas/v1/relays/other/presence", &presence(1, "online")).is_err());
        assert!(read(&mut newest, "somebody/elses", b"x").unwrap().is_none());
    }
}
