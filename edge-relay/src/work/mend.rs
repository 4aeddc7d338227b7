//! A board whose flash was left half written, because it was unplugged or the relay lost its power, and no command
//! goes on with it: the last good firmware goes back.

use contract::Code;
use contract::state::{DeviceStatus, Problem};
use firmware::session::SessionError;

use crate::device::worker::Worker;
use crate::error::JournalError;
use crate::serial::Fault;
use crate::serial::talk::{self, Condition};

/// Puts the last good firmware back if the board needs it.
///
/// # Errors
/// The outer one only if the journal fails; the inner one is why the board is still as it was.
pub async fn run(worker: &mut Worker) -> Result<Result<(), Fault>, JournalError> {
    let Ok(programmer) = super::verbs::programmer(worker) else { return Ok(Ok(())) };
    let row = worker.row();
    let image = [&row.firmware, &row.previous].into_iter().flatten().find_map(|installed| {
        let image = worker.relay.builder.cached(installed.image.as_deref()?)?;
        Some((installed.clone(), image))
    });
    let Some((installed, image)) = image else {
        let message =
            "its flash was left half written and there is no earlier firmware that could go back: install again";
        worker
            .note(|facts| {
                facts.row.unsettled = false;
                facts.row.firmware = None;
                facts.status = DeviceStatus::Faulty;
                facts.problem = Some(Problem { code: Code::FLASH_FAILED, message: message.to_owned() });
            })
            .await?;
        return Ok(Ok(()));
    };
    tracing::info!(device = %worker.slot.name, artifact = %installed.firmware.artifact, "putting the last good firmware back");
    let artifact = installed.firmware.artifact.clone();
    let done = worker
        .idle_at_board(move |line, ear| {
            ear.note(&format!("the flash was left half written: putting {artifact} back"));
            programmer.flash(line, image.bytes, ear)?;
            match talk::condition(line, programmer.as_ref(), ear)? {
                Condition::Running(info) if info.artifact == artifact.as_str() => Ok(()),
                _ => Err(Fault::Session(SessionError::NoAnswer { what: "HELLO", tries: 6 })),
            }
        })
        .await;
    if let Err(fault) = done {
        return Ok(Err(fault));
    }
    worker
        .note(|facts| {
            if facts.row.firmware.as_ref() != Some(&installed) {
                facts.row.previous = None;
            }
            facts.row.firmware = Some(installed);
            facts.row.unsettled = false;
            facts.status = DeviceStatus::Running;
            facts.problem = None;
        })
        .await?;
    Ok(Ok(()))
}
