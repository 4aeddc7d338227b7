//! After a start: every command that had not ended is taken up again.

use std::sync::Arc;
use std::time::Duration;

use contract::command::Command;
use contract::timestamp::Timestamp;

use super::{Ticket, admit};
use crate::error::RelayError;
use crate::journal::CommandRow;
use crate::relay::Relay;
use crate::work::Failure;

/// Queues what the journal has not seen the end of, in the order in which it was accepted.
///
/// # Errors
/// Only if the journal fails.
pub async fn run(relay: &Arc<Relay>) -> Result<(), RelayError> {
    for row in relay.journal.unfinished().await? {
        let command = match Command::parse(row.body.as_bytes()) {
            Ok(command) => command,
            Err(error) => {
                // Only a newer version of the relay can have accepted it.
                tracing::error!(command_id = %row.report.command, %error, "cannot read an accepted command any more");
                fail(relay, &row, error.code, &error.message).await?;
                continue;
            }
        };
        let device_is_known = command.action.device().is_none_or(|device| relay.devices.get(device).is_some());
        if !device_is_known {
            fail(relay, &row, contract::Code::UNKNOWN_DEVICE, "the relay does not know the device any more").await?;
            continue;
        }
        let time = time_left(relay, &row, &command);
        tracing::info!(relay = %relay.config.relay, command_id = %command.id, state = %row.report.state, "taken up again");
        admit::queue(relay, Arc::new(Ticket::new(command, row.report, row.manifest, true, time)));
    }
    Ok(())
}

/// A limit that the sender set counts from `accepted`; the relay's own one begins anew, because the time in which it
/// did not run is not the command's fault.
fn time_left(relay: &Relay, row: &CommandRow, command: &Command) -> Duration {
    let Some(seconds) = command.timeout_s else { return relay.config.timeouts.command };
    let spent = Duration::from_millis(Timestamp::now().millis_since(row.accepted_at));
    Duration::from_secs(seconds.into()).saturating_sub(spent)
}

async fn fail(relay: &Relay, row: &CommandRow, code: contract::Code, message: &str) -> Result<(), RelayError> {
    let command = Command { id: row.report.command.clone(), ..Command::new(contract::command::Action::Rescan) };
    let ticket = Ticket::new(command, row.report.clone(), None, true, Duration::ZERO);
    ticket.end(relay, Failure::new(code, message)).await?;
    Ok(())
}
