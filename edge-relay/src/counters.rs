//! Counters that survive restarts: what was dropped, refused, repeated.

use std::collections::BTreeMap;
use std::sync::Mutex;

/// Named counters since the journal was made.
#[derive(Debug, Default)]
pub struct Counters {
    counts: Mutex<(BTreeMap<String, u64>, bool)>,
}

impl Counters {
    /// Starts with what the journal kept.
    pub fn new(counts: BTreeMap<String, u64>) -> Self {
        Self { counts: Mutex::new((counts, false)) }
    }

    /// Adds to a counter.
    pub fn add(&self, name: &str, by: u64) {
        if by > 0 {
            let mut counts = lock(&self.counts);
            *counts.0.entry(name.to_owned()).or_default() += by;
            counts.1 = true;
        }
    }

    /// All counters.
    pub fn all(&self) -> BTreeMap<String, u64> {
        lock(&self.counts).0.clone()
    }

    /// All counters if they changed since the last call.
    pub fn changed(&self) -> Option<BTreeMap<String, u64>> {
        let mut counts = lock(&self.counts);
        std::mem::take(&mut counts.1).then(|| counts.0.clone())
    }
}

/// Locks, and goes on with the data of a thread that panicked: all our critical sections leave it consistent.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
