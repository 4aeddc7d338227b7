//! The pseudo terminal: the board's end of the serial line.
//!
//! The board does not keep the host's end open. So it sees when no host has the port open
//! (hang-up), as a USB-serial chip sees DTR, and throws away what nobody reads. It also sees
//! the exclusive lock (TIOCEXCL) that a killed host leaves behind: the kernel keeps it as long
//! as the board's end is open, and nobody but root could open that terminal again. The board
//! then plugs itself in anew, with another terminal behind the same link.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, QueueSelector, ioctl_tiocnxcl, tcflush, tcgetattr, tcsetattr};

use crate::BoardError;

/// The board's end of the line.
#[derive(Debug)]
pub struct Tty {
    master: OwnedFd,
    path: PathBuf,
    host: bool,
}

impl Tty {
    /// Opens a new pseudo terminal in raw mode, with no host on it.
    pub fn open() -> Result<Self, BoardError> {
        Self::try_open().map_err(|e| BoardError::System { what: "cannot open a pseudo terminal", source: e.into() })
    }

    fn try_open() -> Result<Self, Errno> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        rustix::io::ioctl_fionbio(&master, true)?;
        let path = PathBuf::from(OsStr::from_bytes(ptsname(&master, Vec::new())?.as_bytes()));
        let tty = Tty { master, path, host: false };
        tty.tidy()?;
        Ok(tty)
    }

    /// Path of the host's end, `/dev/pts/N`.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether a host had the port open at the last look.
    pub fn has_host(&self) -> bool {
        self.host
    }

    /// Looks whether a host has the port open, and tidies up when the last one has gone.
    ///
    /// # Errors
    /// The terminal cannot be used any more and must be replaced by a new one.
    pub fn look(&mut self) -> Result<(), Errno> {
        let mut fds = [PollFd::new(&self.master, PollFlags::IN)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut fds, Some(&now))?;
        let seen = fds[0].revents();
        let had_host = self.host;
        // What a host wrote before it left is still to be read.
        self.host = !seen.contains(PollFlags::HUP) || seen.contains(PollFlags::IN);
        if had_host && !self.host { self.tidy() } else { Ok(()) }
    }

    /// Raw mode, nothing waiting to be read; ends hung up. Fails if a lock was left behind.
    fn tidy(&self) -> Result<(), Errno> {
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let slave = rustix::fs::open(&self.path, flags, Mode::empty())?;
        ioctl_tiocnxcl(&slave)?; // root gets here in spite of the lock
        tcflush(&slave, QueueSelector::IFlush)?;
        let mut raw = tcgetattr(&slave)?;
        raw.make_raw();
        tcsetattr(&slave, OptionalActions::Now, &raw)
    }

    /// Reads what the host wrote; `Ok(0)` if there is nothing.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match rustix::io::read(&self.master, buffer) {
            Ok(got) => Ok(got),
            // EIO: the host has closed the port.
            Err(Errno::AGAIN | Errno::INTR | Errno::IO) => Ok(0),
            Err(e) => Err(e.into()),
        }
    }

    /// Writes to the host what fits; `Ok(0)` if nothing does.
    pub fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        match rustix::io::write(&self.master, bytes) {
            Ok(put) => Ok(put),
            Err(Errno::AGAIN | Errno::INTR | Errno::IO) => Ok(0),
            Err(e) => Err(e.into()),
        }
    }
}

impl AsFd for Tty {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.master.as_fd()
    }
}
