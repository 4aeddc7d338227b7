//! Flashing: RESET to the bootloader, BL_BEGIN, BL_DATA…, BL_COMMIT, BL_RUN.

use std::time::Duration;

use sha2::{Digest, Sha256};

use super::{Action, Exchange, Seq, Session, SessionError};
use crate::bootloader::{MAX_DATA, Request};
use crate::message::{BoardMessage, HostMessage, NakCode, ResetMode};

const WAIT: Duration = Duration::from_secs(1);
/// Erasing, and checking and syncing an image, take longer than taking a piece.
const SLOW_WAIT: Duration = Duration::from_secs(10);
const TRIES: u32 = 5;
/// How often it begins anew because the board has restarted in between.
const RESTARTS: u32 = 3;

/// What flashing did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlashReport {
    /// Bytes written; 0 if the board had this very image already.
    pub written: usize,
    /// How often it began anew.
    pub restarts: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Reset,
    Hello,
    Begin,
    Data(usize),
    Commit,
    Run,
}

/// Replaces a board's firmware. After it, ask HELLO and compare the artifact: a board that
/// crashes at once has been flashed all the same.
#[derive(Debug)]
pub struct Flasher {
    image: Vec<u8>,
    sha256: [u8; 32],
    step: Step,
    piece: usize,
    written: usize,
    restarts: u32,
    exchange: Option<Exchange>,
}

impl Flasher {
    /// Flashes `image`, an executable or raw image as the board expects it.
    ///
    /// # Errors
    /// [`SessionError::Size`] if it is empty or 4 GiB and more.
    pub fn new(image: Vec<u8>) -> Result<Self, SessionError> {
        if image.is_empty() || u32::try_from(image.len()).is_err() {
            let limit = u32::MAX as usize;
            return Err(SessionError::Size { what: "the image", size: image.len(), limit });
        }
        let sha256 = Sha256::digest(&image).into();
        let (step, piece) = (Step::Reset, MAX_DATA);
        Ok(Flasher { image, sha256, step, piece, written: 0, restarts: 0, exchange: None })
    }

    /// SHA-256 of the image.
    pub fn sha256(&self) -> &[u8; 32] {
        &self.sha256
    }

    /// From here to `Done` the board's firmware is stopped, and a cancel has to wait.
    pub fn is_past_begin(&self) -> bool {
        matches!(self.step, Step::Data(_) | Step::Commit | Step::Run)
    }

    fn go(&mut self, step: Step, seq: &mut Seq) -> Result<Action<FlashReport>, SessionError> {
        self.step = step;
        let (message, wait) = match step {
            Step::Reset => (HostMessage::Reset(ResetMode::Bootloader), WAIT),
            Step::Hello => (HostMessage::Bootloader(Request::Hello), WAIT),
            Step::Begin => {
                let request = Request::Begin { size: self.image.len() as u32, sha256: self.sha256 };
                (HostMessage::Bootloader(request), SLOW_WAIT)
            }
            Step::Data(offset) => {
                let end = self.image.len().min(offset + self.piece);
                let data = self.image[offset..end].to_vec();
                (HostMessage::Bootloader(Request::Data { offset: offset as u32, data }), WAIT)
            }
            Step::Commit => (HostMessage::Bootloader(Request::Commit), SLOW_WAIT),
            Step::Run => (HostMessage::Bootloader(Request::Run), WAIT),
        };
        self.exchange.insert(Exchange::new(&message, seq, wait, TRIES)?).send()
    }

    fn again(&mut self, seq: &mut Seq, error: SessionError) -> Result<Action<FlashReport>, SessionError> {
        if self.restarts >= RESTARTS {
            return Err(error);
        }
        self.restarts += 1;
        self.written = 0;
        self.go(Step::Reset, seq)
    }
}

impl Session for Flasher {
    type Output = FlashReport;

    fn start(&mut self, seq: &mut Seq) -> Result<Action<FlashReport>, SessionError> {
        self.go(Step::Reset, seq)
    }

    fn on_message(
        &mut self,
        seq: &mut Seq,
        from: u8,
        message: &BoardMessage,
    ) -> Result<Action<FlashReport>, SessionError> {
        let Some(exchange) = self.exchange.as_ref().filter(|e| e.seq == from) else {
            return Ok(Action::Wait);
        };
        let what = exchange.what;
        match (self.step, message) {
            (_, BoardMessage::Log(_)) => Ok(Action::Wait),
            (Step::Hello, BoardMessage::Bootloader(info)) => {
                let (size, capacity) = (self.image.len(), info.flash_capacity as usize);
                if size > capacity {
                    return Err(SessionError::TooBig { size, capacity });
                }
                self.piece = usize::from(info.max_payload).saturating_sub(4).clamp(1, MAX_DATA);
                let same = info.flash_sha256 == Some(self.sha256);
                self.go(if same { Step::Run } else { Step::Begin }, seq)
            }
            (Step::Reset, BoardMessage::Ack) => self.go(Step::Hello, seq),
            (Step::Begin, BoardMessage::Ack) => self.go(Step::Data(0), seq),
            (Step::Data(offset), BoardMessage::Ack) => {
                let next = self.image.len().min(offset + self.piece);
                self.written = next;
                self.go(if next < self.image.len() { Step::Data(next) } else { Step::Commit }, seq)
            }
            (Step::Commit, BoardMessage::Ack) => self.go(Step::Run, seq),
            (Step::Run, BoardMessage::Ack) => {
                Ok(Action::Done(FlashReport { written: self.written, restarts: self.restarts }))
            }
            (_, BoardMessage::Nak(code)) => {
                let error = SessionError::Refused { what, code: *code };
                match code {
                    // The board has restarted in between, or a piece was damaged on its way.
                    NakCode::WrongMode | NakCode::NotBegun | NakCode::OutOfOrder | NakCode::BadDigest => {
                        self.again(seq, error)
                    }
                    _ => Err(error),
                }
            }
            (_, other) => Err(SessionError::Unexpected { what, kind: other.kind() }),
        }
    }

    fn on_timeout(&mut self, seq: &mut Seq) -> Result<Action<FlashReport>, SessionError> {
        let Some(exchange) = &mut self.exchange else {
            return self.start(seq);
        };
        match exchange.send() {
            Err(error) if self.step != Step::Reset => self.again(seq, error),
            other => other,
        }
    }

    fn progress(&self) -> f32 {
        match self.step {
            Step::Reset | Step::Hello | Step::Begin => 0.0,
            Step::Data(offset) => 0.98 * offset as f32 / self.image.len() as f32,
            Step::Commit => 0.98,
            Step::Run => 0.99,
        }
    }
}
