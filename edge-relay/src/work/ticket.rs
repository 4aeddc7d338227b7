//! A command that has not ended: where it stands, what its sender is told, whether it can still be stopped.

use std::future::Future;
use std::sync::Mutex;
use std::time::Duration;

use contract::artifact::SignedManifest;
use contract::command::Command;
use contract::event::{CommandReport, EventBody};
use contract::ids::{ArtifactId, DeviceId};
use contract::lifecycle::State;
use contract::timestamp::Timestamp;
use contract::topic::Topic;
use contract::{Code, limits};
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Failure, Halt};
use crate::counters::lock;
use crate::error::JournalError;
use crate::outbox;
use crate::relay::Relay;

/// Progress is reported at most so often, and only when it moved by [`MIN_STEP`].
const MIN_PAUSE: Duration = Duration::from_millis(250);
const MIN_STEP: f32 = 0.02;

/// Whether a command can be stopped now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stopping {
    /// It waits, fetches or builds.
    Possible,
    /// It is at the board.
    Refused,
    /// It was asked to stop.
    Asked,
    /// It is over.
    Ended,
}

#[derive(Debug)]
struct Standing {
    report: CommandReport,
    since: Instant,
    reported: Instant,
    stopping: Stopping,
    started: bool,
}

/// One command that has not ended.
#[derive(Debug)]
pub struct Ticket {
    /// The command.
    pub command: Command,
    /// The manifest that was pinned before a restart.
    pub manifest: Option<SignedManifest>,
    /// Whether it was begun before a restart.
    pub resumed: bool,
    /// When its time is over.
    pub deadline: Instant,
    standing: Mutex<Standing>,
    cancel: CancellationToken,
    ended: CancellationToken,
}

/// The first report of a command.
pub fn first_report(command: &Command, state: State, code: Code, message: impl Into<String>) -> CommandReport {
    CommandReport {
        command: command.id.clone(),
        verb: command.action.verb().to_owned(),
        device: command.action.device().cloned(),
        state,
        code,
        message: limits::clip(&message.into()),
        progress: 0.0,
        duration_ms: None,
        artifact: None,
        detail: None,
    }
}

impl Ticket {
    /// A ticket for a command that the journal has.
    pub fn new(
        command: Command,
        report: CommandReport,
        manifest: Option<SignedManifest>,
        resumed: bool,
        time: Duration,
    ) -> Self {
        let now = Instant::now();
        let stopping = Stopping::Possible;
        Self {
            command,
            manifest,
            resumed,
            deadline: now + time,
            standing: Mutex::new(Standing { report, since: now, reported: now, stopping, started: false }),
            cancel: CancellationToken::new(),
            ended: CancellationToken::new(),
        }
    }

    /// The last report.
    pub fn report(&self) -> CommandReport {
        lock(&self.standing).report.clone()
    }

    /// The device that it is about.
    pub fn device(&self) -> Option<&DeviceId> {
        self.command.action.device()
    }

    /// Whether it is over.
    pub fn has_ended(&self) -> bool {
        self.ended.is_cancelled()
    }

    /// Waits until it is over.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// Takes it up. False if it was stopped while it waited.
    pub fn start(&self) -> bool {
        let mut standing = lock(&self.standing);
        standing.started = standing.stopping == Stopping::Possible;
        standing.started
    }

    /// Asks it to stop. `Err` says why that is not possible; `Ok(true)` that it has not begun, and that whoever asks
    /// has to report its end.
    ///
    /// # Errors
    /// The reason for people.
    pub fn ask_to_stop(&self) -> Result<bool, String> {
        let mut standing = lock(&self.standing);
        match standing.stopping {
            Stopping::Possible | Stopping::Asked => {
                let first = standing.stopping == Stopping::Possible;
                standing.stopping = Stopping::Asked;
                self.cancel.cancel();
                Ok(first && !standing.started)
            }
            Stopping::Refused => Err(format!(
                "the command is {}: a board is not interrupted while its firmware is replaced or tested",
                standing.report.state
            )),
            Stopping::Ended => Err(format!("the command has ended already: {}", standing.report.state)),
        }
    }

    /// Runs a step that can be dropped at any point, until it ends, the command is cancelled or its time is over.
    ///
    /// # Errors
    /// Those of the step, or why it was stopped.
    pub async fn guard<T>(&self, step: impl Future<Output = Result<T, Halt>>) -> Result<T, Halt> {
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(Failure::cancelled().into()),
            () = tokio::time::sleep_until(self.deadline) => Err(Failure::timed_out().into()),
            result = step => result,
        }
    }

    /// Goes on to `state`. From `flashing` on the command cannot be stopped any more.
    ///
    /// # Errors
    /// [`Failure::cancelled`] if it was asked to stop before.
    pub async fn advance(&self, relay: &Relay, state: State, progress: f32, message: &str) -> Result<(), Halt> {
        let report = {
            let mut standing = lock(&self.standing);
            if matches!(state, State::Flashing | State::Verifying) {
                if standing.stopping == Stopping::Asked {
                    return Err(Failure::cancelled().into());
                }
                standing.stopping = Stopping::Refused;
            }
            let now = Instant::now();
            standing.report.duration_ms = Some(millis(now - standing.since));
            standing.report.state = state;
            standing.report.code = Code::OK;
            standing.report.message = message.to_owned();
            standing.report.progress = progress;
            standing.since = now;
            standing.reported = now;
            standing.report.clone()
        };
        self.write(relay, &report).await?;
        Ok(())
    }

    /// Says that it goes on after a restart of the relay.
    ///
    /// # Errors
    /// Only if the journal fails.
    pub async fn announce_resumed(&self, relay: &Relay) -> Result<(), JournalError> {
        let report = {
            let standing = lock(&self.standing);
            let message = format!("the relay restarted while the command was {}; it goes on", standing.report.state);
            CommandReport { code: Code::RESUMED, message, duration_ms: None, ..standing.report.clone() }
        };
        self.write(relay, &report).await
    }

    /// Reports how far the present state is, if that is worth a message.
    ///
    /// # Errors
    /// Only if the journal fails.
    pub async fn progress(&self, relay: &Relay, progress: f32) -> Result<(), Halt> {
        let report = {
            let mut standing = lock(&self.standing);
            let now = Instant::now();
            if now - standing.reported < MIN_PAUSE || progress - standing.report.progress < MIN_STEP {
                return Ok(());
            }
            standing.reported = now;
            standing.report.progress = progress.min(1.0);
            standing.report.duration_ms = None;
            standing.report.clone()
        };
        self.write(relay, &report).await?;
        Ok(())
    }

    /// From here on every report names the artifact.
    pub fn set_artifact(&self, artifact: &ArtifactId) {
        lock(&self.standing).report.artifact = Some(artifact.clone());
    }

    /// Ends it well.
    ///
    /// # Errors
    /// Only if the journal fails.
    pub async fn succeed(&self, relay: &Relay, message: &str, detail: Option<Value>) -> Result<(), JournalError> {
        let end = Failure { state: State::Succeeded, code: Code::OK, message: message.to_owned(), detail };
        self.end(relay, end).await
    }

    /// Ends it. Whoever ends it first has the last word.
    ///
    /// # Errors
    /// Only if the journal fails.
    pub async fn end(&self, relay: &Relay, end: Failure) -> Result<(), JournalError> {
        let report = {
            let mut standing = lock(&self.standing);
            if standing.stopping == Stopping::Ended {
                return Ok(());
            }
            standing.stopping = Stopping::Ended;
            let took = Instant::now() - standing.since;
            let report = &mut standing.report;
            report.state = end.state;
            report.code = end.code;
            report.message = limits::clip(&end.message);
            report.detail = end.detail.or(report.detail.take());
            report.duration_ms = Some(millis(took));
            if end.state == State::Succeeded {
                report.progress = 1.0;
            }
            report.clone()
        };
        let device = report.device.as_ref().map(DeviceId::as_str).unwrap_or_default();
        let duration_ms = report.duration_ms.unwrap_or_default();
        tracing::info!(
            relay = %relay.config.relay, device, command_id = %report.command, duration_ms,
            verb = %report.verb, state = %report.state, code = %report.code, "command ended: {}", report.message
        );
        self.write(relay, &report).await?;
        relay.tickets.forget(&self.command.id);
        self.ended.cancel();
        relay.devices.touch();
        Ok(())
    }

    async fn write(&self, relay: &Relay, report: &CommandReport) -> Result<(), JournalError> {
        let topic = Topic::Events(relay.config.relay.clone()).to_string();
        let body = outbox::event_body(&relay.config.relay, EventBody::Command(report.clone()));
        if relay.journal.report(report, (&topic, &body), Timestamp::now()).await? {
            relay.outbox.signal().wake();
        }
        Ok(())
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
