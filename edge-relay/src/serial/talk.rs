//! What runs on a board, and whether it computes what it should.

use std::time::Duration;

use firmware::message::{BoardMessage, HostMessage, Info, NakCode};
use firmware::session::{Ask, Event, Inference, Outcome, Quiet, SessionError};

use super::port::{Fault, SerialLine};
use super::programmer::Programmer;
use crate::device::line::Ear;

/// What a board says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// Firmware answers.
    Running(Box<Info>),
    /// There is no firmware.
    Empty,
    /// There is firmware, and it does not answer; the text says what the board knows of it.
    Silent(String),
    /// Nothing of ours answers, and the board has no way to say what it has.
    Foreign,
}

/// Asks what runs on the board.
///
/// # Errors
/// [`Fault`], also if neither firmware nor bootloader answers.
pub fn condition(line: &mut SerialLine, programmer: &dyn Programmer, ear: &mut Ear) -> Result<Condition, Fault> {
    match programmer.hello(line, ear) {
        Ok(BoardMessage::Info(info)) => Ok(Condition::Running(Box::new(info))),
        Ok(_) | Err(Fault::Session(_)) => programmer.unanswered(line, ear),
        Err(fault) => Err(fault),
    }
}

/// How long a bootloader waits for a programmer before it starts the firmware, and more on a busy machine.
const BOOTING: Duration = Duration::from_secs(6);

/// Asks for the firmware of a board that opening the port may have reset. Its bootloader waits for a programmer first,
/// and every byte that it gets makes it wait longer, so nothing is sent before the firmware has said that it starts.
///
/// # Errors
/// [`Fault`].
pub fn hello_after_reset(line: &mut SerialLine, ear: &mut Ear) -> Result<BoardMessage, Fault> {
    if line.was_reset()? {
        let mut started = false;
        let heard = line.run(&mut Quiet(BOOTING), &mut |event| {
            started |= matches!(event, Event::Started(_));
            ear.hear(event) && !started
        });
        match heard {
            Err(Fault::Stopped) if started => {}
            other => other?,
        }
    }
    let mut ask = Ask::new(HostMessage::Hello, Duration::from_millis(500), 20);
    line.run(&mut ask, &mut |event| ear.hear(event))
}

/// How often a vector without an answer is sent again in a self-test.
const RETRIES: u32 = 2;

/// One inference.
///
/// # Errors
/// [`Fault`].
pub fn infer(
    line: &mut SerialLine,
    info: &Info,
    input: &[u8],
    limit: Duration,
    on_event: &mut dyn FnMut(Event) -> bool,
) -> Result<Outcome, Fault> {
    line.run(&mut Inference::new(info, input.to_vec(), limit)?, on_event)
}

/// What a self-test found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Vectors compared.
    pub vectors: usize,
    /// Numbers of those whose answer differs, from 0.
    pub wrong: Vec<usize>,
    /// Inferences that the model itself refused.
    pub refused: usize,
    /// Sum of the times on the board, in microseconds.
    pub latency_us: u64,
    /// RAM in bytes that the stack did not reach, where the board can tell.
    pub stack_left: Option<u32>,
    /// Why there was nothing to compare: other firmware, or none that answers.
    pub problem: Option<String>,
}

impl Verdict {
    /// Whether every answer was right to the bit.
    pub fn passed(&self) -> bool {
        self.wrong.is_empty() && self.refused == 0 && self.problem.is_none()
    }
}

/// Sends every golden input and compares the answers bit for bit.
///
/// # Errors
/// [`Fault`] if the board stops answering; wrong answers are no fault but a verdict.
pub fn verify(
    line: &mut SerialLine,
    info: &Info,
    golden: &[(Vec<u8>, Vec<u8>)],
    limit: Duration,
    on_event: &mut dyn FnMut(Event) -> bool,
) -> Result<Verdict, Fault> {
    let mut verdict = Verdict::default();
    for (number, (input, expected)) in golden.iter().enumerate() {
        // Firmware that starts during its test has ended by itself before: no need to wait for its answer.
        let mut restarted = false;
        let mut again = RETRIES;
        let answer = loop {
            let answer = infer(line, info, input, limit, &mut |event| match event {
                Event::Progress(_) => true,
                Event::Started(_) => {
                    restarted = true;
                    false
                }
                other => on_event(other),
            });
            // A line that lost something is no wrong answer.
            let silent = matches!(answer, Err(Fault::Session(SessionError::NoAnswer { .. })));
            if !silent || again == 0 || restarted {
                break answer;
            }
            again -= 1;
        };
        if restarted {
            verdict.problem = Some(format!("the firmware ended by itself at vector {number}"));
            return Ok(verdict);
        }
        match answer {
            Ok(outcome) => {
                verdict.latency_us += u64::from(outcome.latency_us);
                if outcome.output != *expected {
                    verdict.wrong.push(number);
                }
            }
            Err(Fault::Session(SessionError::Refused { code: NakCode::ModelFailed, .. })) => verdict.refused += 1,
            Err(fault) => return Err(fault),
        }
        verdict.vectors += 1;
        // Counts that fit into a relay's memory are exact enough as f32 for a progress bar.
        #[allow(clippy::cast_precision_loss)]
        if !on_event(Event::Progress(verdict.vectors as f32 / golden.len() as f32)) {
            return Err(Fault::Stopped);
        }
    }
    Ok(verdict)
}
