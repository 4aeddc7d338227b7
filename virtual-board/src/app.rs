//! The microcontroller: the flashed firmware as a child process on two pipes.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, kill_process_group, prlimit};

use crate::machine::Machine;

/// Running firmware. Killed with its whole process group when dropped.
#[derive(Debug)]
pub struct App {
    child: Child,
    group: Pid,
    input: ChildStdin,
    output: ChildStdout,
    started: Instant,
    closed: bool,
}

impl App {
    /// Starts the firmware in the file `path`.
    pub fn start(machine: Machine, path: &Path, boot_count: u32) -> io::Result<Self> {
        machine.check(path)?;
        let (program, arguments) = machine.command(path);
        let mut command = Command::new(program);
        command.args(arguments).env("TML_BOOT_COUNT", boot_count.to_string());
        Self::of(command, machine.limits())
    }

    /// Starts a program that is firmware, or that runs it. Of the environment it gets what it needs.
    pub fn of(command: Command, limits: &[(Resource, u64)]) -> io::Result<Self> {
        let own: Vec<_> =
            command.get_envs().map(|(name, value)| (name.to_owned(), value.map(OsString::from))).collect();
        let mut command = command;
        let mut child = command
            .env_clear()
            .envs(own.into_iter().filter_map(|(name, value)| Some((name, value?))))
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("TML_PARENT", std::process::id().to_string())
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let group = Pid::from_child(&child);
        let pipes = child.stdin.take().zip(child.stdout.take());
        // Set from outside: code between fork and exec would need `unsafe`.
        let set = limit(limits, group).and_then(|()| {
            let (input, output) = pipes.ok_or(Errno::BADF)?;
            rustix::io::ioctl_fionbio(&input, true)?;
            rustix::io::ioctl_fionbio(&output, true)?;
            Ok((input, output))
        });
        match set {
            Ok((input, output)) => Ok(App { child, group, input, output, started: Instant::now(), closed: false }),
            Err(error) => {
                end(&mut child, group);
                Err(error.into())
            }
        }
    }

    /// How long it has been running.
    pub fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// The status that it ended with, if it has.
    pub fn status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// How it ended, if it has.
    pub fn exited(&mut self) -> Option<String> {
        match self.child.try_wait() {
            Ok(None) => None,
            Ok(Some(status)) => Some(describe(status)),
            Err(error) => Some(error.to_string()),
        }
    }

    /// The pipe from the firmware.
    pub fn output(&self) -> BorrowedFd<'_> {
        self.output.as_fd()
    }

    /// The pipe to the firmware.
    pub fn input(&self) -> BorrowedFd<'_> {
        self.input.as_fd()
    }

    /// Whether the firmware has closed its output: it is about to end, then.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Reads what the firmware wrote; 0 if there is nothing.
    pub fn read(&mut self, buffer: &mut [u8]) -> usize {
        match rustix::io::read(&self.output, buffer) {
            Ok(got) if got > 0 => got,
            Err(Errno::AGAIN | Errno::INTR) => 0,
            Ok(_) | Err(_) => {
                self.closed = true;
                0
            }
        }
    }

    /// Writes what the pipe takes; a pipe that nobody reads any more takes and loses all.
    pub fn write(&self, bytes: &[u8]) -> usize {
        match rustix::io::write(&self.input, bytes) {
            Ok(put) => put,
            Err(Errno::AGAIN | Errno::INTR) => 0,
            Err(_) => bytes.len(),
        }
    }
}

impl Drop for App {
    fn drop(&mut self) {
        end(&mut self.child, self.group);
    }
}

/// Kills the process group and reaps the child.
fn end(child: &mut Child, group: Pid) {
    // The child is not reaped yet, so the number is still its own.
    if matches!(child.try_wait(), Ok(None)) {
        let _ = kill_process_group(group, Signal::KILL); // gone in this very moment: fine
    }
    if let Err(error) = child.wait() {
        tracing::warn!(%error, "cannot reap the firmware");
    }
}

/// Kills what still runs from `path`: firmware of a board that was killed goes with it by
/// itself, unless somebody has flashed an executable that does not.
pub fn end_leftovers(path: &Path) {
    let Ok(processes) = std::fs::read_dir("/proc") else { return };
    for entry in processes.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // A replaced file shows as "flash.bin (deleted)".
        let is_ours = std::fs::read_link(entry.path().join("exe")).is_ok_and(|exe| {
            exe == path || exe.to_str().and_then(|text| text.strip_suffix(" (deleted)")).map(Path::new) == Some(path)
        });
        if let Some(pid) = Pid::from_raw(pid).filter(|_| is_ours) {
            tracing::warn!(pid = pid.as_raw_nonzero().get(), "ending firmware that a killed board has left");
            let _ = kill_process(pid, Signal::KILL); // gone in this very moment: fine
        }
    }
}

fn limit(limits: &[(Resource, u64)], pid: Pid) -> Result<(), Errno> {
    for &(resource, value) in limits {
        let limit = Rlimit { current: Some(value), maximum: Some(value) };
        match prlimit(Some(pid), resource, limit) {
            Ok(_) => {}
            Err(Errno::SRCH) => {} // it has ended already, which is noticed elsewhere
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn describe(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => format!("signal {signal}"),
        (None, Some(code)) => format!("exit {code}"),
        (None, None) => "unknown end".to_owned(),
    }
}
