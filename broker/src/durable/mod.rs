//! Messages that are on disk before they are acknowledged, and stay there until their addressee has them.
//!
//! The router keeps everything in memory. What matches the durable filters therefore goes through here: it is written
//! and synced (many publishers share one sync), then given to every attached addressee, which is a client that
//! subscribed to exactly this topic; its acknowledgement removes the message. Identifiers in the payloads make a
//! repeated delivery harmless.

mod log;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use contract::topic::filter;
use tokio::sync::{mpsc::UnboundedSender, oneshot};

use crate::BrokerError;
use crate::config::Limits;
use crate::metrics::Metrics;
use crate::topics::matches;
use log::{Log, Record};

/// Why a message is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PutError {
    /// A bound is reached; publishing again later may work.
    #[error("the durable queue is full")]
    Full,
    /// The disk refused.
    #[error("the durable store cannot be written")]
    Disk,
}

/// A message of the store.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) id: u64,
    /// Milliseconds since the epoch.
    at: u64,
    pub(crate) qos: u8,
    pub(crate) topic: Arc<str>,
    pub(crate) payload: Bytes,
}

impl Message {
    fn size(&self) -> usize {
        self.topic.len() + self.payload.len()
    }
}

/// Told when a message is on disk.
pub(crate) type Ticket = oneshot::Receiver<Result<(), PutError>>;

enum Op {
    Put(Vec<Message>, oneshot::Sender<Result<(), PutError>>),
    Done(u64),
}

#[derive(Default)]
struct Queue {
    messages: BTreeMap<u64, Message>,
    /// Messages and bytes, those on their way to the disk included.
    count: usize,
    bytes: usize,
    attached: HashMap<u64, UnboundedSender<Message>>,
}

#[derive(Default)]
struct State {
    queues: HashMap<Arc<str>, Queue>,
    bytes: usize,
    count: usize,
    next: u64,
}

impl State {
    fn release(&mut self, topic: &str, size: usize) {
        self.bytes -= size;
        self.count -= 1;
        if let Some(queue) = self.queues.get_mut(topic) {
            queue.count -= 1;
            queue.bytes -= size;
            if queue.count == 0 && queue.attached.is_empty() {
                self.queues.remove(topic);
            }
        }
    }

    fn remove(&mut self, topic: &str, id: u64) -> bool {
        let removed = self.queues.get_mut(topic).and_then(|queue| queue.messages.remove(&id));
        match removed {
            Some(message) => {
                self.release(topic, message.size());
                true
            }
            None => false,
        }
    }
}

type Shared = Arc<Mutex<State>>;

fn lock(state: &Shared) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The durable store.
pub(crate) struct Durable {
    filters: Vec<String>,
    limits: Limits,
    metrics: Arc<Metrics>,
    state: Shared,
    ops: Option<mpsc::Sender<Op>>,
    writer: Option<JoinHandle<()>>,
}

impl Durable {
    /// Opens the store in `folder` and loads what waits in it.
    pub(crate) fn open(
        folder: &Path,
        filters: Vec<String>,
        limits: Limits,
        metrics: Arc<Metrics>,
    ) -> Result<Self, BrokerError> {
        let fail = |source| BrokerError::Store { path: folder.to_owned(), source };
        let (log, messages) = Log::open(folder).map_err(fail)?;
        let mut state = State::default();
        for message in messages {
            let queue = state.queues.entry(message.topic.clone()).or_default();
            queue.count += 1;
            queue.bytes += message.size();
            state.count += 1;
            state.bytes += message.size();
            state.next = state.next.max(message.id);
            queue.messages.insert(message.id, message);
        }
        if state.count > 0 {
            tracing::info!(messages = state.count, "durable messages wait for their addressees");
        }
        metrics.durable_depth.set(state.count as u64);
        let state: Shared = Arc::new(Mutex::new(state));
        let (sender, receiver) = mpsc::channel();
        let shared = state.clone();
        let writer = std::thread::Builder::new()
            .name("durable".into())
            .spawn(move || write(log, &receiver, &shared))
            .map_err(fail)?;
        let store = Self { filters, limits, metrics, state, ops: Some(sender), writer: Some(writer) };
        store.expire();
        Ok(store)
    }

    /// Whether messages on `topic` are kept here.
    pub(crate) fn covers(&self, topic: &str) -> bool {
        self.filters.iter().any(|filter| matches(filter, topic))
    }

    /// How many messages and bytes of a topic are kept.
    fn bounds(&self, topic: &str) -> (usize, usize) {
        if topic == filter::BROKER_AUDIT {
            (self.limits.audit_messages, self.limits.audit_bytes)
        } else {
            (self.limits.durable_messages, self.limits.durable_topic_bytes)
        }
    }

    /// Writes messages (topic, payload, QoS) in one piece: all of them or none; the ticket tells when they are safe.
    pub(crate) fn put_all(&self, messages: &[(&str, &[u8], u8)]) -> Result<Ticket, PutError> {
        let (sender, ticket) = oneshot::channel();
        let mut state = lock(&self.state);
        let mut total = state.bytes;
        for (topic, payload, _) in messages {
            let size = topic.len() + payload.len();
            let (count, bytes) = state.queues.get(*topic).map_or((0, 0), |queue| (queue.count, queue.bytes));
            let (most, most_bytes) = self.bounds(topic);
            total += size;
            if count >= most || bytes + size > most_bytes || total > self.limits.durable_bytes {
                return Err(PutError::Full);
            }
        }
        let mut written = Vec::with_capacity(messages.len());
        for (topic, payload, qos) in messages {
            state.next += 1;
            let message = Message {
                id: state.next,
                at: now_ms(),
                qos: *qos,
                topic: (*topic).into(),
                payload: Bytes::copy_from_slice(payload),
            };
            state.bytes += message.size();
            state.count += 1;
            let queue = state.queues.entry(message.topic.clone()).or_default();
            queue.count += 1;
            queue.bytes += message.size();
            written.push(message);
        }
        self.metrics.durable_depth.set(state.count as u64);
        let sizes: Vec<_> = written.iter().map(|message| (message.topic.clone(), message.size())).collect();
        // Sent under the lock, so that the order on disk is the order of the ids.
        let sent = self.ops.as_ref().map(|ops| ops.send(Op::Put(written, sender)));
        if matches!(sent, Some(Ok(()))) {
            Ok(ticket)
        } else {
            for (topic, size) in sizes {
                state.release(&topic, size);
            }
            Err(PutError::Disk)
        }
    }

    /// Makes `receiver` an addressee of `topic`: it gets what waits, oldest first, and all that comes.
    /// `key` names it for [`Self::detach`].
    pub(crate) fn attach(&self, topic: &str, key: u64, receiver: UnboundedSender<Message>) {
        let mut state = lock(&self.state);
        let queue = state.queues.entry(topic.into()).or_default();
        if queue.attached.contains_key(&key) {
            return;
        }
        for message in queue.messages.values() {
            // A receiver that is gone detaches soon.
            let _ = receiver.send(message.clone());
        }
        queue.attached.insert(key, receiver);
    }

    /// Ends what [`Self::attach`] began.
    pub(crate) fn detach(&self, topic: &str, key: u64) {
        let mut state = lock(&self.state);
        if let Some(queue) = state.queues.get_mut(topic) {
            queue.attached.remove(&key);
            if queue.count == 0 && queue.attached.is_empty() {
                state.queues.remove(topic);
            }
        }
    }

    /// The addressee has the message.
    pub(crate) fn acknowledge(&self, topic: &str, id: u64) {
        let mut state = lock(&self.state);
        if state.remove(topic, id) {
            self.metrics.durable_depth.set(state.count as u64);
            self.note_done(id);
        }
    }

    /// Drops what has waited too long.
    pub(crate) fn expire(&self) {
        let age = u64::try_from(self.limits.durable_age.as_millis()).unwrap_or(u64::MAX);
        let oldest = now_ms().saturating_sub(age);
        let mut state = lock(&self.state);
        let expired: Vec<_> = state
            .queues
            .values()
            .flat_map(|queue| queue.messages.values())
            // What belongs into the audit log waits for the cloud however long that takes.
            .filter(|message| message.at < oldest && *message.topic != *filter::BROKER_AUDIT)
            .map(|message| (message.topic.clone(), message.id))
            .collect();
        for (topic, id) in &expired {
            state.remove(topic, *id);
            self.note_done(*id);
        }
        if !expired.is_empty() {
            self.metrics.durable_depth.set(state.count as u64);
            self.metrics.durable_expired.add(expired.len() as u64);
            tracing::warn!(count = expired.len(), "durable messages dropped: nobody took them in time");
        }
    }

    fn note_done(&self, id: u64) {
        if let Some(ops) = &self.ops {
            // The writer is gone only while the broker stops; then the message is delivered once more.
            let _ = ops.send(Op::Done(id));
        }
    }
}

impl Drop for Durable {
    fn drop(&mut self) {
        self.ops = None;
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or(Duration::ZERO).as_millis().try_into().unwrap_or(u64::MAX)
}

/// The writer's thread: everything that has come in meanwhile is one write and one sync.
fn write(mut log: Log, ops: &mpsc::Receiver<Op>, state: &Shared) {
    const BATCH: usize = 1024;
    while let Ok(first) = ops.recv() {
        let mut puts = Vec::new();
        let batch = std::iter::once(first).chain(ops.try_iter()).take(BATCH);
        for op in batch {
            match op {
                Op::Put(messages, done) => {
                    for message in &messages {
                        log.push(&Record::Put(message));
                    }
                    puts.push((messages, done));
                }
                Op::Done(id) => log.push(&Record::Done(id)),
            }
        }
        let written = log.commit(!puts.is_empty());
        if let Err(error) = &written {
            tracing::error!(%error, "the durable store cannot be written; publishes to it are refused");
        }
        for (messages, done) in puts {
            for message in messages {
                match &written {
                    Ok(()) => deliver(state, message),
                    Err(_) => lock(state).release(&message.topic, message.size()),
                }
            }
            let result = if written.is_ok() { Ok(()) } else { Err(PutError::Disk) };
            // A publisher that has left does not want to know.
            let _ = done.send(result);
        }
        let live = lock(state).bytes as u64;
        if log.wants_compaction(live) {
            let state = lock(state);
            let messages: BTreeMap<u64, Message> =
                state.queues.values().flat_map(|queue| queue.messages.clone()).collect();
            drop(state);
            if let Err(error) = log.compact(messages.values()) {
                tracing::error!(%error, "the durable store could not be compacted");
            }
        }
    }
}

fn deliver(state: &Shared, message: Message) {
    let mut state = lock(state);
    if let Some(queue) = state.queues.get_mut(&message.topic) {
        for receiver in queue.attached.values() {
            let _ = receiver.send(message.clone());
        }
        queue.messages.insert(message.id, message);
    }
}
