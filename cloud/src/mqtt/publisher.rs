//! Publishing: everything passes the contract's size check, nothing is queued for a broker that is not there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use contract::Topic;
use contract::wire;
use rumqttc::{AsyncClient, Publish, QoS};
use serde::Serialize;

/// Hands messages to the connection. What must not be lost is kept elsewhere until it is confirmed: rumqttc drops its
/// queue when a broker comes back without our session.
#[derive(Debug, Clone)]
pub struct Publisher {
    client: AsyncClient,
    connected: Arc<AtomicBool>,
}

impl Publisher {
    pub(super) fn new(client: AsyncClient) -> Self {
        Self { client, connected: Arc::default() }
    }

    pub(super) fn set_connected(&self, connected: bool) {
        self.connected.store(connected, Ordering::Relaxed);
    }

    /// Whether the broker is there.
    pub fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    /// Publishes at QoS 1. Returns whether the message was handed to a live connection.
    pub async fn publish<T: Serialize>(&self, topic: &Topic, message: &T) -> bool {
        if !self.is_connected() {
            return false;
        }
        let name = topic.to_string();
        let payload = match wire::encode(&name, message) {
            Ok(payload) => payload,
            Err(error) => {
                tracing::error!(%error, "not published");
                return false;
            }
        };
        self.client.publish(name, QoS::AtLeastOnce, topic.retained(), payload).await.is_ok()
    }

    /// Acknowledges a message that is persisted.
    pub async fn acknowledge(&self, publish: &Publish) {
        // Fails only when the connection's task has ended; then the broker sends the message again.
        let _ = self.client.ack(publish).await;
    }

    pub(super) async fn subscribe(&self, filters: &[&str]) {
        for filter in filters {
            if self.client.subscribe(*filter, QoS::AtLeastOnce).await.is_err() {
                return;
            }
        }
    }

    pub(super) async fn disconnect(&self) {
        let _ = self.client.disconnect().await;
    }
}
