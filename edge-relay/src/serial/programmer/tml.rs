//! The bootloader of this project's own serial protocol.

use std::time::Duration;

use firmware::bootloader::Request;
use firmware::message::{BoardMessage, HostMessage, ResetMode};
use firmware::session::{Ask, FlashReport, Flasher, SessionError};

use super::Programmer;
use crate::device::line::Ear;
use crate::serial::port::{Fault, SerialLine};
use crate::serial::talk::Condition;

/// It stages an image, compares its digest, and swaps it in by one atomic step.
#[derive(Debug, Clone, Copy)]
pub struct Tml;

fn request(request: Request) -> Ask {
    Ask::new(HostMessage::Bootloader(request), Duration::from_secs(2), 4)
}

impl Programmer for Tml {
    fn flash(&self, line: &mut SerialLine, image: Vec<u8>, ear: &mut Ear) -> Result<FlashReport, Fault> {
        let mut flasher = Flasher::new(image)?;
        let result = line.run(&mut flasher, &mut |event| ear.hear(event));
        if matches!(result, Err(Fault::Stopped | Fault::Session(_))) {
            // The old firmware is whole until the new one is committed: let it go on.
            let reset = Ask::new(HostMessage::Reset(ResetMode::App), Duration::from_secs(1), 5);
            if let Err(error) = line.run(&mut { reset }, &mut |_| true) {
                tracing::debug!(%error, "the board was not restarted after a failed flash");
            }
        }
        result
    }

    fn erase(&self, line: &mut SerialLine, ear: &mut Ear) -> Result<(), Fault> {
        let reset = HostMessage::Reset(ResetMode::Bootloader);
        line.run(&mut Ask::new(reset, Duration::from_secs(1), 5), &mut |event| ear.hear(event))?;
        line.run(&mut request(Request::Erase), &mut |event| ear.hear(event))?;
        Ok(())
    }

    fn reset(&self, line: &mut SerialLine, ear: &mut Ear) -> Result<(), Fault> {
        let reset = HostMessage::Reset(ResetMode::App);
        line.run(&mut Ask::new(reset, Duration::from_secs(1), 5), &mut |event| ear.hear(event))?;
        Ok(())
    }

    fn unanswered(&self, line: &mut SerialLine, ear: &mut Ear) -> Result<Condition, Fault> {
        // A board may have been in its bootloader and is on its way to the firmware.
        let ask = HostMessage::Bootloader(Request::Hello);
        let mut ask = Ask::new(ask, Duration::from_millis(500), 4);
        match line.run(&mut ask, &mut |event| ear.hear(event))? {
            BoardMessage::Bootloader(info) if info.flash_size == 0 => Ok(Condition::Empty),
            BoardMessage::Bootloader(info) => Ok(Condition::Silent(format!(
                "its firmware does not answer (it ended {} times by itself{}{})",
                info.crash_count,
                if info.last_exit.is_empty() { "" } else { ", last with " },
                info.last_exit
            ))),
            _ => Err(Fault::Session(SessionError::NoAnswer { what: "BL_HELLO", tries: 4 })),
        }
    }

    fn is_atomic(&self) -> bool {
        true
    }
}
