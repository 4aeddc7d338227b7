//! Retained messages, kept here rather than in the router: a wildcard subscription gets all of them, only a retained
//! empty payload deletes one, and their number and size are bounded.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rumqttd::protocol::PublishProperties;

use crate::codec::Publication;
use crate::config::Limits;
use crate::metrics::Metrics;
use crate::topics::{has_wildcard, matches};

/// There is no room for another retained message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the store of retained messages is full")]
pub(crate) struct Full;

struct Entry {
    publication: Publication,
    qos: u8,
    expires: Option<Instant>,
}

impl Entry {
    fn size(&self) -> usize {
        self.publication.topic.len() + self.publication.payload.len()
    }
}

#[derive(Default)]
struct Inner {
    entries: HashMap<String, Entry>,
    bytes: usize,
}

/// The store of retained messages.
pub(crate) struct Retained {
    inner: RwLock<Inner>,
    limits: Limits,
    metrics: Arc<Metrics>,
}

impl Retained {
    pub(crate) fn new(limits: Limits, metrics: Arc<Metrics>) -> Self {
        Self { inner: RwLock::default(), limits, metrics }
    }

    /// Keeps a message in place of the former one of its topic; an empty payload only removes that.
    pub(crate) fn set(
        &self,
        topic: &str,
        payload: &[u8],
        properties: Option<PublishProperties>,
        qos: u8,
    ) -> Result<(), Full> {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        let former = inner.entries.get(topic).map_or(0, Entry::size);
        if payload.is_empty() {
            inner.entries.remove(topic);
            inner.bytes -= former;
        } else {
            let bytes = inner.bytes - former + topic.len() + payload.len();
            let count = inner.entries.len() + usize::from(former == 0);
            if bytes > self.limits.retained_bytes || count > self.limits.retained_messages {
                return Err(Full);
            }
            let expires = properties
                .as_ref()
                .and_then(|properties| properties.message_expiry_interval)
                .map(|seconds| Instant::now() + Duration::from_secs(seconds.into()));
            let entry = Entry {
                publication: Publication {
                    // Copies: a slice would keep the whole read buffer of the publisher alive.
                    topic: Bytes::copy_from_slice(topic.as_bytes()),
                    payload: Bytes::copy_from_slice(payload),
                    properties: properties.map(Box::new),
                    retain: true,
                },
                qos,
                expires,
            };
            inner.entries.insert(topic.to_owned(), entry);
            inner.bytes = bytes;
        }
        self.metrics.retained.set(inner.entries.len() as u64);
        Ok(())
    }

    /// The messages that a new subscription to `filter` gets, with the QoS they were published at.
    pub(crate) fn matching(&self, filter: &str) -> Vec<(Publication, u8)> {
        let now = Instant::now();
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        let live = |entry: &&Entry| entry.expires.is_none_or(|moment| moment > now);
        let give = |entry: &Entry| {
            let mut publication = entry.publication.clone();
            if let (Some(expires), Some(properties)) = (entry.expires, &mut publication.properties) {
                let left = expires.duration_since(now).as_secs();
                properties.message_expiry_interval = Some(left.try_into().unwrap_or(u32::MAX));
            }
            (publication, entry.qos)
        };
        if has_wildcard(filter) {
            let entries = inner.entries.iter();
            entries.filter(|(topic, _)| matches(filter, topic)).map(|(_, entry)| entry).filter(live).map(give).collect()
        } else {
            let entry = inner.entries.get(filter);
            entry.filter(live).map(give).into_iter().collect()
        }
    }
}
