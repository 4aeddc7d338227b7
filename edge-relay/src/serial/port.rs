//! The port of one device: opened exclusively, closed and opened again at need.

use std::io::Read as _;
use std::time::{Duration, Instant};

use contract::Code;
use firmware::session::{DriveError, Event, Link, Seq, Session, SessionError, drive};
use serialport::{SerialPort as _, TTYPort};

use crate::device::Plug;

/// How long a read waits: also how soon a stop is noticed.
const READ: Duration = Duration::from_millis(20);

/// How long another program may hold a port before that is said.
const HELD: Duration = Duration::from_secs(2);
/// How long DTR is let go for a reset.
const PULSE: Duration = Duration::from_millis(100);

/// Why a conversation with a board failed.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// Another program holds the port.
    #[error("another program holds {0}: close it (a serial monitor, another relay) and try again")]
    Busy(String),
    /// The relay may not open the port.
    #[error(
        "the relay may not open {0}: add its user to the group that owns the port (Debian: 'usermod -aG dialout USER'), \
         or give it to that group by a udev rule: SUBSYSTEM==\"tty\", GROUP=\"dialout\", MODE=\"0660\""
    )]
    Denied(String),
    /// The port is gone or failed.
    #[error("the device was lost: {0}")]
    Lost(String),
    /// The board did not answer, or refused.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The program that flashes this board failed.
    #[error("{0}")]
    Tool(String),
    /// The program that flashes this board is not installed.
    #[error("{0}")]
    ToolMissing(String),
    /// Asked to stop.
    #[error("stopped on request")]
    Stopped,
}

impl Fault {
    /// The code for reports; `otherwise` where the board answered badly or not at all.
    pub fn code(&self, otherwise: Code) -> Code {
        match self {
            Fault::Busy(_) => Code::PORT_BUSY,
            Fault::Denied(_) => Code::PORT_DENIED,
            Fault::Lost(_) => Code::DEVICE_LOST,
            Fault::Stopped => Code::CANCELLED,
            Fault::Session(SessionError::TooBig { .. }) => Code::DOES_NOT_FIT,
            Fault::ToolMissing(_) => Code::TOOLCHAIN_MISSING,
            Fault::Session(_) | Fault::Tool(_) => otherwise,
        }
    }
}

impl From<DriveError> for Fault {
    fn from(error: DriveError) -> Self {
        match error {
            DriveError::Port(error) => Fault::Lost(error.to_string()),
            DriveError::Session(error) => Fault::Session(error),
            DriveError::Cancelled => Fault::Stopped,
        }
    }
}

/// The serial line of one device.
#[derive(Debug)]
pub struct SerialLine {
    plug: Plug,
    baud: u32,
    open: Option<(TTYPort, Link)>,
    /// The board may have been reset, and nobody has taken note of it.
    reset: bool,
}

impl SerialLine {
    /// A line that is not open yet.
    pub fn new(plug: Plug, baud: u32) -> Self {
        Self { plug, baud, open: None, reset: false }
    }

    /// Changes the speed; a port that is open at another one is closed.
    pub fn set_baud(&mut self, baud: u32) {
        if self.baud != baud {
            self.close();
            self.baud = baud;
        }
    }

    /// The speed, in bits per second.
    pub fn baud(&self) -> u32 {
        self.baud
    }

    /// Path of the port.
    pub fn path(&self) -> &str {
        &self.plug.port
    }

    /// The USB device that the port belongs to, `vid:pid:serial`.
    pub fn usb(&self) -> Option<&str> {
        self.plug.usb.as_deref()
    }

    /// Closes the port, so that another program (or a programmer of its own) can have it.
    pub fn close(&mut self) {
        self.open = None;
    }

    /// Opens the port, and tells whether that, or a pulse, may have reset the board since this was asked last.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn was_reset(&mut self) -> Result<bool, Fault> {
        self.opened()?;
        Ok(std::mem::take(&mut self.reset))
    }

    /// Opens the port unless it is open: exclusively (TIOCEXCL and an advisory lock).
    fn opened(&mut self) -> Result<&mut (TTYPort, Link), Fault> {
        if self.open.is_none() {
            let port = self.acquire()?;
            let seed = uuid::Uuid::new_v4().as_bytes()[0];
            self.reset = true;
            self.open = Some((port, Link { seq: Seq::starting_at(seed), ..Link::default() }));
        }
        self.open.as_mut().ok_or_else(|| Fault::Lost(self.plug.port.clone()))
    }

    /// Opens the port. Somebody who only looks at a new port (a modem manager does) is waited for.
    fn acquire(&self) -> Result<TTYPort, Fault> {
        let end = Instant::now() + HELD;
        loop {
            self.check_plug()?;
            let opened = serialport::new(self.path(), self.baud).timeout(READ).open_native();
            match opened.map_err(|error| self.why(&error)) {
                Ok(port) => {
                    self.check_plug()?; // the board may have gone while the port was opened
                    return Ok(port);
                }
                Err(Fault::Busy(_)) if Instant::now() < end => std::thread::sleep(HELD / 20),
                Err(fault) => return Err(fault),
            }
        }
    }

    /// Closes the port, and looks that nobody else has it.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn check_free(&mut self) -> Result<(), Fault> {
        self.close();
        self.opened()?;
        self.close();
        Ok(())
    }

    /// Resets a board whose reset hangs on DTR: by closing and opening the port, and by the line itself where there is
    /// one (a pseudo terminal has none).
    ///
    /// # Errors
    /// [`Fault`].
    pub fn pulse(&mut self) -> Result<(), Fault> {
        self.close();
        std::thread::sleep(PULSE); // whoever watches the port has to see that it was closed
        let (port, _) = self.opened()?;
        if port.write_data_terminal_ready(false).is_ok() {
            std::thread::sleep(PULSE);
            let _ = port.write_data_terminal_ready(true);
        }
        Ok(())
    }

    /// Opens and closes the port at 1200 bit/s with DTR down, which boards with USB of their own take for the wish to
    /// enter their bootloader. The port goes then, so failures after the opening mean nothing.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn touch(&mut self) -> Result<(), Fault> {
        self.close();
        self.check_plug()?;
        let port = serialport::new(self.path(), 1200).timeout(READ).open_native();
        let mut port = port.map_err(|error| self.why(&error))?;
        let _ = port.write_data_terminal_ready(false);
        std::thread::sleep(PULSE);
        Ok(())
    }

    /// False once the device behind the port has gone for sure.
    pub fn is_current(&self) -> bool {
        self.plug.is_current()
    }

    fn check_plug(&self) -> Result<(), Fault> {
        if self.plug.is_current() {
            Ok(())
        } else {
            Err(Fault::Lost(format!("{} is not its port any more", self.path())))
        }
    }

    fn why(&self, error: &serialport::Error) -> Fault {
        use std::io::ErrorKind;
        let holder = super::holder::of(std::path::Path::new(self.path()));
        let shown = match holder {
            Some(holder) => format!("{} ({error}; {holder} has it open)", self.path()),
            None => format!("{} ({error})", self.path()),
        };
        match error.kind() {
            serialport::ErrorKind::NoDevice if std::path::Path::new(self.path()).exists() => Fault::Busy(shown),
            serialport::ErrorKind::Io(ErrorKind::PermissionDenied) => Fault::Denied(shown),
            serialport::ErrorKind::Io(ErrorKind::ResourceBusy | ErrorKind::WouldBlock) => Fault::Busy(shown),
            _ => Fault::Lost(shown),
        }
    }

    /// Runs a conversation. `on_event` hears everything beside it and returns whether to go on.
    ///
    /// # Errors
    /// [`Fault`]; after a lost port the line is closed.
    pub fn run<S: Session>(
        &mut self,
        session: &mut S,
        on_event: &mut dyn FnMut(Event) -> bool,
    ) -> Result<S::Output, Fault> {
        let (port, link) = self.opened()?;
        let result = drive(port, link, session, on_event).map_err(Fault::from);
        if matches!(result, Err(Fault::Lost(_))) {
            self.close();
        }
        result
    }

    /// Listens for one read. The items are what the decoder makes of it.
    ///
    /// # Errors
    /// [`Fault::Lost`]; the line is closed then.
    pub fn listen(&mut self) -> Result<Vec<firmware::frame::Item>, Fault> {
        let (port, link) = self.opened()?;
        let mut buffer = [0; 1024];
        match port.read(&mut buffer) {
            Ok(0) => {}
            Ok(got) => return Ok(link.decoder.push(&buffer[..got])),
            Err(e) if matches!(e.kind(), std::io::ErrorKind::TimedOut | std::io::ErrorKind::WouldBlock) => {
                return Ok(link.decoder.flush().into_iter().collect());
            }
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => return Ok(Vec::new()),
            Err(error) => {
                self.close();
                return Err(Fault::Lost(error.to_string()));
            }
        }
        self.close();
        Err(Fault::Lost(format!("{} was closed by the other side", self.path())))
    }
}
