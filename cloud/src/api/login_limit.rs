//! Wrong logins: each costs time, and the pause before the next one is taken grows, by name and address together, by
//! address alone, and (much later, so that nobody can lock others out easily) by name alone.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The longest pause.
const LONGEST: Duration = Duration::from_secs(15 * 60);
/// After this time without a wrong login it is forgotten.
const FORGET: Duration = Duration::from_secs(60 * 60);
/// Most entries; above it those that are over go, and then all.
const MAX_ENTRIES: usize = 10_000;

/// Whose logins are counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Both(Option<IpAddr>, String),
    Address(Option<IpAddr>),
    Name(String),
}

impl Key {
    fn all(address: Option<IpAddr>, name: &str) -> [Self; 3] {
        // Names that nobody could have are one name, and no way to fill the memory.
        let name: String = name.chars().take(64).collect();
        [Self::Both(address, name.clone()), Self::Address(address), Self::Name(name)]
    }

    /// Wrong logins that are let through without a pause.
    const fn free(&self) -> u32 {
        match self {
            Self::Both(..) => 5,
            Self::Address(_) => 20,
            Self::Name(_) => 100,
        }
    }
}

#[derive(Debug)]
struct Entry {
    count: u32,
    last: Instant,
}

impl Entry {
    /// How long nothing is taken, from the last wrong login on: 1 s, 2 s, 4 s and so on.
    fn pause(&self, key: &Key) -> Duration {
        match self.count.checked_sub(key.free()) {
            None => Duration::ZERO,
            Some(over) => Duration::from_secs(1 << over.min(20)).min(LONGEST),
        }
    }
}

/// Wrong logins.
#[derive(Debug, Default)]
pub struct LoginLimit {
    wrong: Mutex<HashMap<Key, Entry>>,
}

impl LoginLimit {
    /// Whether another try is taken; otherwise, in how many seconds.
    pub fn check(&self, address: Option<IpAddr>, name: &str) -> Result<(), u64> {
        let wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        let left = Key::all(address, name)
            .iter()
            .filter_map(|key| Some(wrong.get(key)?).map(|entry| entry.pause(key).saturating_sub(entry.last.elapsed())))
            .max()
            .unwrap_or(Duration::ZERO);
        if left.is_zero() { Ok(()) } else { Err(left.as_secs() + 1) }
    }

    /// Counts a wrong login.
    pub fn wrong(&self, address: Option<IpAddr>, name: &str) {
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        if wrong.len() >= MAX_ENTRIES {
            wrong.retain(|_, entry| entry.last.elapsed() < FORGET);
            if wrong.len() >= MAX_ENTRIES {
                wrong.clear();
            }
        }
        for key in Key::all(address, name) {
            let entry = wrong.entry(key).or_insert_with(|| Entry { count: 0, last: Instant::now() });
            if entry.last.elapsed() >= FORGET {
                entry.count = 0;
            }
            entry.count = entry.count.saturating_add(1);
            entry.last = Instant::now();
        }
    }

    /// A right login ends the pause of this name at this address.
    pub fn right(&self, address: Option<IpAddr>, name: &str) {
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        let [both, ..] = Key::all(address, name);
        wrong.remove(&both);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([192, 0, 2, last]))
    }

    #[test]
    fn the_pause_grows_for_the_same_name_and_address() {
        let limit = LoginLimit::default();
        let mut longest = 0;
        for count in 1..=12 {
            limit.wrong(address(1), "admin");
            match limit.check(address(1), "admin") {
                Ok(()) => assert!(count < 5, "{count} wrong logins and no pause"),
                Err(seconds) => {
                    assert!(seconds >= longest, "the pause does not grow");
                    longest = seconds;
                }
            }
        }
        assert!(longest > 60);
        assert_eq!(limit.check(address(2), "admin"), Ok(()), "others may still log in");
        assert_eq!(limit.check(address(1), "eve"), Ok(()));
        limit.right(address(1), "admin");
        assert_eq!(limit.check(address(1), "admin"), Ok(()));
    }

    #[test]
    fn one_address_cannot_try_all_names() {
        let limit = LoginLimit::default();
        for number in 0..20 {
            limit.wrong(address(1), &format!("user-{number}"));
        }
        assert!(limit.check(address(1), "somebody").is_err());
        assert_eq!(limit.check(address(2), "somebody"), Ok(()));
    }

    #[test]
    fn one_name_cannot_be_tried_from_everywhere() {
        let limit = LoginLimit::default();
        for number in 0..100 {
            limit.wrong(address(number), "admin");
        }
        assert!(limit.check(address(200), "admin").is_err());
    }
}
