//! Child processes: started, watched, restarted with back-off, stopped in reverse order.
//!
//! Each child has a pipe as its standard input and stops when that closes. So no child outlives this process, even
//! when it is killed.

use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::process::Command;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::args::Context;
use crate::exit::Failure;
use crate::role;

/// A log is set aside when a start finds it larger than this, in bytes.
const LOG_LIMIT: u64 = 8 * 1024 * 1024;
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A child that ran for so long was well: the next failure begins with the first pause again.
const WELL_AFTER: Duration = Duration::from_secs(30);
/// So many failures in a row, and whoever waits for the start gives up.
const TROUBLE_AFTER: u32 = 4;
const STOP_PATIENCE: Duration = Duration::from_secs(6);

/// How to ask a child whether it works, beyond being there.
#[derive(Clone)]
pub enum Health {
    /// An MQTT round trip: rumqttd can accept connections and answer nothing.
    Broker {
        /// For the log.
        address: String,
        /// Where and who.
        context: Context,
    },
}

/// What to run.
pub struct Child {
    name: String,
    args: Vec<String>,
    /// Asked every few seconds; three failures in a row restart the child.
    pub health: Option<Health>,
}

impl Child {
    /// This binary with other arguments.
    pub fn new(name: &str, args: Vec<String>) -> Self {
        Self { name: name.to_owned(), args, health: None }
    }
}

struct Running {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// The process tree.
pub struct Supervisor {
    logs: PathBuf,
    running: Vec<Running>,
    trouble: Arc<Mutex<Option<String>>>,
}

impl Supervisor {
    /// A tree without children, logging under `data/logs`.
    pub fn new(data: &Path) -> Result<Self, Failure> {
        let logs = data.join("logs");
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&logs)
            .map_err(|error| Failure::Environment(format!("{} cannot be made: {error}", logs.display())))?;
        Ok(Self { logs, running: Vec::new(), trouble: Arc::default() })
    }

    /// Starts a child and keeps it running.
    pub fn start(&mut self, child: Child) {
        let stop = CancellationToken::new();
        let log = self.logs.join(format!("{}.log", child.name));
        let task = tokio::spawn(keep(child, log, stop.clone(), self.trouble.clone()));
        self.running.push(Running { stop, task });
    }

    /// What keeps failing, if something does.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.lock().ok().and_then(|trouble| trouble.clone())
    }

    /// Stops all children, the last started first, so that a relay can still say goodbye to the broker.
    pub async fn stop(self) {
        for running in self.running.into_iter().rev() {
            running.stop.cancel();
            // A task that panicked has no child any more: dropping it killed it.
            let _ = running.task.await;
        }
    }
}

async fn keep(child: Child, log: PathBuf, stop: CancellationToken, trouble: Arc<Mutex<Option<String>>>) {
    let mut pause = FIRST_PAUSE;
    let mut failures = 0;
    while !stop.is_cancelled() {
        let begin = Instant::now();
        let why = match run_once(&child, &log, &stop).await {
            None => return,
            Some(why) => why,
        };
        if begin.elapsed() > WELL_AFTER {
            pause = FIRST_PAUSE;
            failures = 0;
        }
        failures += 1;
        if failures >= TROUBLE_AFTER
            && let Ok(mut trouble) = trouble.lock()
        {
            let last = last_line(&log).unwrap_or_else(|| "it wrote no log".to_owned());
            *trouble = Some(format!("{} {why}; {last} ({})", child.name, log.display()));
        }
        eprintln!("  ! {} {why}; starting it again in {} ms", child.name, pause.as_millis());
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Runs the child until it ends (then says how) or is to stop (then `None`).
async fn run_once(child: &Child, log: &Path, stop: &CancellationToken) -> Option<String> {
    let mut process = match spawn(child, log) {
        Ok(process) => process,
        Err(error) => return Some(format!("cannot be started: {error}")),
    };
    let lifeline = process.stdin.take();
    let why = tokio::select! {
        status = process.wait() => Some(match status {
            Ok(status) => format!("ended ({status})"),
            Err(error) => format!("is gone ({error})"),
        }),
        why = unwell(child.health.clone()) => Some(why),
        () = stop.cancelled() => None,
    };
    drop(lifeline);
    if tokio::time::timeout(STOP_PATIENCE, process.wait()).await.is_err() {
        // It had its time; `kill` fails only where it has just ended.
        let _ = process.kill().await;
    }
    why
}

fn spawn(child: &Child, log: &Path) -> std::io::Result<tokio::process::Child> {
    if std::fs::metadata(log).is_ok_and(|meta| meta.len() > LOG_LIMIT) {
        std::fs::rename(log, log.with_extension("log.1"))?;
    }
    let file: File = OpenOptions::new().create(true).append(true).mode(0o600).open(log)?;
    Command::new(std::env::current_exe()?)
        .args(&child.args)
        .env(role::LIFELINE, "1")
        .stdin(Stdio::piped())
        .stdout(file.try_clone()?)
        .stderr(file)
        // Ctrl-C in the terminal reaches the supervisor only, which then stops the children in order.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}

/// Ends when the child was asked three times in a row and did not answer.
async fn unwell(health: Option<Health>) -> String {
    let Some(Health::Broker { address, context }) = health else {
        return std::future::pending().await;
    };
    let mut missed = 0;
    loop {
        tokio::time::sleep(Duration::from_secs(5)).await;
        match role::broker::check(&context).await {
            Ok(_) => missed = 0,
            Err(_) => missed += 1,
        }
        if missed == 3 {
            return format!("at {address} does not answer");
        }
    }
}

fn last_line(log: &Path) -> Option<String> {
    let text = std::fs::read_to_string(log).ok()?;
    text.lines().rev().find(|line| !line.trim().is_empty()).map(str::to_owned)
}
