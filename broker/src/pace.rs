//! Keeps publishers from running away from the router and from subscribers: the router's logs drop their oldest
//! messages when full.
//!
//! Acknowledgements wait until the router has worked on what they acknowledge, for which it is asked by a PINGREQ
//! behind each batch. And while some subscriber is far behind, publishers get short breaks; no long ones, because a
//! slow subscriber must not stop the others.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use rumqttd::protocol::{Packet, PingReq};

/// Packets without acknowledgement (QoS 0) after which the router is asked.
const ASK_AFTER: usize = 32;
/// Questions without answer after which nothing more is read from the client.
const UNANSWERED: usize = 4;
/// The break that publishers take while a subscriber is behind.
pub(crate) const BREAK: Duration = Duration::from_millis(5);
/// Smaller batches do not earn a break.
const BREAK_AFTER_BYTES: u64 = 2048;

/// What one client is ahead of the router, with the acknowledgements that wait for it.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    held: BytesMut,
    /// Bytes of `held` that each question covers, oldest first, and those that none covers yet.
    asked: VecDeque<usize>,
    unasked: usize,
    since: usize,
}

impl Pace {
    /// Where acknowledgements are written to; [`Self::on_batch`] must follow.
    pub(crate) fn held(&mut self) -> &mut BytesMut {
        &mut self.held
    }

    /// Adds the question to what goes to the router, when it is due. While the router waits for this very client it
    /// does not answer, so then acknowledgements go out at once.
    pub(crate) fn on_batch(&mut self, out: &mut BytesMut, batch: &mut VecDeque<Packet>, router_waits: bool) {
        self.since += batch.len();
        let covered: usize = self.asked.iter().sum();
        self.unasked = self.held.len() - covered;
        if router_waits {
            out.extend_from_slice(&self.held.split());
            self.asked.iter_mut().for_each(|bytes| *bytes = 0);
            self.unasked = 0;
        } else if self.unasked > 0 || self.since >= ASK_AFTER {
            batch.push_back(Packet::PingReq(PingReq));
            self.asked.push_back(std::mem::take(&mut self.unasked));
            self.since = 0;
        }
    }

    /// The router answered: it has worked on everything before the question.
    pub(crate) fn on_answer(&mut self, out: &mut BytesMut) {
        if let Some(bytes) = self.asked.pop_front() {
            out.extend_from_slice(&self.held.split_to(bytes));
        }
    }

    /// Whether no acknowledgement waits.
    pub(crate) fn holds_nothing(&self) -> bool {
        self.held.is_empty()
    }

    /// Whether more may be read from the client.
    pub(crate) fn may_read(&self) -> bool {
        self.asked.len() < UNANSWERED
    }
}

/// The flow through the router, seen by all connections.
#[derive(Debug, Default)]
pub(crate) struct Flow {
    /// Bytes given to the router.
    routed: AtomicU64,
    /// Subscribers far behind.
    behind: AtomicUsize,
}

impl Flow {
    /// Counts what a publisher gives to the router; whether it should take a break.
    pub(crate) fn on_publishes(&self, bytes: u64) -> bool {
        self.routed.fetch_add(bytes, Ordering::Relaxed);
        bytes > BREAK_AFTER_BYTES && self.behind.load(Ordering::Relaxed) > 0
    }
}

/// How far one subscriber may be behind: what was routed since it had everything, less what it got. An upper bound,
/// as not everything routed is for it.
pub(crate) struct Lag {
    flow: Arc<Flow>,
    /// Bytes from which on it counts as far behind.
    far: u64,
    mark: u64,
    taken: u64,
    behind: bool,
}

impl Lag {
    pub(crate) fn new(flow: Arc<Flow>, far: usize) -> Self {
        let mark = flow.routed.load(Ordering::Relaxed);
        Self { flow, far: far as u64, mark, taken: 0, behind: false }
    }

    /// Counts a message that it got.
    pub(crate) fn on_message(&mut self, bytes: usize) {
        self.taken += bytes as u64;
    }

    /// To be called after taking from the router, which either has no more or waits.
    pub(crate) fn on_taken(&mut self, router_waits: bool) {
        let routed = self.flow.routed.load(Ordering::Relaxed);
        if router_waits {
            let lag = (routed - self.mark).saturating_sub(self.taken);
            self.set(lag > self.far);
        } else {
            self.mark = routed;
            self.taken = 0;
            self.set(false);
        }
    }

    /// A client that stands still is not waited for.
    pub(crate) fn on_standstill(&mut self) {
        self.set(false);
    }

    fn set(&mut self, behind: bool) {
        if self.behind != behind {
            self.behind = behind;
            if behind {
                self.flow.behind.fetch_add(1, Ordering::Relaxed);
            } else {
                self.flow.behind.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }
}

impl Drop for Lag {
    fn drop(&mut self) {
        self.set(false);
    }
}
