//! The task between the inbox and the database.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use contract::{RelayId, Topic};
use sea_orm::{ActiveModelTrait, ColumnTrait, DbErr, EntityTrait, IntoActiveModel, QueryFilter, SqlErr};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::apply::apply;
use super::batch::{After, Batch};
use super::cache::Cache;
use super::incoming::{Incoming, read};
use crate::db::entity::relays;
use crate::mqtt::{Publisher, Received, Signal};
use crate::services::cloud_commands::CloudTask;
use crate::services::sync::Duties;
use crate::shared::Shared;

/// Most messages in one transaction.
const BATCH: usize = 500;
/// The longest that a message waits for others to share a transaction with.
const LINGER: Duration = Duration::from_millis(250);
/// A pause of this length ends a batch: a broker sends a window of unacknowledged messages and then waits for us, so
/// waiting on would be waiting for ourselves.
const QUIET: Duration = Duration::from_millis(5);
/// How long relays have to answer after the cloud connected, before they count as gone.
const DOUBT: Duration = Duration::from_secs(15);
/// How long to wait when the database fails, before trying again.
const RETRY: Duration = Duration::from_secs(1);

/// Where what is persisted goes on to.
#[derive(Debug)]
pub struct Ingest {
    shared: Arc<Shared>,
    publisher: Publisher,
    duties: Arc<Duties>,
    requests: mpsc::Sender<(RelayId, Vec<u8>)>,
    cloud_tasks: mpsc::UnboundedSender<CloudTask>,
    cache: Cache,
    /// Relays that were online when the cloud connected, or lost their credential, and have not come since.
    doubted: HashMap<RelayId, Instant>,
}

impl Ingest {
    /// An ingest that has not begun.
    pub fn new(
        shared: Arc<Shared>,
        publisher: Publisher,
        duties: Arc<Duties>,
        requests: mpsc::Sender<(RelayId, Vec<u8>)>,
        cloud_tasks: mpsc::UnboundedSender<CloudTask>,
    ) -> Self {
        let (cache, doubted) = (Cache::default(), HashMap::new());
        Self { shared, publisher, duties, requests, cloud_tasks, cache, doubted }
    }

    /// Takes in what arrives until `shutdown`; a batch that was begun is finished.
    pub async fn run(mut self, mut signals: mpsc::UnboundedReceiver<Signal>, shutdown: CancellationToken) {
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        loop {
            let first = tokio::select! {
                signal = signals.recv() => signal,
                () = shutdown.cancelled() => return,
                _ = tick.tick() => {
                    self.give_up_on_the_silent().await;
                    continue;
                }
            };
            let Some(first) = first else { return };
            let end = Instant::now() + LINGER;
            let mut messages = Vec::new();
            let mut signal = Some(first);
            while let Some(next) = signal.take() {
                match next {
                    Signal::Message(received) => messages.push(received),
                    Signal::Connected { session_present } => self.connected(session_present).await,
                    Signal::Disconnected => self.duties.pause(),
                    Signal::Revoked(relay) => self.revoked(relay).await,
                }
                if messages.len() < BATCH {
                    let quiet = (Instant::now() + QUIET).min(end);
                    signal = timeout_at(quiet, signals.recv()).await.ok().flatten();
                }
            }
            if !messages.is_empty() && !self.persist(messages, &shutdown).await {
                return;
            }
        }
    }

    /// Every relay that is thought to be online is asked to say so, and to send again what was not stored: whatever
    /// broker or cloud missed while one of them was away comes back this way.
    async fn connected(&mut self, session_present: bool) {
        let online = relays::Entity::find().filter(relays::Column::Online.eq(true)).all(self.shared.db.read()).await;
        let online = match online {
            Ok(online) => online,
            Err(error) => {
                tracing::error!(%error, "cannot read the relays");
                return;
            }
        };
        tracing::debug!(session_present, relays = online.len(), "asking the relays for what was missed");
        for row in online {
            let (Ok(relay), Some(journal)) = (RelayId::new(&row.name), row.journal) else { continue };
            match super::stored_watermarks(&self.shared.db, row.id, &journal).await {
                Ok(marks) => self.duties.reconnected(&relay, &journal, &marks),
                Err(error) => tracing::error!(%error, %relay, "cannot read its watermarks"),
            }
            self.doubted.insert(relay, Instant::now() + DOUBT);
        }
    }

    /// A relay that is online and lost its credential goes, with or without a last will. Should it be connected all the
    /// same, its next message brings it back.
    async fn revoked(&mut self, relay: RelayId) {
        let known = relays::Entity::find().filter(relays::Column::Name.eq(relay.as_str()));
        match known.filter(relays::Column::Online.eq(true)).one(self.shared.db.read()).await {
            Ok(Some(_)) => drop(self.doubted.insert(relay, Instant::now() + DOUBT)),
            Ok(None) => {}
            Err(error) => tracing::error!(%error, %relay, "cannot read the relay"),
        }
    }

    /// Relays that did not answer after the cloud connected have gone while nobody listened; revoked ones without a word.
    async fn give_up_on_the_silent(&mut self) {
        if !self.publisher.is_connected() {
            // Nobody can answer now; the next connection begins anew.
            self.doubted.clear();
            return;
        }
        let now = Instant::now();
        let silent: Vec<RelayId> =
            self.doubted.iter().filter(|(_, end)| **end <= now).map(|(relay, _)| relay.clone()).collect();
        for relay in silent {
            self.doubted.remove(&relay);
            match self.mark_gone(&relay).await {
                Ok(()) => {
                    tracing::info!(%relay, "it does not answer any more, so it counts as gone");
                    self.duties.gone(&relay);
                }
                Err(error) => {
                    tracing::error!(%error, %relay, "cannot mark it as gone");
                    self.cache = Cache::default();
                }
            }
        }
    }

    async fn mark_gone(&mut self, relay: &RelayId) -> Result<(), DbErr> {
        let txn = self.shared.db.begin().await?;
        let row = self.cache.relay(&txn, relay).await?;
        row.online = false;
        // No presence counts: the next message of its stream is a reason to ask again.
        row.presence_at = 0;
        row.clone().into_active_model().reset_all().update(&txn).await?;
        txn.commit().await
    }

    /// Stores messages, acknowledges them, does what follows. Returns false when the cloud stops first: then they are
    /// not acknowledged and come again.
    async fn persist(&mut self, messages: Vec<Received>, shutdown: &CancellationToken) -> bool {
        let mut incoming = Vec::with_capacity(messages.len());
        for received in &messages {
            if let Some(message) = self.sort(received) {
                incoming.push(message);
            }
        }
        let all: Vec<&Incoming> = incoming.iter().collect();
        let mut batches = Vec::new();
        if !all.is_empty() && !self.store(&all, &mut batches, shutdown).await {
            return false;
        }
        for received in &messages {
            if received.publish.qos != rumqttc::QoS::AtMostOnce {
                self.publisher.acknowledge(&received.publish).await;
            }
        }
        drop(messages);
        for batch in batches {
            self.follow_up(batch);
        }
        true
    }

    /// Parses a message; what is not for the database goes its own way.
    fn sort(&self, received: &Received) -> Option<Incoming> {
        let publish = &received.publish;
        let Some(topic) = Topic::parse(&publish.topic) else {
            self.shared.counters.add("foreign_topic", 1);
            return None;
        };
        if let Topic::Requests(relay) = topic {
            // Not durable: a relay asks again when no answer comes.
            if self.requests.try_send((relay, publish.payload.to_vec())).is_err() {
                self.shared.counters.add("requests_dropped", 1);
            }
            return None;
        }
        match read(&topic, &publish.payload) {
            Ok(incoming) => incoming,
            Err(dropped) => {
                self.shared.counters.add(dropped.counter, 1);
                tracing::debug!(topic = %publish.topic, reason = %dropped.reason, "dropped a message");
                None
            }
        }
    }

    /// Stores all messages in one transaction. Where the database refuses one of them, each is stored on its own, so
    /// that one bad message takes no other with it; where the database does not work at all, waits and tries again.
    async fn store(&mut self, all: &[&Incoming], batches: &mut Vec<Batch>, shutdown: &CancellationToken) -> bool {
        let mut rest: Vec<&[&Incoming]> = vec![all];
        while let Some(messages) = rest.pop() {
            match apply(&self.shared.db, &mut self.cache, messages).await {
                Ok(batch) => batches.push(batch),
                Err(error) if is_refusal(&error) => {
                    self.cache = Cache::default();
                    if messages.len() == 1 {
                        tracing::error!(%error, "the database refused a message");
                        self.shared.counters.add("refused_by_database", 1);
                    } else {
                        rest.extend(messages.chunks(1).rev());
                    }
                }
                Err(error) => {
                    self.cache = Cache::default();
                    tracing::error!(%error, messages = messages.len(), "cannot store, trying again");
                    rest.push(messages);
                    tokio::select! {
                        () = tokio::time::sleep(RETRY) => {}
                        () = shutdown.cancelled() => return false,
                    }
                }
            }
        }
        true
    }

    fn follow_up(&mut self, batch: Batch) {
        for (name, count) in batch.counts {
            self.shared.counters.add(name, count);
        }
        for after in batch.after {
            match after {
                After::Stored { relay, journal, stream, mark } => self.duties.stored(&relay, &journal, stream, &mark),
                After::Born { relay, journal, marks, state_known } => {
                    self.doubted.remove(&relay);
                    self.duties.born(&relay, &journal, &marks, state_known);
                }
                After::Gone { relay } => {
                    self.doubted.remove(&relay);
                    self.duties.gone(&relay);
                }
                After::Inventory { relay } => self.duties.inventory(&relay),
                After::AskForRebirth { relay } => self.duties.ask_for_rebirth(&relay),
                After::Answered { relay, command } => tracing::debug!(%relay, %command, "reported"),
                After::Cloud(task) => {
                    // Fails only when the cloud stops; what is journalled goes on at the next start.
                    let _ = self.cloud_tasks.send(task);
                }
            }
        }
    }
}

/// Whether the database works and dislikes the data.
fn is_refusal(error: &DbErr) -> bool {
    matches!(error.sql_err(), Some(SqlErr::UniqueConstraintViolation(_) | SqlErr::ForeignKeyConstraintViolation(_)))
}
