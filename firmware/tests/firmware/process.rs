//! The native firmware compiled by a real compiler, as a process on two pipes.

use std::io::{self, ErrorKind, Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use tempfile::TempDir;

/// How to compile; the defaults are those of a real build.
#[derive(Clone)]
pub struct Build<'a> {
    pub compiler: &'a str,
    pub flags: &'a [&'a str],
}

pub const SANITIZED: Build<'static> = Build {
    compiler: "cc",
    flags: &[
        "-std=c99",
        "-O1",
        "-g",
        "-fsanitize=address,undefined",
        "-fno-sanitize-recover=all",
        "-DTML_ARTIFACT=\"sha256:test\"",
    ],
};

/// Compiles the firmware with the test model into a new folder.
///
/// The model is a stub: the generated one is another crate's job.
pub fn compile(build: &Build) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let stub = [("model.c", include_str!("../stub/model.c")), ("model.h", include_str!("../stub/model.h"))];
    let sources: Vec<_> = firmware::sources::native().collect();
    for (name, text) in sources.iter().chain(&stub) {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    let c_files = sources.iter().chain(&stub).map(|(name, _)| *name).filter(|name| name.ends_with(".c"));
    let output = Command::new(build.compiler)
        .current_dir(dir.path())
        .args(build.flags)
        .args(c_files)
        .args(["-o", "firmware"])
        .output()
        .unwrap();
    let messages = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{messages}");
    assert_eq!(messages, "", "the compiler warns");
    let path = dir.path().join("firmware");
    (dir, path)
}

/// Running firmware; reads time out after 10 ms like a serial port's.
pub struct Process {
    child: Child,
    input: Option<ChildStdin>,
    output: Receiver<Vec<u8>>,
    held: Vec<u8>,
    _dir: TempDir,
}

impl Process {
    pub fn start(build: &Build) -> Process {
        let (dir, path) = compile(build);
        Process::run(Command::new(path), dir)
    }

    /// Runs what was compiled into `dir`.
    pub fn run(mut firmware: Command, dir: TempDir) -> Process {
        let mut child = firmware.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let (sender, output) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(got @ 1..) = stdout.read(&mut buffer) {
                if sender.send(buffer[..got].to_vec()).is_err() {
                    return;
                }
            }
        });
        Process { input: child.stdin.take(), child, output, held: vec![], _dir: dir }
    }

    /// Closes its input and waits for its end; sanitizers speak through the exit code.
    pub fn finish(mut self) {
        drop(self.input.take());
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Read for Process {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.held.is_empty() {
            match self.output.recv_timeout(Duration::from_millis(10)) {
                Ok(bytes) => self.held = bytes,
                Err(RecvTimeoutError::Timeout) => return Err(ErrorKind::TimedOut.into()),
                Err(RecvTimeoutError::Disconnected) => return Ok(0),
            }
        }
        let got = buffer.len().min(self.held.len());
        buffer[..got].copy_from_slice(&self.held[..got]);
        self.held.drain(..got);
        Ok(got)
    }
}

impl Write for Process {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.input.as_mut().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.input.as_mut().unwrap().flush()
    }
}

/// What the test model makes of an input.
pub fn expected(input: &[u8], outputs: usize) -> Vec<u8> {
    let mut sums = vec![0u8; outputs];
    for (index, value) in input.iter().enumerate() {
        sums[index % outputs] = sums[index % outputs].wrapping_add(*value);
    }
    sums
}
