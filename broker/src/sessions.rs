//! Who is connected under which client id, and what is kept for clients that are away.
//!
//! A client id belongs to the identity that used it first, for as long as it is connected or its session is kept.
//! A second connection with the same id ends the first and waits until that has left the router.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard, oneshot};

use crate::access::Admission;
use crate::config::Limits;
use crate::deliver::Unfinished;
use crate::metrics::Metrics;
use crate::router::Router;

/// How long a connection waits for its predecessor to leave.
const TAKEOVER_TIMEOUT: Duration = Duration::from_secs(8);

/// Why a connection is told to end from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kick {
    /// A newer connection with the same client id.
    TakenOver,
    /// The identity is gone or its token changed.
    Revoked,
    /// The broker stops.
    Shutdown,
}

/// Why a client id cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ClaimError {
    #[error("the client id belongs to another identity")]
    Foreign,
    #[error("too many connections")]
    TooMany,
    #[error("too many connections of this identity")]
    TooManyOfIdentity,
    #[error("a newer connection took over")]
    Superseded,
    #[error("the former connection did not end in time")]
    Stuck,
}

/// A subscription as the client asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Subscription {
    pub(crate) qos: u8,
    /// Served from the durable store rather than by the router.
    pub(crate) durable: bool,
}

/// What outlives a connection.
#[derive(Default)]
pub(crate) struct Kept {
    /// Id of the persistent session in the router; taken out while a connection uses it.
    pub(crate) link: Option<u32>,
    pub(crate) subscriptions: HashMap<String, Subscription>,
    /// QoS 2 ids received and not yet released by the client.
    pub(crate) received: HashSet<u16>,
    pub(crate) unfinished: Unfinished,
}

/// The lockable state of one client id; whoever is connected holds the lock.
#[derive(Default)]
pub(crate) struct Session {
    pub(crate) kept: Option<Kept>,
    /// When what is kept is dropped; set while the client is away.
    pub(crate) expires: Option<Instant>,
}

struct Slot {
    owner: String,
    session: Arc<AsyncMutex<Session>>,
    control: Mutex<Control>,
}

#[derive(Default)]
struct Control {
    generation: u64,
    active: Option<(oneshot::Sender<Kick>, Admission)>,
}

#[derive(Default)]
struct Inner {
    slots: HashMap<Arc<str>, Arc<Slot>>,
    per_identity: HashMap<String, usize>,
    connected: usize,
    generation: u64,
    closing: bool,
}

/// All client ids.
pub(crate) struct Sessions {
    inner: Mutex<Inner>,
    limits: Limits,
    metrics: Arc<Metrics>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sessions {
    pub(crate) fn new(limits: Limits, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self { inner: Mutex::default(), limits, metrics })
    }

    /// Takes a client id, ending whoever has it now if that is the same identity.
    pub(crate) async fn claim(self: &Arc<Self>, client: &str, admission: &Admission) -> Result<Claim, ClaimError> {
        let (kick_sender, mut kick) = oneshot::channel();
        let (slot, client, generation) = {
            let mut inner = lock(&self.inner);
            if inner.closing {
                return Err(ClaimError::TooMany);
            }
            inner.generation += 1;
            let generation = inner.generation;
            let client: Arc<str> = client.into();
            let slot = inner
                .slots
                .entry(client.clone())
                .or_insert_with(|| {
                    Arc::new(Slot {
                        owner: admission.identity.name.clone(),
                        session: Arc::default(),
                        control: Mutex::default(),
                    })
                })
                .clone();
            if slot.owner != admission.identity.name {
                return Err(ClaimError::Foreign);
            }
            let former = {
                let mut control = lock(&slot.control);
                control.generation = generation;
                control.active.replace((kick_sender, admission.clone()))
            };
            if let Some((former, _)) = former {
                // It may be ending by itself just now.
                let _ = former.send(Kick::TakenOver);
            }
            (slot, client, generation)
        };
        let locked = tokio::time::timeout(TAKEOVER_TIMEOUT, slot.session.clone().lock_owned()).await;
        let mut claim =
            Claim { sessions: self.clone(), slot, client, generation, counted: false, session: None, kick: None };
        claim.session = Some(locked.map_err(|_| ClaimError::Stuck)?);
        if kick.try_recv().is_ok() {
            return Err(ClaimError::Superseded);
        }
        claim.kick = Some(kick);
        let mut inner = lock(&self.inner);
        if inner.connected >= self.limits.connections {
            drop(inner);
            return Err(ClaimError::TooMany);
        }
        let of_identity = inner.per_identity.entry(admission.identity.name.clone()).or_default();
        if *of_identity >= self.limits.connections_per_identity {
            drop(inner);
            return Err(ClaimError::TooManyOfIdentity);
        }
        *of_identity += 1;
        inner.connected += 1;
        claim.counted = true;
        self.metrics.connected.up();
        drop(inner);
        Ok(claim)
    }

    /// Ends every connection whose admission no longer holds.
    pub(crate) fn revoke(&self, still_admits: impl Fn(&Admission) -> bool) {
        let slots: Vec<_> = lock(&self.inner).slots.values().cloned().collect();
        for slot in slots {
            let mut control = lock(&slot.control);
            let revoked = matches!(&control.active, Some((_, admission)) if !still_admits(admission));
            if let Some((kick, _)) = revoked.then(|| control.active.take()).flatten() {
                let _ = kick.send(Kick::Revoked);
            }
        }
    }

    /// Ends every connection and lets no new one in.
    pub(crate) fn close(&self) {
        let slots: Vec<_> = {
            let mut inner = lock(&self.inner);
            inner.closing = true;
            inner.slots.values().cloned().collect()
        };
        for slot in slots {
            if let Some((kick, _)) = lock(&slot.control).active.take() {
                let _ = kick.send(Kick::Shutdown);
            }
        }
    }

    /// Drops the sessions whose time is over.
    pub(crate) async fn sweep(&self, router: &Arc<Router>) {
        let now = Instant::now();
        let mut forget = Vec::new();
        {
            let mut inner = lock(&self.inner);
            inner.slots.retain(|_, slot| {
                // Whoever connects or is connected holds a reference of its own, taken under this lock.
                if Arc::strong_count(slot) > 1 {
                    return true;
                }
                let Ok(mut session) = slot.session.try_lock() else {
                    return true;
                };
                if session.kept.is_some() && session.expires.is_some_and(|moment| moment > now) {
                    return true;
                }
                forget.extend(session.kept.take().and_then(|kept| kept.link));
                false
            });
        }
        for link in forget {
            router.forget(link).await;
        }
    }

    /// Whether nobody has connected with this client id since `generation` did.
    pub(crate) fn unchanged_since(&self, client: &str, generation: u64) -> bool {
        match lock(&self.inner).slots.get(client) {
            Some(slot) => lock(&slot.control).generation == generation,
            None => true,
        }
    }

    /// Whether another session may be kept.
    pub(crate) fn may_keep(&self) -> bool {
        let inner = lock(&self.inner);
        inner.slots.len().saturating_sub(inner.connected) < self.limits.sessions
    }
}

/// A client id held by one connection.
pub(crate) struct Claim {
    sessions: Arc<Sessions>,
    slot: Arc<Slot>,
    pub(crate) client: Arc<str>,
    pub(crate) generation: u64,
    counted: bool,
    session: Option<OwnedMutexGuard<Session>>,
    kick: Option<oneshot::Receiver<Kick>>,
}

impl Claim {
    /// What is kept for this client id.
    pub(crate) fn session(&mut self) -> Option<&mut Session> {
        self.session.as_deref_mut()
    }

    /// The order to end; to be taken once.
    pub(crate) fn take_kick(&mut self) -> Option<oneshot::Receiver<Kick>> {
        self.kick.take()
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut inner = lock(&self.sessions.inner);
        if self.counted {
            inner.connected -= 1;
            self.sessions.metrics.connected.down();
            if let Some(count) = inner.per_identity.get_mut(&self.slot.owner) {
                *count -= 1;
                if *count == 0 {
                    inner.per_identity.remove(&self.slot.owner);
                }
            }
        }
        {
            let mut control = lock(&self.slot.control);
            if control.generation == self.generation {
                control.active = None;
            }
        }
        let empty = match &self.session {
            Some(session) => session.kept.is_none(),
            None => self.slot.session.try_lock().is_ok_and(|session| session.kept.is_none()),
        };
        // Two references: the map's and ours. More means that somebody waits for the lock.
        if empty && Arc::strong_count(&self.slot) == 2 {
            inner.slots.remove(&self.client);
        }
    }
}
