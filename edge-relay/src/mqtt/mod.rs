//! The connection to the broker: one task polls, everybody else talks to it through [`Link`].

mod connect;
mod poll;

use contract::topic::Topic;
use contract::wire;
use rumqttc::{AsyncClient, Publish, QoS};
use tokio::sync::watch;

pub use connect::{options, presence};
pub use poll::{INBOX, Incoming, Poller};

/// One established connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connection {
    /// Its epoch.
    pub epoch: u64,
    /// Whether the broker still had our session; if not, what was on its way is gone.
    pub session_present: bool,
}

/// How the rest of the relay publishes.
#[derive(Debug, Clone)]
pub struct Link {
    client: AsyncClient,
    up: watch::Receiver<Option<Connection>>,
}

impl Link {
    /// Joins a client and the poller's word on whether it is connected.
    pub fn new(client: AsyncClient, up: watch::Receiver<Option<Connection>>) -> Self {
        Self { client, up }
    }

    /// The present connection, if there is one.
    pub fn connection(&self) -> Option<Connection> {
        *self.up.borrow()
    }

    /// Follows the connection.
    pub fn follow(&self) -> watch::Receiver<Option<Connection>> {
        self.up.clone()
    }

    /// Waits until there is a connection.
    pub async fn connected(&self) -> Connection {
        let mut up = self.up.clone();
        loop {
            if let Some(connection) = *up.borrow_and_update() {
                return connection;
            }
            if up.changed().await.is_err() {
                // The poller is gone, and with it soon the whole relay.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Publishes at QoS 1; waits while the broker is slower than we are. What does not fit into a packet is refused
    /// here: in the client's queue it would block everything behind it for ever.
    pub async fn publish(&self, topic: &str, retain: bool, payload: Vec<u8>) {
        if let Err(error) = wire::fits(topic, &payload) {
            tracing::error!(%error, "not published");
            return;
        }
        if self.client.publish(topic, QoS::AtLeastOnce, retain, payload).await.is_err() {
            tracing::debug!("not published: the client has ended");
        }
    }

    /// Acknowledges a message, after everything that it asks for is on the disk.
    pub async fn ack(&self, message: &Publish) {
        if message.qos != QoS::AtMostOnce && self.client.ack(message).await.is_err() {
            tracing::debug!("not acknowledged: the client has ended");
        }
    }

    /// Subscribes to what is meant for this relay.
    pub async fn subscribe(&self, topics: &[Topic]) {
        for topic in topics {
            if self.client.subscribe(topic.to_string(), QoS::AtLeastOnce).await.is_err() {
                tracing::debug!("not subscribed: the client has ended");
            }
        }
    }

    /// Says goodbye, so that the broker does not publish the will.
    pub async fn disconnect(&self) {
        // Without a client there is nothing to disconnect.
        let _ = self.client.disconnect().await;
    }
}
