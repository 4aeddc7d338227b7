//! What must be true of this machine before anything starts; each failure is one sentence and what to do.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::args::{Context, Up};
use crate::exit::Failure;

/// Checks folder, ports and compiler, and takes the data folder for this process as long as the file lives.
pub async fn machine(context: &Context, up: &Up) -> Result<File, Failure> {
    let lock = folder(&context.data_dir)?;
    if up.mqtt_port == up.http_port {
        return Err(Failure::Usage(format!("--mqtt-port and --http-port are both {}; they must differ", up.mqtt_port)));
    }
    port(up.mqtt_port, "the broker", "--mqtt-port").await?;
    port(up.http_port, "the HTTP API", "--http-port").await?;
    if up.tls {
        port(up.mqtts_port, "the broker with TLS", "--mqtts-port").await?;
        port(up.https_port, "the HTTP API with TLS", "--https-port").await?;
    }
    virtual_boards(up.boards, &up.board)?;
    Ok(lock)
}

/// Whether this machine has what so many virtual boards of that type need.
pub fn virtual_boards(count: u8, board: &str) -> Result<(), Failure> {
    if count > 0 {
        compiler()?;
        simulator(board)?;
    }
    Ok(())
}

/// Makes the data folder, private to its owner, and locks it.
fn folder(dir: &Path) -> Result<File, Failure> {
    let refuse = |error: &std::io::Error| {
        Failure::Environment(format!(
            "the data folder {} cannot be written ({error}); make it writable or choose another with --data-dir",
            dir.display()
        ))
    };
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|error| refuse(&error))?;
    let path = dir.join("up.lock");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|error| refuse(&error))?;
    let flags = rustix::fs::FlockOperation::NonBlockingLockExclusive;
    if rustix::fs::flock(&file, flags).is_err() {
        let mut pid = String::new();
        // The number only helps; without it the sentence is still true.
        let _ = file.read_to_string(&mut pid);
        return Err(Failure::Environment(format!(
            "another 'tinymlaas up' (process {}) uses {}; stop it, or choose another folder with --data-dir",
            pid.trim(),
            dir.display()
        )));
    }
    file.set_len(0).and_then(|()| write!(file, "{}", std::process::id())).map_err(|error| refuse(&error))?;
    Ok(file)
}

/// Whether a port is free. Parts of a killed predecessor take a moment to go, so this asks for a while.
async fn port(number: u16, what: &str, option: &str) -> Result<(), Failure> {
    let begin = Instant::now();
    loop {
        match TcpListener::bind((Ipv4Addr::LOCALHOST, number)) {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::AddrInUse && begin.elapsed() < Duration::from_secs(3) => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Err(error) => {
                let why = match error.kind() {
                    ErrorKind::AddrInUse => "another program uses it".to_owned(),
                    ErrorKind::PermissionDenied => "this user may not open ports below 1024".to_owned(),
                    _ => error.to_string(),
                };
                return Err(Failure::Environment(format!(
                    "port {number} for {what} is not available: {why}; stop that program or choose another with \
                     {option}"
                )));
            }
        }
    }
}

/// Whether the machine has what stands in for such a board, and what builds for it.
fn simulator(board: &str) -> Result<(), Failure> {
    let missing = match board {
        "cortex-m4" => virtual_board::Machine::CortexM4.missing(),
        other => virtual_board::simulator::Arduino::of(other).map(|arduino| arduino.missing()).unwrap_or_default(),
    };
    if missing.is_empty() {
        return Ok(());
    }
    Err(Failure::Environment(format!(
        "boards of type '{board}' need more of this machine: 'apt install {}', or start with boards that need nothing \
         (without --board)",
        missing.join(" ")
    )))
}

/// Whether the host's C compiler works: virtual boards run what it builds.
fn compiler() -> Result<(), Failure> {
    let name = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let output = std::process::Command::new(&name).arg("--version").output();
    if output.is_ok_and(|output| output.status.success()) {
        return Ok(());
    }
    Err(Failure::Environment(format!(
        "there is no C compiler '{}'; the virtual boards need one: install it ('apt install gcc', 'dnf install gcc', \
         'xcode-select --install'), name another in CC, or start without boards (--boards 0)",
        name.to_string_lossy()
    )))
}
