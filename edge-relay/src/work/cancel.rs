//! `cancel`: stops another command, or says why not.

use std::sync::Arc;
use std::time::Duration;

use contract::Code;
use contract::ids::CommandId;
use contract::lifecycle::State;

use super::run::Done;
use super::{Failure, Halt, Ticket};
use crate::relay::Relay;

/// How long a command may take to stop.
const PATIENCE: Duration = Duration::from_secs(15);

/// Cancels.
///
/// # Errors
/// `unknown_command` or `cancel_refused`.
pub async fn run(relay: &Arc<Relay>, ticket: &Ticket, id: &CommandId) -> Result<Done, Halt> {
    let Some(target) = relay.tickets.get(id).filter(|target| target.command.id != ticket.command.id) else {
        return Err(match relay.journal.command(id).await? {
            Some(row) => Failure::new(
                Code::CANCEL_REFUSED,
                format!("the command cannot be cancelled: it is {} ({})", row.report.state, row.report.code),
            ),
            None => Failure::new(Code::UNKNOWN_COMMAND, format!("this relay knows no command '{id}'")),
        }
        .into());
    };
    match target.ask_to_stop() {
        Err(reason) => return Err(Failure::new(Code::CANCEL_REFUSED, reason).into()),
        Ok(true) => {
            // It waits in a queue: nobody else will report its end.
            target.end(relay, Failure::cancelled()).await?;
            if let Some(slot) = target.device().and_then(|device| relay.devices.get(device)) {
                slot.tidy();
            }
        }
        Ok(false) => {}
    }
    if tokio::time::timeout(PATIENCE, target.ended()).await.is_err() {
        let message = format!("the command was asked to stop and is still {}", target.report().state);
        return Err(Failure::new(Code::CANCEL_REFUSED, message).into());
    }
    match target.report().state {
        State::Cancelled => Ok((format!("'{id}' is cancelled"), None)),
        other => Err(Failure::new(Code::CANCEL_REFUSED, format!("the command ended before: {other}")).into()),
    }
}
