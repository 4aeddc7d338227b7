//! AVR boards with a serial bootloader, flashed by `avrdude`: Arduino Uno, Nano, Mega 2560. It is on this machine, or in
//! the image with their compiler; a container gets the board's port and nothing else.
//!
//! It speaks the bootloader's protocol, resets the board by DTR, writes page by page, and reads everything back. The
//! bootloader has no second place for a firmware: a flash that is cut leaves half of one, and the relay writes again.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use firmware::message::BoardMessage;
use firmware::session::{Event, FlashReport};

use super::tool::Tool;
use super::{Programmer, tool};
use crate::boards::{BoardType, Upload};
use crate::build::container::{self, Image, Inside, Problem, SOURCES};
use crate::build::gcc::AVR_IMAGE;
use crate::build::{Builder, Engine, Folder, process};
use crate::config::Builds;
use crate::device::line::Ear;
use crate::serial::port::{Fault, SerialLine};
use crate::serial::talk::{self, Condition};

/// Writing and reading back the 248 kB of a Mega at 115,200 bit/s takes 55 s.
const LIMIT: Duration = Duration::from_secs(150);
/// Pauses before further attempts, where one can help.
const PAUSES: [Duration; 3] = [Duration::from_millis(300), Duration::from_secs(1), Duration::from_secs(3)];
const HELP: &str = "install it (Debian: 'apt install avrdude'; Fedora: 'dnf install avrdude')";
/// A program that does nothing: `rjmp .-2`.
const NOTHING: [u8; 2] = [0xFF, 0xCF];

const PROGRAM: &str = "avrdude";
/// What is written, in its folder.
const IMAGE: &str = "src/image.bin";

/// `avrdude` for one board.
#[derive(Debug, Clone)]
pub struct Avrdude {
    upload: Upload,
    work: PathBuf,
    builds: Builds,
    engine: Arc<Engine>,
}

impl Avrdude {
    /// For a board whose file says part, protocol and speed.
    pub fn new(board: &BoardType, builder: &Builder) -> Self {
        let (builds, engine) = builder.engine();
        Self { upload: board.upload.clone(), work: builder.work().to_owned(), builds, engine: engine.clone() }
    }

    /// The image that it runs in; `None`: it runs here, or says that it cannot.
    fn image(&self) -> Result<Option<Image>, Fault> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        match self.builds {
            Builds::Local => return Ok(None),
            Builds::Auto if process::find(PROGRAM, &path).is_some() => return Ok(None),
            Builds::Auto | Builds::Container => {}
        }
        let engine = self.engine.clone();
        let asked = tool::begin(async move { engine.image(AVR_IMAGE).await });
        match asked.recv().map_err(|_| Fault::Stopped)? {
            Ok(image) => Ok(Some(image)),
            Err(problem @ (Problem::NoEngine(_) | Problem::NoImage(..))) if self.builds == Builds::Auto => Err(
                Fault::ToolMissing(format!("avrdude was not found: {HELP}; nor can it run in a container: {problem}")),
            ),
            Err(problem @ (Problem::NoEngine(_) | Problem::NoImage(..))) => {
                Err(Fault::ToolMissing(problem.to_string()))
            }
            Err(problem) => Err(Fault::Tool(problem.to_string())),
        }
    }

    fn write(&self, line: &mut SerialLine, image: &[u8], ear: &mut Ear) -> Result<(), Fault> {
        let folder = Folder::make(&self.work).map_err(|e| Fault::Tool(format!("cannot make a folder: {e}")))?;
        let written =
            std::fs::create_dir(folder.path(SOURCES)).and_then(|()| std::fs::write(folder.path(IMAGE), image));
        written.map_err(|e| Fault::Tool(format!("cannot write the image: {e}")))?;
        let mut pauses = PAUSES.iter();
        loop {
            let fault = match self.attempt(line, &folder, ear) {
                Ok(()) => return Ok(()),
                Err(fault) => fault,
            };
            // Another attempt can help against a byte that was lost, and not against what is missing.
            let pause = match &fault {
                Fault::Tool(_) | Fault::Busy(_) => pauses.next(),
                _ => None,
            };
            let Some(pause) = pause.filter(|_| line.is_current()) else { return Err(fault) };
            ear.note(&format!("{fault}; trying again in {} ms", pause.as_millis()));
            std::thread::sleep(*pause);
        }
    }

    fn attempt(&self, line: &mut SerialLine, folder: &Folder, ear: &mut Ear) -> Result<(), Fault> {
        // avrdude does not look whether somebody else has the port.
        line.check_free()?;
        let image = self.image()?;
        let port = if image.is_some() { container::PORT } else { line.path() };
        let arguments = [
            "-q".to_owned(),
            format!("-p{}", self.upload.part),
            format!("-c{}", self.upload.protocol),
            format!("-P{port}"),
            format!("-b{}", self.upload.baud),
            "-D".to_owned(), // the bootloader erases page by page
            format!("-Uflash:w:{IMAGE}:r"),
        ];
        let since = Instant::now();
        let leave = ear.leave();
        let is_there = || line.is_current() && !leave.is_due();
        let mut on_line = |text: &str| {
            let step = [("initialized", 0.1), ("writing", 0.15), ("written", 0.6), ("verified", 1.0)];
            if let Some((_, progress)) = step.iter().rev().find(|(word, _)| text.contains(word)) {
                // Whether to go on is no question here: half a firmware is worse than none.
                let _ = ear.hear(Event::Progress(*progress));
            }
            ear.note(text);
        };
        let ended = match image {
            None => {
                let tool = Tool { program: PROGRAM, folder, limit: LIMIT, help: HELP, environment: Vec::new() };
                tool::run(&tool, &arguments, &is_there, &mut on_line)?
            }
            Some(image) => {
                let inside = Inside {
                    arguments: [PROGRAM.to_owned()].into_iter().chain(arguments).collect(),
                    folder: folder.dir().to_owned(),
                    writes: false,
                    device: Some(line.path().into()),
                };
                tool::run_inside(&image, inside, LIMIT, &is_there, &mut on_line)?
            }
        };
        if ended.is_good() {
            ear.note(&format!("avrdude took {} ms", since.elapsed().as_millis()));
            return Ok(());
        }
        if leave.is_wanted() {
            return Err(Fault::Stopped);
        }
        let said = ended.last();
        if !line.is_current() || ended.says(&["No such file or directory", "No such device"]) {
            return Err(Fault::Lost(format!("while avrdude wrote to it ({said})")));
        }
        if ended.success.is_none() {
            return Err(Fault::Tool(format!("avrdude was killed after {} s", LIMIT.as_secs())));
        }
        if ended.says(&["Permission denied"]) {
            return Err(Fault::Denied(line.path().to_owned()));
        }
        if ended.says(&["Device or resource busy"]) {
            return Err(Fault::Busy(line.path().to_owned()));
        }
        let why = if ended.says(&["not in sync", "not responding", "no response"]) {
            "the board's bootloader does not answer avrdude: is it the board that its type says?"
        } else if ended.says(&["verification error", "mismatch"]) {
            "what was written cannot be read back"
        } else {
            "avrdude failed"
        };
        Err(Fault::Tool(format!("{why} ({said})")))
    }
}

impl Programmer for Avrdude {
    fn flash(&self, line: &mut SerialLine, image: Vec<u8>, ear: &mut Ear) -> Result<FlashReport, Fault> {
        self.write(line, &image, ear)?;
        Ok(FlashReport { written: image.len(), restarts: 0 })
    }

    fn erase(&self, line: &mut SerialLine, ear: &mut Ear) -> Result<(), Fault> {
        self.write(line, &NOTHING, ear)
    }

    fn reset(&self, line: &mut SerialLine, _: &mut Ear) -> Result<(), Fault> {
        line.pulse()
    }

    fn hello(&self, line: &mut SerialLine, ear: &mut Ear) -> Result<BoardMessage, Fault> {
        talk::hello_after_reset(line, ear)
    }

    fn unanswered(&self, line: &mut SerialLine, ear: &mut Ear) -> Result<Condition, Fault> {
        // Something may have come to the bootloader all the same: one reset more, and it counts.
        line.pulse()?;
        match self.hello(line, ear) {
            Ok(BoardMessage::Info(info)) => Ok(Condition::Running(Box::new(info))),
            // A bootloader cannot tell what is in the flash, and whoever wrote it owes us no answer.
            Ok(_) | Err(Fault::Session(_)) => Ok(Condition::Foreign),
            Err(fault) => Err(fault),
        }
    }

    fn is_atomic(&self) -> bool {
        false
    }
}
