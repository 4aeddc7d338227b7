//! Runs a session over a blocking port that has a read timeout.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{ErrorKind, Read, Write};
use std::time::Instant;

use super::{Action, Seq, Session, SessionError};
use crate::frame::{Decoder, Item};
use crate::message::{BoardMessage, Info};

/// What belongs to an open port and outlives each session on it.
#[derive(Debug)]
pub struct Link {
    /// Decoder of what the board sends.
    pub decoder: Decoder,
    /// Sequence numbers of what the host sends.
    pub seq: Seq,
}

impl Default for Link {
    /// Numbers start anywhere, so that an answer meant for an earlier host fits no request.
    fn default() -> Self {
        let any = RandomState::new().build_hasher().finish() as u8;
        Link { decoder: Decoder::new(), seq: Seq::starting_at(any) }
    }
}

/// What happens beside the session.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The board printed a line, or sent a LOG.
    Line(String),
    /// The firmware has just started (INFO with sequence number 0).
    Started(Box<Info>),
    /// Bytes that are neither frame nor text, or a frame that is no message.
    Noise(String),
    /// The session is so far, 0 to 1.
    Progress(f32),
    /// Nothing, for at most the port's read timeout: a moment to ask for cancelling.
    Tick,
}

/// Why driving a session failed.
#[derive(Debug, thiserror::Error)]
pub enum DriveError {
    /// The port failed: the board was unplugged, most likely.
    #[error("serial port: {0}")]
    Port(#[from] std::io::Error),
    /// The session failed.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// `on_event` asked to stop.
    #[error("cancelled")]
    Cancelled,
}

/// Runs `session` to its end. `port` must have a short read timeout (about 20 ms; a read that
/// returns `TimedOut` or `WouldBlock` counts as silence). `on_event` is called for everything
/// beside the session and returns whether to go on.
///
/// # Errors
/// See [`DriveError`].
pub fn drive<S: Session, P: Read + Write>(
    port: &mut P,
    link: &mut Link,
    session: &mut S,
    on_event: &mut dyn FnMut(Event) -> bool,
) -> Result<S::Output, DriveError> {
    let mut buffer = [0; 1024];
    let mut action = session.start(&mut link.seq)?;
    let mut deadline = Instant::now();
    loop {
        match action {
            Action::Done(output) => return Ok(output),
            Action::Wait => {}
            Action::Send { frame, wait } => {
                port.write_all(&frame)?;
                port.flush()?;
                deadline = Instant::now() + wait;
                keep_on(on_event(Event::Progress(session.progress())))?;
            }
        }
        action = Action::Wait;
        let got = match port.read(&mut buffer) {
            Ok(0) => return Err(std::io::Error::from(ErrorKind::UnexpectedEof).into()),
            Ok(got) => got,
            Err(e) if matches!(e.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock) => 0,
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            Err(e) => return Err(e.into()),
        };
        for item in link.decoder.push(&buffer[..got]) {
            let Some((from, message)) = sort(item, on_event)? else { continue };
            // Once there is something to do, further messages cannot be answers to it.
            if matches!(action, Action::Wait) {
                action = session.on_message(&mut link.seq, from, &message)?;
            }
        }
        if matches!(action, Action::Wait) {
            if Instant::now() >= deadline {
                action = session.on_timeout(&mut link.seq)?;
            }
            keep_on(on_event(Event::Tick))?;
        }
    }
}

/// Hands everything that is no answer to `on_event`.
fn sort(item: Item, on_event: &mut dyn FnMut(Event) -> bool) -> Result<Option<(u8, BoardMessage)>, DriveError> {
    let event = match item {
        Item::Text(line) => Event::Line(line),
        Item::Noise { bytes, error } => Event::Noise(format!("{bytes} bytes: {error}")),
        Item::Frame(frame) => match BoardMessage::parse(&frame) {
            Ok(BoardMessage::Log(line)) => Event::Line(line),
            Ok(BoardMessage::Info(info)) if frame.seq == 0 => Event::Started(Box::new(info)),
            Ok(message) => return Ok(Some((frame.seq, message))),
            Err(error) => Event::Noise(error.to_string()),
        },
    };
    keep_on(on_event(event))?;
    Ok(None)
}

fn keep_on(go_on: bool) -> Result<(), DriveError> {
    if go_on { Ok(()) } else { Err(DriveError::Cancelled) }
}
