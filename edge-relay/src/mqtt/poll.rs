//! The task that polls the MQTT client: it connects, counts epochs, passes messages on, and never waits for anybody
//! but the network and, between connections, the journal.

use std::sync::Arc;
use std::time::Duration;

use rumqttc::{ConnectionError, Event, EventLoop, Packet, Publish, StateError};
use tokio::sync::{mpsc, watch};

use super::{Connection, connect};
use crate::config::RelayConfig;
use crate::counters::Counters;
use crate::error::{JournalError, RelayError};
use crate::journal::Journal;

/// Messages that may wait for the inbox.
pub const INBOX: usize = 2048;

/// Something that came in.
#[derive(Debug)]
pub enum Incoming {
    /// A message.
    Message(Publish),
    /// The broker refused the connection or a subscription.
    Refused(String),
    /// A message was too large to be read; the session was given up to get rid of it.
    Shed(usize),
}

/// Polls the client.
pub struct Poller {
    /// The client's loop.
    pub event_loop: EventLoop,
    /// Configuration.
    pub config: RelayConfig,
    /// Where epochs are counted.
    pub journal: Arc<Journal>,
    /// Counters.
    pub counters: Arc<Counters>,
    /// Tells everybody whether there is a connection.
    pub up: watch::Sender<Option<Connection>>,
    /// Where messages go.
    pub inbox: mpsc::Sender<Incoming>,
}

impl Poller {
    /// Polls for ever.
    ///
    /// # Errors
    /// Only if the journal fails.
    pub async fn run(mut self) -> Result<(), RelayError> {
        self.event_loop.set_network_options(connect::network());
        let mut failures = 0u32;
        loop {
            let epoch = self.prepare().await?;
            let error = self.connection(epoch, &mut failures).await;
            self.up.send_replace(None);
            self.note(&error);
            failures = failures.saturating_add(1);
            tokio::time::sleep(back_off(failures)).await;
        }
    }

    /// A new epoch for the next connection, which is also in its will.
    async fn prepare(&mut self) -> Result<u64, JournalError> {
        let epoch = self.journal.next_epoch().await?;
        let will = connect::will(&self.config.relay, self.journal.id(), epoch);
        self.event_loop.mqtt_options.set_last_will(will);
        Ok(epoch)
    }

    /// One connection from its beginning to its end.
    async fn connection(&mut self, epoch: u64, failures: &mut u32) -> ConnectionError {
        loop {
            match self.event_loop.poll().await {
                Ok(Event::Incoming(Packet::ConnAck(ack))) => {
                    *failures = 0;
                    self.event_loop.mqtt_options.set_clean_session(false);
                    tracing::info!(relay = %self.config.relay, epoch, session = ack.session_present, "connected");
                    self.up.send_replace(Some(Connection { epoch, session_present: ack.session_present }));
                }
                Ok(Event::Incoming(Packet::Publish(message))) => self.send(Incoming::Message(message)),
                Ok(Event::Incoming(Packet::SubAck(ack))) => {
                    if ack.return_codes.iter().any(|code| matches!(code, rumqttc::SubscribeReasonCode::Failure)) {
                        let text = "the broker refused a subscription: check its access rules for this relay";
                        self.send(Incoming::Refused(text.to_owned()));
                    }
                }
                Ok(_) => {}
                Err(error) => return error,
            }
        }
    }

    /// Hands on without waiting. The broker limits what it sends unacknowledged (QoS 1) far below the channel's
    /// capacity, so only a flood without acknowledgements (QoS 0) is ever cut.
    fn send(&self, incoming: Incoming) {
        if self.inbox.try_send(incoming).is_err() {
            self.counters.add("dropped_incoming", 1);
        }
    }

    /// Says what went wrong, and prepares what the next connection must do differently.
    fn note(&mut self, error: &ConnectionError) {
        match error {
            ConnectionError::ConnectionRefused(code) => {
                tracing::warn!(relay = %self.config.relay, ?code, "the broker refused the connection: check the token");
            }
            ConnectionError::MqttState(StateError::Deserialization(
                rumqttc::mqttbytes::Error::PayloadSizeLimitExceeded(size),
            )) => {
                // The broker would deliver it again and again within this session.
                tracing::warn!(relay = %self.config.relay, size, "a message was too large to be read: starting a clean session");
                self.counters.add("session_purged", 1);
                self.event_loop.mqtt_options.set_clean_session(true);
                self.send(Incoming::Shed(*size));
            }
            error => tracing::info!(relay = %self.config.relay, %error, "no connection to the broker"),
        }
    }
}

/// Half a second at first, doubled up to 10 s, spread by a quarter so that a fleet does not come back at once.
fn back_off(failures: u32) -> Duration {
    let full = 250u64.saturating_mul(2u64.saturating_pow(failures.min(10))).min(10_000);
    let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |t| t.subsec_nanos());
    Duration::from_millis(full * 3 / 4 + full * u64::from(nanos % 1000) / 2000)
}
