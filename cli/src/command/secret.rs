//! Secrets that people type: without an echo on a terminal, as one line of standard input elsewhere. Never arguments.

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::Path;

use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use super::people::read_secret;
use crate::exit::Failure;

/// Asks for a secret.
pub fn ask(prompt: &str) -> Result<Zeroizing<String>, Failure> {
    let input = std::io::stdin();
    let failed = |error: std::io::Error| Failure::Environment(format!("standard input cannot be read: {error}"));
    let mut line = Zeroizing::new(String::new());
    if !input.is_terminal() {
        input.lock().read_line(&mut line).map_err(failed)?;
        return Ok(Zeroizing::new(line.trim_end_matches(['\r', '\n']).to_owned()));
    }
    eprint!("{prompt}");
    // Without a prompt it still works.
    let _ = std::io::stderr().flush();
    let before = tcgetattr(&input).map_err(|error| failed(error.into()))?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&input, OptionalActions::Flush, &silent).map_err(|error| failed(error.into()))?;
    let read = input.lock().read_line(&mut line);
    // What was read matters more than a terminal that stays silent.
    let _ = tcsetattr(&input, OptionalActions::Flush, &before);
    eprintln!();
    read.map_err(failed)?;
    Ok(Zeroizing::new(line.trim_end_matches(['\r', '\n']).to_owned()))
}

/// A new password: from a file, or typed, twice on a terminal.
pub fn new_password(file: Option<&Path>) -> Result<Zeroizing<String>, Failure> {
    if let Some(file) = file {
        return read_secret(file);
    }
    let password = ask("New password: ")?;
    if std::io::stdin().is_terminal() && *ask("The same again: ")? != *password {
        return Err(Failure::Usage("the two are not the same".to_owned()));
    }
    Ok(password)
}
