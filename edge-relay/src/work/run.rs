//! Working off one command: everything that is the same for all verbs.

use std::sync::Arc;

use contract::Code;
use contract::command::Action;
use contract::lifecycle::State;
use contract::timestamp::Timestamp;
use serde_json::Value;

use super::{Failure, Halt, Ticket, evaluate, install, verbs};
use crate::device::worker::{Worker, split};
use crate::error::JournalError;
use crate::relay::Relay;

/// How a command ends well: a sentence, and more depending on the verb.
pub type Done = (String, Option<Value>);

/// Works off a command that is about a device.
///
/// # Errors
/// Only if the journal fails.
pub async fn at_device(worker: &mut Worker, ticket: &Arc<Ticket>) -> Result<(), JournalError> {
    if !ticket.start() {
        return Ok(()); // it was cancelled while it waited, and that is reported
    }
    let (relay, slot) = (worker.relay.clone(), worker.slot.clone());
    relay.devices.update(&slot, |facts| facts.command = Some(ticket.command.id.clone()));
    let result = match begin(&relay, ticket).await {
        Ok(()) => work(worker, ticket).await,
        Err(halt) => Err(halt),
    };
    relay.devices.update(&slot, |facts| facts.command = None);
    end(&relay, ticket, result).await
}

/// Works off a command that is about no device.
pub async fn without_device(relay: Arc<Relay>, ticket: Arc<Ticket>) {
    if !ticket.start() {
        return;
    }
    let result = match begin(&relay, &ticket).await {
        Ok(()) => match &ticket.command.action {
            Action::Build { board, what } => verbs::build(&relay, &ticket, board, what).await,
            Action::Rescan => verbs::rescan(&relay, &ticket).await,
            Action::Cancel { command } => super::cancel::run(&relay, &ticket, command).await,
            Action::Diagnose => verbs::diagnose(&relay).await,
            _ => Err(Failure::new(Code::INTERNAL, "this verb needs a device").into()),
        },
        Err(halt) => Err(halt),
    };
    if let Err(error) = end(&relay, &ticket, result).await {
        relay.die(error);
    }
}

async fn work(worker: &mut Worker, ticket: &Arc<Ticket>) -> Result<Done, Halt> {
    match &ticket.command.action {
        Action::Install { what, observe, .. } => install::run(worker, ticket, what, observe.clone()).await,
        Action::Erase { .. } => verbs::erase(worker, ticket).await,
        Action::Restart { .. } => verbs::restart(worker, ticket).await,
        Action::Identify { .. } => verbs::identify(worker, ticket).await,
        Action::SelfTest { .. } => verbs::self_test(worker, ticket).await,
        Action::Evaluate { .. } => evaluate::run(worker, ticket).await,
        Action::Observe { observe, .. } => verbs::observe(worker, ticket, observe.clone()).await,
        Action::SetBoard { board, .. } => verbs::set_board(worker, board).await,
        _ => Err(Failure::new(Code::INTERNAL, "this verb is not about a device").into()),
    }
}

/// Whether it may begin, and beginning it in the journal.
async fn begin(relay: &Relay, ticket: &Ticket) -> Result<(), Halt> {
    let attempts = relay.journal.begin_attempt(&ticket.command.id).await?;
    if attempts > relay.config.bounds.attempts {
        let message = format!("the relay was stopped {} times during this command and gives up", attempts - 1);
        return Err(Failure::new(Code::INTERRUPTED, message).into());
    }
    if tokio::time::Instant::now() >= ticket.deadline {
        return Err(Failure::timed_out().into());
    }
    if attempts == 1 && ticket.command.expires_at.is_some_and(|at| at <= Timestamp::now()) {
        let expired = Failure::new(Code::EXPIRED, "its expires_at passed while it waited");
        return Err(Failure { state: State::Expired, ..expired }.into());
    }
    if ticket.resumed {
        ticket.announce_resumed(relay).await?;
    }
    Ok(())
}

async fn end(relay: &Relay, ticket: &Ticket, result: Result<Done, Halt>) -> Result<(), JournalError> {
    match result {
        Ok((message, detail)) => ticket.succeed(relay, &message, detail).await,
        Err(halt) => ticket.end(relay, split(halt)?).await,
    }
}
