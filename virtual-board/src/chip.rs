//! The USB-serial chip and bootloader: what RESET and `BL_*` requests do.

use std::time::{Duration, Instant};

use firmware::PROTOCOL_VERSION;
use firmware::bootloader::{Info, Mode, Request};
use firmware::frame::{Frame, MAX_PAYLOAD};
use firmware::message::{BoardMessage, HostMessage, NakCode, ParseError, ResetMode};

use crate::BoardConfig;
use crate::app::{self, App};
use crate::flash::Flash;
use crate::identity::Folder;
use crate::machine::Machine;

/// First and longest pause before crashed firmware is started again.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));
/// Firmware that ran so long has not crashed "again".
const HEALTHY: Duration = Duration::from_secs(30);

#[derive(Debug)]
enum State {
    Running(App),
    /// Waits for requests; with firmware in flash only up to the time given.
    Bootloader(Instant),
    /// Crashed; starts again at the time given.
    Crashed(Instant),
}

/// Chip, flash and microcontroller.
#[derive(Debug)]
pub struct Chip {
    folder: Folder,
    machine: Machine,
    flash: Flash,
    state: State,
    serial_number: String,
    timeout: Duration,
    boot_count: u32,
    crash_count: u32,
    crashes_in_a_row: u32,
    last_exit: String,
}

impl Chip {
    /// Opens the flash and boots what is in it.
    pub fn start(folder: Folder, serial_number: String, config: &BoardConfig) -> Self {
        let flash = Flash::open(&folder, config.flash_capacity);
        app::end_leftovers(flash.path());
        let boot_count = folder.boot_count();
        let mut chip = Chip {
            folder,
            machine: config.machine,
            flash,
            state: State::Bootloader(Instant::now()),
            serial_number,
            timeout: config.bootloader_timeout,
            boot_count,
            crash_count: 0,
            crashes_in_a_row: 0,
            last_exit: String::new(),
        };
        chip.boot();
        chip
    }

    /// The board's folder.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// The running firmware.
    pub fn app(&self) -> Option<&App> {
        match &self.state {
            State::Running(app) => Some(app),
            _ => None,
        }
    }

    /// The running firmware, to read from.
    pub fn app_mut(&mut self) -> Option<&mut App> {
        match &mut self.state {
            State::Running(app) => Some(app),
            _ => None,
        }
    }

    /// Whether firmware requests have to be refused (a crashed board is silent instead).
    pub fn in_bootloader(&self) -> bool {
        matches!(self.state, State::Bootloader(_))
    }

    /// When [`tick`](Self::tick) has something to do next.
    pub fn due(&self) -> Option<Instant> {
        match self.state {
            State::Running(_) => None,
            State::Bootloader(until) => self.flash.content().map(|_| until),
            State::Crashed(until) => Some(until),
        }
    }

    /// Notices ended firmware, and starts what is due.
    pub fn tick(&mut self, now: Instant) {
        if let State::Running(app) = &mut self.state {
            if let Some(how) = app.exited() {
                let healthy = app.age() >= HEALTHY;
                self.crashed(how, healthy);
            }
        } else if self.due().is_some_and(|due| due <= now) {
            self.boot();
        }
    }

    /// Carries out a request and says what to answer.
    pub fn request(&mut self, frame: &Frame) -> BoardMessage {
        let message = match HostMessage::parse(frame) {
            Ok(message) => message,
            Err(ParseError::UnknownType(_)) => return BoardMessage::Nak(NakCode::UnknownType),
            Err(_) => return BoardMessage::Nak(NakCode::BadPayload),
        };
        let done = match message {
            HostMessage::Reset(ResetMode::App) if self.flash.content().is_none() => {
                self.enter_bootloader();
                Ok(())
            }
            HostMessage::Reset(ResetMode::App) => {
                self.crashes_in_a_row = 0;
                self.boot();
                Ok(())
            }
            HostMessage::Reset(ResetMode::Bootloader) => {
                self.enter_bootloader();
                Ok(())
            }
            HostMessage::Bootloader(Request::Hello) => {
                self.touch();
                return BoardMessage::Bootloader(self.info());
            }
            HostMessage::Bootloader(request) => self.bootloader(request),
            // The splitter hands over nothing else.
            _ => Err(NakCode::UnknownType),
        };
        match done {
            Ok(()) => BoardMessage::Ack,
            Err(code) => BoardMessage::Nak(code),
        }
    }

    fn bootloader(&mut self, request: Request) -> Result<(), NakCode> {
        if let Request::Run = request {
            return match (&self.state, self.flash.content()) {
                (State::Running(_), _) => Ok(()), // a repeated request whose answer was lost
                (_, None) => Err(NakCode::Empty),
                (_, Some(_)) => {
                    self.crashes_in_a_row = 0;
                    self.boot();
                    Ok(())
                }
            };
        }
        if !self.in_bootloader() {
            return Err(NakCode::WrongMode);
        }
        let done = match request {
            Request::Begin { size, sha256 } => self.flash.begin(size, sha256),
            Request::Data { offset, data } => self.flash.data(offset, &data),
            Request::Commit => self.commit(),
            Request::Erase => self.flash.erase(),
            Request::Hello | Request::Run => Ok(()), // answered before
        };
        self.touch();
        done
    }

    fn commit(&mut self) -> Result<(), NakCode> {
        self.flash.commit()?;
        self.crash_count = 0;
        self.last_exit.clear();
        Ok(())
    }

    /// Puts the bootloader's time-out off.
    fn touch(&mut self) {
        if let State::Bootloader(until) = &mut self.state {
            *until = Instant::now() + self.timeout;
        }
    }

    fn enter_bootloader(&mut self) {
        self.state = State::Bootloader(Instant::now() + self.timeout);
    }

    /// Stops what runs and starts what is in flash.
    fn boot(&mut self) {
        self.enter_bootloader(); // drops, that is kills, running firmware
        self.flash.forget_staged();
        if self.flash.content().is_none() {
            return;
        }
        self.boot_count = self.boot_count.wrapping_add(1);
        if let Err(error) = self.folder.write("boot-count", self.boot_count.to_string().as_bytes()) {
            tracing::warn!(%error, "the boot count will not survive");
        }
        match App::start(self.machine, self.flash.path(), self.boot_count) {
            Ok(app) => self.state = State::Running(app),
            Err(error) => self.crashed(format!("cannot start: {error}"), false),
        }
    }

    fn crashed(&mut self, how: String, healthy: bool) {
        self.crashes_in_a_row = if healthy { 0 } else { self.crashes_in_a_row.saturating_add(1) };
        self.crash_count = self.crash_count.saturating_add(1);
        let doubled = BACK_OFF.0 * 2u32.saturating_pow(self.crashes_in_a_row.saturating_sub(1).min(10));
        let pause = doubled.min(BACK_OFF.1);
        tracing::warn!(end = %how, crashes = self.crash_count, ?pause, "the firmware ended by itself");
        self.last_exit = how;
        self.state = State::Crashed(Instant::now() + pause);
    }

    fn info(&self) -> Info {
        let content = self.flash.content();
        Info {
            protocol: PROTOCOL_VERSION,
            mode: match self.state {
                State::Running(_) => Mode::App,
                State::Bootloader(_) => Mode::Bootloader,
                State::Crashed(_) => Mode::Crashed,
            },
            board: self.machine.board().to_owned(),
            serial_number: self.serial_number.clone(),
            flash_capacity: self.flash.capacity(),
            flash_size: content.map_or(0, |c| c.size),
            flash_sha256: content.map(|c| c.sha256),
            crash_count: self.crash_count,
            last_exit: self.last_exit.clone(),
            boot_count: self.boot_count,
            max_payload: MAX_PAYLOAD as u16,
        }
    }
}
