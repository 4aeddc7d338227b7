//! Boards of Arduino cores, flashed by `arduino-cli upload`: it knows each core's programmer, and opens the port at
//! 1200 bit/s where the core enters its bootloader that way.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use firmware::message::{BoardMessage, HostMessage, ResetMode};
use firmware::session::{Ask, Event, FlashReport};

use super::tool::Tool;
use super::{Programmer, tool};
use crate::boards::BoardType;
use crate::build::arduino_cli::Refused;
use crate::build::{Folder, arduino_cli};
use crate::device::line::Ear;
use crate::serial::port::{Fault, SerialLine};
use crate::serial::talk::{self, Condition};

/// A megabyte to an ESP32 at 921,600 bit/s takes some ten seconds; to others at 115,200, a minute and a half.
const LIMIT: Duration = Duration::from_secs(180);
/// A board with USB of its own goes and comes back.
const RETURN: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_secs(1);
const ATTEMPTS: u32 = 3;

/// `arduino-cli upload` for one board.
#[derive(Debug, Clone)]
pub struct ArduinoCli {
    fqbn: String,
    resets: bool,
    work: PathBuf,
}

impl ArduinoCli {
    /// For a board whose target is an FQBN.
    pub fn new(board: &BoardType, work: &Path) -> Self {
        Self { fqbn: board.target.clone(), resets: board.reset == "dtr", work: work.to_owned() }
    }

    fn attempt(&self, line: &mut SerialLine, folder: &Folder, ear: &mut Ear) -> Result<(), Fault> {
        line.check_free()?;
        let input = folder.path("out").display().to_string();
        let port = line.path();
        // AVR cores read back what they wrote only if they are asked to.
        let arguments = ["upload", "--json", "--verify", "--fqbn", &self.fqbn, "--port", port, "--input-dir", &input];
        let arguments = arguments.map(str::to_owned);
        let tool = Tool {
            program: arduino_cli::PROGRAM,
            folder,
            limit: LIMIT,
            help: arduino_cli::HELP,
            environment: arduino_cli::environment(),
        };
        let since = Instant::now();
        let _ = ear.hear(Event::Progress(0.1));
        // The port may go in the meantime: that is how boards with USB of their own enter their bootloader.
        let leave = ear.leave();
        let ended = tool::run(&tool, &arguments, &|| !leave.is_due(), &mut |_| {})?;
        let said = if ended.is_good() {
            Refused { output: serde_json::from_str(&ended.out).unwrap_or_default(), ..Refused::default() }
        } else {
            serde_json::from_str(&ended.err).unwrap_or_default()
        };
        said.output.lines().for_each(|line| ear.note(line));
        if ended.is_good() {
            ear.note(&format!("arduino-cli took {} ms", since.elapsed().as_millis()));
            return Ok(());
        }
        if leave.is_wanted() {
            return Err(Fault::Stopped);
        }
        let why = if said.error.is_empty() { ended.last() } else { &said.error };
        Err(match ended.success {
            None => Fault::Tool(format!("arduino-cli was killed after {} s", LIMIT.as_secs())),
            Some(_) if !line.is_current() => Fault::Lost(format!("while arduino-cli wrote to it ({why})")),
            Some(_) => Fault::Tool(format!("arduino-cli could not upload ({why})")),
        })
    }
}

impl Programmer for ArduinoCli {
    fn flash(&self, line: &mut SerialLine, image: Vec<u8>, ear: &mut Ear) -> Result<FlashReport, Fault> {
        let failed = |error: std::io::Error| Fault::Tool(format!("cannot unpack the image: {error}"));
        let folder = Folder::make(&self.work).map_err(failed)?;
        tar::Archive::new(image.as_slice()).unpack(folder.path("out")).map_err(failed)?;
        let mut attempt = 1;
        loop {
            match self.attempt(line, &folder, ear) {
                Ok(()) => break,
                Err(fault @ (Fault::Tool(_) | Fault::Busy(_))) if attempt < ATTEMPTS && line.is_current() => {
                    ear.note(&format!("{fault}; trying again"));
                    std::thread::sleep(PAUSE);
                    attempt += 1;
                }
                Err(fault) => return Err(fault),
            }
        }
        let end = Instant::now() + RETURN;
        while !line.is_current() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(FlashReport { written: image.len(), restarts: 0 })
    }

    fn erase(&self, _: &mut SerialLine, _: &mut Ear) -> Result<(), Fault> {
        Err(Fault::Tool("arduino-cli cannot erase a board; install another model".to_owned()))
    }

    fn can_erase(&self) -> bool {
        false
    }

    fn reset(&self, line: &mut SerialLine, ear: &mut Ear) -> Result<(), Fault> {
        let reset = HostMessage::Reset(ResetMode::App);
        line.run(&mut Ask::new(reset, Duration::from_secs(1), 5), &mut |event| ear.hear(event))?;
        Ok(())
    }

    fn hello(&self, line: &mut SerialLine, ear: &mut Ear) -> Result<BoardMessage, Fault> {
        if self.resets {
            return talk::hello_after_reset(line, ear);
        }
        line.run(&mut Ask::new(HostMessage::Hello, Duration::from_millis(500), 20), &mut |event| ear.hear(event))
    }

    fn unanswered(&self, _: &mut SerialLine, _: &mut Ear) -> Result<Condition, Fault> {
        Ok(Condition::Foreign)
    }

    fn is_atomic(&self) -> bool {
        false
    }
}
