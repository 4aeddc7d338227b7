//! Sends the streams: events before logs before telemetry, each in order, from where the present connection stands.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use contract::ids::RelayId;
use contract::stream::Stream;
use contract::topic::Topic;
use serde_json::json;

use super::Signal;
use crate::counters::Counters;
use crate::error::{JournalError, RelayError};
use crate::journal::{Entry, Journal};
use crate::mqtt::{Connection, Link};

/// Messages read from the journal at once: also how many of a lower priority go before a higher one is looked at.
const PAGE: u32 = 32;

/// Sends the streams.
pub struct Pump {
    /// The relay.
    pub relay: RelayId,
    /// Where messages are.
    pub journal: Arc<Journal>,
    /// Where they go.
    pub link: Link,
    /// Wakes the pump.
    pub signal: Arc<Signal>,
    /// Counters.
    pub counters: Arc<Counters>,
}

impl Pump {
    /// Sends for ever.
    ///
    /// # Errors
    /// Only if the journal fails.
    pub async fn run(self) -> Result<(), RelayError> {
        // Next number to send, per stream in the order of priority. A new process begins with all that is unconfirmed.
        let mut next = [0u64; Stream::ALL.len()];
        let mut last: Option<Connection> = None;
        // One receiver for all rounds: a new one has seen no change, and would end every wait at once.
        let mut up = self.link.follow();
        loop {
            up.mark_unchanged();
            let connection = self.link.connected().await;
            if last != Some(connection) {
                if !connection.session_present {
                    next = [0; Stream::ALL.len()];
                }
                last = Some(connection);
            }
            if self.signal.rewind.swap(false, Ordering::AcqRel) {
                next = [0; Stream::ALL.len()];
                self.counters.add("resends", 1);
            }
            if !self.send_some(connection, &mut next).await? {
                tokio::select! {
                    () = self.signal.wake.notified() => {}
                    _ = up.changed() => {}
                }
            }
        }
    }

    /// Sends a page of the first stream that has something. Returns whether there was anything.
    async fn send_some(&self, connection: Connection, next: &mut [u64; 3]) -> Result<bool, JournalError> {
        for (stream, next) in Stream::ALL.into_iter().zip(next) {
            let page = self.journal.page(stream, *next, PAGE).await?;
            let Some(last) = page.last() else { continue };
            let after = last.seq + 1;
            let (floor, _) = self.journal.ends(stream).await?;
            for entry in page {
                // A number that was confirmed meanwhile is below the floor; it does no harm.
                let payload = self.payload(connection.epoch, floor.min(entry.seq), &entry);
                self.link
                    .publish(&entry.topic, Topic::parse(&entry.topic).is_some_and(|t| t.retained()), payload)
                    .await;
            }
            *next = after;
            return Ok(true);
        }
        Ok(false)
    }

    /// The message with its head.
    fn payload(&self, epoch: u64, floor: u64, entry: &Entry) -> Vec<u8> {
        let mut text = String::with_capacity(entry.body.len() + 160);
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "{{\"relay\":{},\"journal\":{},\"epoch\":{epoch},\"seq\":{},\"floor\":{floor},",
            json!(self.relay),
            json!(self.journal.id()),
            entry.seq,
        );
        text.push_str(entry.body.strip_prefix('{').unwrap_or("}"));
        text.into_bytes()
    }
}
