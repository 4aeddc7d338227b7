//! A Raspberry Pi Pico: its chip in rp2040js, its UF2 bootloader a drive that is really mounted, its UART a pseudo terminal.
//!
//! The chip is `simulators/rp2040/pico.js`, a program of Node.js with one package, rp2040js (MIT), which is installed beside
//! a copy of it. The drive is a file system in memory at `DIR/drive`; whoever looks for it in the list of mounts has to be in
//! the same mount namespace.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::Resource;
use sha2::{Digest as _, Sha256};

use crate::app::App;
use crate::identity::{BoardIdentity, Folder};
use crate::tty::Tty;
use crate::{BoardError, simulator};

/// Its board type, as in the relay's board files.
pub const BOARD: &str = "pico-uart";

const FILES: [&str; 3] = ["pico.js", "package.json", "package-lock.json"];
const FOLDER: &str = "simulators/rp2040";
/// The status with which the chip's program says that it is in its bootloader.
const BOOTSEL: i32 = 64;
/// What the drive says of itself, as an RP2040's does.
const INFO: &str = "UF2 Bootloader v3.0\r\nModel: Raspberry Pi RP2\r\nBoard-ID: RPI-RP2\r\n";
/// How often files on the drive, a host, and the end of the chip's program are looked for.
const LOOK: Duration = Duration::from_millis(20);
/// Most bytes that wait for the host.
const QUEUE: usize = 64 * 1024;

/// UF2, as its specification has it.
const BLOCK: usize = 512;
const PAYLOAD: u32 = 256;
const FAMILY: u32 = 0xE48B_FF56;
const FLASH: std::ops::Range<u32> = 0x1000_0000..0x1020_0000;

/// Debian's packages that are missing for it.
pub fn missing() -> Vec<&'static str> {
    let programs = [
        ("node", "nodejs"),
        ("npm", "npm"),
        ("arm-none-eabi-gcc", "gcc-arm-none-eabi libnewlib-arm-none-eabi"),
        ("setpriv", "util-linux"),
    ];
    let missing = programs.iter().filter(|(program, _)| !simulator::is_installed(program));
    missing.map(|(_, package)| *package).collect()
}

/// Copies the chip's program into `cache` and installs what it needs, unless that was done before.
///
/// # Errors
/// [`BoardError::Missing`] names packages; [`BoardError::System`] says what npm said, for instance that it cannot reach its
/// registry.
pub fn install(cache: &Path) -> Result<PathBuf, BoardError> {
    let missing = missing();
    if !missing.is_empty() {
        return Err(BoardError::Missing { board: BOARD, packages: missing.join(" ") });
    }
    let file = |what, path: &Path| {
        let path = path.to_owned();
        move |source| BoardError::File { what, path, source }
    };
    let mut digest = Sha256::new();
    let mut contents = Vec::new();
    for name in FILES {
        let path = simulator::source(&format!("{FOLDER}/{name}"))?;
        let content = std::fs::read(&path).map_err(file("cannot read", &path))?;
        digest.update(&content);
        contents.push((name, content));
    }
    let digest = digest.finalize();
    let folder =
        cache.join(format!("rp2040-{}", digest[..6].iter().map(|byte| format!("{byte:02x}")).collect::<String>()));
    let program = folder.join(FILES[0]);
    if program.is_file() {
        return Ok(program);
    }
    // Under a name of its own first: two boards may start at the same time, and one may be killed.
    let new = folder.with_extension(std::process::id().to_string());
    let _ = std::fs::remove_dir_all(&new);
    std::fs::create_dir_all(&new).map_err(file("cannot make the folder", &new))?;
    for (name, content) in contents {
        std::fs::write(new.join(name), content).map_err(file("cannot write", &new))?;
    }
    let output = Command::new("npm")
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"])
        .current_dir(&new)
        .stdin(Stdio::null())
        .output()
        .map_err(|source| BoardError::System { what: "cannot start npm", source })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let _ = std::fs::remove_dir_all(&new);
        return Err(BoardError::System { what: "npm cannot install rp2040js", source: std::io::Error::other(said) });
    }
    if let Err(error) = std::fs::rename(&new, &folder)
        && !program.is_file()
    {
        return Err(file("cannot rename", &new)(error));
    }
    let _ = std::fs::remove_dir_all(&new); // somebody else was faster
    Ok(program)
}

enum State {
    Running(App),
    /// The drive is mounted.
    Bootloader,
}

/// A running Pico.
struct Pico {
    identity: BoardIdentity,
    folder: Folder,
    /// The chip's program.
    chip: PathBuf,
    state: State,
    tty: Tty,
    to_chip: Vec<u8>,
    to_host: Vec<u8>,
}

/// Runs one with this name in `dir` until `shutdown`; `chip` is what [`install`] returned.
///
/// # Errors
/// [`BoardError`]; also where this user may not mount anything.
pub fn run(name: &str, dir: &Path, chip: &Path, shutdown: &AtomicBool) -> Result<(), BoardError> {
    let folder = Folder::open(dir)?;
    let identity = BoardIdentity {
        board: BOARD.to_owned(),
        name: name.to_owned(),
        serial_number: folder.serial_number()?,
        product: "TinyMLaaS virtual board".to_owned(),
        manufacturer: "TinyMLaaS".to_owned(),
        port: "tty".to_owned(),
        terminal: String::new(),
        process: std::process::id(),
    };
    let mut pico = Pico {
        identity,
        folder,
        chip: chip.to_owned(),
        state: State::Bootloader,
        tty: Tty::open()?,
        to_chip: Vec::new(),
        to_host: Vec::new(),
    };
    if pico.folder.path("flash.bin").is_file() {
        pico.boot()?;
    } else {
        pico.mount()?;
    }
    pico.plug_in()?;
    while !shutdown.load(Ordering::Relaxed) {
        pico.step()?;
    }
    if matches!(pico.state, State::Bootloader) {
        pico.unmount()?;
    }
    pico.folder.withdraw();
    Ok(())
}

impl Pico {
    fn plug_in(&mut self) -> Result<(), BoardError> {
        self.folder.link("tty", self.tty.path())?;
        self.identity.terminal = self.tty.path().display().to_string();
        self.folder.publish(&self.identity)
    }

    fn step(&mut self) -> Result<(), BoardError> {
        if self.tty.look().is_err() {
            // A killed host left its lock behind.
            self.tty = Tty::open()?;
            self.plug_in()?;
        }
        if !self.tty.has_host() {
            self.to_host.clear();
        }
        self.wait().map_err(|error| BoardError::System { what: "cannot wait for input", source: error.into() })?;
        let terminal = |source| BoardError::System { what: "the terminal failed", source };
        let mut buffer = [0; 4096];
        let got = self.tty.read(&mut buffer).map_err(terminal)?;
        match &mut self.state {
            State::Bootloader => {
                self.to_chip.clear(); // its UART is not looked at
                self.take_file()?;
            }
            State::Running(app) => {
                self.to_chip.extend_from_slice(&buffer[..got]);
                let put = app.write(&self.to_chip);
                self.to_chip.drain(..put);
                let got = app.read(&mut buffer);
                if self.to_host.len() + got <= QUEUE {
                    self.to_host.extend_from_slice(&buffer[..got]);
                }
                if let Some(status) = app.status() {
                    if status.code() == Some(BOOTSEL) {
                        self.mount()?;
                    } else {
                        tracing::warn!(%status, "the chip's program ended by itself");
                        std::thread::sleep(Duration::from_millis(100));
                        self.boot()?;
                    }
                }
            }
        }
        if self.tty.has_host() {
            let put = self.tty.write(&self.to_host).map_err(terminal)?;
            self.to_host.drain(..put);
        }
        Ok(())
    }

    fn wait(&self) -> Result<(), Errno> {
        let mut fds = Vec::with_capacity(3);
        let host = if self.to_host.is_empty() { PollFlags::IN } else { PollFlags::IN | PollFlags::OUT };
        if self.tty.has_host() {
            fds.push(PollFd::new(&self.tty, host));
        }
        if let State::Running(app) = &self.state {
            if !app.is_closed() {
                fds.push(PollFd::from_borrowed_fd(app.output(), PollFlags::IN));
            }
            if !self.to_chip.is_empty() {
                fds.push(PollFd::from_borrowed_fd(app.input(), PollFlags::OUT));
            }
        }
        let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(LOOK.subsec_nanos()) };
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn boot(&mut self) -> Result<(), BoardError> {
        // It does not end with whoever started it; the kernel sees to that if it is asked to.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", "node"]).arg(&self.chip).arg(self.folder.path("flash.bin"));
        let limits = [(Resource::Core, 0), (Resource::Fsize, 0)];
        let app =
            App::of(command, &limits).map_err(|source| BoardError::System { what: "cannot start node", source })?;
        self.state = State::Running(app);
        Ok(())
    }

    fn drive(&self) -> PathBuf {
        self.folder.path("drive")
    }

    /// Goes into the bootloader.
    fn mount(&mut self) -> Result<(), BoardError> {
        self.state = State::Bootloader;
        let drive = self.drive();
        let fail = |source| BoardError::File { what: "cannot make", path: drive.clone(), source };
        std::fs::create_dir_all(&drive).map_err(fail)?;
        call(Command::new("mount").args(["-t", "tmpfs", "-o", "size=8m,mode=700", "tmpfs"]).arg(&drive))?;
        std::fs::write(drive.join("INFO_UF2.TXT"), INFO).map_err(fail)
    }

    fn unmount(&self) -> Result<(), BoardError> {
        // A host may have a file open still, as when a drive is pulled.
        call(Command::new("umount").arg("--lazy").arg(self.drive()))
    }

    /// Takes a file that is on the drive as a whole, and starts what it brought.
    fn take_file(&mut self) -> Result<(), BoardError> {
        let entries = std::fs::read_dir(self.drive()).into_iter().flatten().flatten();
        let files = entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|is| is == "uf2"));
        let Some(image) = files.filter_map(|path| image(&std::fs::read(path).ok()?)).next() else { return Ok(()) };
        self.folder.write("flash.bin", &image)?;
        self.unmount()?;
        self.boot()
    }
}

/// Runs a small program to its end.
fn call(command: &mut Command) -> Result<(), BoardError> {
    let what = "cannot mount or unmount the drive";
    let output = command.stdin(Stdio::null()).output().map_err(|source| BoardError::System { what, source })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(BoardError::System { what, source: std::io::Error::other(said) })
}

/// The flash that a UF2 file makes, once all of its blocks are there; blocks for other chips are passed over.
fn image(file: &[u8]) -> Option<Vec<u8>> {
    let mut blocks = BTreeMap::new();
    let mut total = None;
    for block in file.chunks_exact(BLOCK) {
        let word = |at: usize| u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]]);
        let good = word(0) == 0x0A32_4655 && word(4) == 0x9E5D_5157 && word(508) == 0x0AB1_6F30;
        let at = word(12);
        if !good || word(28) != FAMILY || word(16) != PAYLOAD || !FLASH.contains(&at) || !at.is_multiple_of(PAYLOAD) {
            continue;
        }
        total = Some(word(24));
        blocks.insert(word(20), ((at - FLASH.start) as usize, &block[32..32 + PAYLOAD as usize]));
    }
    if u32::try_from(blocks.len()).ok() != total {
        return None;
    }
    let size = blocks.values().map(|(at, bytes)| at + bytes.len()).max()?;
    let mut flash = vec![0xFF; size];
    for (at, bytes) in blocks.into_values() {
        flash[at..at + bytes.len()].copy_from_slice(bytes);
    }
    Some(flash)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(number: u32, count: u32, at: u32, fill: u8) -> Vec<u8> {
        let head = [0x0A32_4655, 0x9E5D_5157, 0x2000, at, PAYLOAD, number, count, FAMILY];
        let mut block: Vec<u8> = head.iter().flat_map(|word: &u32| word.to_le_bytes()).collect();
        block.extend([fill; PAYLOAD as usize]);
        block.resize(BLOCK - 4, 0);
        block.extend(0x0AB1_6F30u32.to_le_bytes());
        block
    }

    #[test]
    fn a_file_is_flashed_when_it_is_whole() {
        let file = [block(0, 2, FLASH.start, 1), block(1, 2, FLASH.start + 512, 2)].concat();
        assert_eq!(image(&file[..BLOCK]), None, "half of it");
        assert_eq!(image(&file[..2 * BLOCK - 1]), None, "a byte is missing");
        let flash = image(&file).unwrap_or_default();
        assert_eq!((flash.len(), flash[0], flash[256], flash[767]), (768, 1, 0xFF, 2));
        let mut foreign = file;
        foreign[28] ^= 1;
        assert_eq!(image(&foreign), None, "a block for another chip");
        assert_eq!(image(&[]), None);
    }
}
