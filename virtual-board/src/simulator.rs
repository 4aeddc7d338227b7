//! Boards whose chip another program simulates: compiled here where it has to be, and started.
//!
//! Arduino boards with an AVR are `simulators/avr/board.c`, which links libsimavr. That is GPL-3, so it stays a program
//! of its own: its source is looked for beside the repository's other folders and is neither linked nor contained in here.

use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest as _, Sha256};

use crate::BoardError;

/// Where Debian's package arduino-core-avr has the bootloaders.
const BOOTLOADERS: &str = "/usr/share/arduino/hardware/arduino/avr/bootloaders";
const SIMAVR: &str = "/usr/include/simavr/sim_avr.h";
const SOURCE: &str = "simulators/avr/board.c";

/// An Arduino board whose AVR is simulated with its own bootloader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arduino {
    /// ATmega328P with ATmegaBOOT.
    Uno,
    /// ATmega2560 with stk500boot, version 2.
    Mega2560,
}

impl Arduino {
    /// Its board type, as in the relay's board files.
    pub fn board(self) -> &'static str {
        match self {
            Arduino::Uno => "uno",
            Arduino::Mega2560 => "mega2560",
        }
    }

    /// The one with this board type.
    pub fn of(board: &str) -> Option<Self> {
        [Arduino::Uno, Arduino::Mega2560].into_iter().find(|arduino| arduino.board() == board)
    }

    /// What simavr calls its chip.
    fn chip(self) -> &'static str {
        match self {
            Arduino::Uno => "atmega328p",
            Arduino::Mega2560 => "atmega2560",
        }
    }

    fn bootloader(self) -> PathBuf {
        Path::new(BOOTLOADERS).join(match self {
            Arduino::Uno => "atmega/ATmegaBOOT_168_atmega328.hex",
            Arduino::Mega2560 => "stk500v2/stk500boot_v2_mega2560.hex",
        })
    }

    /// Programs and files that it needs beside a C compiler, as far as they are missing: Debian's packages.
    pub fn missing(self) -> Vec<&'static str> {
        let bootloader = self.bootloader();
        let files = [
            (Path::new(SIMAVR), "libsimavr-dev"),
            (Path::new("/usr/include/libelf.h"), "libelf-dev"),
            (&bootloader, "arduino-core-avr"),
        ];
        let programs = [("avr-gcc", "gcc-avr"), ("avrdude", "avrdude")];
        let files = files.iter().filter(|(path, _)| !path.exists()).map(|(_, package)| *package);
        let programs = programs.iter().filter(|(program, _)| !is_installed(program)).map(|(_, package)| *package);
        let headers = ["/usr/lib/avr/include/avr/io.h", "/usr/avr/include/avr/io.h"];
        let libc = (!headers.iter().any(|path| Path::new(path).exists())).then_some("avr-libc");
        files.chain(programs).chain(libc).collect()
    }

    /// The command that runs one with this name in `dir`. Its program is compiled into `cache` unless it is there.
    ///
    /// # Errors
    /// [`BoardError::Missing`] says what to install; [`BoardError::File`] and [`BoardError::System`] as everywhere.
    pub fn command(self, name: &str, dir: &Path, cache: &Path) -> Result<Command, BoardError> {
        let missing = self.missing();
        if !missing.is_empty() {
            return Err(BoardError::Missing { board: self.board(), packages: missing.join(" ") });
        }
        let mut command = Command::new(compile(&source(SOURCE)?, cache)?);
        command.args([self.board(), self.chip(), name]).arg(dir).arg(self.bootloader());
        Ok(command)
    }
}

/// Whether a program is on the PATH.
pub(crate) fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

/// The simulator's source: in a folder above the current one or above this program's, as in a checkout.
pub(crate) fn source(path: &str) -> Result<PathBuf, BoardError> {
    let starts = [std::env::current_dir(), std::env::current_exe()];
    let above = starts.iter().flatten().flat_map(|start| start.ancestors());
    above.map(|dir| dir.join(path)).find(|path| path.is_file()).ok_or_else(|| BoardError::File {
        what: "cannot find the simulator's source (start from a checkout of the repository)",
        path: path.into(),
        source: std::io::ErrorKind::NotFound.into(),
    })
}

fn compile(source: &Path, cache: &Path) -> Result<PathBuf, BoardError> {
    let file = |what, path: &Path| {
        let path = path.to_owned();
        move |source| BoardError::File { what, path, source }
    };
    let text = std::fs::read(source).map_err(file("cannot read", source))?;
    std::fs::create_dir_all(cache).map_err(file("cannot make the folder", cache))?;
    let digest = Sha256::digest(&text);
    let program =
        cache.join(format!("avr-board-{}", digest[..6].iter().map(|byte| format!("{byte:02x}")).collect::<String>()));
    if program.is_file() {
        return Ok(program);
    }
    // Under a name of its own first: two boards may start at the same time.
    let new = program.with_extension(std::process::id().to_string());
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let output = Command::new(&compiler)
        .args(["-std=gnu99", "-O2", "-I/usr/include/simavr"])
        .arg(source)
        .args(["-lsimavr", "-lelf", "-o"])
        .arg(&new)
        .output()
        .map_err(|source| BoardError::System { what: "cannot start the C compiler", source })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(BoardError::System {
            what: "cannot compile the simulator of AVR boards",
            source: std::io::Error::other(said),
        });
    }
    std::fs::rename(&new, &program).map_err(file("cannot rename", &new))?;
    Ok(program)
}
