//! Conversations with a board as state machines without I/O: what to send, when to send it
//! again, when to give up. [`drive`] runs one over any blocking port; a host with another way
//! of doing I/O feeds [`Session`] itself.

mod ask;
mod drive;
mod flasher;
mod inference;
mod quiet;

use std::time::Duration;

use crate::frame::FrameError;
use crate::message::{BoardMessage, HostMessage, NakCode};

pub use ask::{Ask, hello};
pub use drive::{DriveError, Event, Link, drive};
pub use flasher::{FlashReport, Flasher};
pub use inference::{Inference, Outcome};
pub use quiet::Quiet;

/// Sequence numbers of a port: 1 to 255 and round again. Keep one for as long as the port is
/// open, so that a late answer to an earlier session is never taken for one to this.
#[derive(Debug, Clone, Default)]
pub struct Seq(u8);

impl Seq {
    /// Starts at a given number, for instance a random one after the port was opened.
    pub fn starting_at(first: u8) -> Self {
        Seq(first.wrapping_sub(1))
    }

    /// The next number, never 0.
    pub fn take(&mut self) -> u8 {
        self.0 = if self.0 == u8::MAX { 1 } else { self.0 + 1 };
        self.0
    }
}

/// What a session wants next.
#[derive(Debug, PartialEq, Eq)]
pub enum Action<T> {
    /// Write these bytes, then call `on_timeout` if nothing else happens for `wait`.
    Send {
        /// Bytes for the port.
        frame: Vec<u8>,
        /// How long to wait for an answer.
        wait: Duration,
    },
    /// Nothing: the present wait goes on.
    Wait,
    /// The session is over.
    Done(T),
}

/// Why a session failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// The board did not answer.
    #[error("the board did not answer {what} ({tries} tries)")]
    NoAnswer {
        /// The request.
        what: &'static str,
        /// How often it was sent.
        tries: u32,
    },
    /// The board refused.
    #[error("the board refused {what}: {code}")]
    Refused {
        /// The request.
        what: &'static str,
        /// Why.
        code: NakCode,
    },
    /// The board answered with something that is no answer to the request.
    #[error("the board answered {what} with frame type {kind:#04x}")]
    Unexpected {
        /// The request.
        what: &'static str,
        /// Type of the answer.
        kind: u8,
    },
    /// The image does not fit into the board's flash.
    #[error("the image has {size} bytes, the board's flash {capacity}")]
    TooBig {
        /// Size of the image.
        size: usize,
        /// Size of the flash.
        capacity: usize,
    },
    /// An image without content, or beyond what the protocol can carry.
    #[error("{what} has {size} bytes, allowed are 1 to {limit}")]
    Size {
        /// What it is.
        what: &'static str,
        /// Its size.
        size: usize,
        /// Largest size.
        limit: usize,
    },
    /// An input of another length than the model's.
    #[error("the input has {size} bytes, allowed are exactly {expected}")]
    InputSize {
        /// Its size.
        size: usize,
        /// Size of the model's input.
        expected: usize,
    },
    /// A message could not be encoded.
    #[error(transparent)]
    Frame(#[from] FrameError),
}

/// One conversation with a board.
pub trait Session {
    /// What it yields when it succeeds.
    type Output;

    /// Begins; called once.
    ///
    /// # Errors
    /// See [`SessionError`]; the session is over then. The same holds for the other calls.
    fn start(&mut self, seq: &mut Seq) -> Result<Action<Self::Output>, SessionError>;

    /// Takes a message of the board with the sequence number of its frame.
    ///
    /// # Errors
    /// See [`Session::start`].
    fn on_message(
        &mut self,
        seq: &mut Seq,
        from: u8,
        message: &BoardMessage,
    ) -> Result<Action<Self::Output>, SessionError>;

    /// The wait of the last `Send` is over.
    ///
    /// # Errors
    /// See [`Session::start`].
    fn on_timeout(&mut self, seq: &mut Seq) -> Result<Action<Self::Output>, SessionError>;

    /// How far it is, 0 to 1.
    fn progress(&self) -> f32 {
        0.0
    }
}

/// One request that waits for its answer: the stop-and-wait core of all sessions.
#[derive(Debug)]
struct Exchange {
    what: &'static str,
    seq: u8,
    frame: Vec<u8>,
    wait: Duration,
    sent: u32,
    tries: u32,
}

impl Exchange {
    fn new(message: &HostMessage, seq: &mut Seq, wait: Duration, tries: u32) -> Result<Self, SessionError> {
        let seq = seq.take();
        Ok(Exchange { what: name(message), seq, frame: message.encode(seq)?, wait, sent: 0, tries })
    }

    /// Sends it, the first time or again. The same bytes each time: the board then knows a
    /// repeated request and repeats its answer.
    fn send<T>(&mut self) -> Result<Action<T>, SessionError> {
        if self.sent >= self.tries {
            return Err(SessionError::NoAnswer { what: self.what, tries: self.sent });
        }
        self.sent += 1;
        Ok(Action::Send { frame: self.frame.clone(), wait: self.wait })
    }
}

fn name(message: &HostMessage) -> &'static str {
    use crate::bootloader::Request;
    match message {
        HostMessage::Hello => "HELLO",
        HostMessage::Input { .. } => "INPUT",
        HostMessage::Invoke => "INVOKE",
        HostMessage::Identify => "IDENTIFY",
        HostMessage::Reset(_) => "RESET",
        HostMessage::Bootloader(request) => match request {
            Request::Hello => "BL_HELLO",
            Request::Begin { .. } => "BL_BEGIN",
            Request::Data { .. } => "BL_DATA",
            Request::Commit => "BL_COMMIT",
            Request::Erase => "BL_ERASE",
            Request::Run => "BL_RUN",
        },
    }
}
