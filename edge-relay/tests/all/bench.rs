//! A test bench of real parts: broker, boards and relay are processes, and the host plays the cloud.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ed25519_dalek::SigningKey;
use tempfile::TempDir;
use virtual_board::simulator::Arduino;

use crate::host::Host;
pub use crate::process::Process;

pub const RELAY: &str = "bench";

/// One simulated chip at a time: each keeps a core busy, and a chip that starves looks like one that is broken.
pub static CHIP: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().and_then(Path::parent).unwrap().join("examples").join(name)
}

pub struct Bench {
    // Processes first: they end before their folders go.
    pub relay: Option<Process>,
    pub boards: Vec<Process>,
    pub broker: Process,
    pub port: u16,
    pub key: SigningKey,
    pub host: Host,
    pub environment: Vec<(String, String)>,
    /// The relay's folder is a disk of its own of this size.
    pub disk: Option<&'static str>,
    /// The relay sees what this process has mounted.
    mounts_of: Option<u32>,
    pub dir: TempDir,
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn start_broker(dir: &Path, port: u16) -> Process {
    let process = Process::start(
        Command::new("/usr/sbin/mosquitto")
            .arg("-c")
            .arg(dir.join("mosquitto.conf"))
            .stdout(Stdio::null())
            .stderr(Stdio::null()),
    );
    for _ in 0..200 {
        if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return process;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("mosquitto does not listen on {port}");
}

impl Drop for Bench {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", std::fs::read_to_string(self.path("relay.log")).unwrap_or_default());
        }
    }
}

impl Bench {
    /// A broker and a host; no relay and no board yet.
    pub async fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("relay-test-").tempdir().unwrap();
        let port = free_port();
        let path = |name: &str| dir.path().join(name);
        let passwords = path("passwords");
        std::fs::write(&passwords, "").unwrap();
        for (user, password) in [(format!("relay-{RELAY}"), "relay-token"), ("cloud".to_owned(), "cloud-token")] {
            let done = Command::new("mosquitto_passwd")
                .arg("-b")
                .arg(&passwords)
                .arg(user)
                .arg(password)
                .stderr(Stdio::null())
                .status();
            assert!(done.unwrap().success());
        }
        let own = format!("tinymlaas/v1/relays/{RELAY}");
        let mut acl = format!("user cloud\ntopic readwrite tinymlaas/v1/#\nuser relay-{RELAY}\n");
        for leaf in ["presence", "state", "events", "requests", "devices/+/telemetry", "devices/+/logs"] {
            acl += &format!("topic write {own}/{leaf}\n");
        }
        for leaf in ["commands", "responses", "sync"] {
            acl += &format!("topic read {own}/{leaf}\n");
        }
        std::fs::write(path("acl"), acl).unwrap();
        // Without persistence: a restart of this broker loses every session, which is the harder case.
        let conf = format!(
            "listener {port} 127.0.0.1\nallow_anonymous false\npassword_file {}\nacl_file {}\nmax_queued_messages 10000\nuser root\n",
            passwords.display(),
            path("acl").display()
        );
        std::fs::write(path("mosquitto.conf"), conf).unwrap();
        let broker = start_broker(dir.path(), port);
        let key = SigningKey::from_bytes(&[7; 32]);
        let relay = path("relay");
        std::fs::create_dir_all(&relay).unwrap();
        std::fs::create_dir_all(path("boards")).unwrap();
        std::fs::write(relay.join("token"), "relay-token\n").unwrap();
        use base64::Engine as _;
        let public = base64::engine::general_purpose::STANDARD.encode(key.verifying_key().to_bytes());
        std::fs::write(relay.join("trusted.pub"), public).unwrap();
        let host = Host::start(port, key.clone()).await;
        Self {
            relay: None,
            boards: Vec::new(),
            broker,
            port,
            key,
            host,
            environment: Vec::new(),
            disk: None,
            mounts_of: None,
            dir,
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A bench with a relay and boards `board-1` and on, all connected.
    pub async fn with_boards(count: usize, baud: u32) -> Self {
        let mut bench = Self::new().await;
        for number in 1..=count {
            bench.add_board(number, baud);
        }
        bench.start_relay();
        bench.host.devices(count).await;
        bench
    }

    pub fn add_board(&mut self, number: usize, baud: u32) {
        let name = format!("board-{number}");
        let dir = self.path("boards").join(&name);
        let mut command = Command::new(example("board"));
        command.arg(&name).arg(dir).arg(baud.to_string());
        self.boards.push(Process::start(&mut command));
    }

    /// A Cortex-M4 in QEMU.
    pub fn add_cortex_m4(&mut self, number: usize) {
        self.add_machine("cortex-m4", number);
    }

    /// A Cortex-M in QEMU.
    pub fn add_machine(&mut self, machine: &str, number: usize) {
        let name = format!("board-{number}");
        let mut command = Command::new(example("board"));
        command.arg(&name).arg(self.path("boards").join(&name)).args(["0", machine]);
        self.boards.push(Process::start(&mut command));
    }

    /// A Raspberry Pi Pico in rp2040js. Its drive is mounted where nobody but the relay sees it.
    pub fn add_pico(&mut self, number: usize, program: &Path) {
        let name = format!("board-{number}");
        let mut command = Command::new("unshare");
        command.arg("-rm").arg(example("board")).arg(&name).arg(self.path("boards").join(&name));
        let board = Process::start(command.args(["0", "pico"]).arg(program));
        // Until the namespace is made and whole, nobody can join it.
        let (exe, end) = (format!("/proc/{}/exe", board.0.id()), Instant::now() + Duration::from_secs(60));
        while !std::fs::read_link(&exe).is_ok_and(|program| program == example("board")) {
            assert!(Instant::now() < end, "the Pico did not start");
            std::thread::sleep(Duration::from_millis(5));
        }
        self.mounts_of = Some(board.0.id());
        self.boards.push(board);
    }

    /// An Arduino Uno in simavr with its bootloader.
    pub fn add_uno(&mut self, number: usize) {
        self.add_arduino(Arduino::Uno, number);
    }

    /// Any of them.
    pub fn add_arduino(&mut self, arduino: Arduino, number: usize) {
        let name = format!("board-{number}");
        let dir = self.path("boards").join(&name);
        let mut command = arduino.command(&name, &dir, Path::new(env!("CARGO_TARGET_TMPDIR"))).unwrap();
        self.boards.push(Process::start(&mut command));
    }

    pub fn start_relay(&mut self) {
        let mut command = match (self.disk, self.mounts_of) {
            (None, None) => Command::new(example("relay")),
            (None, Some(board)) => {
                let mut command = Command::new("nsenter");
                command.args(["--user", "--mount", "--preserve-credentials", "--target", &board.to_string()]);
                command.arg(example("relay"));
                command
            }
            (Some(size), _) => {
                // Seen by this process only, and gone with it.
                let script = format!(
                    "cp -a \"$3\" \"$3.copy\" && mount -t tmpfs -o size={size},mode=700 tmpfs \"$3\" && \
                     cp -a \"$3.copy/.\" \"$3\" && exec \"$@\""
                );
                let mut command = Command::new("unshare");
                command.args(["-rm", "sh", "-c", &script, "sh"]).arg(example("relay"));
                command
            }
        };
        command.arg(RELAY).arg(self.path("relay")).arg(self.port.to_string()).arg(self.path("boards"));
        command.envs(self.environment.iter().cloned());
        if std::env::var_os("RUST_LOG").is_none() {
            command.stderr(std::fs::OpenOptions::new().create(true).append(true).open(self.path("relay.log")).unwrap());
            command.env("RUST_LOG", "info,edge_relay=debug,sqlx=warn");
        }
        self.relay = Some(Process::start(&mut command));
    }

    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        self.environment.retain(|(of, _)| of != name);
        self.environment.push((name.into(), value.into()));
    }

    /// Sends a command as a script would.
    pub fn mosquitto_pub(&self, command: &serde_json::Value) {
        let topic = crate::host::topic("commands");
        let mut client = Command::new("mosquitto_pub");
        client.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-u", "cloud", "-P", "cloud-token", "-q", "1"]);
        assert!(client.args(["-t", &topic, "-m", &command.to_string()]).status().unwrap().success());
    }

    /// kill -9 of the relay.
    pub fn kill_relay(&mut self) {
        self.relay.take().unwrap().kill();
    }

    pub async fn restart_broker(&mut self, pause: Duration) {
        self.broker.kill();
        tokio::time::sleep(pause).await;
        self.broker = start_broker(self.dir.path(), self.port);
    }

    /// Whether this user may mount a disk for a process.
    pub fn can_mount() -> bool {
        let script = "mount -t tmpfs -o size=1m tmpfs /mnt";
        let done = Command::new("unshare").args(["-rm", "sh", "-c", script]).stderr(Stdio::null()).status();
        done.is_ok_and(|status| status.success())
    }

    /// A program that the relay finds before all others of this name.
    pub fn script(&mut self, name: &str, script: &str) {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = self.path("bin");
        std::fs::create_dir_all(&dir).unwrap();
        let file = dir.join(name);
        std::fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o700)).unwrap();
        self.set("PATH", format!("{}:{}", dir.display(), std::env::var("PATH").unwrap()));
    }

    /// As [`Bench::script`], with the real program in `$REAL`.
    pub fn program(&mut self, name: &str, script: &str) {
        let path = std::env::var("PATH").unwrap();
        let real = std::env::split_paths(&path).map(|dir| dir.join(name)).find(|path| path.is_file()).unwrap();
        self.script(name, &format!("REAL={}\n{script}", real.display()));
    }

    /// A compiler that runs `script` first; `$REAL` is the real one.
    pub fn compiler(&mut self, script: &str) {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.path("cc");
        let text = format!("#!/bin/sh\ncase \"$1\" in --version) exec cc --version;; esac\n{script}\nexec cc \"$@\"\n");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
        self.set("CC", path.display().to_string());
    }
}
