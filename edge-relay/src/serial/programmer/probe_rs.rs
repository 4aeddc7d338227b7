//! Chips behind a debug probe (CMSIS-DAP, ST-Link, J-Link and others), flashed by the program `probe-rs` 0.32 or newer.
//! The board's serial port is only for talking to its firmware; many probes have one beside.
//!
//! The program and not the library: the library would bring 79 crates more into everybody's build for the few who have a
//! probe, and the flash algorithms of new chips come with a new program, without a new relay.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use firmware::session::{Event, FlashReport};

use super::tool::{Ended, Tool};
use super::{Programmer, tool};
use crate::boards::{BoardType, Upload};
use crate::build::Folder;
use crate::device::line::Ear;
use crate::serial::port::{Fault, SerialLine};
use crate::serial::talk::Condition;

const PROGRAM: &str = "probe-rs";
const HELP: &str = "install it (https://probe.rs, or 'cargo install probe-rs-tools --locked')";
/// A megabyte over a slow probe, written and read back.
const LIMIT: Duration = Duration::from_secs(150);
/// In the board's file: the probe is the USB device that the serial port belongs to.
const OWN: &str = "own";
/// What is written, in its folder.
const IMAGE: &str = "image.bin";
/// Most lines of an error that are passed on: the error and what caused it.
const CAUSES: usize = 4;

/// `probe-rs` for one board.
#[derive(Debug, Clone)]
pub struct ProbeRs {
    upload: Upload,
    work: PathBuf,
}

impl ProbeRs {
    /// For a board whose file says chip, protocol and address, and which probe.
    pub fn new(board: &BoardType, work: &std::path::Path) -> Self {
        Self { upload: board.upload.clone(), work: work.to_owned() }
    }

    /// A verb with the arguments that all have: the chip, and how to reach it.
    fn arguments(&self, verb: &str, line: &SerialLine) -> Vec<String> {
        let mut arguments = [verb, "--non-interactive", "--chip", &self.upload.part].map(str::to_owned).to_vec();
        let mut put = |option: &str, value: &str| arguments.extend([option.to_owned(), value.to_owned()]);
        if !self.upload.protocol.is_empty() {
            put("--protocol", &self.upload.protocol);
        }
        match self.upload.probe.as_str() {
            "" => {}
            OWN => {
                if let Some(usb) = line.usb() {
                    put("--probe", usb);
                }
            }
            probe => put("--probe", probe),
        }
        arguments
    }

    fn folder(&self) -> Result<Folder, Fault> {
        Folder::make(&self.work).map_err(|error| Fault::Tool(format!("cannot make a folder: {error}")))
    }

    fn run(&self, folder: &Folder, arguments: &[String], ear: &mut Ear) -> Result<(), Fault> {
        let since = Instant::now();
        let leave = ear.leave();
        let tool = Tool { program: PROGRAM, folder, limit: LIMIT, help: HELP, environment: Vec::new() };
        // The port may go while the chip is held; the probe's own end tells.
        let ended = tool::run(&tool, arguments, &|| !leave.is_due(), &mut |text| ear.note(text))?;
        if ended.is_good() {
            ear.note(&format!("probe-rs took {} ms", since.elapsed().as_millis()));
            return Ok(());
        }
        if leave.is_wanted() {
            return Err(Fault::Stopped);
        }
        if ended.success.is_none() {
            return Err(Fault::Tool(format!("probe-rs was killed after {} s", LIMIT.as_secs())));
        }
        Err(Fault::Tool(explain(&ended, &self.upload)))
    }
}

/// What a run that ended badly was about. The exit code is 1 for everything, so its words have to tell.
fn explain(ended: &Ended, upload: &Upload) -> String {
    let mut said = ended.lines.iter().skip_while(|line| !line.trim_start().starts_with("Error"));
    let said: Vec<&str> = said
        .by_ref()
        .take_while(|line| !line.contains("Stack backtrace"))
        .map(|line| line.trim())
        .filter(|line| !line.is_empty() && *line != "Caused by:")
        .take(CAUSES)
        .collect();
    let said = if said.is_empty() { ended.last().to_owned() } else { said.join(" ") };
    let chip = &upload.part;
    if ended.says(&["No connected probes were found", "Probe not found", "probe was not found"]) {
        let which = if upload.probe.is_empty() {
            "no debug probe".to_owned()
        } else {
            "not the board's debug probe".to_owned()
        };
        return format!(
            "probe-rs finds {which}: is it connected, and may the relay's user open it (https://probe.rs has the udev rules)? ({said})"
        );
    }
    if ended.says(&["Available Probes"]) {
        let probes: Vec<&str> = ended.lines.iter().map(|line| line.trim()).filter(|line| is_listed(line)).collect();
        return format!(
            "several debug probes are connected: name the board's one as 'probe' (VID:PID:SERIAL) under 'upload' in its file: {}",
            probes.join(", ")
        );
    }
    if ended.says(&["was not found in the database"]) {
        return format!(
            "probe-rs does not know the chip '{chip}': 'probe-rs chip list' shows those that it knows, 'part' in the board's file names it ({said})"
        );
    }
    if ended.says(&["lacked the permission", "locked"]) {
        return format!(
            "the chip is locked against reading: 'probe-rs erase --chip {chip} --allow-erase-all' unlocks it and erases everything on it ({said})"
        );
    }
    if ended.says(&["verification failed"]) {
        return format!("what was written cannot be read back ({said})");
    }
    if ended.says(&["Connecting to the chip was unsuccessful"]) {
        return format!("the probe does not reach the chip '{chip}': is it powered, and is it this chip? ({said})");
    }
    format!("probe-rs failed ({said})")
}

/// Whether it is a line such as `0: BBC micro:bit -- 0d28:0204:9904… (CMSIS-DAP)`.
fn is_listed(line: &str) -> bool {
    line.split_once(": ").is_some_and(|(number, _)| number.parse::<u8>().is_ok())
}

impl Programmer for ProbeRs {
    fn flash(&self, line: &mut SerialLine, image: Vec<u8>, ear: &mut Ear) -> Result<FlashReport, Fault> {
        let folder = self.folder()?;
        std::fs::write(folder.path(IMAGE), &image)
            .map_err(|error| Fault::Tool(format!("cannot write the image: {error}")))?;
        let mut arguments = self.arguments("download", line);
        arguments.extend(["--disable-progressbars", "--verify", "--binary-format", "bin"].map(str::to_owned));
        arguments.extend(["--base-address".to_owned(), self.upload.address.clone(), IMAGE.to_owned()]);
        // Whether to go on is no question here: half a firmware is worse than none.
        let _ = ear.hear(Event::Progress(0.1));
        self.run(&folder, &arguments, ear)?;
        let _ = ear.hear(Event::Progress(0.9));
        // What the old firmware has said is no answer of the new one.
        line.close();
        self.run(&folder, &self.arguments("reset", line), ear)?;
        Ok(FlashReport { written: image.len(), restarts: 0 })
    }

    fn erase(&self, line: &mut SerialLine, ear: &mut Ear) -> Result<(), Fault> {
        let folder = self.folder()?;
        self.run(&folder, &self.arguments("erase", line), ear)
    }

    fn reset(&self, line: &mut SerialLine, ear: &mut Ear) -> Result<(), Fault> {
        let folder = self.folder()?;
        self.run(&folder, &self.arguments("reset", line), ear)
    }

    fn unanswered(&self, _: &mut SerialLine, _: &mut Ear) -> Result<Condition, Fault> {
        Ok(Condition::Foreign)
    }

    fn is_atomic(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(text: &str) -> Ended {
        Ended {
            success: Some(false),
            lines: text.lines().map(str::to_owned).collect(),
            out: String::new(),
            err: String::new(),
        }
    }

    #[test]
    fn what_went_wrong_is_said_with_the_way_out() {
        let upload = Upload { part: "nRF51822_xxAA".into(), ..Upload::default() };
        let said = |text: &str| explain(&failed(text), &upload);
        // As version 0.32 prints it.
        let none =
            said(" WARN probe_rs: error listing\nError: No connected probes were found.\n\nStack backtrace:\n   0: a");
        assert!(
            none.contains("no debug probe") && none.ends_with("(Error: No connected probes were found.)"),
            "{none}"
        );
        let two = "Available Probes:\n0: BBC micro:bit -- 0d28:0204:11 (CMSIS-DAP)\n1: J-Link -- 1366:0101:22 (J-Link)\nSelection: Error: Failed to parse probe index";
        let two = said(two);
        assert!(two.contains("0d28:0204:11") && two.contains("1366:0101:22") && two.contains("'probe'"), "{two}");
        let chip = "Error: The chip 'nRF51822_xxAA' was not found in the database.\n\nCaused by:\n    unknown";
        assert!(said(chip).contains("chip list"));
        let locked = "Error: Connecting to the chip was unsuccessful.\n\nCaused by:\n    An operation could not be performed because it lacked the permission to do so: erase_all";
        assert!(said(locked).contains("--allow-erase-all"), "{}", said(locked));
        assert!(said("Error: Flash content verification failed.").contains("read back"));
        assert!(said("").contains("it wrote nothing"));
    }
}
