//! The task that polls rumqttc. It never waits for anything else, so that pings and acknowledgements always flow.

use std::sync::Arc;
use std::time::Duration;

use contract::limits::MAX_PACKET_BYTES;
use contract::topic::filter;
use rumqttc::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions, NetworkOptions, Packet};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use super::inbox::{Inbox, Signal};
use super::publisher::Publisher;
use crate::config::CloudConfig;
use crate::error::CloudError;
use crate::services::counters::Counters;

/// What the cloud listens to. Presence first: a state is judged by it.
const FILTERS: [&str; 9] = [
    filter::PRESENCE,
    filter::STATE,
    filter::COMMANDS,
    filter::EVENTS,
    filter::LOGS,
    filter::TELEMETRY,
    filter::REQUESTS,
    filter::CLOUD_COMMANDS,
    filter::BROKER_AUDIT,
];

/// Largest packet that is read. Far over the contract's limit: a broker without that limit would deliver a larger one
/// again and again, while one that is read is counted, acknowledged and gone.
const READ_LIMIT: usize = 64 * MAX_PACKET_BYTES;

/// The longest pause between two attempts to connect.
const MAX_PAUSE: Duration = Duration::from_secs(10);

/// How long a broker gets to take what is still queued when the cloud stops.
const FAREWELL: Duration = Duration::from_secs(2);

/// The running connection.
#[derive(Debug)]
pub struct Connection {
    task: JoinHandle<()>,
    publisher: Publisher,
    stop: CancellationToken,
}

impl Connection {
    /// Says goodbye, having sent what is queued, and waits for the task.
    pub async fn close(self) {
        self.stop.cancel();
        self.publisher.disconnect().await;
        let abort = self.task.abort_handle();
        if tokio::time::timeout(FAREWELL, self.task).await.is_err() {
            abort.abort();
        }
    }
}

/// Starts connecting, and keeps at it.
///
/// # Errors
/// [`CloudError::Io`] if the token file cannot be read.
pub fn connect(
    config: &CloudConfig,
    inbox: Inbox,
    counters: Arc<Counters>,
) -> Result<(Connection, Publisher), CloudError> {
    let token = std::fs::read_to_string(&config.mqtt_token_file)
        .map(Zeroizing::new)
        .map_err(CloudError::io("read the cloud's token", &config.mqtt_token_file))?;
    let mut options = MqttOptions::new(&config.client_id, &config.broker_host, config.broker_port);
    options
        .set_credentials(&config.mqtt_user, token.trim())
        .set_clean_session(false)
        .set_manual_acks(true)
        .set_keep_alive(Duration::from_secs(15))
        .set_max_packet_size(READ_LIMIT, MAX_PACKET_BYTES)
        .set_inflight(100);
    let (client, mut events) = AsyncClient::new(options, 1024);
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    network.set_connection_timeout(5);
    events.set_network_options(network);
    let publisher = Publisher::new(client);
    let stop = CancellationToken::new();
    let task = tokio::spawn(poll(events, publisher.clone(), inbox, counters, stop.clone()));
    Ok((Connection { task, publisher: publisher.clone(), stop }, publisher))
}

async fn poll(
    mut events: EventLoop,
    publisher: Publisher,
    inbox: Inbox,
    counters: Arc<Counters>,
    stop: CancellationToken,
) {
    let mut failures = 0u32;
    loop {
        match events.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(ack))) => {
                tracing::info!(session_present = ack.session_present, "connected to the broker");
                failures = 0;
                publisher.set_connected(true);
                if !ack.session_present {
                    // A task of its own: it waits for room in the queue that this loop empties.
                    let publisher = publisher.clone();
                    tokio::spawn(async move { publisher.subscribe(&FILTERS).await });
                }
                inbox.signal(Signal::Connected { session_present: ack.session_present });
            }
            Ok(Event::Incoming(Packet::Publish(publish))) => {
                if !inbox.message(publish) {
                    counters.add("inbox_overflow", 1);
                }
            }
            Ok(Event::Incoming(Packet::Disconnect)) if stop.is_cancelled() => return,
            Ok(Event::Outgoing(rumqttc::Outgoing::Disconnect)) => return,
            Ok(_) => {}
            Err(error) => {
                if publisher.is_connected() {
                    publisher.set_connected(false);
                    inbox.signal(Signal::Disconnected);
                }
                if stop.is_cancelled() {
                    return;
                }
                report(&error, failures);
                let pause = Duration::from_millis(100 << failures.min(7)).min(MAX_PAUSE);
                failures = failures.saturating_add(1);
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = stop.cancelled() => return,
                }
            }
        }
    }
}

/// One line when it begins and one now and then: a broker that is away is no news after the first.
fn report(error: &ConnectionError, failures: u32) {
    if failures == 0 || failures.is_power_of_two() {
        tracing::warn!(%error, failures, "no connection to the broker, trying again");
    }
}
