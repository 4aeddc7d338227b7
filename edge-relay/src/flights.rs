//! One at a time for each key: two devices that need the same thing fetch it, or build it, once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::sync::OwnedMutexGuard;

use crate::counters::lock;

/// What is being made, by key.
#[derive(Debug, Clone, Default)]
pub struct Flights(Arc<Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>>);

impl Flights {
    /// Waits until nobody else works on `key`; others wait as long as the guard lives. Whoever gets it looks first
    /// whether the thing is there by now.
    pub async fn alone(&self, key: &str) -> OwnedMutexGuard<()> {
        let flight = {
            let mut flights = lock(&self.0);
            flights.retain(|_, flight| Arc::strong_count(flight) > 1);
            flights.entry(key.to_owned()).or_default().clone()
        };
        flight.lock_owned().await
    }
}
