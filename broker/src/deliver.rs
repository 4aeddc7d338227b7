//! Messages on their way to one client: packet ids, the window of unacknowledged messages, both QoS handshakes, and
//! the router's acknowledgements, which it insists on getting in its own order.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::BytesMut;
use rumqttd::protocol::{Packet, PubAck, PubAckReason};

use crate::codec::{AckKind, Publication, Version, put_ack, put_publish, reason};
use crate::wire::HIGH_WATER;

/// Unacknowledged messages at once, beside what the client itself allows. The router sends at most 100 of its own.
const WINDOW: usize = 200;
/// The router numbers what is in flight from 1 to 100 and starts over.
pub(crate) const ROUTER_WINDOW: u16 = 100;

/// Where a message comes from, and so who wants to know that it has arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The router's log; the number is its packet id, 0 for QoS 0.
    Router(u16),
    /// A retained message.
    Retained,
    /// The durable store.
    Durable { topic: Arc<str>, id: u64 },
}

/// A message to be sent.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing {
    pub(crate) publication: Publication,
    pub(crate) qos: u8,
    pub(crate) origin: Origin,
}

#[derive(Debug, Clone)]
enum Slot {
    Free,
    /// Sent, neither acknowledged nor received; retained ones are held for the next connection of the session.
    Sent {
        qos: u8,
        origin: Origin,
        copy: Option<Box<Publication>>,
    },
    /// PUBREL sent, PUBCOMP awaited.
    Released,
}

/// What happened that others must hear of.
#[derive(Debug, Default)]
pub(crate) struct Settled {
    /// Acknowledgements for the router, in order.
    pub(crate) router: Vec<Packet>,
    /// Messages of the durable store that their addressee has.
    pub(crate) durable: Vec<(Arc<str>, u64)>,
}

/// The outgoing side of one connection.
pub(crate) struct Outbound {
    version: Version,
    window: usize,
    largest: usize,
    slots: Vec<Slot>,
    free: VecDeque<u16>,
    in_flight: usize,
    queue: VecDeque<Outgoing>,
    router_done: [bool; ROUTER_WINDOW as usize],
    router_head: usize,
    pub(crate) settled: Settled,
    pub(crate) sent: u64,
    pub(crate) too_large: u64,
}

impl Outbound {
    /// `receive_maximum` and `largest` (bytes of a packet) are the client's own limits.
    pub(crate) fn new(version: Version, receive_maximum: usize, largest: usize) -> Self {
        Self {
            version,
            window: WINDOW.min(receive_maximum),
            largest,
            slots: Vec::new(),
            free: VecDeque::new(),
            in_flight: 0,
            queue: VecDeque::new(),
            router_done: [false; ROUTER_WINDOW as usize],
            router_head: 0,
            settled: Settled::default(),
            sent: 0,
            too_large: 0,
        }
    }

    /// Takes up what an earlier connection of the session left open.
    pub(crate) fn resume(&mut self, out: &mut BytesMut, released: Vec<u16>, unacknowledged: Vec<Outgoing>) {
        for id in released {
            while self.slots.len() < usize::from(id) {
                self.slots.push(Slot::Free);
                self.free.push_back(self.slots.len() as u16);
            }
            self.free.retain(|free| *free != id);
            self.slots[usize::from(id) - 1] = Slot::Released;
            self.in_flight += 1;
            put_ack(out, self.version, AckKind::Rel, id, reason::SUCCESS);
        }
        self.queue.extend(unacknowledged);
    }

    /// Whether more messages may be taken from the router and the store.
    pub(crate) fn has_room(&self, out: &BytesMut) -> bool {
        out.len() < HIGH_WATER && self.queue.len() < WINDOW
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
        out.len() < HIGH_WATER && (qos == 0 || self.in_flight < self.window)
    }

    fn send(&mut self, out: &mut BytesMut, message: Outgoing) {
        let Outgoing { publication, qos, origin } = message;
        let start = out.len();
        let id = if qos == 0 { 0 } else { self.next_id() };
        put_publish(out, self.version, &publication, qos, id);
        if out.len() - start > self.largest {
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
        let copy = (origin == Origin::Retained).then(|| Box::new(publication));
        self.slots[usize::from(id) - 1] = Slot::Sent { qos, origin, copy };
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
        let Some(slot) = self.slot(id) else { return };
        if matches!(slot, Slot::Sent { qos: 1, .. })
            && let Slot::Sent { origin, .. } = std::mem::replace(slot, Slot::Free)
        {
            self.release(id);
            self.settle(origin);
        }
    }

    /// The client has a QoS 2 message, or refuses it with a reason of 0x80 and above.
    pub(crate) fn on_pubrec(&mut self, out: &mut BytesMut, id: u16, refused: bool) {
        let version = self.version;
        let slot = self.slot(id);
        let (answer, origin) = match slot {
            Some(slot @ Slot::Sent { qos: 2, .. }) => {
                let next = if refused { Slot::Free } else { Slot::Released };
                match std::mem::replace(slot, next) {
                    Slot::Sent { origin, .. } => (reason::SUCCESS, Some(origin)),
                    _ => (reason::SUCCESS, None),
                }
            }
            Some(Slot::Released) => (reason::SUCCESS, None),
            _ => (reason::PACKET_ID_NOT_FOUND, None),
        };
        if refused {
            if origin.is_some() {
                self.release(id);
            }
        } else {
            put_ack(out, version, AckKind::Rel, id, answer);
        }
        if let Some(origin) = origin {
            self.settle(origin);
        }
    }

    /// The client completed a QoS 2 message.
    pub(crate) fn on_pubcomp(&mut self, id: u16) {
        if let Some(slot @ Slot::Released) = self.slot(id) {
            *slot = Slot::Free;
            self.release(id);
        }
    }

    fn release(&mut self, id: u16) {
        self.in_flight -= 1;
        self.free.push_back(id);
    }

    fn settle(&mut self, origin: Origin) {
        match origin {
            Origin::Router(0) | Origin::Retained => {}
            Origin::Durable { topic, id } => self.settled.durable.push((topic, id)),
            Origin::Router(id) => {
                let index = usize::from(id) - 1;
                if let Some(done) = self.router_done.get_mut(index) {
                    *done = true;
                }
                while self.router_done[self.router_head] {
                    self.router_done[self.router_head] = false;
                    let ack = PubAck { pkid: self.router_head as u16 + 1, reason: PubAckReason::Success };
                    self.settled.router.push(Packet::PubAck(ack, None));
                    self.router_head = (self.router_head + 1) % self.router_done.len();
                }
            }
        }
    }

    /// What the next connection of the session takes up: ids released and not completed, and retained messages not
    /// acknowledged. What came from the router or the store is sent again by those.
    pub(crate) fn leave(self) -> (Vec<u16>, Vec<Outgoing>) {
        let mut released = Vec::new();
        let mut unacknowledged = Vec::new();
        for (index, slot) in self.slots.into_iter().enumerate() {
            match slot {
                Slot::Released => released.push(index as u16 + 1),
                Slot::Sent { qos, origin, copy: Some(publication) } => {
                    unacknowledged.push(Outgoing { publication: *publication, qos, origin })
                }
                _ => {}
            }
        }
        let retained = self.queue.into_iter();
        unacknowledged.extend(retained.filter(|message| message.qos > 0 && message.origin == Origin::Retained));
        (released, unacknowledged)
    }
}
