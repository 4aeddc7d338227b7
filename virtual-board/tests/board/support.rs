//! A real board process, real firmware from a real compiler, a real serial port.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use firmware::message::{BoardMessage, HostMessage, Info};
use firmware::session::{Ask, DriveError, FlashReport, Flasher, Inference, Link, Outcome, drive};
use firmware::{bootloader, session};
use serialport::TTYPort;

/// Firmware with a given artifact id, compiled once. The model is firmware's own test stub:
/// generated models are the business of other crates.
pub fn image(artifact: &str) -> Vec<u8> {
    static CACHE: OnceLock<std::sync::Mutex<std::collections::HashMap<String, Vec<u8>>>> = OnceLock::new();
    let mut cache = CACHE.get_or_init(Default::default).lock().unwrap();
    cache.entry(artifact.to_owned()).or_insert_with(|| compile(artifact)).clone()
}

fn compile(artifact: &str) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in firmware::sources::native() {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    std::fs::write(dir.path().join("model.c"), include_str!("../../../firmware/tests/stub/model.c")).unwrap();
    std::fs::write(dir.path().join("model.h"), include_str!("../../../firmware/tests/stub/model.h")).unwrap();
    let sources = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().path());
    let output = Command::new("cc")
        .args(firmware::sources::native_flags())
        .arg(firmware::sources::artifact_flag(artifact))
        .args(sources.filter(|p| p.extension().is_some_and(|e| e == "c")))
        .arg("-o")
        .arg(dir.path().join("firmware"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::read(dir.path().join("firmware")).unwrap()
}

/// A board process; killed with SIGKILL when dropped.
pub struct Board {
    pub child: Child,
    pub dir: PathBuf,
}

impl Board {
    pub fn start(dir: &Path, args: &[&str]) -> Board {
        let _ = std::fs::remove_file(dir.join("board.json"));
        let child = Command::new(env!("CARGO_BIN_EXE_virtual-board"))
            .args(["--name", "board-1", "--dir"])
            .arg(dir)
            .args(args)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let board = Board { child, dir: dir.to_path_buf() };
        wait_for("board.json", || dir.join("board.json").exists());
        board
    }

    pub fn tty(&self) -> PathBuf {
        self.dir.join("tty")
    }

    pub fn open(&self) -> Host<TTYPort> {
        open_patiently(&self.tty())
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Processes that run this board's flash.
    pub fn firmware_processes(&self) -> Vec<u32> {
        let flash = self.dir.canonicalize().unwrap().join("flash.bin");
        std::fs::read_dir("/proc")
            .unwrap()
            .filter_map(|e| e.unwrap().file_name().to_str()?.parse().ok())
            .filter(|pid: &u32| std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe.starts_with(&flash)))
            .collect()
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn open(path: &Path) -> serialport::Result<TTYPort> {
    serialport::new(path.to_string_lossy(), 115_200).timeout(Duration::from_millis(20)).open_native()
}

/// Opens the port. Tries for a while: a process that another test just starts holds a copy of
/// a port that was closed, with its lock, from its fork to its exec.
pub fn open_patiently(path: &Path) -> Host<TTYPort> {
    let mut port = None;
    wait_for("the port", || {
        port = open(path).ok();
        port.is_some()
    });
    Host { port: port.unwrap(), link: Link::default(), lines: Vec::new() }
}

pub fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(20), "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The host's side: what a relay would do.
pub struct Host<P> {
    pub port: P,
    pub link: Link,
    pub lines: Vec<String>,
}

impl<P: Read + Write> Host<P> {
    pub fn run<S: session::Session>(&mut self, mut session: S) -> Result<S::Output, DriveError> {
        let lines = &mut self.lines;
        drive(&mut self.port, &mut self.link, &mut session, &mut |event| {
            if let session::Event::Line(line) = event {
                lines.push(line);
            }
            true
        })
    }

    pub fn ask(&mut self, message: HostMessage) -> Result<BoardMessage, DriveError> {
        self.run(Ask::new(message, Duration::from_millis(500), 10))
    }

    pub fn hello(&mut self) -> Info {
        match self.ask(HostMessage::Hello).unwrap() {
            BoardMessage::Info(info) => info,
            other => panic!("{other:?}"),
        }
    }

    pub fn boot_info(&mut self) -> bootloader::Info {
        match self.ask(HostMessage::Bootloader(bootloader::Request::Hello)).unwrap() {
            BoardMessage::Bootloader(info) => info,
            other => panic!("{other:?}"),
        }
    }

    pub fn flash(&mut self, image: Vec<u8>) -> Result<FlashReport, DriveError> {
        self.run(Flasher::new(image).unwrap())
    }

    pub fn infer(&mut self, input: Vec<u8>, wait: Duration) -> Result<Outcome, DriveError> {
        let info = self.hello();
        self.run(Inference::new(&info, input, wait).unwrap())
    }
}

/// A port that does something at a certain byte on its way to the board.
pub struct CutPort<'a> {
    pub port: TTYPort,
    pub left: usize,
    pub at_cut: Option<Box<dyn FnOnce() + 'a>>,
    pub written: usize,
}

impl CutPort<'_> {
    fn cut(&mut self) -> io::Result<()> {
        self.port.flush()?;
        if let Some(cut) = self.at_cut.take() {
            cut();
        }
        Ok(())
    }
}

impl Read for CutPort<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.port.read(buffer)
    }
}

impl Write for CutPort<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.left == 0 {
            self.cut()?;
            return Err(io::Error::other("cut"));
        }
        let put = self.port.write(&bytes[..bytes.len().min(self.left)])?;
        self.left -= put;
        self.written += put;
        if self.left == 0 {
            self.cut()?; // at once: what was asked is just being done
        }
        Ok(put)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.port.flush()
    }
}

/// A port that changes a byte now and then on its way to the board.
pub struct LossyPort {
    pub port: TTYPort,
    pub every: usize,
    pub passed: usize,
    pub damaged: u32,
}

impl Read for LossyPort {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.port.read(buffer)
    }
}

impl Write for LossyPort {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut bytes = bytes.to_vec();
        for byte in &mut bytes {
            self.passed += 1;
            if self.passed.is_multiple_of(self.every) {
                self.damaged += 1;
                *byte ^= 0x5A;
            }
        }
        self.port.write_all(&bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.port.flush()
    }
}
