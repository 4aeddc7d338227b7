//! A whole system on free ports, stopped when dropped; on a failed test its logs stay and their place is printed.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use contract::api::{CommandView, DeviceView, ModelView, RelayView};
use contract::reading::Reading;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub const BINARY: &str = env!("CARGO_BIN_EXE_tinymlaas");

/// Ports that were free a moment ago.
pub fn free_ports() -> (u16, u16) {
    let [a, b] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    (a.local_addr().unwrap().port(), b.local_addr().unwrap().port())
}

pub struct Fleet {
    pub dir: PathBuf,
    // Kept for its drop; `None` once a failed test wants to keep the folder.
    folder: Option<tempfile::TempDir>,
    pub mqtt: u16,
    pub http: u16,
    args: Vec<String>,
    env: Vec<(String, String)>,
    up: Option<Child>,
    pub output: Arc<Mutex<String>>,
}

impl Fleet {
    /// `up` with further arguments, waited for until it has said what to open.
    pub fn start(args: &[&str]) -> Self {
        Self::start_with(args, &[])
    }

    pub fn start_with(args: &[&str], env: &[(&str, &str)]) -> Self {
        let folder = tempfile::Builder::new().prefix("tinymlaas-e2e-").tempdir().unwrap();
        let (mqtt, http) = free_ports();
        let mut fleet = Self {
            dir: folder.path().join("data"),
            folder: Some(folder),
            mqtt,
            http,
            args: args.iter().map(|s| (*s).to_owned()).collect(),
            env: env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            up: None,
            output: Arc::default(),
        };
        fleet.up();
        fleet
    }

    /// Starts `up` on the same folder and ports, again after a stop.
    pub fn up(&mut self) {
        self.output.lock().unwrap().clear();
        let mut child = Command::new(BINARY)
            .args(["up", "--mqtt-port", &self.mqtt.to_string(), "--http-port", &self.http.to_string()])
            .args(["--data-dir", self.dir.to_str().unwrap()])
            .args(&self.args)
            .env_remove("CARGO")
            .envs(self.env.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let output = self.output.clone();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let mut all = output.lock().unwrap();
                all.push_str(&line);
                all.push('\n');
            }
        });
        self.up = Some(child);
        let begin = Instant::now();
        while !self.said("Open   http") {
            if let Some(status) = self.up.as_mut().unwrap().try_wait().unwrap() {
                panic!("up ended with {status}:\n{}", self.output.lock().unwrap());
            }
            assert!(begin.elapsed() < Duration::from_secs(300), "up is not ready:\n{}", self.output.lock().unwrap());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub fn said(&self, text: &str) -> bool {
        self.output.lock().unwrap().contains(text)
    }

    pub fn pid(&self) -> u32 {
        self.up.as_ref().unwrap().id()
    }

    /// Ctrl-C, then waits for the end.
    pub fn stop(&mut self) -> ExitStatus {
        let mut child = self.up.take().unwrap();
        signal("-INT", child.id());
        let begin = Instant::now();
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                return status;
            }
            assert!(begin.elapsed() < Duration::from_secs(30), "up does not stop:\n{}", self.output.lock().unwrap());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// kill -9 of the supervisor itself.
    pub fn kill_up(&mut self) {
        let mut child = self.up.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Processes of this system whose command line has `role` as a word.
    pub fn processes(&self, role: &str) -> Vec<u32> {
        let dir = self.dir.to_str().unwrap();
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            let Ok(line) = std::fs::read(entry.path().join("cmdline")) else {
                continue;
            };
            let line = String::from_utf8_lossy(&line);
            let words: Vec<&str> = line.split('\0').collect();
            if line.contains(dir) && words.contains(&role) {
                found.push(pid);
            }
        }
        found
    }

    /// kill -9 of one role; the supervisor starts it again.
    pub fn kill(&self, role: &str) {
        let pids = self.processes(role);
        assert!(!pids.is_empty(), "no process runs '{role}'");
        for pid in pids {
            signal("-KILL", pid);
        }
    }

    pub fn token(&self) -> String {
        std::fs::read_to_string(self.dir.join("admin-token")).unwrap().trim().to_owned()
    }

    /// Runs a client command of the binary.
    pub fn cli(&self, args: &[&str]) -> Output {
        Command::new(BINARY)
            .args(args)
            .args(["--data-dir", self.dir.to_str().unwrap()])
            .args(["--mqtt", &format!("127.0.0.1:{}", self.mqtt), "--api", &format!("http://127.0.0.1:{}", self.http)])
            .output()
            .unwrap()
    }

    /// The JSON that a client command prints.
    pub fn cli_json(&self, args: &[&str]) -> Value {
        let output = self.cli(&[args, &["--json"]].concat());
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// The JSON lines that a command which follows events prints.
    pub fn cli_json_lines(&self, args: &[&str]) -> Vec<Value> {
        let output = self.cli(&[args, &["--json"]].concat());
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// `GET` of a path under `/api/v1`.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> T {
        self.try_get(path).unwrap()
    }

    pub fn try_get<T: DeserializeOwned>(&self, path: &str) -> Result<T, String> {
        let url = format!("http://127.0.0.1:{}/api/v1{path}", self.http);
        let token = self.token();
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
            let client = reqwest::Client::new();
            let response = client.get(url).bearer_auth(token).send().await.map_err(|e| e.to_string())?;
            let status = response.status();
            let body = response.text().await.map_err(|e| e.to_string())?;
            serde_json::from_str(&body).map_err(|e| format!("{status}: {e}: {body}"))
        })
    }

    pub fn relay(&self) -> RelayView {
        self.get("/relays/demo")
    }

    pub fn device(&self, name: &str) -> DeviceView {
        self.get(&format!("/relays/demo/devices/{name}"))
    }

    pub fn model(&self, name: &str) -> ModelView {
        self.get(&format!("/models/{name}"))
    }

    pub fn command(&self, id: &str) -> CommandView {
        self.get(&format!("/relays/demo/commands/{id}"))
    }

    pub fn readings(&self, device: &str, limit: u32) -> Vec<Reading> {
        self.get(&format!("/relays/demo/devices/{device}/readings?limit={limit}"))
    }

    /// Publishes with the real mosquitto_pub.
    pub fn publish(&self, topic: &str, payload: &[u8]) {
        let mut child = self
            .mosquitto("mosquitto_pub")
            .args(["-q", "1", "-t", topic, if payload.is_empty() { "-n" } else { "-s" }])
            .stdin(Stdio::piped())
            .spawn()
            .expect("mosquitto_pub is installed by 'cargo xtask test'");
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), payload).unwrap();
        assert!(child.wait().unwrap().success(), "publishing to {topic}");
    }

    /// One of the mosquitto clients with address and credential.
    pub fn mosquitto(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.args(["-h", "127.0.0.1", "-p", &self.mqtt.to_string(), "-u", "admin", "-P", &self.token()]);
        command
    }

    /// Sends a command to the relay.
    pub fn send(&self, body: &Value) {
        self.publish("tinymlaas/v1/relays/demo/commands", body.to_string().as_bytes());
    }

    /// Waits until `done` says yes, at most so many seconds; the message tells what was waited for.
    pub fn until(&self, seconds: u64, what: &str, mut done: impl FnMut(&Self) -> bool) {
        let begin = Instant::now();
        while !done(self) {
            assert!(begin.elapsed() < Duration::from_secs(seconds), "after {seconds} s still not: {what}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits for the end of a command and returns its view.
    pub fn ended(&self, id: &str, seconds: u64) -> CommandView {
        let mut last = None;
        self.until(seconds, &format!("command {id} has ended"), |fleet| {
            match fleet.try_get::<CommandView>(&format!("/relays/demo/commands/{id}")) {
                Ok(view) if view.state.is_some_and(|state| state.is_terminal()) => {
                    last = Some(view);
                    true
                }
                _ => false,
            }
        });
        last.unwrap()
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        if let Some(mut child) = self.up.take() {
            signal("-INT", child.id());
            let begin = Instant::now();
            while matches!(child.try_wait(), Ok(None)) && begin.elapsed() < Duration::from_secs(20) {
                std::thread::sleep(Duration::from_millis(20));
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking()
            && let Some(folder) = self.folder.take()
        {
            let kept = folder.keep();
            eprintln!("the data folder with all logs is kept in {}", kept.display());
            eprintln!("up said:\n{}", self.output.lock().unwrap_or_else(|e| e.into_inner()));
        }
    }
}

pub fn signal(which: &str, pid: u32) {
    // The process may have ended by itself: then there is nothing to signal.
    let _ = Command::new("kill").args([which, &pid.to_string()]).stderr(Stdio::null()).status();
}

/// The project's folder.
pub fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}
