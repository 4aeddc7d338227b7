//! Blocking work at a device's serial line, seen from async code: its progress, its log, its time limit.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use contract::ids::{CommandId, DeviceId};
use contract::log::Phase;
use firmware::session::Event;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::relay::Relay;
use crate::serial::{Fault, SerialLine};
use crate::work::{Failure, Halt, Ticket};

/// Hears what happens beside a conversation: log lines and noise; says when to stop.
pub struct Ear {
    relay: Arc<Relay>,
    device: DeviceId,
    command: Option<CommandId>,
    phase: Phase,
    deadline: Option<Instant>,
    stop: Arc<AtomicBool>,
    progress: watch::Sender<f32>,
    overdue: bool,
}

impl Ear {
    /// An ear for work that belongs to no command.
    pub fn idle(relay: &Arc<Relay>, device: &DeviceId, stop: Arc<AtomicBool>) -> Self {
        Self {
            relay: relay.clone(),
            device: device.clone(),
            command: None,
            phase: Phase::Serial,
            deadline: None,
            stop,
            progress: watch::channel(0.0).0,
            overdue: false,
        }
    }

    /// Takes an event; returns whether to go on.
    pub fn hear(&mut self, event: Event) -> bool {
        match event {
            // What the board prints is its own log, whatever the relay does at the moment.
            Event::Line(text) => self.relay.outbox.line(&self.device, self.command.as_ref(), Phase::Serial, &text),
            Event::Noise(text) => {
                // It begins with the number of bytes, where it is about bytes.
                let bytes = text.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0);
                self.noise(bytes);
            }
            Event::Progress(progress) => {
                self.progress.send_replace(progress);
            }
            Event::Started(info) => {
                tracing::debug!(device = %self.device, artifact = %info.artifact, boots = info.boot_count, "board started");
            }
            Event::Tick => {}
        }
        if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            self.overdue = true;
        }
        !self.overdue && !self.stop.load(Ordering::Acquire) && !self.relay.shutdown.is_cancelled()
    }

    /// For a program that flashes the board and does not ask this ear.
    pub fn leave(&self) -> Leave {
        Leave { shutdown: self.relay.shutdown.clone(), since: Cell::new(None) }
    }

    /// Counts a piece of noise.
    pub fn noise(&self, bytes: u64) {
        self.relay.counters.add("frame_errors", 1);
        self.relay.counters.add("noise_bytes", bytes);
    }

    /// Writes a line of the relay's own to the device's log.
    pub fn note(&self, text: &str) {
        self.relay.outbox.line(&self.device, self.command.as_ref(), self.phase, text);
    }
}

/// Tells when a program that flashes a board has to go because the relay stops. It gets a moment to come to its end,
/// because what is half written has to be written again; the journal knows of it.
pub struct Leave {
    shutdown: CancellationToken,
    since: Cell<Option<Instant>>,
}

/// That moment; whoever stops a relay waits no more than a few seconds for it.
const GRACE: Duration = Duration::from_secs(2);

impl Leave {
    /// Whether the relay stops.
    pub fn is_wanted(&self) -> bool {
        self.shutdown.is_cancelled()
    }

    /// Whether the program has to go now.
    pub fn is_due(&self) -> bool {
        if !self.is_wanted() {
            return false;
        }
        let since = self.since.get().unwrap_or_else(Instant::now);
        self.since.set(Some(since));
        since.elapsed() >= GRACE
    }
}

/// Does blocking work for a command; its progress from 0 to 1 becomes `from` to `to` of the command's.
///
/// # Errors
/// Why the command ends (its time was over), or the fault.
pub async fn at_board<T: Send + 'static>(
    relay: &Arc<Relay>,
    ticket: &Ticket,
    device: &DeviceId,
    line: &mut Option<SerialLine>,
    (phase, from, to): (Phase, f32, f32),
    work: impl FnOnce(&mut SerialLine, &mut Ear) -> Result<T, Fault> + Send + 'static,
) -> Result<Result<T, Fault>, Halt> {
    let (progress, mut seen) = watch::channel(0.0);
    let mut ear = Ear {
        relay: relay.clone(),
        device: device.clone(),
        command: Some(ticket.command.id.clone()),
        phase,
        deadline: Some(ticket.deadline.into_std()),
        stop: Arc::default(),
        progress,
        overdue: false,
    };
    let Some(mut taken) = line.take() else {
        return Ok(Err(Fault::Lost("it is not connected".to_owned())));
    };
    let mut job = tokio::task::spawn_blocking(move || {
        let result = work(&mut taken, &mut ear);
        (taken, result, ear.overdue)
    });
    let (taken, result, overdue) = loop {
        tokio::select! {
            biased;
            done = &mut job => match done {
                Ok(done) => break done,
                Err(_) => return Ok(Err(Fault::Lost("the work at the port failed".to_owned()))),
            },
            Ok(()) = seen.changed() => {
                let now = *seen.borrow_and_update();
                ticket.progress(relay, from + (to - from) * now).await?;
            }
        }
    };
    *line = Some(taken);
    if overdue {
        return Err(Failure::timed_out().into());
    }
    if relay.shutdown.is_cancelled() && matches!(result, Err(Fault::Stopped)) {
        // The journal knows the command: the next start goes on with it.
        std::future::pending::<()>().await;
    }
    Ok(result)
}
