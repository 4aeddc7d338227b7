//! `cargo xtask screenshots`: every kind of page with the demo running, in every look.
//!
//! Pages are found by following links from the overview, one of each kind, so a new page is in here by itself.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::heading;
use crate::arguments::Arguments;
use crate::browser::{Browser, View, free_port};
use crate::failure::{Failure, Outcome};
use crate::{step, workspace};

const VIEWS: [View; 4] = [
    View { name: "light", width: 1280, height: 800, phone: false, scheme: "light" },
    View { name: "dark", width: 1280, height: 800, phone: false, scheme: "dark" },
    View { name: "phone", width: 390, height: 844, phone: true, scheme: "light" },
    View { name: "phone-dark", width: 390, height: 844, phone: true, scheme: "dark" },
];
const PATIENCE: Duration = Duration::from_secs(240);
/// A board answers once a second; a chart with three points shows that it lives.
const READINGS: Duration = Duration::from_secs(3);
/// A bound on kinds of pages, in case links are generated without end.
const MOST_PAGES: usize = 40;

/// `screenshots [FOLDER]`
pub fn run(arguments: Arguments) -> Outcome {
    let (words, beyond) = arguments.rest()?;
    let folder = match (words.as_slice(), beyond.is_empty()) {
        ([], true) => workspace::root().join("target/screenshots"),
        ([folder], true) => PathBuf::from(folder),
        _ => return Err(Failure::Usage("screenshots takes one folder".to_owned())),
    };
    std::fs::create_dir_all(&folder)
        .map_err(|error| Failure::Machine(format!("cannot make the folder {}: {error}", folder.display())))?;
    heading("build");
    let binary = build()?;
    heading("start the demo");
    let scratch = Scratch::new()?;
    let demo = Demo::start(&binary, &scratch.0.join("data"))?;
    heading("look at every page");
    let browser = Browser::open(&scratch.0.join("profile"))?;
    let base = format!("http://127.0.0.1:{}", demo.http);
    let mut pages = BTreeMap::new();
    pages.insert("login".to_owned(), format!("{base}/login"));
    shoot(&browser, &pages, &folder)?;
    log_in(&browser, &base, &demo.token)?;
    let mut pages = find(&browser, &base)?;
    pages.insert("no-such-page".to_owned(), format!("{base}/no-such-page"));
    shoot(&browser, &pages, &folder)?;
    drop(browser);
    drop(demo);
    step::say(&format!("\nlook at them: {}", folder.display()));
    Ok(())
}

fn build() -> Result<PathBuf, Failure> {
    let mut command = step::cargo();
    command.args(["build", "--package", "cli", "--bin", "tinymlaas", "--message-format", "json"]);
    let output = command.stderr(Stdio::inherit()).output().map_err(|error| step::not_started(&command, &error))?;
    if !output.status.success() {
        return Err(Failure::Failed(format!("'{}' ended with {}", step::shown(&command), output.status)));
    }
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == "tinymlaas")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .ok_or_else(|| Failure::Failed("cargo does not say where the binary is".to_owned()))
}

fn log_in(browser: &Browser, base: &str, token: &str) -> Outcome {
    browser.go(&format!("{base}/login"))?;
    // JSON strings are JavaScript strings.
    let token = Value::from(token).to_string();
    browser.eval(&format!(
        "(document.querySelector('[name=name]').value = 'admin', \
          document.querySelector('[name=token]').value = {token}, \
          document.querySelector('form[action=\"/login\"]').requestSubmit(), true)"
    ))?;
    browser.until("location.pathname === '/' && document.readyState === 'complete'")
}

/// One address of each kind of page, by following links.
fn find(browser: &Browser, base: &str) -> Result<BTreeMap<String, String>, Failure> {
    let mut pages = BTreeMap::new();
    let mut next = vec![format!("{base}/")];
    while let Some(url) = next.pop() {
        let Some(kind) = url.strip_prefix(base).and_then(kind) else { continue };
        if pages.contains_key(&kind) || pages.len() >= MOST_PAGES {
            continue;
        }
        browser.go(&url)?;
        pages.insert(kind, url);
        let links = browser.eval("Array.from(document.querySelectorAll('a[href]'), a => a.href.split(/[?#]/)[0])")?;
        let links = links.as_array().cloned().unwrap_or_default();
        next.extend(links.iter().filter_map(Value::as_str).map(str::to_owned));
    }
    Ok(pages)
}

/// What kind of page a path is: `/relays/demo/devices/board-1` is `relays-one-devices-one`. Nouns and names take turns.
fn kind(path: &str) -> Option<String> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    match parts.as_slice() {
        [] => Some("overview".to_owned()),
        ["assets" | "api" | "login" | "logout" | "live", ..] => None,
        ["commands", _, _] => Some("commands-one".to_owned()),
        parts => {
            let names = parts.iter().enumerate().map(|(index, part)| if index % 2 == 0 { *part } else { "one" });
            Some(names.collect::<Vec<_>>().join("-"))
        }
    }
}

fn shoot(browser: &Browser, pages: &BTreeMap<String, String>, folder: &Path) -> Outcome {
    for (name, url) in pages {
        browser.look_as(VIEWS[0])?;
        browser.go(url)?;
        std::thread::sleep(READINGS);
        for view in VIEWS {
            browser.look_as(view)?;
            let wide = browser.eval("document.documentElement.scrollWidth > window.innerWidth")?;
            let file = folder.join(format!("{name}.{}.png", view.name));
            std::fs::write(&file, browser.screenshot()?)
                .map_err(|error| Failure::Machine(format!("cannot write {}: {error}", file.display())))?;
            let note = if wide == Value::Bool(true) { "  WIDER THAN THE SCREEN" } else { "" };
            step::say(&format!("  {}{note}", file.display()));
        }
    }
    Ok(())
}

/// A folder of ours that goes with us.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self, Failure> {
        let path = std::env::temp_dir().join(format!("tinymlaas-screenshots-{}", std::process::id()));
        // `create_dir`, not `create_dir_all`: a folder that somebody else has put there is not used.
        std::fs::create_dir(&path)
            .map_err(|error| Failure::Machine(format!("cannot make the folder {}: {error}", path.display())))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// `tinymlaas up --demo` on free ports; ended when dropped.
struct Demo {
    up: Child,
    http: u16,
    token: String,
}

impl Demo {
    fn start(binary: &Path, data: &Path) -> Result<Self, Failure> {
        let (mqtt, http) = (free_port()?, free_port()?);
        let mut command = Command::new(binary);
        command.args(["up", "--demo", "--mqtt-port", &mqtt.to_string(), "--http-port", &http.to_string()]);
        command.arg("--data-dir").arg(data).stdin(Stdio::null()).stderr(Stdio::piped());
        let up = command.spawn().map_err(|error| step::not_started(&command, &error))?;
        let mut demo = Self { up, http, token: String::new() };
        let Some(stderr) = demo.up.stderr.take() else { return Ok(demo) };
        let (sender, lines) = mpsc::sync_channel(1000);
        // Reads to the end, so that the demo never waits for a reader.
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let _ = sender.try_send(line);
            }
        });
        let end = Instant::now() + PATIENCE;
        loop {
            match lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) if line.starts_with("Open ") => break,
                Ok(line) => step::say(&format!("  {line}")),
                Err(RecvTimeoutError::Timeout) => {
                    return Err(Failure::Failed(format!("the demo is not ready after {}", step::seconds(PATIENCE))));
                }
                Err(RecvTimeoutError::Disconnected) => return Err(Failure::Failed("the demo ended".to_owned())),
            }
        }
        let token = std::fs::read_to_string(data.join("admin-token"))
            .map_err(|error| Failure::Failed(format!("the demo has left no token: {error}")))?;
        demo.token = token.trim().to_owned();
        Ok(demo)
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let id = i32::try_from(self.up.id()).ok().and_then(rustix::process::Pid::from_raw);
        if let Some(id) = id {
            let _ = rustix::process::kill_process(id, rustix::process::Signal::INT);
        }
        let begin = Instant::now();
        while matches!(self.up.try_wait(), Ok(None)) {
            if begin.elapsed() > Duration::from_secs(20) {
                let _ = self.up.kill();
                let _ = self.up.wait();
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_one_kind_have_one_name() {
        assert_eq!(kind("/").as_deref(), Some("overview"));
        assert_eq!(kind("/models").as_deref(), Some("models"));
        assert_eq!(kind("/models/digits").as_deref(), Some("models-one"));
        assert_eq!(kind("/relays/demo/devices/board-1"), kind("/relays/demo/devices/board-2"));
        assert_eq!(kind("/commands/demo/0191").as_deref(), Some("commands-one"));
        assert_eq!(kind("/assets/logo.svg"), None);
        assert_eq!(kind("/logout"), None);
    }
}
