//! Whether a command is accepted: in the journal, synced, before the broker gets its acknowledgement.

use std::sync::Arc;
use std::time::Duration;

use contract::command::{Action, Command};
use contract::event::{CommandReport, EventBody, Notice};
use contract::ids::CommandId;
use contract::lifecycle::State;
use contract::timestamp::Timestamp;
use contract::topic::Topic;
use contract::wire::Malformed;
use contract::{Code, limits};

use super::ticket::first_report;
use super::{Failure, Ticket, run};
use crate::error::JournalError;
use crate::journal::{Accepted, CommandRow};
use crate::outbox;
use crate::relay::Relay;

/// Takes a payload from the `commands` topic. When this returns, what it asks for is in the journal.
///
/// # Errors
/// Only if the journal fails; then the payload must not be acknowledged.
pub async fn payload(relay: &Arc<Relay>, payload: &[u8]) -> Result<(), JournalError> {
    match Command::parse(payload) {
        Ok(command) => admit(relay, command).await,
        Err(malformed) => refuse(relay, malformed).await,
    }
}

async fn admit(relay: &Arc<Relay>, command: Command) -> Result<(), JournalError> {
    if let Some(row) = relay.journal.command(&command.id).await? {
        return repeat(relay, &row).await;
    }
    let report = match check(relay, &command) {
        Ok(()) => first_report(&command, State::Accepted, Code::OK, "in the relay's journal"),
        Err(failure) => first_report(&command, failure.state, failure.code, failure.message),
    };
    let topic = Topic::Events(relay.config.relay.clone()).to_string();
    let body = outbox::event_body(&relay.config.relay, EventBody::Command(report.clone()));
    match relay.journal.accept(&command, &report, (&topic, &body), Timestamp::now()).await? {
        Accepted::Known(row) => return repeat(relay, &row).await,
        Accepted::New => relay.outbox.signal().wake(),
    }
    tracing::info!(
        relay = %relay.config.relay, device = %command.action.device().map(ToString::to_string).unwrap_or_default(),
        command_id = %command.id, verb = command.action.verb(), state = %report.state, code = %report.code, "command"
    );
    if report.state == State::Accepted {
        let time = command.timeout_s.map_or(relay.config.timeouts.command, |s| Duration::from_secs(s.into()));
        queue(relay, Arc::new(Ticket::new(command, report, None, false, time)));
    }
    Ok(())
}

/// Hands an accepted command to whoever works on it.
pub fn queue(relay: &Arc<Relay>, ticket: Arc<Ticket>) {
    relay.tickets.add(ticket.clone());
    match ticket.device().and_then(|device| relay.devices.get(device)) {
        Some(slot) => {
            // The limit was checked before the command was accepted; a resumed one is never refused.
            slot.push(ticket, usize::MAX);
            relay.devices.touch();
        }
        None => {
            tokio::spawn(run::without_device(relay.clone(), ticket));
        }
    }
}

/// Whether the command may be accepted.
fn check(relay: &Relay, command: &Command) -> Result<(), Failure> {
    if command.expires_at.is_some_and(|at| at <= Timestamp::now()) {
        let expired = Failure::new(Code::EXPIRED, "its expires_at had passed when it arrived");
        return Err(Failure { state: State::Expired, ..expired });
    }
    if let Some(expected) = command.expect
        && expected != relay.devices.version()
    {
        let message = format!(
            "the command expects version {expected} of the state, which is {} now; look again and decide",
            relay.devices.version()
        );
        return Err(Failure::rejected(Code::EXPECT_MISMATCH, message));
    }
    let limit = relay.config.bounds.queue;
    let full = |what: &str| Failure::rejected(Code::QUEUE_FULL, format!("{limit} commands wait for {what} already"));
    match (&command.action, command.action.device()) {
        (_, Some(name)) => match relay.devices.get(name) {
            None => {
                let known: Vec<String> = relay.devices.all().iter().map(|slot| slot.name.to_string()).collect();
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                let message = format!("this relay has no device '{name}'; it has {known}");
                Err(Failure::rejected(Code::UNKNOWN_DEVICE, message))
            }
            Some(slot) if slot.queued() >= limit => Err(full(&format!("'{name}'"))),
            Some(_) => match &command.action {
                Action::SetBoard { board, .. } if board != Action::RECOGNISE => known_board(relay, board),
                _ => Ok(()),
            },
        },
        (Action::Build { board, .. }, None) if relay.boards.get(board).is_none() => known_board(relay, board),
        (Action::Build { .. }, None) if relay.tickets.without_device() >= limit => Err(full("a build")),
        _ => Ok(()),
    }
}

fn known_board(relay: &Relay, board: &str) -> Result<(), Failure> {
    if relay.boards.get(board).is_some() {
        return Ok(());
    }
    let message = format!("no board type '{board}'; known are {}", relay.boards.names());
    Err(Failure::rejected(Code::UNKNOWN_BOARD, message))
}

/// A known id: tells how its command stands, and does nothing.
async fn repeat(relay: &Relay, row: &CommandRow) -> Result<(), JournalError> {
    relay.counters.add("duplicate_commands", 1);
    let report = CommandReport { code: Code::DUPLICATE, duration_ms: None, ..row.report.clone() };
    event(relay, EventBody::Command(report)).await
}

/// A payload that is no command: its sender is told if the id could be read, else everybody.
async fn refuse(relay: &Relay, malformed: Malformed) -> Result<(), JournalError> {
    relay.counters.add("malformed", 1);
    let message = limits::clip(&malformed.message);
    tracing::info!(relay = %relay.config.relay, code = %malformed.code, "refused a command: {message}");
    let Some(id) = malformed.id else {
        let notice = Notice { code: malformed.code, message, field: malformed.field };
        return event(relay, EventBody::Notice(notice)).await;
    };
    if let Some(row) = relay.journal.command(&id).await? {
        return repeat(relay, &row).await;
    }
    event(relay, EventBody::Command(rejected(id, malformed.code, message))).await
}

fn rejected(command: CommandId, code: Code, message: String) -> CommandReport {
    CommandReport {
        command,
        verb: String::new(),
        device: None,
        state: State::Rejected,
        code,
        message,
        progress: 0.0,
        duration_ms: None,
        artifact: None,
        detail: None,
    }
}

/// Appends an event at once: what is acknowledged afterwards must be in the journal.
async fn event(relay: &Relay, body: EventBody) -> Result<(), JournalError> {
    let topic = Topic::Events(relay.config.relay.clone()).to_string();
    let message = (contract::stream::Stream::Events, topic, outbox::event_body(&relay.config.relay, body));
    let dropped = relay.journal.append(&[message], |stream| outbox::bound(&relay.config.bounds, stream)).await?;
    relay.counters.add("dropped_events", dropped.values().sum());
    relay.outbox.signal().wake();
    Ok(())
}
