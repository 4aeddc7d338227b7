//! How firmware gets onto a board; a board file names one.

mod arduino_cli;
mod avrdude;
mod probe_rs;
mod tml;
mod tool;
mod uf2;

use firmware::message::BoardMessage;
use firmware::session::{FlashReport, hello};

use super::port::{Fault, SerialLine};
use super::talk::Condition;
use crate::boards::BoardType;
use crate::build::Builder;
use crate::device::line::Ear;

/// Replaces, removes and restarts a board's firmware. A programmer that is a program of its own closes the line first.
pub trait Programmer: Send {
    /// Replaces the firmware and starts it.
    ///
    /// # Errors
    /// [`Fault`]; whether the old firmware is still there then, [`Programmer::is_atomic`] says.
    fn flash(&self, line: &mut SerialLine, image: Vec<u8>, ear: &mut Ear) -> Result<FlashReport, Fault>;

    /// Removes the firmware.
    ///
    /// # Errors
    /// [`Fault`].
    fn erase(&self, line: &mut SerialLine, ear: &mut Ear) -> Result<(), Fault>;

    /// Whether it can do that.
    fn can_erase(&self) -> bool {
        true
    }

    /// Starts the firmware again.
    ///
    /// # Errors
    /// [`Fault`].
    fn reset(&self, line: &mut SerialLine, ear: &mut Ear) -> Result<(), Fault>;

    /// Asks for the firmware, with the patience that the board's start needs.
    ///
    /// # Errors
    /// [`Fault`].
    fn hello(&self, line: &mut SerialLine, ear: &mut Ear) -> Result<BoardMessage, Fault> {
        line.run(&mut hello(), &mut |event| ear.hear(event))
    }

    /// What to make of a board on which no firmware of ours answers.
    ///
    /// # Errors
    /// [`Fault`].
    fn unanswered(&self, line: &mut SerialLine, ear: &mut Ear) -> Result<Condition, Fault>;

    /// Whether a flash that fails or is cut leaves the old firmware. Where it does not, the relay notes in its journal
    /// that the board is being written, and puts the last good firmware back.
    fn is_atomic(&self) -> bool;
}

/// The programmer that a board's file names.
pub fn of(board: &BoardType, builder: &Builder) -> Option<Box<dyn Programmer>> {
    match board.programmer.as_str() {
        "tml" => Some(Box::new(tml::Tml)),
        "avrdude" => Some(Box::new(avrdude::Avrdude::new(board, builder))),
        "arduino-cli" => Some(Box::new(arduino_cli::ArduinoCli::new(board, builder.work()))),
        "probe-rs" => Some(Box::new(probe_rs::ProbeRs::new(board, builder.work()))),
        "uf2" => Some(Box::new(uf2::Uf2::new(board, builder.work()))),
        _ => None,
    }
}
