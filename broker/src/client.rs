//! The state of one connected client, and the dispatch of its packets and of the router's notifications.
//! Where bytes come from and go to is [`crate::connection`]'s business.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rumqttd::protocol::{DisconnectReasonCode, Packet, Publish};
use rumqttd::{Forward, Notification};
use tokio::sync::mpsc::UnboundedSender;

use crate::access::Admission;
use crate::audit::Sender;
use crate::codec::{Publication, Version, put_pingresp};
use crate::connection::End;
use crate::deliver::{Origin, Outbound, Outgoing};
use crate::durable::Message;
use crate::pace::{Lag, Pace};
use crate::publish::{PendingAck, Verdict};
use crate::quota::Quota;
use crate::sessions::{Kept, Subscription};
use crate::shared::{Shared, take_mark};
use crate::subscribe::PendingSuback;
use crate::topics::matches;

/// One connected client.
pub(crate) struct Client {
    pub(crate) shared: Arc<Shared>,
    pub(crate) sender: Arc<Sender>,
    pub(crate) version: Version,
    pub(crate) admission: Admission,
    pub(crate) client: Arc<str>,
    pub(crate) subscriptions: HashMap<String, Subscription>,
    /// The QoS of all subscriptions, where they have the same.
    pub(crate) uniform_qos: Option<u8>,
    /// QoS 2 ids received and not released.
    pub(crate) received: HashSet<u16>,
    pub(crate) outbound: Outbound,
    /// Packets for the router.
    pub(crate) batch: VecDeque<Packet>,
    pub(crate) acks: VecDeque<PendingAck>,
    pub(crate) subacks: VecDeque<PendingSuback>,
    pub(crate) pace: Pace,
    pub(crate) lag: Lag,
    /// What its identity may use.
    pub(crate) quota: Arc<Quota>,
    /// Messages that came since the quota was asked.
    pub(crate) arrived: u32,
    /// Bytes of the messages in `batch`.
    pub(crate) batch_bytes: u64,
    pub(crate) verdicts: HashMap<Bytes, Verdict>,
    pub(crate) refusals: u64,
    pub(crate) durable_key: u64,
    pub(crate) durable_sender: UnboundedSender<Message>,
    /// MQTT 5: the client changed how long its session is kept, in its DISCONNECT.
    pub(crate) new_expiry: Option<u32>,
}

impl Client {
    /// Works on one packet of the client.
    pub(crate) fn on_packet(&mut self, out: &mut BytesMut, packet: Packet) -> Result<(), End> {
        match packet {
            Packet::PubAck(ack, _) => {
                self.outbound.on_puback(ack.pkid);
                Ok(())
            }
            Packet::PubRec(ack, _) => {
                use rumqttd::protocol::PubRecReason::{NoMatchingSubscribers, Success};
                let refused = !matches!(ack.reason, Success | NoMatchingSubscribers);
                self.outbound.on_pubrec(out, ack.pkid, refused);
                Ok(())
            }
            Packet::PubRel(ack, _) => {
                self.on_pubrel(out, ack.pkid);
                Ok(())
            }
            Packet::PubComp(ack, _) => {
                self.outbound.on_pubcomp(ack.pkid);
                Ok(())
            }
            Packet::Subscribe(subscribe, properties) => self.on_subscribe(out, subscribe, properties),
            Packet::Unsubscribe(unsubscribe, _) => self.on_unsubscribe(out, unsubscribe),
            Packet::PingReq(_) => {
                put_pingresp(out);
                Ok(())
            }
            Packet::Disconnect(disconnect, properties) => {
                self.new_expiry = properties.and_then(|properties| properties.session_expiry_interval);
                let with_will = disconnect.reason_code == DisconnectReasonCode::DisconnectWithWillMessage;
                Err(if with_will { End::LeftWithWill } else { End::Left })
            }
            _ => Err(End::Violation("unexpected packet")),
        }
    }

    /// How long its identity has to be quiet, after what came since the last question.
    pub(crate) fn pause(&mut self) -> Duration {
        match std::mem::take(&mut self.arrived) {
            0 => Duration::ZERO,
            messages => {
                let pause = self.quota.take(messages);
                if !pause.is_zero() {
                    self.shared.metrics.throttled.up();
                }
                pause
            }
        }
    }

    /// Works on one notification of the router; true if it waits for the word to go on.
    pub(crate) fn on_notification(&mut self, out: &mut BytesMut, notification: Notification) -> bool {
        match notification {
            Notification::Forward(forward) => self.on_forward(out, forward),
            Notification::DeviceAck(ack) => match ack.into() {
                Packet::SubAck(..) => self.on_suback(out),
                Packet::PingResp(_) => self.pace.on_answer(out),
                _ => {}
            },
            Notification::Unschedule => return true,
            _ => {}
        }
        false
    }

    fn on_forward(&mut self, out: &mut BytesMut, forward: Forward) {
        let Forward { publish, mut properties, .. } = forward;
        let published = take_mark(&mut properties);
        self.lag.on_message(publish.topic.len() + publish.payload.len());
        let subscribed = self.subscribed_qos(&publish);
        let publication = Publication {
            topic: publish.topic,
            payload: publish.payload,
            properties: properties.map(Box::new),
            retain: false,
        };
        self.outbound.push(out, Outgoing { publication, qos: published.min(subscribed), origin: Origin::Plain });
    }

    /// The QoS granted for a message: the router has all subscriptions at QoS 0.
    fn subscribed_qos(&self, publish: &Publish) -> u8 {
        if let Some(qos) = self.uniform_qos {
            return qos;
        }
        let topic = String::from_utf8_lossy(&publish.topic);
        let matching = self.subscriptions.iter().filter(|(filter, _)| matches(filter, &topic));
        matching.map(|(_, subscription)| subscription.qos).max().unwrap_or(0)
    }

    /// To be called after every change of the subscriptions.
    pub(crate) fn note_qos(&mut self) {
        let mut qualities = self.subscriptions.values().map(|subscription| subscription.qos);
        let first = qualities.next();
        self.uniform_qos = first.filter(|first| qualities.all(|qos| qos == *first));
    }

    /// Passes a message of the durable store on.
    pub(crate) fn on_durable(&mut self, out: &mut BytesMut, message: Message) {
        let granted = self.subscriptions.get(&*message.topic).map_or(0, |subscription| subscription.qos);
        let publication = Publication {
            topic: Bytes::copy_from_slice(message.topic.as_bytes()),
            payload: message.payload,
            properties: None,
            retain: false,
        };
        let message = Outgoing {
            publication,
            qos: message.qos.min(granted),
            origin: Origin::Durable { topic: message.topic, id: message.id },
        };
        self.outbound.push(out, message);
    }

    /// Tells the durable store what has arrived at the client.
    pub(crate) fn settle(&mut self) {
        for (topic, id) in self.outbound.arrived.drain(..) {
            self.shared.durable.acknowledge(&topic, id);
        }
        let metrics = &self.shared.metrics;
        metrics.messages_out.add(std::mem::take(&mut self.outbound.sent));
        metrics.dropped_oversize.add(std::mem::take(&mut self.outbound.too_large));
    }

    /// Ends the subscriptions to durable topics.
    pub(crate) fn detach_all(&self) {
        for (topic, subscription) in &self.subscriptions {
            if subscription.durable {
                self.shared.durable.detach(topic, self.durable_key);
            }
        }
    }

    /// What the client's next connection takes up.
    pub(crate) fn into_kept(self, link: u32) -> Kept {
        Kept {
            link: Some(link),
            subscriptions: self.subscriptions,
            received: self.received,
            unfinished: self.outbound.leave(),
        }
    }
}
