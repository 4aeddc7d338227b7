//! What the relay knows of its devices now, and the version of the state that commands can expect.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use contract::code::Code;
use contract::command::Observe;
use contract::ids::{ArtifactId, CommandId, DeviceId};
use contract::state::{Device, DeviceStatus, Problem};
use sha2::{Digest as _, Sha256};
use tokio::sync::Notify;

use super::discover::virtual_board;
use crate::counters::lock;
use crate::journal::DeviceRow;
use crate::work::Ticket;

/// Where a device is connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plug {
    /// Path of the serial port.
    pub port: String,
    /// Changes whenever the device was plugged in anew, even at the same path.
    pub generation: String,
    /// Folder of a virtual board.
    pub folder: Option<PathBuf>,
    /// The USB device that it is, `vid:pid:serial`, where it has a serial number.
    pub usb: Option<String>,
}

impl Plug {
    /// False once the device has gone. A virtual board's number goes to the next terminal that anybody opens, and
    /// what is written there would reach a stranger.
    pub fn is_current(&self) -> bool {
        let Some(folder) = &self.folder else { return std::path::Path::new(&self.port).exists() };
        virtual_board(folder).is_some_and(|found| found.plug == *self)
    }
}

/// What is known of a device now.
#[derive(Debug, Clone)]
pub struct Facts {
    /// What the journal keeps.
    pub row: DeviceRow,
    /// Where it is connected, if it is.
    pub plug: Option<Plug>,
    /// The board type that it was recognised as when it was plugged in.
    pub recognised: Option<String>,
    /// What it is doing.
    pub status: DeviceStatus,
    /// What is wrong with it.
    pub problem: Option<Problem>,
    /// The command that works on it.
    pub command: Option<CommandId>,
}

/// One device, or (for builds without a device) one board type: a queue of commands, worked off one by one.
#[derive(Debug)]
pub struct Slot {
    /// Its name.
    pub name: DeviceId,
    facts: Mutex<Facts>,
    queue: Mutex<VecDeque<Arc<Ticket>>>,
    /// Wakes the worker.
    pub wake: Notify,
    /// Makes observing stop soon, because there is something else to do.
    interrupt: Arc<AtomicBool>,
    /// Whether it has its worker.
    worked: AtomicBool,
}

impl Slot {
    /// A device that is not connected.
    pub fn new(row: DeviceRow) -> Self {
        let facts =
            Facts { row, plug: None, recognised: None, status: DeviceStatus::Lost, problem: None, command: None };
        Self {
            name: facts.row.name.clone(),
            facts: Mutex::new(facts),
            queue: Mutex::default(),
            wake: Notify::new(),
            interrupt: Arc::default(),
            worked: AtomicBool::new(false),
        }
    }

    /// True for the first who asks: two workers would hold the port against each other.
    pub fn claim(&self) -> bool {
        !self.worked.swap(true, Ordering::AcqRel)
    }

    /// What is known now.
    pub fn facts(&self) -> Facts {
        lock(&self.facts).clone()
    }

    /// The flag that makes observing stop.
    pub fn interrupt(&self) -> &Arc<AtomicBool> {
        &self.interrupt
    }

    /// Wakes the worker, whatever it does.
    pub fn disturb(&self) {
        self.interrupt.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    /// Queues a command unless `limit` wait already.
    pub fn push(&self, ticket: Arc<Ticket>, limit: usize) -> bool {
        let mut queue = lock(&self.queue);
        if queue.len() >= limit {
            return false;
        }
        queue.push_back(ticket);
        drop(queue);
        self.disturb();
        true
    }

    /// The next command.
    pub fn pop(&self) -> Option<Arc<Ticket>> {
        lock(&self.queue).pop_front()
    }

    /// Commands that wait and have not ended meanwhile.
    pub fn queued(&self) -> usize {
        lock(&self.queue).iter().filter(|ticket| !ticket.has_ended()).count()
    }

    /// Takes ended commands (cancelled while they waited) out of the queue.
    pub fn tidy(&self) {
        lock(&self.queue).retain(|ticket| !ticket.has_ended());
    }
}

/// All devices.
#[derive(Debug, Default)]
pub struct Registry {
    slots: Mutex<BTreeMap<DeviceId, Arc<Slot>>>,
    version: Mutex<(u64, [u8; 32])>,
    /// The state document has to be published again.
    pub changed: Notify,
}

/// What commands can depend on; whatever is not in here changes without changing the state's version.
type Dependable<'a> =
    (&'a DeviceId, &'a str, bool, Option<&'a ArtifactId>, Option<bool>, Option<&'a Observe>, Option<&'a Code>);

impl Registry {
    /// Counts versions on from `version`.
    pub fn starting_at(version: u64) -> Self {
        Self { version: Mutex::new((version, [0; 32])), ..Self::default() }
    }

    /// The device of that name.
    pub fn get(&self, name: &DeviceId) -> Option<Arc<Slot>> {
        lock(&self.slots).get(name).cloned()
    }

    /// All devices, by name.
    pub fn all(&self) -> Vec<Arc<Slot>> {
        lock(&self.slots).values().cloned().collect()
    }

    /// Adds a device.
    pub fn add(&self, slot: Arc<Slot>) {
        lock(&self.slots).insert(slot.name.clone(), slot);
        self.touch();
    }

    /// Changes what is known of a device.
    pub fn update<T>(&self, slot: &Slot, change: impl FnOnce(&mut Facts) -> T) -> T {
        let result = change(&mut lock(&slot.facts));
        self.touch();
        result
    }

    /// Version of what commands can depend on.
    pub fn version(&self) -> u64 {
        lock(&self.version).0
    }

    /// Counts a new version if something changed that commands can depend on, and has the state published.
    pub fn touch(&self) {
        let mut hash = Sha256::new();
        for slot in self.all() {
            let facts = slot.facts();
            let row = &facts.row;
            let firmware = row.firmware.as_ref().map(|installed| &installed.firmware);
            let dependable: Dependable<'_> = (
                &row.name,
                &row.board,
                facts.plug.is_some(),
                firmware.map(|f| &f.artifact),
                firmware.map(|f| f.verified),
                row.observe.as_ref(),
                facts.problem.as_ref().map(|problem| &problem.code),
            );
            hash.update(serde_json::to_vec(&dependable).unwrap_or_default());
        }
        let digest: [u8; 32] = hash.finalize().into();
        let mut version = lock(&self.version);
        if version.1 != digest {
            *version = (version.0 + 1, digest);
        }
        drop(version);
        self.changed.notify_one();
    }

    /// The devices as the state reports them.
    pub fn report(&self) -> Vec<Device> {
        let slots = self.all();
        slots
            .iter()
            .map(|slot| {
                let facts = slot.facts();
                let queued = u32::try_from(slot.queued()).unwrap_or(u32::MAX);
                Device {
                    device: facts.row.name,
                    board: facts.row.board,
                    board_by_hand: facts.row.by_hand.is_some(),
                    status: match (facts.plug.is_some(), &facts.command) {
                        (false, None) => DeviceStatus::Lost,
                        (_, Some(_)) => DeviceStatus::Busy,
                        (true, None) => facts.status,
                    },
                    port: facts.plug.map_or(facts.row.port, |plug| plug.port),
                    product: facts.row.product,
                    manufacturer: facts.row.manufacturer,
                    usb: facts.row.usb,
                    serial_number: facts.row.serial_number,
                    firmware: facts.row.firmware.map(|installed| installed.firmware),
                    observe: facts.row.observe,
                    command: facts.command,
                    queued,
                    problem: facts.problem,
                }
            })
            .collect()
    }
}
