//! Messages coming in from one client: access, limits, routing, and acknowledgements in their order.

use std::collections::VecDeque;

use bytes::BytesMut;
use rumqttd::protocol::Packet;

use crate::client::Client;
use crate::codec::{AckKind, Publish, Version, put_ack, reason};
use crate::connection::End;
use crate::durable::{PutError, Ticket};
use crate::quota::InFlight;
use crate::shared::for_router;
use crate::topics::{NameError, check_topic};

/// Verdicts remembered for the topics that one connection publishes to.
const REMEMBERED: usize = 256;
/// QoS 2 messages of one client received and not released.
pub(crate) const RECEIVE_MAXIMUM: u16 = 1000;
/// Of a connection's refusals the first ones are logged, then every hundredth.
const LOGGED_REFUSALS: u64 = 5;

/// What becomes of publishes to a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Route { durable: bool },
    Refuse { reason: u8, why: &'static str },
}

/// An acknowledgement that may have to wait for the disk, with copies for those who only watch.
pub(crate) struct PendingAck {
    ack: Option<(AckKind, u16)>,
    reason: u8,
    wait: Option<Ticket>,
    copies: Vec<Packet>,
    /// Held until the disk has answered.
    _in_flight: Option<InFlight>,
}

/// The oldest pending acknowledgement's ticket; waits for ever when there is none.
pub(crate) async fn first_ticket(acks: &mut VecDeque<PendingAck>) -> Result<(), PutError> {
    match acks.front_mut().and_then(|ack| ack.wait.as_mut()) {
        Some(ticket) => ticket.await.unwrap_or(Err(PutError::Disk)),
        None => std::future::pending().await,
    }
}

impl Client {
    /// Works on one PUBLISH.
    pub(crate) fn on_publish(&mut self, publish: Publish) -> Result<(), End> {
        self.shared.metrics.messages_in.up();
        self.arrived += 1;
        if let Some(properties) = &publish.properties {
            // CONNACK said that there are no topic aliases.
            if properties.topic_alias.is_some() || !properties.subscription_identifiers.is_empty() {
                return Err(End::Violation("topic alias or subscription identifier"));
            }
            if properties.payload_format_indicator.is_some_and(|value| value > 1) {
                return Err(End::Violation("payload format indicator above 1"));
            }
        }
        let Publish { qos, id, .. } = publish;
        let ack = match qos {
            0 => None,
            1 => Some((AckKind::Ack, id)),
            _ => Some((AckKind::Rec, id)),
        };
        if qos == 2 && self.received.contains(&id) {
            self.acknowledge(ack, reason::SUCCESS);
            return Ok(());
        }
        let durable = match self.verdict(&publish)? {
            Verdict::Route { durable } => durable,
            Verdict::Refuse { reason, why } => {
                self.note_refusal(&publish.topic, why);
                // MQTT 3.1.1 has no way to say no: like Mosquitto, acknowledge and drop.
                self.acknowledge(ack, reason);
                return Ok(());
            }
        };
        if publish.retain {
            let topic = String::from_utf8_lossy(&publish.topic);
            let kept = self.shared.retained.set(&topic, &publish.payload, publish.properties.clone(), qos);
            if kept.is_err() {
                self.note_refusal(&publish.topic, "too many retained messages");
                self.acknowledge(ack, reason::QUOTA_EXCEEDED);
                return Ok(());
            }
        }
        if durable {
            return self.on_durable_publish(publish, ack);
        }
        if qos == 2 {
            self.received.insert(id);
        }
        self.batch_bytes += (publish.topic.len() + publish.payload.len()) as u64;
        let packet = for_router(publish.topic, publish.payload, qos, publish.properties);
        self.batch.push_back(packet);
        self.acknowledge(ack, reason::SUCCESS);
        Ok(())
    }

    fn on_durable_publish(&mut self, publish: Publish, ack: Option<(AckKind, u16)>) -> Result<(), End> {
        let qos = publish.qos;
        let topic = String::from_utf8_lossy(&publish.topic);
        match self.shared.put_recorded(&topic, &publish.payload, qos, &self.sender) {
            Ok((ticket, record)) => {
                if qos == 2 {
                    self.received.insert(publish.id);
                }
                self.acks.push_back(PendingAck {
                    ack,
                    reason: reason::SUCCESS,
                    wait: Some(ticket),
                    _in_flight: Some(self.quota.carry(publish.topic.len() + publish.payload.len())),
                    copies: record
                        .map(|(audit, record)| for_router(audit.into(), record.into(), 1, None))
                        .into_iter()
                        .chain([for_router(publish.topic, publish.payload, qos, publish.properties)])
                        .collect(),
                });
                Ok(())
            }
            Err(error) => {
                let why = match error {
                    PutError::Full => "the durable queue of this topic, or of the audit, is full",
                    PutError::Disk => "the durable store cannot be written",
                };
                self.note_refusal(&publish.topic, why);
                self.refuse_durable(ack, error)
            }
        }
    }

    /// A message that had to be kept and cannot be must not look acknowledged.
    fn refuse_durable(&mut self, ack: Option<(AckKind, u16)>, error: PutError) -> Result<(), End> {
        match (ack, self.version) {
            (None, _) => Ok(()),
            (Some(_), Version::V4) => Err(End::DurableRefused),
            (Some(_), Version::V5) => {
                let reason = match error {
                    PutError::Full => reason::QUOTA_EXCEEDED,
                    PutError::Disk => reason::UNSPECIFIED,
                };
                self.acknowledge(ack, reason);
                Ok(())
            }
        }
    }

    /// The disk has answered for the oldest pending acknowledgement.
    pub(crate) fn on_ticket(&mut self, result: Result<(), PutError>) -> Result<(), End> {
        let Some(first) = self.acks.pop_front() else {
            return Ok(());
        };
        match result {
            Ok(()) => {
                self.batch.extend(first.copies);
                self.put(first.ack, first.reason);
            }
            Err(error) => {
                if let Some((AckKind::Rec, id)) = first.ack {
                    self.received.remove(&id);
                }
                // Ahead of what waits behind it, as its turn has come.
                let behind = std::mem::take(&mut self.acks);
                self.refuse_durable(first.ack, error)?;
                self.acks = behind;
            }
        }
        while self.acks.front().is_some_and(|ack| ack.wait.is_none()) {
            if let Some(next) = self.acks.pop_front() {
                self.put(next.ack, next.reason);
            }
        }
        Ok(())
    }

    /// When the connection ends: waits for what is on its way to the disk, so that those who watch see it too.
    pub(crate) async fn finish_tickets(&mut self) {
        for pending in std::mem::take(&mut self.acks) {
            if let Some(ticket) = pending.wait
                && matches!(ticket.await, Ok(Ok(())))
            {
                self.batch.extend(pending.copies);
            }
        }
    }

    /// The client releases a QoS 2 message.
    pub(crate) fn on_pubrel(&mut self, out: &mut BytesMut, id: u16) {
        let known = self.received.remove(&id);
        let reason = if known { reason::SUCCESS } else { reason::PACKET_ID_NOT_FOUND };
        put_ack(out, self.version, AckKind::Comp, id, reason);
    }

    fn acknowledge(&mut self, ack: Option<(AckKind, u16)>, reason: u8) {
        if self.acks.is_empty() {
            self.put(ack, reason);
        } else if ack.is_some() {
            self.acks.push_back(PendingAck { ack, reason, wait: None, copies: Vec::new(), _in_flight: None });
        }
    }

    fn put(&mut self, ack: Option<(AckKind, u16)>, reason: u8) {
        if let Some((kind, id)) = ack {
            put_ack(self.pace.held(), self.version, kind, id, reason);
        }
    }

    fn verdict(&mut self, publish: &Publish) -> Result<Verdict, End> {
        if let Some(verdict) = self.verdicts.get(&publish.topic) {
            return Ok(*verdict);
        }
        let limits = &self.shared.limits;
        let topic = match check_topic(&publish.topic, limits) {
            Ok(topic) => topic,
            Err(NameError::Malformed(what)) => return Err(End::Violation(what)),
            Err(NameError::Unsupported(why)) => {
                return Ok(Verdict::Refuse { reason: reason::TOPIC_INVALID, why });
            }
        };
        let verdict = if !self.admission.identity.allows_publish(topic) {
            Verdict::Refuse { reason: reason::NOT_AUTHORIZED, why: "not allowed" }
        } else if !self.shared.topics.admit(topic) {
            return Ok(Verdict::Refuse { reason: reason::QUOTA_EXCEEDED, why: "too many distinct topics" });
        } else {
            Verdict::Route { durable: self.shared.durable.covers(topic) }
        };
        if self.verdicts.len() >= REMEMBERED {
            self.verdicts.clear();
        }
        // A copy: a slice would keep the whole read buffer alive.
        self.verdicts.insert(bytes::Bytes::copy_from_slice(&publish.topic), verdict);
        Ok(verdict)
    }

    fn note_refusal(&mut self, topic: &[u8], why: &str) {
        self.shared.metrics.refused_publishes.up();
        self.refusals += 1;
        if self.refusals <= LOGGED_REFUSALS || self.refusals.is_multiple_of(100) {
            tracing::warn!(
                identity = self.admission.identity.name,
                client = %self.client,
                topic = %String::from_utf8_lossy(topic),
                count = self.refusals,
                "publish refused: {why}"
            );
        }
    }
}
