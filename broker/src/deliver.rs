//! Messages on their way to one client: packet ids, the window of unacknowledged messages, and both QoS handshakes.
//! The router sends everything at QoS 0 and forgets it; what is not acknowledged is kept here, and for a session that
//! outlives its connection it is sent again under the same packet id.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::BytesMut;

use crate::codec::{AckKind, Publication, Version, put_ack, put_publish, reason};
use crate::wire::HIGH_WATER;

/// Unacknowledged messages at once, where the client does not allow fewer.
const WINDOW: usize = 500;
/// Bytes of unacknowledged messages from which on no more are sent.
const WINDOW_BYTES: usize = 4 * 1024 * 1024;
/// Messages queued behind a full window from which on no more are taken.
const QUEUE: usize = 200;

/// Who wants to know that a message has arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Nobody: it came from the router or is a retained one.
    Plain,
    /// The durable store, which also sends it again if it does not arrive.
    Durable { topic: Arc<str>, id: u64 },
}

/// A message to be sent.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing {
    pub(crate) publication: Publication,
    pub(crate) qos: u8,
    pub(crate) origin: Origin,
}

#[derive(Debug)]
enum Slot {
    Free,
    /// Sent, neither acknowledged nor received.
    Sent {
        qos: u8,
        size: u32,
        origin: Origin,
        copy: Option<Publication>,
    },
    /// PUBREL sent, PUBCOMP awaited.
    Released,
}

/// What an earlier connection of a session left open.
#[derive(Debug, Default)]
pub(crate) struct Unfinished {
    /// Ids released and not completed.
    released: Vec<u16>,
    /// Messages sent and not acknowledged.
    sent: Vec<(u16, Outgoing)>,
    /// Messages not sent.
    queued: VecDeque<Outgoing>,
}

/// The outgoing side of one connection.
pub(crate) struct Outbound {
    version: Version,
    window: usize,
    largest: usize,
    /// Whether unacknowledged messages are wanted by a later connection.
    persistent: bool,
    /// Whether the connection has ended, so that messages are only queued.
    ended: bool,
    slots: Vec<Slot>,
    free: VecDeque<u16>,
    in_flight: usize,
    in_flight_bytes: usize,
    queue: VecDeque<Outgoing>,
    /// Messages of the durable store that their addressee has.
    pub(crate) arrived: Vec<(Arc<str>, u64)>,
    pub(crate) sent: u64,
    pub(crate) too_large: u64,
}

impl Outbound {
    /// `receive_maximum` and `largest` (bytes of a packet) are the client's own limits.
    pub(crate) fn new(version: Version, receive_maximum: usize, largest: usize, persistent: bool) -> Self {
        Self {
            version,
            window: WINDOW.min(receive_maximum),
            largest,
            persistent,
            ended: false,
            slots: Vec::new(),
            free: VecDeque::new(),
            in_flight: 0,
            in_flight_bytes: 0,
            queue: VecDeque::new(),
            arrived: Vec::new(),
            sent: 0,
            too_large: 0,
        }
    }

    /// Takes up what an earlier connection of the session left open.
    pub(crate) fn resume(&mut self, out: &mut BytesMut, unfinished: Unfinished) {
        let Unfinished { released, sent, queued } = unfinished;
        for id in released {
            self.reserve(id, Slot::Released);
            put_ack(out, self.version, AckKind::Rel, id, reason::SUCCESS);
        }
        for (id, message) in sent {
            if self.in_flight >= self.window {
                self.queue.push_back(message);
                continue;
            }
            let start = out.len();
            put_publish(out, self.version, &message.publication, message.qos, id, true);
            let size = out.len() - start;
            let Outgoing { publication, qos, origin } = message;
            let copy = self.persistent.then_some(publication);
            self.in_flight_bytes += size;
            self.reserve(id, Slot::Sent { qos, size: size as u32, origin, copy });
        }
        self.queue.extend(queued);
    }

    /// Takes a certain packet id.
    fn reserve(&mut self, id: u16, slot: Slot) {
        while self.slots.len() < usize::from(id) {
            self.slots.push(Slot::Free);
            self.free.push_back(self.slots.len() as u16);
        }
        self.free.retain(|free| *free != id);
        self.slots[usize::from(id) - 1] = slot;
        self.in_flight += 1;
    }

    /// Whether more messages may be taken from the router and the store.
    pub(crate) fn has_room(&self, out: &BytesMut) -> bool {
        out.len() < HIGH_WATER && self.queue.len() < QUEUE
    }

    /// Sends a message, or queues it behind others or a full window.
    pub(crate) fn push(&mut self, out: &mut BytesMut, message: Outgoing) {
        if self.queue.is_empty() && self.may_send(out, message.qos) {
            self.send(out, message);
        } else {
            self.queue.push_back(message);
        }
    }

    /// Sends what was queued as far as it goes.
    pub(crate) fn pump(&mut self, out: &mut BytesMut) {
        while self.queue.front().is_some_and(|message| self.may_send(out, message.qos)) {
            if let Some(message) = self.queue.pop_front() {
                self.send(out, message);
            }
        }
    }

    fn may_send(&self, out: &BytesMut, qos: u8) -> bool {
        let window_open = self.in_flight < self.window && self.in_flight_bytes < WINDOW_BYTES;
        !self.ended && out.len() < HIGH_WATER && (qos == 0 || window_open)
    }

    fn send(&mut self, out: &mut BytesMut, message: Outgoing) {
        let Outgoing { publication, qos, origin } = message;
        let start = out.len();
        let id = if qos == 0 { 0 } else { self.next_id() };
        put_publish(out, self.version, &publication, qos, id, false);
        let size = out.len() - start;
        if size > self.largest {
            out.truncate(start);
            self.too_large += 1;
            if id > 0 {
                self.free.push_front(id);
            }
            return self.settle(origin);
        }
        self.sent += 1;
        if qos == 0 {
            return self.settle(origin);
        }
        self.in_flight += 1;
        self.in_flight_bytes += size;
        let copy = (self.persistent && origin == Origin::Plain).then_some(publication);
        self.slots[usize::from(id) - 1] = Slot::Sent { qos, size: size as u32, origin, copy };
    }

    /// A free packet id, the one that was given back longest ago.
    fn next_id(&mut self) -> u16 {
        self.free.pop_front().unwrap_or_else(|| {
            self.slots.push(Slot::Free);
            // The window keeps this far below 65,535.
            self.slots.len() as u16
        })
    }

    fn slot(&mut self, id: u16) -> Option<&mut Slot> {
        self.slots.get_mut(usize::from(id).checked_sub(1)?)
    }

    /// The client acknowledged a QoS 1 message. Unknown ids are ignored: they belong to an earlier connection.
    pub(crate) fn on_puback(&mut self, id: u16) {
        if let Some(slot @ Slot::Sent { qos: 1, .. }) = self.slot(id) {
            let sent = std::mem::replace(slot, Slot::Free);
            self.release(id);
            self.take(sent);
        }
    }

    /// The client has a QoS 2 message, or refuses it with a reason of 0x80 and above.
    pub(crate) fn on_pubrec(&mut self, out: &mut BytesMut, id: u16, refused: bool) {
        let answer = match self.slot(id) {
            Some(slot @ Slot::Sent { qos: 2, .. }) => {
                let next = if refused { Slot::Free } else { Slot::Released };
                let sent = std::mem::replace(slot, next);
                if refused {
                    self.release(id);
                }
                self.take(sent);
                reason::SUCCESS
            }
            Some(Slot::Released) => reason::SUCCESS,
            _ => reason::PACKET_ID_NOT_FOUND,
        };
        if !refused {
            put_ack(out, self.version, AckKind::Rel, id, answer);
        }
    }

    /// The client completed a QoS 2 message.
    pub(crate) fn on_pubcomp(&mut self, id: u16) {
        if let Some(slot @ Slot::Released) = self.slot(id) {
            *slot = Slot::Free;
            self.release(id);
        }
    }

    /// The packet id may be used again.
    fn release(&mut self, id: u16) {
        self.in_flight -= 1;
        self.free.push_back(id);
    }

    /// The client has the message.
    fn take(&mut self, sent: Slot) {
        if let Slot::Sent { size, origin, .. } = sent {
            self.in_flight_bytes -= size as usize;
            self.settle(origin);
        }
    }

    fn settle(&mut self, origin: Origin) {
        if let Origin::Durable { topic, id } = origin {
            self.arrived.push((topic, id));
        }
    }

    /// The connection has ended: what comes from now on is only queued.
    pub(crate) fn end(&mut self) {
        self.ended = true;
    }

    /// What the next connection of the session takes up. What is the durable store's is sent again by that.
    pub(crate) fn leave(self) -> Unfinished {
        let mut unfinished = Unfinished::default();
        for (index, slot) in self.slots.into_iter().enumerate() {
            let id = index as u16 + 1;
            match slot {
                Slot::Released => unfinished.released.push(id),
                Slot::Sent { qos, origin, copy: Some(publication), .. } => {
                    unfinished.sent.push((id, Outgoing { publication, qos, origin }));
                }
                _ => {}
            }
        }
        unfinished.queued = self.queue;
        unfinished.queued.retain(|message| message.qos > 0 && message.origin == Origin::Plain);
        unfinished
    }
}
