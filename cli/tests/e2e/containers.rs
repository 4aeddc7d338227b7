//! The roles from their images, started by the compose file as people start it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::engine::Engine;
use crate::fleet::{BINARY, free_ports, project, signal};

const NAME: &str = "the_roles_in_containers_do_the_main_job";
const PATIENCE: Duration = Duration::from_secs(240);
const BINARY_IMAGE: &str = "tinymlaas/binary-of-a-test";
const IMAGES: [&str; 3] = ["tinymlaas/tinymlaas", "tinymlaas/relay", BINARY_IMAGE];
const ROLES: [&str; 4] = ["broker", "cloud", "dashboard", "relay"];

/// What the compose file starts on an engine.
struct System {
    engine: Engine,
    mqtt: u16,
    http: u16,
}

impl System {
    fn compose(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new("docker-compose");
        command.args(["--project-name", "test", "--profile", "demo", "--no-ansi"]).arg("--file").arg(file());
        command.args(arguments).stdin(Stdio::null()).env("DOCKER_HOST", self.engine.host());
        command.env("TINYMLAAS_MQTT_PORT", self.mqtt.to_string()).env("TINYMLAAS_PAGE_PORT", self.http.to_string());
        command.env("RUST_LOG", "info,sqlx=warn,sea_orm_migration=warn,rumqttd=off");
        command.output().unwrap()
    }

    fn composed(&self, arguments: &[&str]) -> String {
        let output = self.compose(arguments);
        let (said, told) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{arguments:?}: {said}\n{told}\n{}", self.logs());
        said.trim().to_owned()
    }

    fn logs(&self) -> String {
        let output = self.compose(&["logs", "--no-color", "--tail", "200"]);
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Docker's description of a container.
    fn inspect(&self, role: &str) -> Value {
        let id = self.composed(&["ps", "--quiet", role]);
        let text = self.engine.docker(&["inspect", &id]).unwrap();
        serde_json::from_str::<Value>(&text).unwrap()[0].take()
    }

    fn pid(&self, role: &str) -> u32 {
        u32::try_from(self.inspect(role)["State"]["Pid"].as_u64().unwrap()).unwrap()
    }

    /// Whether a line of a shell succeeds in a container.
    fn can(&self, role: &str, line: &str) -> bool {
        self.compose(&["exec", "-T", role, "sh", "-c", line]).status.success()
    }

    /// Whether a client command that follows events ends well.
    fn does(&self, arguments: &[&str]) -> bool {
        self.compose(&[&["exec", "-T", "cloud", "tinymlaas"], arguments].concat()).status.success()
    }

    /// The document that a client command prints in the cloud's container.
    fn cli(&self, arguments: &[&str]) -> Option<Value> {
        let output = self.compose(&[&["exec", "-T", "cloud", "tinymlaas", "--json"], arguments].concat());
        output.status.success().then(|| serde_json::from_slice(&output.stdout).unwrap())
    }

    fn readings(&self) -> Option<u64> {
        self.cli(&["device", "show", "board-1"])?["readings"].as_u64()
    }

    fn until(&self, what: &str, done: impl Fn(&Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(Instant::now() < end, "still not: {what}\n{}", self.logs());
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// What somebody outside hears first.
    fn heard(&self, token: &str) -> Value {
        let output = Command::new("mosquitto_sub")
            .args(["-h", "127.0.0.1", "-p", &self.mqtt.to_string(), "-u", "admin", "-P", token, "-C", "1", "-W", "240"])
            .args(["-t", "tinymlaas/v1/relays/demo/devices/board-1/telemetry"])
            .output()
            .expect("mosquitto_sub is installed by 'cargo xtask test'");
        assert!(output.status.success(), "nothing was heard: {output:?}\n{}", self.logs());
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Logs in on the page and returns what it shows.
    fn page(&self, token: &str) -> Result<String, String> {
        let url = format!("http://127.0.0.1:{}", self.http);
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
            let failed = |error: reqwest::Error| error.to_string();
            let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
            let form = [("name", "admin"), ("token", token), ("next", "/")];
            let login =
                client.post(format!("{url}/login")).header("origin", &url).form(&form).send().await.map_err(failed)?;
            let status = login.status();
            let cookie = login.headers().get("set-cookie").cloned().ok_or(format!("no login: {status}"))?;
            let cookie = cookie.to_str().unwrap().split(';').next().unwrap().to_owned();
            let page = client.get(&url).header("cookie", cookie).send().await.map_err(failed)?;
            page.text().await.map_err(failed)
        })
    }

    /// kill -9 of the role's first process, from outside: to the engine it has died by itself.
    fn kill(&self, role: &str) {
        let before = self.pid(role);
        signal("-KILL", before);
        self.until(&format!("{role} runs again"), |system| ![0, before].contains(&system.pid(role)));
    }

    /// What holds for every role's container, whatever the file says about it.
    fn assert_confined(&self, role: &str, token: &str) {
        let container = self.inspect(role);
        let host = &container["HostConfig"];
        assert_eq!((&host["ReadonlyRootfs"], &host["Privileged"]), (&true.into(), &false.into()), "{role}");
        assert!(host["Memory"].as_u64() > Some(0) && host["PidsLimit"].as_u64() > Some(0), "{role}: {host}");
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid(role))).unwrap();
        let line = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim();
        assert_eq!(line("Uid:"), "10001\t10001\t10001\t10001", "{role}");
        for set in ["CapEff:", "CapPrm:", "CapBnd:", "CapInh:", "CapAmb:"] {
            assert_eq!(line(set), "0000000000000000", "{role} {set}");
        }
        assert_eq!(line("NoNewPrivs:"), "1", "{role}");
        assert!(self.can(role, "true") && !self.can(role, "echo > /x") && !self.can(role, "echo > /usr/local/bin/x"));
        assert!(!container.to_string().contains(token), "{role}'s description has the admin's token");
        for bound in container["NetworkSettings"]["Ports"].as_object().unwrap().values().filter_map(Value::as_array) {
            assert!(bound.iter().all(|port| port["HostIp"] == "127.0.0.1"), "{role}: {bound:?}");
        }
    }
}

impl Drop for System {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
        self.compose(&["down", "--volumes", "--timeout", "10"]);
        self.clear();
    }
}

impl System {
    /// Each run has another binary: what was made of it does not stay in the engine's data.
    fn clear(&self) {
        for image in IMAGES {
            let _ = self.engine.docker(&["rmi", "--force", image]);
        }
        if let Ok(mut builder) = self.engine.buildkit() {
            let _ = builder.args(["builder", "prune", "--force", "--keep-storage", "1gb"]).output();
        }
    }
}

fn file() -> PathBuf {
    project().join("docker/compose.yaml")
}

/// An engine with both images; the error says why there is none.
fn prepare() -> Result<System, String> {
    let installed = Command::new("docker-compose").arg("version").output();
    if !installed.is_ok_and(|output| output.status.success()) {
        return Err("apt install docker-compose".into());
    }
    let engine = Engine::start()?;
    engine.buildkit()?;
    let (mqtt, http) = free_ports();
    let system = System { engine, mqtt, http };
    system.clear();
    let engine = &system.engine;
    engine.import_file(BINARY_IMAGE, Path::new(BINARY))?;
    let binary = format!("BINARY={BINARY_IMAGE}");
    engine.build_target(IMAGES[0], project(), "docker/Dockerfile", "tinymlaas", &[&binary])?;
    // Of the toolchains only what the test's board needs: the others are hundreds of megabytes.
    let toolchains = "TOOLCHAINS=gcc libc6-dev";
    engine.build_target(IMAGES[1], project(), "docker/Dockerfile", "relay", &[&binary, toolchains])?;
    engine
        .docker(&["run", "--rm", "--network", "none", IMAGES[0], "--version"])
        .map_err(|error| format!("what was built here does not run on Debian 12: {error}"))?;
    Ok(system)
}

#[test]
fn the_roles_in_containers_do_the_main_job() {
    let begin = Instant::now();
    let system = match prepare() {
        Ok(system) => system,
        Err(why) => return eprintln!("SKIPPED {NAME}: {why}"),
    };
    let took = |what: &str| println!("{what} after {:.1} s", begin.elapsed().as_secs_f64());
    took("images");
    for image in &IMAGES[..2] {
        println!("{image}: {} bytes", system.engine.docker(&["inspect", "--format", "{{.Size}}", image]).unwrap());
    }
    system.composed(&["up", "--no-build", "--detach"]);
    system.until("the demo has ended", |system| system.inspect("demo")["State"]["Status"] == "exited");
    assert_eq!(system.inspect("demo")["State"]["ExitCode"], 0, "{}", system.logs());
    took("the demo");

    let token = system.composed(&["exec", "-T", "cloud", "cat", "/data/admin-token"]);
    assert!(token.len() > 30, "the first login is where the cloud says it is");
    assert!(system.logs().contains("The admin's token is in /data/admin-token") && !system.logs().contains(&token));
    assert!(system.heard(&token).to_string().contains("\"prediction\""));
    let page = system.page(&token).unwrap();
    assert!(page.contains("board-1") && page.contains("digits"), "{page}");
    for role in ROLES {
        system.assert_confined(role, &token);
    }
    // Each has what it needs of the others' secrets, and no more.
    assert!(system.can("cloud", "test $(stat -c %a /data) = 700 && test -f /data/cloud/signing.key"));
    for (role, secret) in [
        ("broker", "/data/cloud/signing.key"),
        ("dashboard", "/data/cloud/signing.key"),
        ("dashboard", "/data/admin-token"),
        ("relay", "/data/admin-token"),
        ("relay", "/data/cloud/signing.key"),
    ] {
        assert!(system.can("cloud", &format!("test -f {secret}")) && !system.can(role, &format!("test -e {secret}")));
    }
    // A toolchain that the image does not have is named, and the others work.
    let shown = system.cli(&["relay", "show", "demo"]).unwrap();
    let toolchains = shown["state"]["toolchains"].as_array().unwrap();
    let problem = |name: &str| toolchains.iter().find(|one| one["name"] == name).unwrap()["problem"].clone();
    assert!(problem("cc").is_null(), "{shown}");
    assert!(problem("avr-gcc").as_str().unwrap().contains("avr-gcc"), "{shown}");

    for role in ROLES {
        system.kill(role);
        system.until(&format!("healthy after {role} was killed"), |system| system.cli(&["health"]).is_some());
        let before = system.readings().unwrap();
        system.until(&format!("readings go on after {role} was killed"), |s| s.readings() > Some(before));
        took(&format!("{role} killed and on again"));
    }
    system.until("the page shows the board again", |s| s.page(&token).is_ok_and(|page| page.contains("board-1")));
    system.until("the board proves its answers again", |s| s.does(&["device", "self-test", "board-1"]));
    assert!(system.heard(&token).to_string().contains("\"prediction\""));

    system.composed(&["stop", "--timeout", "60"]);
    for role in ROLES {
        assert_eq!(system.inspect(role)["State"]["ExitCode"], 0, "{role} ends on SIGTERM");
    }
    took("stopped");
}
