//! Keeps a publisher from running away from the router, whose logs drop their oldest messages when full: every so many
//! packets the router is asked for a sign, and nothing more is read from a client that is too far ahead of it.

use std::collections::VecDeque;

use rumqttd::protocol::{Packet, PingReq};

/// Packets after which a sign is asked for.
const ASK_AFTER: usize = 32;
/// Packets that may be on their way behind the one that asks.
const AHEAD: usize = 256;

/// How far one client is ahead of the router.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    asked: bool,
    since: usize,
}

impl Pace {
    /// Counts what goes to the router, and adds the question to it when it is due.
    pub(crate) fn on_batch(&mut self, batch: &mut VecDeque<Packet>) {
        self.since += batch.len();
        if !self.asked && self.since >= ASK_AFTER {
            batch.push_back(Packet::PingReq(PingReq));
            self.asked = true;
            self.since = 0;
        }
    }

    /// The router answered: it has worked on everything before the question.
    pub(crate) fn on_answer(&mut self) {
        self.asked = false;
    }

    /// Whether more may be read from the client.
    pub(crate) fn may_read(&self) -> bool {
        !self.asked || self.since < AHEAD
    }
}
