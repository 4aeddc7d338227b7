//! The board's main loop: bytes between terminal, chip and firmware, at the line's speed.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use firmware::message::{BoardMessage, NakCode};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::chip::Chip;
use crate::identity::{BoardIdentity, Folder};
use crate::pace::Pace;
use crate::splitter::{Part, Splitter};
use crate::tty::Tty;
use crate::{BoardConfig, BoardError};

/// Most bytes that wait in one direction; beyond it they are lost, as on any serial line.
const QUEUE: usize = 64 * 1024;
/// How often a shutdown is looked for.
const PATIENCE: Duration = Duration::from_millis(100);
/// How often firmware that has closed its output is asked whether it has ended.
const EXIT_CHECK: Duration = Duration::from_millis(2);
/// How long the rest of a frame may keep the bootloader from giving up.
const FRAME: Duration = Duration::from_secs(1);
/// How often a host is looked for while there is none. The kernel has no event for it.
const HOST_CHECK: Duration = Duration::from_millis(20);

/// A running board.
#[derive(Debug)]
pub struct Board {
    identity: BoardIdentity,
    chip: Chip,
    tty: Tty,
    splitter: Splitter,
    /// When the host's last bytes came.
    heard: Instant,
    to_host: VecDeque<u8>,
    to_app: VecDeque<u8>,
    in_pace: Pace,
    out_pace: Pace,
    lost: u64,
}

impl Board {
    /// Locks the folder, opens the terminal, boots, and tells discovery.
    pub fn start(config: &BoardConfig) -> Result<Self, BoardError> {
        let folder = Folder::open(&config.dir)?;
        let serial_number = folder.serial_number()?;
        let tty = Tty::open()?;
        let identity = BoardIdentity {
            board: config.machine.board().to_owned(),
            name: config.name.clone(),
            serial_number: serial_number.clone(),
            product: "TinyMLaaS virtual board".to_owned(),
            manufacturer: "TinyMLaaS".to_owned(),
            port: "tty".to_owned(),
            terminal: String::new(),
            process: std::process::id(),
        };
        let now = Instant::now();
        let mut board = Board {
            identity,
            chip: Chip::start(folder, serial_number, config),
            tty,
            splitter: Splitter::default(),
            heard: now,
            to_host: VecDeque::new(),
            to_app: VecDeque::new(),
            in_pace: Pace::new(config.baud, now),
            out_pace: Pace::new(config.baud, now),
            lost: 0,
        };
        board.plug_in()?;
        Ok(board)
    }

    /// Shows the terminal to hosts.
    fn plug_in(&mut self) -> Result<(), BoardError> {
        let folder = self.chip.folder();
        folder.link("tty", self.tty.path())?;
        self.identity.terminal = self.tty.path().display().to_string();
        folder.publish(&self.identity)?;
        let (name, terminal) = (&self.identity.name, &self.identity.terminal);
        tracing::info!(board = %name, %terminal, "board plugged in");
        Ok(())
    }

    /// Works until `shutdown`.
    pub fn run(mut self, shutdown: &AtomicBool) -> Result<(), BoardError> {
        while !shutdown.load(Ordering::Relaxed) {
            if let Err(error) = self.tty.look() {
                tracing::info!(%error, "the terminal is locked by a host that is gone: plugging in anew");
                self.tty = Tty::open()?;
                self.plug_in()?;
            }
            if self.chip.app().is_none() {
                self.to_app.clear(); // nobody is there to take it
            }
            if !self.tty.has_host() {
                self.to_host.clear();
            }
            self.wait().map_err(|e| BoardError::System { what: "cannot wait for input", source: e.into() })?;
            // What has been waiting on the line comes first: a machine that let this process wait for seconds is no
            // host that has gone, and the bootloader must not give up before it has read what was sent to it.
            let now = Instant::now();
            self.move_bytes(now).map_err(|e| BoardError::System { what: "the terminal failed", source: e })?;
            if !(self.chip.in_bootloader() && self.is_in_frame(now)) {
                self.chip.tick(now);
            }
        }
        self.chip.folder().withdraw();
        tracing::info!(board = %self.identity.name, lost_bytes = self.lost, "board unplugged");
        Ok(())
    }

    /// Whether a frame is just coming in.
    fn is_in_frame(&self, now: Instant) -> bool {
        self.splitter.is_in_frame() && now.saturating_duration_since(self.heard) < FRAME
    }

    /// Waits until there may be something to do.
    fn wait(&mut self) -> Result<(), Errno> {
        let now = Instant::now();
        let mut timeout = PATIENCE;
        if let Some(due) = self.chip.due() {
            // It may be overdue because of a frame that comes in.
            timeout = timeout.min(due.saturating_duration_since(now)).max(Duration::from_millis(1));
        }
        let mut fds = Vec::with_capacity(3);
        if self.tty.has_host() {
            let mut flags = PollFlags::empty();
            if self.in_pace.allow(1, now) > 0 {
                flags |= PollFlags::IN;
            } else {
                timeout = timeout.min(self.in_pace.pause());
            }
            if !self.to_host.is_empty() {
                if self.out_pace.allow(1, now) > 0 {
                    flags |= PollFlags::OUT;
                } else {
                    timeout = timeout.min(self.out_pace.pause());
                }
            }
            fds.push(PollFd::new(&self.tty, flags));
        } else {
            timeout = timeout.min(HOST_CHECK);
        }
        if let Some(app) = self.chip.app() {
            let (input, output) = (app.input(), app.output());
            if app.is_closed() {
                timeout = timeout.min(EXIT_CHECK);
            } else {
                fds.push(PollFd::from_borrowed_fd(output, PollFlags::IN));
            }
            if !self.to_app.is_empty() {
                fds.push(PollFd::from_borrowed_fd(input, PollFlags::OUT));
            }
        }
        let timeout = Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: i64::from(timeout.subsec_nanos()) };
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn move_bytes(&mut self, now: Instant) -> io::Result<()> {
        let mut buffer = [0; 4096];

        let most = self.in_pace.allow(buffer.len(), now);
        let got = if most > 0 { self.tty.read(&mut buffer[..most])? } else { 0 };
        self.in_pace.spend(got);
        if got > 0 {
            self.heard = now;
        }
        for part in self.splitter.push(&buffer[..got]) {
            self.take(part);
        }

        if let Some(app) = self.chip.app_mut() {
            while !self.to_app.is_empty() {
                let put = app.write(self.to_app.as_slices().0);
                if put == 0 {
                    break;
                }
                self.to_app.drain(..put);
            }
            // Its end is noticed by the chip, which then also knows how.
            let got = app.read(&mut buffer);
            self.send(&buffer[..got]);
        }

        let most = self.out_pace.allow(self.to_host.as_slices().0.len(), now);
        if most > 0 && self.tty.has_host() {
            let put = self.tty.write(&self.to_host.as_slices().0[..most])?;
            self.to_host.drain(..put);
            self.out_pace.spend(put);
        }
        Ok(())
    }

    fn take(&mut self, part: Part) {
        match part {
            Part::Chip(frame) => {
                let answer = self.chip.request(&frame);
                self.answer(frame.seq, &answer);
            }
            Part::App(frame, _) if self.chip.in_bootloader() => {
                self.answer(frame.seq, &BoardMessage::Nak(NakCode::WrongMode));
            }
            Part::App(_, raw) | Part::Noise(raw) => {
                if self.to_app.len() + raw.len() <= QUEUE {
                    self.to_app.extend(raw);
                } else {
                    self.lost += raw.len() as u64;
                }
            }
        }
    }

    fn answer(&mut self, seq: u8, answer: &BoardMessage) {
        match answer.encode(seq) {
            Ok(bytes) => self.send(&bytes),
            Err(error) => tracing::error!(%error, "an answer does not fit into a frame"),
        }
    }

    fn send(&mut self, bytes: &[u8]) {
        if self.to_host.len() + bytes.len() <= QUEUE {
            self.to_host.extend(bytes);
        } else {
            self.lost += bytes.len() as u64;
        }
    }
}
