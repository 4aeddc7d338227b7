//! What all connections of one broker share.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use rumqttd::protocol::{LastWill, Packet, Publish, PublishProperties};
use tokio::sync::Mutex as AsyncMutex;

use crate::access::Authenticator;
use crate::audit::{Recorded, Sender};
use crate::config::Limits;
use crate::durable::{Durable, PutError, Ticket};
use crate::metrics::Metrics;
use crate::pace::Flow;
use crate::quota::Quotas;
use crate::retained::Retained;
use crate::router::{Gone, Link, Router};
use crate::sessions::Sessions;

/// The parts of a running broker.
pub(crate) struct Shared {
    pub(crate) limits: Limits,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) authenticator: Arc<dyn Authenticator>,
    pub(crate) router: Arc<Router>,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) retained: Retained,
    pub(crate) durable: Durable,
    pub(crate) topics: Seen,
    pub(crate) filters: Seen,
    pub(crate) flow: Arc<Flow>,
    pub(crate) quotas: Quotas,
    /// The broker's own link, for wills.
    pub(crate) own_link: AsyncMutex<Link>,
    /// Whether relays that come over TLS must show a certificate.
    pub(crate) require_certificates: bool,
}

/// A set of names that can only grow, up to a limit: what the router remembers for ever.
pub(crate) struct Seen {
    names: RwLock<HashSet<String>>,
    limit: usize,
}

impl Seen {
    pub(crate) fn new(limit: usize) -> Self {
        Self { names: RwLock::default(), limit }
    }

    /// Notes a name; false if it is new and there is no room.
    pub(crate) fn admit(&self, name: &str) -> bool {
        if self.names.read().unwrap_or_else(PoisonError::into_inner).contains(name) {
            return true;
        }
        let mut names = self.names.write().unwrap_or_else(PoisonError::into_inner);
        if names.len() >= self.limit && !names.contains(name) {
            return false;
        }
        names.insert(name.to_owned());
        true
    }
}

/// The packet for the router: always QoS 0, because acknowledging is done here, and never retained.
/// The publisher's QoS is marked in its properties.
pub(crate) fn for_router(topic: Bytes, payload: Bytes, qos: u8, mut properties: Option<PublishProperties>) -> Packet {
    set_mark(&mut properties, qos);
    Packet::Publish(Publish::new(topic, payload, false), properties)
}

/// The router knows the QoS of subscriptions only. The publisher's travels in a property that it passes on untouched
/// and that has bits to spare: the payload format indicator is 0 or 1. No mark is QoS 1, the most frequent.
const MARK_QOS0: u8 = 0x10;
const MARK_QOS2: u8 = 0x20;
const MARK_PRESENT: u8 = 0x02;

fn set_mark(properties: &mut Option<PublishProperties>, qos: u8) {
    let mark = match qos {
        0 => MARK_QOS0,
        1 => return,
        _ => MARK_QOS2,
    };
    let indicator = &mut properties.get_or_insert_default().payload_format_indicator;
    *indicator = Some(mark | indicator.map_or(0, |value| MARK_PRESENT | (value & 1)));
}

/// The publisher's QoS of a message that came back from the router; its mark is taken off.
pub(crate) fn take_mark(properties: &mut Option<PublishProperties>) -> u8 {
    let Some(inner) = properties else { return 1 };
    let Some(mark @ MARK_QOS0..) = inner.payload_format_indicator else {
        return 1;
    };
    inner.payload_format_indicator = (mark & MARK_PRESENT != 0).then_some(mark & 1);
    if *inner == PublishProperties::default() {
        *properties = None;
    }
    if mark & MARK_QOS2 == 0 { 0 } else { 2 }
}

impl Shared {
    /// Puts a message into the durable store together with the record of who sent it; gives the record back.
    pub(crate) fn put_recorded(
        &self,
        topic: &str,
        payload: &[u8],
        qos: u8,
        sender: &Sender,
    ) -> Result<(Ticket, Recorded), PutError> {
        let record = sender.record(topic, payload);
        let mut messages = Vec::with_capacity(2);
        if let Some((audit, record)) = &record {
            messages.push((audit.as_str(), record.as_slice(), 1));
        }
        messages.push((topic, payload, qos));
        Ok((self.durable.put_all(&messages)?, record))
    }

    /// Publishes a will, whose topic was checked at CONNECT.
    pub(crate) async fn publish_will(
        &self,
        will: LastWill,
        properties: Option<PublishProperties>,
        sender: &Sender,
    ) -> Result<(), Gone> {
        let qos = will.qos as u8;
        let topic = String::from_utf8_lossy(&will.topic).into_owned();
        if will.retain
            && let Err(error) = self.retained.set(&topic, &will.message, properties.clone(), qos)
        {
            tracing::warn!(topic, %error, "a will was not retained");
        }
        if self.durable.covers(&topic) {
            let stored = match self.put_recorded(&topic, &will.message, qos, sender).map(|(ticket, _)| ticket) {
                Ok(ticket) => ticket.await.is_ok_and(|result| result.is_ok()),
                Err(_) => false,
            };
            if !stored {
                tracing::warn!(topic, "a will was not stored");
            }
        }
        let packet = for_router(will.topic, will.message, qos, properties);
        let mut link = self.own_link.lock().await;
        link.send(&mut VecDeque::from([packet])).await
    }
}
