//! Processes of a toolchain: their output line by line, a time limit, and an end for the whole process group, also
//! when the relay itself is killed.

use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process_group, prlimit};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::Command;

use super::toolchain::Log;

/// Memory that one process of a toolchain may map, in bytes.
const MEMORY: u64 = 2 * 1024 * 1024 * 1024;
/// Largest file that it may write, in bytes.
const FILE: u64 = 256 * 1024 * 1024;
/// Where a build's folder notes its process group.
const GROUP: &str = "group";
/// Longest line that is kept whole, in bytes.
const MAX_LINE: usize = 4096;

/// How a process ended.
#[derive(Debug)]
pub enum End {
    /// By itself.
    Exited(ExitStatus),
    /// Killed at its time limit.
    TimedOut,
}

/// A process group that is killed when this is dropped.
pub struct Group(pub Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // Gone already: fine.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// Runs a command in a process group of its own, in `dir`, which also notes the group for [`sweep`].
///
/// # Errors
/// It could not be started.
pub async fn run(command: &mut Command, dir: &Path, limit: Duration, log: &Log) -> std::io::Result<End> {
    run_apart(command, dir, limit, log, log).await
}

/// As [`run`], with standard output and standard error apart.
///
/// # Errors
/// It could not be started.
pub async fn run_apart(
    command: &mut Command,
    dir: &Path,
    limit: Duration,
    on_out: &Log,
    on_err: &Log,
) -> std::io::Result<End> {
    command.current_dir(dir).process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.kill_on_drop(true).spawn()?;
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let mut group = Group(pid);
    if let Some(pid) = pid {
        confine(pid, limit);
        note(pid, dir)?;
    }
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let everything = async {
        let ((), (), status) = tokio::join!(lines(out, on_out), lines(err, on_err), child.wait());
        status
    };
    let end = match tokio::time::timeout(limit, everything).await {
        Ok(status) => {
            let status = status?;
            group.0 = None;
            End::Exited(status)
        }
        Err(_) => End::TimedOut,
    };
    Ok(end)
}

/// Notes a process group in its folder, for [`sweep`].
///
/// # Errors
/// The disk's.
pub fn note(group: Pid, dir: &Path) -> std::io::Result<()> {
    let note = format!("{} {}", group.as_raw_nonzero(), start_time(group).unwrap_or_default());
    std::fs::write(dir.join(GROUP), note)
}

/// Limits a process from outside, because code between fork and exec would need `unsafe`. Children that it has
/// started before are not limited; they still end with the group.
pub fn confine(pid: Pid, limit: Duration) {
    let cpu = limit.as_secs().max(1) + 5;
    let limits = [(Resource::As, MEMORY), (Resource::Fsize, FILE), (Resource::Core, 0), (Resource::Cpu, cpu)];
    for (resource, value) in limits {
        let limit = Rlimit { current: Some(value), maximum: Some(value) };
        if let Err(error) = prlimit(Some(pid), resource, limit) {
            tracing::debug!(%error, ?resource, "a toolchain's process is not limited");
        }
    }
}

async fn lines(stream: Option<impl AsyncRead + Unpin>, log: &Log) {
    let Some(stream) = stream else { return };
    let mut reader = BufReader::new(stream);
    let mut splitter = Splitter::default();
    loop {
        let taken = match reader.fill_buf().await {
            Ok([]) | Err(_) => break,
            Ok(bytes) => {
                splitter.push(bytes, log);
                bytes.len()
            }
        };
        reader.consume(taken);
    }
    splitter.end(log);
}

/// Makes lines of bytes as they come.
#[derive(Debug, Default)]
pub struct Splitter(Vec<u8>);

impl Splitter {
    /// Takes bytes and gives the lines that they end. A line that gets too long is given in pieces.
    pub fn push(&mut self, bytes: &[u8], log: &Log) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            for piece in piece.chunks(MAX_LINE) {
                self.0.extend_from_slice(piece);
                if piece.ends_with(b"\n") || self.0.len() >= MAX_LINE {
                    self.end(log);
                }
            }
        }
    }

    /// Gives what is left.
    pub fn end(&mut self, log: &Log) {
        let text = String::from_utf8_lossy(&self.0);
        let text = text.trim_end();
        if !text.is_empty() {
            log(text);
        }
        self.0.clear();
    }
}

/// In clock ticks since the machine started; with the number it identifies a process.
fn start_time(pid: Pid) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    // The name in parentheses may contain anything; the 22nd field is the 20th after it.
    stat.rsplit_once(')')?.1.split_whitespace().nth(19).map(str::to_owned)
}

/// Ends what builds of a relay that was killed still do, and removes their folders.
pub fn sweep(work: &Path) {
    let Ok(entries) = std::fs::read_dir(work) else { return };
    for dir in entries.flatten().map(|entry| entry.path()) {
        if let Some(group) = left_over(&dir) {
            tracing::info!(?group, "ending a build that an earlier process left running");
            drop(Group(Some(group)));
        }
        if let Err(error) = std::fs::remove_dir_all(&dir) {
            tracing::warn!(dir = %dir.display(), %error, "cannot remove an old build's folder");
        }
    }
}

fn left_over(dir: &Path) -> Option<Pid> {
    let note = std::fs::read_to_string(dir.join(GROUP)).ok()?;
    let (pid, started) = note.trim().split_once(' ')?;
    let pid = Pid::from_raw(pid.parse().ok()?)?;
    (start_time(pid)? == started).then_some(pid)
}

/// Words for how a process ended.
pub fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "an unknown end".to_owned(),
    }
}

/// The program in a list of folders such as PATH.
pub fn find(program: &str, path: &std::ffi::OsStr) -> Option<PathBuf> {
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(|path| path.is_file());
    }
    std::env::split_paths(path).map(|dir| dir.join(program)).find(|path| path.is_file())
}
