//! What has arrived and waits to be persisted: bounded in bytes, because brokers bound it in messages at best.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use contract::RelayId;
use rumqttc::Publish;
use tokio::sync::mpsc;

/// Most bytes that wait. Brokers send a window of unacknowledged QoS 1 messages only, so this is reached by a flood of
/// QoS 0 alone.
const MAX_BYTES: usize = 32 * 1024 * 1024;

/// One thing that the connection reports.
#[derive(Debug)]
pub enum Signal {
    /// The broker accepted the connection.
    Connected {
        /// Whether it still had our session: then subscriptions stand and what was missed comes by itself.
        session_present: bool,
    },
    /// The connection is gone; it is being made again.
    Disconnected,
    /// This relay's credential was taken away. Whether its last will follows depends on the broker: Mosquitto does not
    /// publish that of somebody it no longer knows.
    Revoked(RelayId),
    /// A message came.
    Message(Received),
}

/// A message that counts against the bound until it is dropped.
#[derive(Debug)]
pub struct Received {
    /// As it came; to be acknowledged when persisted.
    pub publish: Publish,
    bytes: usize,
    waiting: Arc<AtomicUsize>,
}

impl Drop for Received {
    fn drop(&mut self) {
        self.waiting.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// The writing end.
#[derive(Debug, Clone)]
pub struct Inbox {
    sender: mpsc::UnboundedSender<Signal>,
    waiting: Arc<AtomicUsize>,
}

impl Inbox {
    /// Both ends.
    pub fn new() -> (Self, mpsc::UnboundedReceiver<Signal>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self { sender, waiting: Arc::default() }, receiver)
    }

    /// Takes in a message, or drops it (without acknowledgement) where too much waits already. Never waits: the
    /// polling task must go on.
    pub fn message(&self, publish: Publish) -> bool {
        let bytes = publish.topic.len() + publish.payload.len() + 128;
        let before = self.waiting.fetch_add(bytes, Ordering::Relaxed);
        let received = Received { publish, bytes, waiting: Arc::clone(&self.waiting) };
        // Dropping `received` gives its bytes back.
        before + bytes <= MAX_BYTES && self.signal(Signal::Message(received))
    }

    /// Passes a change of the connection on.
    pub fn signal(&self, signal: Signal) -> bool {
        self.sender.send(signal).is_ok()
    }
}
