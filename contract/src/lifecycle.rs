//! The life cycle of a command on a relay.
//!
//! ```text
//! accepted → fetching → building → flashing → verifying → succeeded
//!     └────────┴───────────┴──────────┴───────────┴─────→ failed | cancelled | expired | timed_out
//! rejected: never accepted
//! ```
//! States may be skipped (a cached build has no `building`), never revisited, except that a relay which restarted may
//! begin again at `fetching`, and a failed self-test goes back to `flashing` to restore the previous firmware.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where a command stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Written to the relay's journal; from here on it ends in a terminal state, whatever happens.
    Accepted,
    /// Getting manifest and blocks from the cloud.
    Fetching,
    /// Compiling for the board.
    Building,
    /// Writing to the board.
    Flashing,
    /// Comparing the board's answers with the golden vectors.
    Verifying,
    /// Done.
    Succeeded,
    /// Never begun: the command itself is at fault.
    Rejected,
    /// Begun and not achieved; `code` says why.
    Failed,
    /// Stopped on request.
    Cancelled,
    /// Its `expires_at` passed before it began.
    Expired,
    /// It took longer than its `timeout_s`.
    TimedOut,
}

impl State {
    /// Every state, in the order of the life cycle.
    pub const ALL: [State; 11] = [
        State::Accepted,
        State::Fetching,
        State::Building,
        State::Flashing,
        State::Verifying,
        State::Succeeded,
        State::Rejected,
        State::Failed,
        State::Cancelled,
        State::Expired,
        State::TimedOut,
    ];

    /// Whether nothing follows this state.
    pub const fn is_terminal(self) -> bool {
        matches!(
            self,
            State::Succeeded | State::Rejected | State::Failed | State::Cancelled | State::Expired | State::TimedOut
        )
    }

    /// Whether `next` may be reported after this state.
    pub const fn can_become(self, next: State) -> bool {
        if self.is_terminal() || matches!(next, State::Rejected | State::Accepted) {
            return false;
        }
        // Forward, to a terminal state, back to fetching after a restart, or back to flashing to restore firmware.
        next.is_terminal()
            || next as u8 > self as u8
            || matches!(next, State::Fetching)
            || matches!((self, next), (State::Verifying, State::Flashing))
            || self as u8 == next as u8
    }

    /// The state as it is written on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            State::Accepted => "accepted",
            State::Fetching => "fetching",
            State::Building => "building",
            State::Flashing => "flashing",
            State::Verifying => "verifying",
            State::Succeeded => "succeeded",
            State::Rejected => "rejected",
            State::Failed => "failed",
            State::Cancelled => "cancelled",
            State::Expired => "expired",
            State::TimedOut => "timed_out",
        }
    }

    /// Reads the wire form.
    pub fn parse(text: &str) -> Option<State> {
        State::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::State;

    #[test]
    fn nothing_follows_a_terminal_state() {
        for from in State::ALL.into_iter().filter(|s| s.is_terminal()) {
            assert!(State::ALL.into_iter().all(|to| !from.can_become(to)), "{from}");
        }
    }

    #[test]
    fn every_running_state_can_fail_and_move_on() {
        for from in State::ALL.into_iter().filter(|s| !s.is_terminal()) {
            for to in [State::Succeeded, State::Failed, State::Cancelled, State::TimedOut] {
                assert!(from.can_become(to), "{from} -> {to}");
            }
            assert!(!from.can_become(State::Rejected));
        }
        assert!(State::Building.can_become(State::Fetching), "a restart fetches again");
        assert!(State::Verifying.can_become(State::Flashing), "a roll-back flashes again");
        assert!(!State::Flashing.can_become(State::Building));
    }

    #[test]
    fn names_round_trip() {
        for state in State::ALL {
            assert_eq!(State::parse(state.as_str()), Some(state));
            assert_eq!(serde_json::to_string(&state).ok(), Some(format!("\"{state}\"")));
        }
    }
}
