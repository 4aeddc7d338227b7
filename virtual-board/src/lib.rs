//! Simulated boards behind pseudo terminals.
//!
//! A virtual board is a process. To a host it is a serial port, `DIR/tty`, opened exactly as
//! `/dev/ttyACM0` would be. Inside it plays the parts of a real board: the USB-serial chip and
//! bootloader (RESET and `BL_*` frames are its own), the flash memory (`DIR/flash.bin`) and the
//! microcontroller (the flashed firmware as a child process: an executable, or a Cortex-M4 in QEMU, see
//! [`Machine`]). [`simulator`] has boards whose chip is simulated with its real bootloader.
//!
//! | file | what |
//! |---|---|
//! | `tty` | symbolic link to the pseudo terminal; replaced at each start |
//! | `board.json` | [`BoardIdentity`], for device discovery |
//! | `lock` | locked (flock) exactly as long as the board lives |
//! | `flash.bin` | the firmware; only ever replaced whole |
//! | `staged.bin` | firmware being received |
//! | `serial-number`, `boot-count` | what a real board keeps in its chip |
//!
//! Killing the board at any moment loses nothing that was acknowledged: it boots the firmware
//! that was committed last.
//!
//! Must not know about MQTT, relays or models; must not be linked into the relay.

mod app;
mod board;
mod chip;
mod flash;
mod identity;
mod machine;
mod pace;
pub mod pico;
pub mod simulator;
mod splitter;
mod tty;

use std::io;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

pub use identity::BoardIdentity;
pub use machine::Machine;

/// What a virtual board is like.
#[derive(Debug, Clone)]
pub struct BoardConfig {
    /// Name of the board, for people.
    pub name: String,
    /// Folder of the board; made (0700) if it does not exist.
    pub dir: PathBuf,
    /// What its microcontroller is.
    pub machine: Machine,
    /// Simulated line speed in bit/s, ten bits a byte, each direction; 0 is as fast as it goes.
    pub baud: u32,
    /// Size of the flash in bytes.
    pub flash_capacity: u32,
    /// How long the bootloader waits for the next request before it starts the firmware.
    pub bootloader_timeout: Duration,
}

impl BoardConfig {
    /// A native board with an unpaced line.
    pub fn new(name: impl Into<String>, dir: impl Into<PathBuf>) -> Self {
        Self::of(Machine::Native, name, dir)
    }

    /// A board of this kind with an unpaced line.
    pub fn of(machine: Machine, name: impl Into<String>, dir: impl Into<PathBuf>) -> Self {
        BoardConfig {
            machine,
            name: name.into(),
            dir: dir.into(),
            baud: 0,
            flash_capacity: machine.flash_capacity(),
            bootloader_timeout: Duration::from_secs(5),
        }
    }
}

/// Why a board could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum BoardError {
    /// Another process is this board.
    #[error("another process runs the board in {0}: stop it or choose another --dir")]
    InUse(PathBuf),
    /// A file of the board's folder cannot be used.
    #[error("{what} {path}: {source}")]
    File {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The machine lacks what simulates this board.
    #[error("board '{board}' needs more of this machine: 'apt install {packages}', then start again")]
    Missing {
        /// The board type.
        board: &'static str,
        /// Debian's packages.
        packages: String,
    },
    /// The pseudo terminal or a wait on it failed.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}

/// Runs a board until `shutdown` becomes true (noticed within 100 ms) or it cannot go on.
///
/// Blocks. Call it on a thread that lives as long as the call: the kernel kills the firmware
/// when the thread that started it ends.
///
/// # Errors
/// See [`BoardError`].
pub fn run(config: &BoardConfig, shutdown: &AtomicBool) -> Result<(), BoardError> {
    board::Board::start(config)?.run(shutdown)
}
