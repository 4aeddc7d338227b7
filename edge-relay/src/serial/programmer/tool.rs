//! Programs that flash boards, on this machine or in a container: their output line by line, a time limit, and an end for
//! the whole process group, also when the relay itself is killed.
//!
//! A flash is stopped by its own time limit only: whoever stops it in the middle has half of a firmware on the board.

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Read};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use rustix::process::Pid;
use tokio_util::sync::CancellationToken;

use crate::build::container::{self, Image, Inside};
use crate::build::{Folder, process};
use crate::serial::port::Fault;

/// Longest line that is kept whole, in bytes.
const MAX_LINE: u64 = 4096;

/// CPU time that a program may take. It waits for the board nearly all of its time, but one that outlives a killed
/// relay may spin on a port that is gone.
const BUSY: Duration = Duration::from_secs(20);

/// How a program ended, and what it said.
#[derive(Debug)]
pub struct Ended {
    /// `None`: it was killed, at its time limit or because the board had gone.
    pub success: Option<bool>,
    /// All it wrote.
    pub lines: Vec<String>,
    /// What of it was standard output, without the ends of lines.
    pub out: String,
    /// What of it was standard error, likewise.
    pub err: String,
}

impl Ended {
    /// Whether a line has one of these words.
    pub fn says(&self, words: &[&str]) -> bool {
        self.lines.iter().any(|line| words.iter().any(|word| line.contains(word)))
    }

    /// Whether it reports success.
    pub fn is_good(&self) -> bool {
        self.success == Some(true)
    }

    /// The last line that says something, for people.
    pub fn last(&self) -> &str {
        self.lines.last().map_or("it wrote nothing", String::as_str)
    }
}

/// A program to run.
#[derive(Debug)]
pub struct Tool<'a> {
    /// Its name.
    pub program: &'a str,
    /// Where it works.
    pub folder: &'a Folder,
    /// How long it may run.
    pub limit: Duration,
    /// What to do where it is missing.
    pub help: &'a str,
    /// Its environment beside PATH; without a HOME of its own that is the folder.
    pub environment: Vec<(OsString, OsString)>,
}

/// How often it is looked whether the board is still there.
const LOOK: Duration = Duration::from_millis(200);

/// Lines of a program that runs; the first part tells whether it is standard output.
type Said = Receiver<(bool, String)>;

/// Runs a program on this machine for at most its limit, and no longer than the board `is_there`: a program that lost
/// its port may wait a long time for nothing.
///
/// # Errors
/// [`Fault::ToolMissing`] with the help if it is not installed, [`Fault::Tool`] if it does not start.
pub fn run(
    tool: &Tool<'_>,
    arguments: &[String],
    is_there: &dyn Fn() -> bool,
    on_line: &mut dyn FnMut(&str),
) -> Result<Ended, Fault> {
    let Tool { program, folder, limit, help, environment } = tool;
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    let Some(found) = process::find(program, &path) else {
        return Err(Fault::ToolMissing(format!("{program} was not found: {help}")));
    };
    let failed = |error: std::io::Error| Fault::Tool(format!("{}: {error}", found.display()));
    let mut command = Command::new(&found);
    command.args(arguments).env_clear().env("HOME", folder.dir());
    command.envs(environment.iter().map(|(name, value)| (name, value))).env("PATH", &path).env("LC_ALL", "C");
    command.current_dir(folder.dir()).process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(failed)?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let mut group = process::Group(pid);
    if let Some(pid) = pid {
        process::confine(pid, BUSY);
        process::note(pid, folder.dir()).map_err(failed)?;
    }
    let (sender, receiver) = mpsc::channel();
    let readers = [
        child.stdout.take().map(|stream| read(stream, true, sender.clone())),
        child.stderr.take().map(|stream| read(stream, false, sender)),
    ];
    let deadline = Instant::now() + *limit;
    let mut ended = listen(&receiver, deadline, is_there, on_line);
    if ended.success.is_some() {
        ended.success = wait(&mut child, deadline).map_err(failed)?.map(|status| status.success());
    }
    if ended.success.is_some() {
        group.0 = None;
    }
    drop(group); // kills what still runs
    let _ = child.wait(); // reaped above, or killed
    for reader in readers.into_iter().flatten() {
        let _ = reader.join();
    }
    Ok(ended)
}

/// Starts async work from a thread for blocking work, which gets its result from the channel.
pub fn begin<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> Receiver<T> {
    let (sender, receiver) = mpsc::channel();
    tokio::runtime::Handle::current().spawn(async move {
        let _ = sender.send(work.await); // nobody waits for it any more
    });
    receiver
}

/// Runs a program in a container under the same conditions.
///
/// # Errors
/// [`Fault::Tool`]: the engine's problem.
pub fn run_inside(
    image: &Image,
    inside: Inside,
    limit: Duration,
    is_there: &dyn Fn() -> bool,
    on_line: &mut dyn FnMut(&str),
) -> Result<Ended, Fault> {
    let (sender, receiver) = mpsc::channel();
    let log = |is_out: bool| {
        let sender = sender.clone();
        let log: crate::build::Log = Arc::new(move |line: &str| {
            let _ = sender.send((is_out, line.to_owned())); // nobody listens any more after a stop
        });
        log
    };
    let (on_out, on_err) = (log(true), log(false));
    drop(sender);
    let (image, stop) = (image.clone(), CancellationToken::new());
    let stopped = stop.clone().cancelled_owned();
    let running = begin(async move { image.run(&inside, limit, &on_out, &on_err, stopped).await });
    let mut ended = listen(&receiver, Instant::now() + limit, is_there, on_line);
    if ended.success.is_none() {
        stop.cancel();
    }
    let end = running.recv().map_err(|_| Fault::Stopped)?; // the relay ends
    match end.map_err(|problem| Fault::Tool(problem.to_string()))? {
        container::End::Exited { code, .. } => ended.success = Some(code == 0),
        container::End::TimedOut | container::End::Stopped => ended.success = None,
    }
    Ok(ended)
}

/// Hears a program until it closes its output, its time is over, or the board has gone: no success then.
fn listen(said: &Said, deadline: Instant, is_there: &dyn Fn() -> bool, on_line: &mut dyn FnMut(&str)) -> Ended {
    let mut ended = Ended { success: None, lines: Vec::new(), out: String::new(), err: String::new() };
    loop {
        match said.recv_timeout(LOOK.min(deadline.saturating_duration_since(Instant::now()))) {
            Ok((is_out, line)) => {
                if is_out { &mut ended.out } else { &mut ended.err }.push_str(&line);
                on_line(&line);
                ended.lines.push(line);
            }
            Err(RecvTimeoutError::Disconnected) => {
                ended.success = Some(true);
                return ended;
            }
            Err(RecvTimeoutError::Timeout) if Instant::now() >= deadline || !is_there() => return ended,
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

/// It has closed its output, so its end is near.
fn wait(child: &mut std::process::Child, deadline: Instant) -> std::io::Result<Option<ExitStatus>> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn read(
    stream: impl Read + Send + 'static,
    is_out: bool,
    lines: Sender<(bool, String)>,
) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let mut reader = BufReader::new(stream);
        let mut line = Vec::new();
        loop {
            line.clear();
            match reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
            let text = String::from_utf8_lossy(&line);
            let text = text.trim_end();
            if !text.is_empty() && lines.send((is_out, text.to_owned())).is_err() {
                return;
            }
        }
    })
}
