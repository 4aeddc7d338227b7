//! The worker of one device: its commands one after another, and observing in between.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use contract::Code;
use contract::event::DeviceReport;
use contract::pattern::Pattern;
use contract::state::{DeviceStatus, Firmware, Problem};
use contract::timestamp::Timestamp;
use firmware::message::Info;

use super::line::Ear;
use super::observe;
use super::read_text;
use super::registry::{Facts, Slot};
use crate::error::{JournalError, RelayError};
use crate::journal::{DeviceRow, Installed};
use crate::relay::Relay;
use crate::serial::talk::{self, Condition};
use crate::serial::{Fault, SerialLine};
use crate::work::{Halt, mend, run};

/// First and longest pause before a board that does not answer is tried again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// Works for one device.
pub struct Worker {
    /// What all parts share.
    pub relay: Arc<Relay>,
    /// The device.
    pub slot: Arc<Slot>,
    /// Its serial line while it is connected.
    pub line: Option<SerialLine>,
    generation: String,
    /// Whether the board was asked what runs on it since it was plugged in.
    asked: bool,
    failures: u32,
}

impl Worker {
    /// A worker for a device.
    pub fn new(relay: Arc<Relay>, slot: Arc<Slot>) -> Self {
        Self { relay, slot, line: None, generation: String::new(), asked: false, failures: 0 }
    }

    /// Works until the relay stops.
    pub async fn run(mut self) {
        if let Err(error) = self.work().await {
            self.relay.die(RelayError::Journal(error));
        }
    }

    async fn work(&mut self) -> Result<(), JournalError> {
        loop {
            if self.relay.shutdown.is_cancelled() {
                return Ok(());
            }
            self.slot.interrupt().store(false, Ordering::Release);
            if let Some(ticket) = self.slot.pop() {
                run::at_device(self, &ticket).await?;
                continue;
            }
            self.follow_plug();
            if self.line.is_none() {
                self.slot.wake.notified().await;
                continue;
            }
            let pause = match self.idle_work().await? {
                Ok(()) => {
                    self.failures = 0;
                    None
                }
                Err(fault) => self.fault(&fault).await?,
            };
            match pause {
                Some(pause) => {
                    let _ = tokio::time::timeout(pause, self.slot.wake.notified()).await;
                }
                None if self.slot.interrupt().load(Ordering::Acquire) => {}
                None => self.slot.wake.notified().await,
            }
        }
    }

    /// Gets to know the board anew, as if it had just been plugged in.
    pub fn begin_anew(&mut self) {
        self.generation.clear();
    }

    /// Opens and closes the line as the device comes and goes.
    pub fn follow_plug(&mut self) {
        let facts = self.slot.facts();
        let generation = facts.plug.as_ref().map(|plug| plug.generation.clone()).unwrap_or_default();
        if generation == self.generation {
            return;
        }
        let baud = self.relay.boards.get(&facts.row.board).map_or(115_200, |board| board.baud);
        self.line = facts.plug.map(|plug| SerialLine::new(plug, baud));
        self.generation = generation;
        self.asked = false;
        self.failures = 0;
    }

    /// Waits until the device is connected, at most for its patience.
    pub async fn wait_for_device(&mut self) -> bool {
        let end = tokio::time::Instant::now() + self.relay.config.timeouts.device;
        loop {
            self.follow_plug();
            if self.line.as_ref().is_some_and(SerialLine::is_current) {
                return true;
            }
            self.relay.rescan.notify_one();
            if tokio::time::Instant::now() >= end {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// What is done while no command waits: get to know the board, observe it.
    async fn idle_work(&mut self) -> Result<Result<(), Fault>, JournalError> {
        let facts = self.slot.facts();
        if !facts.row.unsettled
            && let Some((pattern, baud)) = read_text::wanted(facts.row.observe.as_ref())
        {
            return self.read_text(pattern, baud).await;
        }
        // A board of unknown type is left alone: opening its port might reset it.
        if self.relay.boards.get(&facts.row.board).is_none() {
            return Ok(Ok(()));
        }
        if facts.row.unsettled
            && let Err(fault) = mend::run(self).await?
        {
            return Ok(Err(fault));
        }
        let observing = facts.row.observe.filter(|observe| observe.enabled).is_some();
        if self.asked && !(observing && facts.row.firmware.is_some()) {
            if let Some(line) = &mut self.line {
                line.close(); // others may have the port while we do nothing with it
            }
            return Ok(Ok(()));
        }
        let info = match self.ask().await? {
            Ok(Some(info)) => info,
            Ok(None) => return Ok(Ok(())),
            Err(fault) => return Ok(Err(fault)),
        };
        let facts = self.slot.facts();
        match facts.row.observe {
            Some(observe) if observe.enabled => observe::run(self, info, observe).await,
            _ => Ok(Ok(())),
        }
    }

    /// Firmware that is not ours is not asked anything: it would not understand.
    async fn read_text(&mut self, pattern: Pattern, baud: Option<u32>) -> Result<Result<(), Fault>, JournalError> {
        self.asked = false;
        self.note(|facts| {
            facts.status = DeviceStatus::Running;
            facts.problem = None;
        })
        .await?;
        Ok(read_text::run(self, pattern, baud).await)
    }

    /// Asks the board what runs on it and notes it. `None`: there is nothing to talk to.
    async fn ask(&mut self) -> Result<Result<Option<Info>, Fault>, JournalError> {
        let facts = self.slot.facts();
        let programmer = self.relay.boards.get(&facts.row.board).and_then(|board| self.relay.programmer(board));
        let Some(programmer) = programmer else { return Ok(Ok(None)) };
        // It did not answer last time: start it anew.
        let again = self.failures > 0;
        let asked = self.idle_at_board(move |line, ear| {
            if again && let Err(fault) = programmer.reset(line, ear) {
                match fault {
                    Fault::Lost(_) | Fault::Busy(_) | Fault::Denied(_) | Fault::Stopped => return Err(fault),
                    _ => {}
                }
            }
            talk::condition(line, programmer.as_ref(), ear)
        });
        match asked.await {
            Ok(Condition::Running(info)) => {
                self.asked = true;
                self.note_firmware(&info).await?;
                Ok(Ok(Some(*info)))
            }
            Ok(Condition::Empty) => {
                self.asked = true;
                self.note_empty().await?;
                Ok(Ok(None))
            }
            Ok(Condition::Foreign) if facts.row.firmware.is_none() => {
                self.asked = true;
                self.note_empty().await?;
                Ok(Ok(None))
            }
            Ok(Condition::Foreign) => {
                Ok(Err(Fault::Session(firmware::session::SessionError::NoAnswer { what: "HELLO", tries: 6 })))
            }
            Ok(Condition::Silent(text)) => {
                tracing::debug!(device = %self.slot.name, "{text}");
                Ok(Err(Fault::Session(firmware::session::SessionError::NoAnswer { what: "HELLO", tries: 6 })))
            }
            Err(fault) => Ok(Err(fault)),
        }
    }

    /// Blocking work at the line that stops as soon as there is something else to do.
    pub async fn idle_at_board<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut SerialLine, &mut Ear) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let mut line = self.line.take().ok_or_else(|| Fault::Lost("it is not connected".to_owned()))?;
        let mut ear = Ear::idle(&self.relay, &self.slot.name, self.slot.interrupt().clone());
        let done = tokio::task::spawn_blocking(move || {
            let result = work(&mut line, &mut ear);
            (line, result)
        });
        let (line, result) = done.await.map_err(|_| Fault::Lost("the work at the port failed".to_owned()))?;
        self.line = Some(line);
        result
    }

    /// What the board itself says is the truth about what is installed.
    async fn note_firmware(&mut self, info: &Info) -> Result<(), JournalError> {
        let known = self.slot.facts().row.firmware;
        let reported = info.artifact.parse::<contract::ArtifactId>().ok();
        let firmware = match (&known, reported) {
            (Some(installed), Some(artifact)) if installed.firmware.artifact == artifact => known,
            (_, Some(artifact)) => Some(Installed {
                firmware: Firmware { artifact, model: None, installed_at: Timestamp::now(), verified: false },
                image: None,
            }),
            // Firmware of ours without an artifact's id: nothing is known of it.
            (_, None) => None,
        };
        self.note(|facts| {
            if facts.row.firmware != firmware && facts.row.firmware.as_ref().is_some_and(|old| old.image.is_some()) {
                facts.row.previous = facts.row.firmware.take();
            }
            facts.row.firmware = firmware;
            facts.row.unsettled = false;
            facts.status = DeviceStatus::Running;
            facts.problem = None;
        })
        .await
    }

    async fn note_empty(&mut self) -> Result<(), JournalError> {
        self.note(|facts| {
            facts.row.firmware = None;
            facts.status = DeviceStatus::Empty;
            facts.problem = None;
        })
        .await
    }

    /// Changes what is known of the device, in memory, in the journal, and for everybody who listens.
    pub async fn note(&mut self, change: impl FnOnce(&mut Facts)) -> Result<(), JournalError> {
        let before = self.slot.facts();
        let after = self.relay.devices.update(&self.slot, |facts| {
            change(facts);
            facts.clone()
        });
        if after.row != before.row {
            self.relay.journal.keep_device(&after.row).await?;
        }
        if (after.status, &after.problem) != (before.status, &before.problem) {
            self.report(&after);
        }
        Ok(())
    }

    fn report(&self, facts: &Facts) {
        let (code, message) = match &facts.problem {
            Some(problem) => (problem.code.clone(), problem.message.clone()),
            None => (Code::OK, String::new()),
        };
        let (device, status) = (self.slot.name.clone(), facts.status);
        self.relay.outbox.device(DeviceReport { device, status, code, message });
    }

    /// Notes a fault; how long to wait before the next try.
    async fn fault(&mut self, fault: &Fault) -> Result<Option<Duration>, JournalError> {
        if matches!(fault, Fault::Stopped) {
            self.asked = false;
            let disturbed = self.slot.interrupt().load(Ordering::Acquire);
            return Ok((!disturbed).then_some(PAUSES.0));
        }
        self.failures += 1;
        self.asked = false;
        let pause = (PAUSES.0 * 2u32.saturating_pow(self.failures.min(10) - 1)).min(PAUSES.1);
        if matches!(fault, Fault::Lost(_)) {
            // The search for devices will notice; until then the port is tried again.
            self.relay.rescan.notify_one();
            if self.failures < 3 {
                return Ok(Some(pause));
            }
        }
        let problem = Problem { code: fault.code(Code::DEVICE_LOST), message: fault.to_string() };
        tracing::warn!(relay = %self.relay.config.relay, device = %self.slot.name, error = %fault, "device is faulty");
        self.note(|facts| {
            facts.status = DeviceStatus::Faulty;
            facts.problem = Some(problem);
        })
        .await?;
        Ok(Some(pause))
    }

    /// A copy of what the journal keeps of the device.
    pub fn row(&self) -> DeviceRow {
        self.slot.facts().row
    }
}

/// A halt of the journal ends the relay, a failure belongs to the command.
pub fn split(halt: Halt) -> Result<crate::work::Failure, JournalError> {
    match halt {
        Halt::Failure(failure) => Ok(failure),
        Halt::Fatal(error) => Err(error),
    }
}
