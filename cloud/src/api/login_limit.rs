//! Wrong logins: each costs time, and many of one name from one address are refused for a while. Tokens have 256
//! random bits, so this keeps the log and the processor quiet rather than the tokens secret.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Wrong logins that are let through per window.
const MAX_WRONG: u32 = 20;
/// The window.
const WINDOW: Duration = Duration::from_secs(60);
/// Most entries; above it the oldest windows go first.
const MAX_ENTRIES: usize = 10_000;

/// Whose logins are counted together.
type Key = (Option<IpAddr>, String);

/// Wrong logins per address and name: since when, and how many.
#[derive(Debug, Default)]
pub struct LoginLimit {
    wrong: Mutex<HashMap<Key, (Instant, u32)>>,
}

impl LoginLimit {
    /// Whether another try is allowed; otherwise, in how many seconds.
    pub fn check(&self, address: Option<IpAddr>, name: &str) -> Result<(), u64> {
        let wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        match wrong.get(&(address, name.to_owned())) {
            Some((since, count)) if *count >= MAX_WRONG && since.elapsed() < WINDOW => {
                Err((WINDOW.saturating_sub(since.elapsed())).as_secs() + 1)
            }
            _ => Ok(()),
        }
    }

    /// Counts a wrong login.
    pub fn wrong(&self, address: Option<IpAddr>, name: &str) {
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        if wrong.len() >= MAX_ENTRIES {
            wrong.retain(|_, (since, _)| since.elapsed() < WINDOW);
            if wrong.len() >= MAX_ENTRIES {
                wrong.clear();
            }
        }
        let entry = wrong.entry((address, name.to_owned())).or_insert_with(|| (Instant::now(), 0));
        if entry.0.elapsed() >= WINDOW {
            *entry = (Instant::now(), 0);
        }
        entry.1 += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_wrong_logins_are_refused_and_others_are_not() {
        let limit = LoginLimit::default();
        let address = Some(IpAddr::from([192, 0, 2, 1]));
        for _ in 0..MAX_WRONG {
            assert_eq!(limit.check(address, "admin"), Ok(()));
            limit.wrong(address, "admin");
        }
        assert!(limit.check(address, "admin").is_err_and(|seconds| (1..=61).contains(&seconds)));
        assert_eq!(limit.check(Some(IpAddr::from([192, 0, 2, 2])), "admin"), Ok(()));
        assert_eq!(limit.check(address, "eve"), Ok(()));
    }
}
