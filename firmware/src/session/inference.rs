//! One inference: the input in pieces, INVOKE, the output in pieces.

use std::time::Duration;

use super::{Action, Exchange, Seq, Session, SessionError};
use crate::message::{BoardMessage, HostMessage, Info, MAX_INPUT, NakCode};

/// How long a board may take to acknowledge a piece of input.
const PIECE_WAIT: Duration = Duration::from_millis(500);
/// A chip that is simulated on a busy host may be silent for seconds.
const PIECE_TRIES: u32 = 10;
const TRIES: u32 = 4;
/// How often the input is sent anew because the board lost it (it restarted in between).
const RESTARTS: u32 = 2;

/// What an inference yielded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Number of the inference since the board started.
    pub device_seq: u32,
    /// Time that the model ran, in µs.
    pub latency_us: u32,
    /// The output tensor (int8).
    pub output: Vec<u8>,
}

/// Sends an input, runs the model and collects the output.
#[derive(Debug)]
pub struct Inference {
    input: Vec<u8>,
    sent: usize,
    piece: usize,
    output_bytes: usize,
    partial: Outcome,
    invoke_wait: Duration,
    restarts: u32,
    exchange: Option<Exchange>,
}

impl Inference {
    /// `info` is what the board said of itself; `invoke_wait` is how long the model may run.
    ///
    /// # Errors
    /// [`SessionError::InputSize`] if `input` is not exactly as long as the model's input,
    /// [`SessionError::Size`] if the board claims an input that the protocol cannot carry.
    pub fn new(info: &Info, input: Vec<u8>, invoke_wait: Duration) -> Result<Self, SessionError> {
        let expected = info.input_bytes as usize;
        if expected == 0 || expected > MAX_INPUT {
            return Err(SessionError::Size { what: "the model's input", size: expected, limit: MAX_INPUT });
        }
        if input.len() != expected {
            return Err(SessionError::InputSize { size: input.len(), expected });
        }
        Ok(Inference {
            input,
            sent: 0,
            piece: usize::from(info.max_payload).saturating_sub(2).max(1),
            output_bytes: info.output_bytes as usize,
            partial: Outcome { device_seq: 0, latency_us: 0, output: Vec::new() },
            invoke_wait,
            restarts: 0,
            exchange: None,
        })
    }

    fn piece_len(&self) -> usize {
        self.piece.min(self.input.len() - self.sent)
    }

    fn next(&mut self, seq: &mut Seq) -> Result<Action<Outcome>, SessionError> {
        let exchange = if self.sent < self.input.len() {
            let data = self.input[self.sent..self.sent + self.piece_len()].to_vec();
            Exchange::new(&HostMessage::Input { offset: self.sent as u16, data }, seq, PIECE_WAIT, PIECE_TRIES)?
        } else {
            Exchange::new(&HostMessage::Invoke, seq, self.invoke_wait, TRIES)?
        };
        self.exchange.insert(exchange).send()
    }
}

impl Session for Inference {
    type Output = Outcome;

    fn start(&mut self, seq: &mut Seq) -> Result<Action<Outcome>, SessionError> {
        self.sent = 0;
        self.next(seq)
    }

    fn on_message(&mut self, seq: &mut Seq, from: u8, message: &BoardMessage) -> Result<Action<Outcome>, SessionError> {
        let Some(exchange) = self.exchange.as_ref().filter(|e| e.seq == from) else {
            return Ok(Action::Wait);
        };
        let what = exchange.what;
        let invoked = self.sent >= self.input.len();
        match message {
            BoardMessage::Ack if !invoked => {
                self.sent += self.piece_len();
                self.next(seq)
            }
            BoardMessage::Result(part) if invoked => {
                if part.offset == 0 {
                    self.partial = Outcome {
                        device_seq: part.device_seq,
                        latency_us: part.latency_us,
                        output: Vec::with_capacity(self.output_bytes),
                    };
                }
                let output = &mut self.partial.output;
                // A piece out of order: the rest was lost; the repeated INVOKE brings it all again.
                if usize::from(part.offset) == output.len() && part.device_seq == self.partial.device_seq {
                    output.extend_from_slice(&part.data);
                }
                if output.len() < self.output_bytes {
                    return Ok(Action::Wait);
                }
                Ok(Action::Done(self.partial.clone()))
            }
            BoardMessage::Nak(NakCode::NoInput | NakCode::OutOfOrder) if self.restarts < RESTARTS => {
                self.restarts += 1;
                self.start(seq)
            }
            BoardMessage::Nak(code) => Err(SessionError::Refused { what, code: *code }),
            BoardMessage::Log(_) => Ok(Action::Wait),
            other => Err(SessionError::Unexpected { what, kind: other.kind() }),
        }
    }

    fn on_timeout(&mut self, seq: &mut Seq) -> Result<Action<Outcome>, SessionError> {
        match &mut self.exchange {
            Some(exchange) => exchange.send(),
            None => self.start(seq),
        }
    }

    fn progress(&self) -> f32 {
        self.sent as f32 / (self.input.len() + 1) as f32
    }
}
