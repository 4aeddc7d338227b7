//! What all parts of a running relay share.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use contract::ids::CommandId;
use contract::state::Toolchain as ToolchainReport;
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::boards::{BoardType, Boards};
use crate::build::Builder;
use crate::config::RelayConfig;
use crate::counters::{Counters, lock};
use crate::device::{Registry, Slot};
use crate::error::RelayError;
use crate::fetch::{Asker, Store};
use crate::journal::Journal;
use crate::mqtt::Link;
use crate::outbox::Outbox;
use crate::serial::programmer::{self, Programmer};
use crate::trust::Trust;
use crate::work::Ticket;

/// A running relay.
#[derive(Debug)]
pub struct Relay {
    /// Configuration.
    pub config: RelayConfig,
    /// Public keys whose manifests are installed.
    pub trust: Trust,
    /// The journal.
    pub journal: Arc<Journal>,
    /// Counters.
    pub counters: Arc<Counters>,
    /// The connection to the broker.
    pub link: Link,
    /// The three streams.
    pub outbox: Outbox,
    /// Board types.
    pub boards: Boards,
    /// Devices.
    pub devices: Registry,
    /// Commands that have not ended.
    pub tickets: Tickets,
    /// Requests to the cloud.
    pub asker: Asker,
    /// Artifacts on the disk.
    pub store: Store,
    /// Toolchains and what they built.
    pub builder: Builder,
    /// Toolchains as they were found last.
    pub toolchains: Mutex<Vec<ToolchainReport>>,
    /// Asks to look for devices at once.
    pub rescan: Notify,
    /// Counts finished looks for devices.
    pub scanned: watch::Sender<u64>,
    /// A host asks for presence and state.
    pub rebirth: Notify,
    /// New devices get a worker.
    pub workers: mpsc::UnboundedSender<Arc<Slot>>,
    /// Ends the relay because nothing can be promised any more.
    pub fatal: mpsc::UnboundedSender<RelayError>,
    /// The relay is to stop.
    pub shutdown: CancellationToken,
    /// When the process started; the monotonic clock of readings.
    pub started: std::time::Instant,
}

impl Relay {
    /// The programmer for a board.
    pub fn programmer(&self, board: &BoardType) -> Option<Box<dyn Programmer>> {
        programmer::of(board, &self.builder)
    }

    /// Has a worker started for a device, unless it has one.
    pub fn start_worker(&self, slot: Arc<Slot>) {
        if slot.claim() {
            // The receiver lives as long as the relay.
            let _ = self.workers.send(slot);
        }
    }

    /// Ends the relay.
    pub fn die(&self, error: impl Into<RelayError>) {
        let _ = self.fatal.send(error.into());
    }
}

/// Commands that have not ended, by id.
#[derive(Debug, Default)]
pub struct Tickets(Mutex<BTreeMap<CommandId, Arc<Ticket>>>);

impl Tickets {
    /// Adds one.
    pub fn add(&self, ticket: Arc<Ticket>) {
        lock(&self.0).insert(ticket.command.id.clone(), ticket);
    }

    /// The one of that id.
    pub fn get(&self, id: &CommandId) -> Option<Arc<Ticket>> {
        lock(&self.0).get(id).cloned()
    }

    /// Takes one out.
    pub fn forget(&self, id: &CommandId) {
        lock(&self.0).remove(id);
    }

    /// How many are about no device.
    pub fn without_device(&self) -> usize {
        lock(&self.0).values().filter(|ticket| ticket.device().is_none()).count()
    }

    /// Artifacts that must not be evicted because a command works with them.
    pub fn artifacts(&self) -> Vec<contract::ArtifactId> {
        lock(&self.0).values().filter_map(|ticket| ticket.report().artifact).collect()
    }
}
