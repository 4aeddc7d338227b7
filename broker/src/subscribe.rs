//! Subscribing and unsubscribing: access, limits, the choice between router and durable store, retained messages.

use bytes::BytesMut;
use rumqttd::protocol::{Filter, Packet, QoS, RetainForwardRule, Subscribe, SubscribeProperties, Unsubscribe};

use crate::access::is_addressee;
use crate::client::Client;
use crate::codec::{put_suback, put_unsuback, reason};
use crate::connection::End;
use crate::deliver::{Origin, Outgoing};
use crate::sessions::Subscription;
use crate::topics::{NameError, check_filter, has_wildcard};

/// A SUBSCRIBE that the router has and has not answered yet.
pub(crate) enum PendingSuback {
    /// Ours, only there to prepare an unsubscription.
    Silent,
    /// The client's.
    Answer(Answer),
}

/// What is sent when the router has the subscriptions.
pub(crate) struct Answer {
    id: u16,
    codes: Vec<u8>,
    /// Filters whose retained messages follow, with the granted QoS.
    retained: Vec<(String, u8)>,
}

impl Client {
    /// Works on one SUBSCRIBE.
    pub(crate) fn on_subscribe(
        &mut self,
        out: &mut BytesMut,
        subscribe: Subscribe,
        properties: Option<SubscribeProperties>,
    ) -> Result<(), End> {
        if subscribe.pkid == 0 {
            return Err(End::Violation("packet id 0"));
        }
        let with_id = properties.is_some_and(|properties| properties.id.is_some());
        let mut answer = Answer { id: subscribe.pkid, codes: Vec::new(), retained: Vec::new() };
        let mut for_router = Vec::new();
        for filter in subscribe.filters {
            let checked = if with_id {
                Err((reason::SUBSCRIPTION_ID_UNSUPPORTED, "subscription identifiers are not supported"))
            } else {
                self.check_subscription(&filter.path)
            };
            match checked {
                Ok(()) => {
                    answer.codes.push(filter.qos as u8);
                    self.subscribe(filter, &mut for_router, &mut answer.retained);
                }
                Err((code, why)) => {
                    self.shared.metrics.refused_subscriptions.up();
                    tracing::warn!(
                        identity = self.admission.identity.name,
                        client = %self.client,
                        filter = filter.path,
                        "subscription refused: {why}"
                    );
                    answer.codes.push(code);
                }
            }
        }
        if for_router.is_empty() {
            self.finish_subscribe(out, answer);
        } else {
            self.batch.push_back(router_subscribe(for_router));
            self.subacks.push_back(PendingSuback::Answer(answer));
        }
        Ok(())
    }

    fn check_subscription(&self, filter: &str) -> Result<(), (u8, &'static str)> {
        let limits = &self.shared.limits;
        match check_filter(filter, limits) {
            Ok(()) => {}
            Err(NameError::Unsupported(why)) if filter.starts_with("$share/") => {
                return Err((reason::SHARED_UNSUPPORTED, why));
            }
            Err(NameError::Malformed(why) | NameError::Unsupported(why)) => {
                return Err((reason::FILTER_INVALID, why));
            }
        }
        if !self.admission.identity.allows_subscribe(filter) {
            return Err((reason::NOT_AUTHORIZED, "not allowed"));
        }
        if self.subscriptions.len() >= limits.subscriptions && !self.subscriptions.contains_key(filter) {
            return Err((reason::QUOTA_EXCEEDED, "too many subscriptions of this client"));
        }
        if !self.shared.filters.admit(filter) {
            return Err((reason::QUOTA_EXCEEDED, "too many distinct filters"));
        }
        Ok(())
    }

    fn subscribe(&mut self, filter: Filter, for_router: &mut Vec<Filter>, retained: &mut Vec<(String, u8)>) {
        let path = filter.path;
        let wanted = Subscription {
            qos: filter.qos as u8,
            durable: filter.qos != QoS::AtMostOnce
                && !has_wildcard(&path)
                && is_addressee(&self.admission.identity)
                && self.shared.durable.covers(&path),
        };
        let former = self.subscriptions.insert(path.clone(), wanted);
        let replay = match filter.retain_forward_rule {
            RetainForwardRule::OnEverySubscribe => true,
            RetainForwardRule::OnNewSubscribe => former.is_none(),
            RetainForwardRule::Never => false,
        };
        if replay {
            retained.push((path.clone(), wanted.qos));
        }
        if let Some(former) = former
            && former.durable != wanted.durable
        {
            self.leave(&path, former);
        }
        if wanted.durable {
            self.attach(&path);
        } else {
            for_router.push(router_filter(path));
        }
        self.note_qos();
    }

    /// Gives the durable messages of a topic to this connection.
    pub(crate) fn attach(&self, topic: &str) {
        self.shared.durable.attach(topic, self.durable_key, self.durable_sender.clone());
    }

    fn leave(&mut self, path: &str, subscription: Subscription) {
        if subscription.durable {
            self.shared.durable.detach(path, self.durable_key);
            return;
        }
        // After a resumed session the router only unsubscribes what was subscribed anew.
        self.batch.push_back(router_subscribe(vec![router_filter(path.to_owned())]));
        self.subacks.push_back(PendingSuback::Silent);
        self.batch.push_back(Packet::Unsubscribe(Unsubscribe { pkid: 1, filters: vec![path.to_owned()] }, None));
    }

    /// Works on one UNSUBSCRIBE.
    pub(crate) fn on_unsubscribe(&mut self, out: &mut BytesMut, unsubscribe: Unsubscribe) -> Result<(), End> {
        if unsubscribe.pkid == 0 || unsubscribe.filters.is_empty() {
            return Err(End::Violation("UNSUBSCRIBE without id or filters"));
        }
        let mut codes = Vec::with_capacity(unsubscribe.filters.len());
        for filter in unsubscribe.filters {
            match self.subscriptions.remove(&filter) {
                Some(subscription) => {
                    self.leave(&filter, subscription);
                    codes.push(reason::SUCCESS);
                }
                None => codes.push(reason::NO_SUBSCRIPTION),
            }
        }
        self.note_qos();
        put_unsuback(out, self.version, unsubscribe.pkid, &codes);
        Ok(())
    }

    /// The router answered the oldest SUBSCRIBE.
    pub(crate) fn on_suback(&mut self, out: &mut BytesMut) {
        if let Some(PendingSuback::Answer(answer)) = self.subacks.pop_front() {
            self.finish_subscribe(out, answer);
        }
    }

    fn finish_subscribe(&mut self, out: &mut BytesMut, answer: Answer) {
        put_suback(out, self.version, answer.id, &answer.codes);
        for (filter, granted) in answer.retained {
            for (publication, qos) in self.shared.retained.matching(&filter) {
                let message = Outgoing { publication, qos: qos.min(granted), origin: Origin::Plain };
                self.outbound.push(out, message);
            }
        }
    }
}

fn router_subscribe(filters: Vec<Filter>) -> Packet {
    Packet::Subscribe(Subscribe { pkid: 1, filters }, None)
}

fn router_filter(path: String) -> Filter {
    Filter {
        path,
        // Packet ids and acknowledgements are this side's business.
        qos: QoS::AtMostOnce,
        nolocal: false,
        preserve_retain: false,
        retain_forward_rule: RetainForwardRule::Never,
    }
}
