//! The whole system on brokers of others: a cloud, a relay and a board, each a process started alone, from an invitation to
//! predictions, and on after the cloud or the broker was killed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::fleet::{BINARY, free_ports, project};
use crate::rabbitmq_server::{self, RabbitMq};

const PATIENCE: Duration = Duration::from_secs(240);

/// A process of the test, killed when dropped.
struct Part(Child);

impl Drop for Part {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn part(log: &Path, command: &mut Command) -> Part {
    let log = File::options().create(true).append(true).open(log).unwrap();
    Part(command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap())
}

/// A cloud and a relay that share nothing but a broker.
struct System {
    folder: Option<tempfile::TempDir>,
    dir: PathBuf,
    mqtt: u16,
    http: u16,
    parts: Vec<Part>,
}

impl System {
    fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("tinymlaas-e2e-").tempdir().unwrap();
        let (mqtt, http) = free_ports();
        Self { dir: folder.path().to_owned(), folder: Some(folder), mqtt, http, parts: Vec::new() }
    }

    fn path(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }

    /// The binary in the folder of one machine.
    fn on(&self, machine: &str, args: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command
            .args(args)
            .args(["--data-dir", &self.path(machine), "--mqtt", &format!("mqtt://127.0.0.1:{}", self.mqtt)])
            .args(["--api", &format!("http://127.0.0.1:{}", self.http)]);
        command
    }

    fn start(&self, machine: &str, name: &str, args: &[&str]) -> Part {
        part(&self.dir.join(format!("{name}.log")), &mut self.on(machine, args))
    }

    fn cloud(&self, more: &[&str]) -> Part {
        self.start("cloud", "cloud", &[&["cloud", "--listen", &format!("127.0.0.1:{}", self.http)], more].concat())
    }

    fn cli(&self, args: &[&str]) -> Output {
        self.on("cloud", args).output().unwrap()
    }

    /// The standard output of a command that succeeds.
    fn done(&self, args: &[&str]) -> String {
        let output = self.cli(args);
        let (said, told) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{args:?}: {said}\n{told}");
        said.into_owned()
    }

    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.done(&[args, &["--json"]].concat())).unwrap()
    }

    fn until(&self, what: &str, done: impl Fn(&Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(Instant::now() < end, "still not: {what}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn works(&self) -> bool {
        self.cli(&["health"]).status.success()
    }

    fn readings(&self) -> u64 {
        self.json(&["device", "show", "attic/board-1"])["readings"].as_u64().unwrap()
    }

    /// From an invitation to a relay with a board that is at rest.
    fn relay(&mut self) {
        let join = self.json(&["relay", "invite", "attic"])["join"].as_str().unwrap().to_owned();
        let enrolled = self.on("relay", &["relay", "enroll"]).env("TINYMLAAS_JOIN", join).output().unwrap();
        assert!(enrolled.status.success(), "{}", String::from_utf8_lossy(&enrolled.stderr));
        let board = self.path("relay/boards/board-1");
        let board = self.start("relay", "board", &["board", "--name", "board-1", "--dir", &board]);
        let relay = self.start("relay", "relay", &["relay", "run", "--name", "attic"]);
        self.parts.extend([board, relay]);
        self.until("the board is there", |system| {
            let shown = system.cli(&["device", "show", "attic/board-1", "--json"]);
            let view: Value = serde_json::from_slice(&shown.stdout).unwrap_or_default();
            shown.status.success() && view["online"] == true && view["state"]["status"] != "lost"
        });
    }

    /// Data and model in, compiled, installed, and heard live.
    fn main_job(&self) {
        let file = |name: &str| project().join("models/digits").join(name).display().to_string();
        self.done(&["dataset", "import", &file("digits.csv"), "--input-scale", "0.0625"]);
        self.done(&["model", "import", &file("digits.onnx"), "--dataset", "digits"]);
        self.done(&["model", "compile", "digits"]);
        self.done(&["install", "digits", "--device", "attic/board-1"]);
        let live = self.done(&["watch", "--relay", "attic", "--count", "3", "--json"]);
        assert!(live.contains("\"prediction\""), "{live}");
        self.goes_on(0);
    }

    fn goes_on(&self, before: u64) {
        self.until("readings are stored", |system| system.readings() > before);
    }
}

impl Drop for System {
    fn drop(&mut self) {
        self.parts.clear();
        if std::thread::panicking()
            && let Some(folder) = self.folder.take()
        {
            eprintln!("the folder with all logs is kept in {}", folder.keep().display());
        }
    }
}

#[test]
fn everything_on_a_plain_mosquitto() {
    if !Path::new("/usr/sbin/mosquitto").exists() {
        eprintln!("SKIPPED: Mosquitto is not installed (Debian: mosquitto)");
        return;
    }
    let mut system = System::new();
    let folder = system.path("mosquitto");
    let written = system.json(&["mosquitto", &folder]);
    assert_eq!((&written["names"], &written["left_out"]), (&["admin", "cloud", "dashboard"].into(), &[""; 0].into()));
    let settings = system.dir.join("mosquitto/mosquitto.conf");
    let text = fs::read_to_string(&settings).unwrap();
    fs::write(&settings, text.replace("listener 1883", &format!("listener {}", system.mqtt))).unwrap();
    let log = system.dir.join("mosquitto.log");
    let start = || part(&log, Command::new("/usr/sbin/mosquitto").arg("-c").arg(&settings));
    let broker = start();
    let cloud = system.cloud(&["--mosquitto", &folder]);
    system.until("broker and cloud work", System::works);
    system.relay();
    system.main_job();

    drop(cloud);
    let before_cloud = Instant::now();
    let _cloud = system.cloud(&["--mosquitto", &folder]);
    system.until("the cloud works again", System::works);
    system.goes_on(system.readings());
    println!("on again {:.1} s after the cloud was killed", before_cloud.elapsed().as_secs_f64());
    drop(broker);
    let before_broker = Instant::now();
    let _broker = start();
    system.until("the broker works again", System::works);
    system.goes_on(system.readings());
    println!("on again {:.1} s after the broker was killed", before_broker.elapsed().as_secs_f64());
    system.done(&["install", "digits", "--device", "attic/board-1"]);

    system.done(&["relay", "revoke", "attic"]);
    system.until("a revoked relay is thrown out", |system| system.json(&["relay", "show", "attic"])["online"] == false);
}

#[test]
fn everything_on_rabbitmq() {
    if !rabbitmq_server::installed() {
        return;
    }
    let mut system = System::new();
    let cloud = system.cloud(&[]);
    system.until("the cloud asks for a token", |system| system.cli(&["device", "list"]).status.success());
    let api = format!("http://127.0.0.1:{}/api/v1", system.http);
    let (folder, port) = (system.dir.join("rabbitmq"), system.mqtt);
    let start = || RabbitMq::start(&folder, port, &api, ("tester", "of-this-test-alone"));
    let broker = start();
    system.until("broker and cloud work", System::works);
    system.relay();
    system.main_job();

    drop(cloud);
    let before_cloud = Instant::now();
    let _cloud = system.cloud(&[]);
    system.until("the cloud works again", System::works);
    system.goes_on(system.readings());
    println!("on again {:.1} s after the cloud was killed", before_cloud.elapsed().as_secs_f64());
    drop(broker);
    let before_broker = Instant::now();
    let _broker = start();
    system.until("the broker works again", System::works);
    system.goes_on(system.readings());
    println!("on again {:.1} s after the broker was killed", before_broker.elapsed().as_secs_f64());
    system.done(&["install", "digits", "--device", "attic/board-1"]);
}
