//! `tinymlaas cancel`.

use contract::command::{Action, Command};

use super::follow::follow_shown;
use crate::args::{Cancel, Context};
use crate::exit::Failure;

/// Asks the relay to stop a command.
pub async fn run(context: &Context, cancel: Cancel) -> Result<(), Failure> {
    let command = Command::new(Action::Cancel { command: cancel.command });
    follow_shown(context, &cancel.relay, &command).await.map(drop)
}
