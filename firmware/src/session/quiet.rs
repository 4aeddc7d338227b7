//! A session that says nothing: for boards whose bootloader has to be left alone before it starts the firmware.

use std::time::Duration;

use super::{Action, Seq, Session, SessionError};
use crate::message::BoardMessage;

/// Listens for so long. What the board says in the meantime is heard beside it; whoever has heard enough stops it there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quiet(pub Duration);

impl Session for Quiet {
    type Output = ();

    fn start(&mut self, _: &mut Seq) -> Result<Action<()>, SessionError> {
        Ok(Action::Send { frame: Vec::new(), wait: self.0 })
    }

    fn on_message(&mut self, _: &mut Seq, _: u8, _: &BoardMessage) -> Result<Action<()>, SessionError> {
        Ok(Action::Wait)
    }

    fn on_timeout(&mut self, _: &mut Seq) -> Result<Action<()>, SessionError> {
        Ok(Action::Done(()))
    }
}
