//! What the cloud owes its relays: confirmations of what is stored, and questions about what is missing.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use contract::stream::{Stream, Sync};
use contract::{RelayId, Topic};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::ingest::Watermark;
use crate::mqtt::Publisher;

/// How often watermarks that moved are published at most.
const CONFIRM_EVERY: Duration = Duration::from_secs(1);
/// How long a gap may be open before the relay is asked to send again.
const GAP: Duration = Duration::from_secs(2);
/// How long a relay that was born may take to publish its state.
const STATE_DUE: Duration = Duration::from_secs(3);
/// Pause after a question; it doubles while there is no answer.
const ASK_AGAIN: Duration = Duration::from_secs(5);
/// The longest pause between two questions.
const MAX_PAUSE: Duration = Duration::from_secs(60);

/// Something to ask a relay for, not more often than makes sense.
#[derive(Debug, Default)]
struct Question {
    due: Option<Instant>,
    pause: Option<Duration>,
    asked: Option<Instant>,
}

impl Question {
    /// Asks after `delay`, or earlier if that was due anyway.
    fn raise(&mut self, now: Instant, delay: Duration) {
        let earliest = self.asked.map_or(now, |asked| asked + self.pause.unwrap_or(ASK_AGAIN));
        let due = (now + delay).max(earliest);
        self.due = Some(self.due.map_or(due, |before| before.min(due)));
    }

    /// Whether to ask now; then the next time is further away.
    fn take(&mut self, now: Instant) -> bool {
        if self.due.is_none_or(|due| due > now) {
            return false;
        }
        self.due = None;
        self.pause = Some(self.pause.map_or(ASK_AGAIN, |pause| (pause * 2).min(MAX_PAUSE)));
        self.asked = Some(now);
        true
    }

    /// Answered.
    fn settle(&mut self) {
        *self = Self::default();
    }
}

#[derive(Debug)]
struct Duty {
    journal: String,
    through: BTreeMap<Stream, u64>,
    gaps: BTreeMap<Stream, bool>,
    moved: bool,
    confirmed: Option<Instant>,
    resend: Question,
    rebirth: Question,
}

impl Duty {
    fn new(journal: &str) -> Self {
        Self {
            journal: journal.to_owned(),
            through: BTreeMap::new(),
            gaps: BTreeMap::new(),
            moved: false,
            confirmed: None,
            resend: Question::default(),
            rebirth: Question::default(),
        }
    }

    /// What to publish now.
    fn due(&mut self, now: Instant) -> Option<Sync> {
        let confirm = self.moved && self.confirmed.is_none_or(|last| now >= last + CONFIRM_EVERY);
        let (resend, rebirth) = (self.resend.take(now), self.rebirth.take(now));
        if !(confirm || resend || rebirth) {
            return None;
        }
        if resend && self.gaps.values().any(|open| *open) {
            // Should it stay open, ask again later.
            self.resend.raise(now, GAP);
        }
        self.moved = false;
        self.confirmed = Some(now);
        let journal = (!self.journal.is_empty()).then(|| self.journal.clone());
        let through = if journal.is_some() { self.through.clone() } else { BTreeMap::new() };
        Some(Sync { journal, through, resend, rebirth })
    }
}

/// What is owed, per relay.
#[derive(Debug, Default)]
pub struct Duties {
    relays: Mutex<HashMap<RelayId, Duty>>,
}

impl Duties {
    fn lock(&self) -> MutexGuard<'_, HashMap<RelayId, Duty>> {
        self.relays.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Messages of a relay's present journal were stored, or came again although they were.
    pub fn stored(&self, relay: &RelayId, journal: &str, stream: Stream, mark: &Watermark) {
        let mut relays = self.lock();
        let duty = relays.entry(relay.clone()).or_insert_with(|| Duty::new(journal));
        if duty.journal != journal {
            *duty = Duty::new(journal);
        }
        duty.moved = true;
        duty.through.insert(stream, mark.through);
        let was_open = duty.gaps.insert(stream, mark.has_gap()).unwrap_or(false);
        if mark.has_gap() {
            if !was_open {
                duty.resend.raise(Instant::now(), GAP);
            }
        } else if was_open && !duty.gaps.values().any(|open| *open) {
            duty.resend.settle();
        }
    }

    /// A relay is here.
    pub fn born(&self, relay: &RelayId, journal: &str, marks: &[(Stream, Watermark)], state_known: bool) {
        let mut relays = self.lock();
        let duty = relays.entry(relay.clone()).or_insert_with(|| Duty::new(journal));
        if duty.journal != journal {
            *duty = Duty::new(journal);
        }
        duty.moved = true;
        duty.through = marks.iter().map(|(stream, mark)| (*stream, mark.through)).collect();
        duty.rebirth.settle();
        if !state_known {
            duty.rebirth.raise(Instant::now(), STATE_DUE);
        }
    }

    /// A relay's inventory arrived.
    pub fn inventory(&self, relay: &RelayId) {
        if let Some(duty) = self.lock().get_mut(relay) {
            duty.rebirth.settle();
        }
    }

    /// A relay is gone: nothing is owed to it until it comes back.
    pub fn gone(&self, relay: &RelayId) {
        self.lock().remove(relay);
    }

    /// A relay speaks whose birth was missed.
    pub fn ask_for_rebirth(&self, relay: &RelayId) {
        // Its journal is not known for sure: an empty one confirms nothing.
        let mut relays = self.lock();
        let duty = relays.entry(relay.clone()).or_insert_with(|| Duty::new(""));
        duty.rebirth.raise(Instant::now(), Duration::ZERO);
    }

    /// The cloud connected: a relay that was online is asked for everything that may have been missed.
    pub fn reconnected(&self, relay: &RelayId, journal: &str, marks: &[(Stream, Watermark)]) {
        let mut duty = Duty::new(journal);
        duty.through = marks.iter().map(|(stream, mark)| (*stream, mark.through)).collect();
        duty.gaps = marks.iter().map(|(stream, mark)| (*stream, mark.has_gap())).collect();
        duty.moved = true;
        duty.resend.raise(Instant::now(), Duration::ZERO);
        duty.rebirth.raise(Instant::now(), Duration::ZERO);
        self.lock().insert(relay.clone(), duty);
    }

    /// The broker is away: all is owed anew once it is back.
    pub fn pause(&self) {
        self.lock().clear();
    }

    fn due(&self) -> Vec<(RelayId, Sync)> {
        let now = Instant::now();
        self.lock().iter_mut().filter_map(|(relay, duty)| Some((relay.clone(), duty.due(now)?))).collect()
    }
}

/// Publishes what is due, until `shutdown`.
pub async fn run(duties: Arc<Duties>, publisher: Publisher, shutdown: CancellationToken) {
    let mut tick = tokio::time::interval(Duration::from_millis(200));
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = shutdown.cancelled() => return,
        }
        if !publisher.is_connected() {
            continue;
        }
        for (relay, sync) in duties.due() {
            tracing::debug!(%relay, resend = sync.resend, rebirth = sync.rebirth, "sync");
            publisher.publish(&Topic::Sync(relay), &sync).await;
        }
    }
}
