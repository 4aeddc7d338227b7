//! How firmware gets onto a board; a board file names one.

use std::time::Duration;

use firmware::bootloader::Request;
use firmware::message::{HostMessage, ResetMode};
use firmware::session::{Ask, Event, FlashReport, Flasher};

use super::port::{Fault, SerialLine};

/// Replaces, removes and restarts a board's firmware. A programmer that is a program of its own closes the line first.
pub trait Programmer: Send + Sync {
    /// Replaces the firmware and starts it.
    ///
    /// # Errors
    /// [`Fault`]; the old firmware is still there unless the programmer cannot promise that.
    fn flash(
        &self,
        line: &mut SerialLine,
        image: Vec<u8>,
        on_event: &mut dyn FnMut(Event) -> bool,
    ) -> Result<FlashReport, Fault>;

    /// Removes the firmware.
    ///
    /// # Errors
    /// [`Fault`].
    fn erase(&self, line: &mut SerialLine, on_event: &mut dyn FnMut(Event) -> bool) -> Result<(), Fault>;

    /// Starts the firmware again.
    ///
    /// # Errors
    /// [`Fault`].
    fn reset(&self, line: &mut SerialLine, on_event: &mut dyn FnMut(Event) -> bool) -> Result<(), Fault>;
}

/// The programmer that a board file names.
pub fn by_name(name: &str) -> Option<&'static dyn Programmer> {
    match name {
        "tml" => Some(&Tml),
        _ => None,
    }
}

/// The bootloader of this project's own serial protocol.
#[derive(Debug, Clone, Copy)]
struct Tml;

fn request(request: Request) -> Ask {
    Ask::new(HostMessage::Bootloader(request), Duration::from_secs(2), 4)
}

impl Programmer for Tml {
    fn flash(
        &self,
        line: &mut SerialLine,
        image: Vec<u8>,
        on_event: &mut dyn FnMut(Event) -> bool,
    ) -> Result<FlashReport, Fault> {
        let mut flasher = Flasher::new(image)?;
        let result = line.run(&mut flasher, on_event);
        if matches!(result, Err(Fault::Stopped | Fault::Session(_))) {
            // The old firmware is whole until the new one is committed: let it go on.
            if let Err(error) = self.reset(line, &mut |_| true) {
                tracing::debug!(%error, "the board was not restarted after a failed flash");
            }
        }
        result
    }

    fn erase(&self, line: &mut SerialLine, on_event: &mut dyn FnMut(Event) -> bool) -> Result<(), Fault> {
        let reset = HostMessage::Reset(ResetMode::Bootloader);
        line.run(&mut Ask::new(reset, Duration::from_secs(1), 5), on_event)?;
        line.run(&mut request(Request::Erase), on_event)?;
        Ok(())
    }

    fn reset(&self, line: &mut SerialLine, on_event: &mut dyn FnMut(Event) -> bool) -> Result<(), Fault> {
        let reset = HostMessage::Reset(ResetMode::App);
        line.run(&mut Ask::new(reset, Duration::from_secs(1), 5), on_event)?;
        Ok(())
    }
}
