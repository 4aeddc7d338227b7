//! What one identity may use at once, over all of its connections. Who goes over it is read from more slowly; nothing
//! is dropped.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

/// Longest break at a time, so that a connection notices other things in between.
const LONGEST_BREAK: Duration = Duration::from_secs(1);
/// Forgotten identities are looked for when the table has grown to this.
const SWEEP_AT: usize = 1024;

/// The quota of one identity.
#[derive(Debug)]
pub(crate) struct Quota {
    per_second: f64,
    bucket: Mutex<Bucket>,
    /// Bytes received whose acknowledgement waits for the disk.
    in_flight: AtomicUsize,
}

#[derive(Debug)]
struct Bucket {
    /// Messages that may come now; below zero while too many have come.
    room: f64,
    at: Instant,
}

impl Quota {
    fn new(per_second: u32) -> Self {
        let per_second = f64::from(per_second.max(1));
        Self {
            per_second,
            bucket: Mutex::new(Bucket { room: per_second, at: Instant::now() }),
            in_flight: AtomicUsize::new(0),
        }
    }

    /// Counts messages that have come; how long to wait before reading on.
    pub(crate) fn take(&self, messages: u32) -> Duration {
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let gained = now.duration_since(bucket.at).as_secs_f64() * self.per_second;
        // At most a second's worth can be saved up.
        bucket.room = (bucket.room + gained).min(self.per_second) - f64::from(messages);
        bucket.at = now;
        if bucket.room >= 0.0 {
            return Duration::ZERO;
        }
        Duration::try_from_secs_f64(-bucket.room / self.per_second).unwrap_or(LONGEST_BREAK).min(LONGEST_BREAK)
    }

    /// Bytes on their way to the disk.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Counts bytes as on their way for as long as the guard lives.
    pub(crate) fn carry(self: &Arc<Self>, bytes: usize) -> InFlight {
        self.in_flight.fetch_add(bytes, Ordering::Relaxed);
        InFlight { quota: self.clone(), bytes }
    }
}

/// Bytes on their way.
#[derive(Debug)]
pub(crate) struct InFlight {
    quota: Arc<Quota>,
    bytes: usize,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.quota.in_flight.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// The quotas of all identities that are connected.
#[derive(Debug, Default)]
pub(crate) struct Quotas {
    known: Mutex<HashMap<String, Weak<Quota>>>,
}

impl Quotas {
    /// The quota that all connections of `identity` share.
    pub(crate) fn of(&self, identity: &str, per_second: u32) -> Arc<Quota> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(quota) = known.get(identity).and_then(Weak::upgrade) {
            return quota;
        }
        if known.len() >= SWEEP_AT {
            known.retain(|_, quota| quota.strong_count() > 0);
        }
        let quota = Arc::new(Quota::new(per_second));
        known.insert(identity.to_owned(), Arc::downgrade(&quota));
        quota
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_of_an_identity_share_its_quota() {
        let quotas = Quotas::default();
        let (first, second) = (quotas.of("a", 10), quotas.of("a", 10));
        assert_eq!(first.take(10), Duration::ZERO);
        assert!(second.take(5) > Duration::from_millis(300), "half a second's worth is too much");
        assert_eq!(quotas.of("b", 10).take(10), Duration::ZERO);
        assert_eq!(first.take(u32::MAX), LONGEST_BREAK);
    }

    #[test]
    fn bytes_are_in_flight_while_their_guard_lives() {
        let quotas = Quotas::default();
        let quota = quotas.of("a", 10);
        let guard = quota.carry(100);
        assert_eq!(quotas.of("a", 10).in_flight(), 100);
        drop(guard);
        assert_eq!(quota.in_flight(), 0);
    }
}
