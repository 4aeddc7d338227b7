//! The simplest session: one request, one answer.

use std::time::Duration;

use super::{Action, Exchange, Seq, Session, SessionError};
use crate::message::{BoardMessage, HostMessage};

/// Sends one request and yields the answer (INFO, ACK or BL_INFO); a NAK is an error.
#[derive(Debug)]
pub struct Ask {
    message: HostMessage,
    wait: Duration,
    tries: u32,
    exchange: Option<Exchange>,
}

impl Ask {
    /// Sends `message` up to `tries` times, waiting `wait` each time.
    pub fn new(message: HostMessage, wait: Duration, tries: u32) -> Self {
        Ask { message, wait, tries, exchange: None }
    }
}

/// Asks for INFO with the waits that suit a board that may just be starting.
pub fn hello() -> Ask {
    Ask::new(HostMessage::Hello, Duration::from_millis(500), 6)
}

impl Session for Ask {
    type Output = BoardMessage;

    fn start(&mut self, seq: &mut Seq) -> Result<Action<BoardMessage>, SessionError> {
        self.exchange.insert(Exchange::new(&self.message, seq, self.wait, self.tries)?).send()
    }

    fn on_message(
        &mut self,
        _: &mut Seq,
        from: u8,
        message: &BoardMessage,
    ) -> Result<Action<BoardMessage>, SessionError> {
        let Some(exchange) = self.exchange.as_ref().filter(|e| e.seq == from) else {
            return Ok(Action::Wait);
        };
        match message {
            BoardMessage::Nak(code) => Err(SessionError::Refused { what: exchange.what, code: *code }),
            BoardMessage::Log(_) => Ok(Action::Wait),
            answer => Ok(Action::Done(answer.clone())),
        }
    }

    fn on_timeout(&mut self, seq: &mut Seq) -> Result<Action<BoardMessage>, SessionError> {
        match &mut self.exchange {
            Some(exchange) => exchange.send(),
            None => self.start(seq),
        }
    }
}
