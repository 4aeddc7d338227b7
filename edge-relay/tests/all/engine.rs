//! A container engine of the tests' own: Docker's daemon with its own socket and its own data, which are kept between runs.

#![allow(dead_code, reason = "of the crates that share it, each uses a part")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::process::Process;

const BASE: &str = "debian:bookworm-slim";

/// Far more than anything takes on a machine that has nothing else to do.
const LIMIT: Duration = Duration::from_secs(120);

pub struct Engine {
    process: Option<Process>,
    dir: TempDir,
    /// Held while the data is ours.
    _lock: std::fs::File,
}

fn kept(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

fn checked(command: &mut Command) -> Result<Output, String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(output);
    }
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Err(format!("{command:?} ended with {}: {out}{err}", output.status))
}

impl Engine {
    /// Starts it; the error says why this machine cannot.
    pub fn start() -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("only root can start a container engine".into());
        }
        for (program, package) in [("dockerd", "docker.io"), ("docker", "docker.io"), ("iptables", "iptables")] {
            let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
            if !std::env::split_paths(&path).any(|dir| dir.join(program).is_file()) {
                return Err(format!("apt install {package}"));
            }
        }
        let lock = std::fs::File::create(kept("docker.lock")).map_err(|error| error.to_string())?;
        lock.lock().map_err(|error| error.to_string())?;
        let dir = tempfile::Builder::new().prefix("engine-").tempdir().map_err(|error| error.to_string())?;
        let mut engine = Self { process: None, dir, _lock: lock };
        engine.again()?;
        for old in engine.docker(&["ps", "--all", "--quiet"])?.lines() {
            engine.docker(&["rm", "--force", "--volumes", old])?; // of a test that failed
        }
        engine.docker(&["network", "prune", "--force"])?;
        engine.docker(&["volume", "prune", "--force"])?;
        Ok(engine)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `DOCKER_HOST`.
    pub fn host(&self) -> String {
        format!("unix://{}", self.path("socket").display())
    }

    /// Starts it anew, with the same socket and data.
    pub fn again(&mut self) -> Result<(), String> {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.path("log"));
        let log = log.map_err(|error| error.to_string())?;
        let mut command = Command::new("dockerd");
        command.arg("--host").arg(self.host()).arg("--data-root").arg(kept("docker"));
        command.arg("--exec-root").arg(self.path("exec")).arg("--pidfile").arg(self.path("pid"));
        // Networks are made by who needs one; ports are published by a process, and no rule of this machine is changed.
        command.args(["--bridge", "none", "--iptables=false"]);
        command.stdout(log.try_clone().map_err(|error| error.to_string())?).stderr(log);
        let mut process = Process::start(&mut command);
        let end = Instant::now() + LIMIT;
        while self.docker(&["version"]).is_err() {
            let ended = process.0.try_wait().is_ok_and(|status| status.is_some());
            if ended || Instant::now() > end {
                let log = std::fs::read_to_string(self.path("log")).unwrap_or_default();
                let last: Vec<&str> = log.lines().rev().take(3).collect();
                return Err(format!("dockerd does not run here: {last:?}"));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        self.process = Some(process);
        Ok(())
    }

    /// Runs Docker's command line; returns what it prints.
    pub fn docker(&self, arguments: &[&str]) -> Result<String, String> {
        let mut command = Command::new("docker");
        // The classic builder needs no further program.
        command.args(arguments).env("DOCKER_HOST", self.host()).env("DOCKER_BUILDKIT", "0");
        checked(&mut command).map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Builds an image from one of our Dockerfiles, on a base that stands in for the one that others pull.
    pub fn build(&self, tag: &str, folder: &Path) -> Result<(), String> {
        self.base()?;
        let folder = folder.display().to_string();
        self.docker(&["build", "--network", "host", "--tag", tag, &folder]).map(|_| ())
    }

    /// Builds one of the targets of a Dockerfile in `folder`, and of its stages only those that it needs.
    pub fn build_target(
        &self,
        tag: &str,
        folder: &Path,
        file: &str,
        target: &str,
        args: &[&str],
    ) -> Result<(), String> {
        self.base()?;
        let mut command = self.buildkit()?;
        command.args(["build", "--network", "host", "--target", target, "--tag", tag, "--file"]).arg(folder.join(file));
        for arg in args {
            command.args(["--build-arg", arg]);
        }
        checked(command.arg(folder)).map(|_| ())
    }

    /// A client that speaks to the engine's BuildKit: an older one does by itself, a newer one needs a plugin.
    pub fn buildkit(&self) -> Result<Command, String> {
        for program in ["docker", "/usr/bin/docker"] {
            let run = |arguments: &[&str]| {
                let output = Command::new(program).args(arguments).env("DOCKER_HOST", self.host()).output().ok()?;
                output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
            };
            let version = run(&["version", "--format", "{{.Client.Version}}"]).unwrap_or_default();
            let major: Option<u32> = version.split('.').next().and_then(|major| major.parse().ok());
            if major.is_some_and(|major| major < 23) || run(&["buildx", "version"]).is_some() {
                let mut command = Command::new(program);
                command.env("DOCKER_HOST", self.host()).env("DOCKER_BUILDKIT", "1");
                return Ok(command);
            }
        }
        Err("no client here speaks to BuildKit: install Docker's plugin buildx".into())
    }

    /// An image that is one file.
    pub fn import_file(&self, tag: &str, file: &Path) -> Result<(), String> {
        let (Some(folder), Some(name)) = (file.parent(), file.file_name()) else {
            return Err(format!("{} is no file", file.display()));
        };
        let script = "set -o pipefail; tar -C \"$1\" -c \"$2\" | docker import - \"$3\"";
        let mut command = Command::new("bash");
        command.args(["-c", script, "import"]).arg(folder).arg(name).arg(tag);
        checked(command.env("DOCKER_HOST", self.host())).map(|_| ())
    }

    /// Takes an image's name away; what it was built from is kept, and building it again takes no time.
    pub fn forget(&self, tag: &str) {
        // It may have been there in an earlier run, or not.
        let _ = self.docker(&["rmi", "--force", "--no-prune", tag]);
    }

    /// The base image, which is made once.
    fn base(&self) -> Result<(), String> {
        if self.docker(&["image", "inspect", BASE]).is_err() {
            self.import_base()?;
        }
        Ok(())
    }

    fn import_base(&self) -> Result<(), String> {
        let root = self.path("base").display().to_string();
        let mirror = "http://deb.debian.org/debian";
        checked(Command::new("debootstrap").args(["--variant=minbase", "bookworm", &root, mirror]))?;
        let script = format!("tar -C {root} -c . | docker import - {BASE}");
        checked(Command::new("sh").args(["-c", &script]).env("DOCKER_HOST", self.host()))?;
        checked(Command::new("rm").args(["-r", &root])).map(|_| ())
    }

    /// Ids of our relays' containers, running or not.
    pub fn containers(&self) -> Vec<String> {
        let ids = self.docker(&["ps", "--all", "--quiet", "--filter", "label=org.tinymlaas.work"]).unwrap();
        ids.lines().map(str::to_owned).collect()
    }

    /// A daemon mounts its folder onto itself; one that is killed leaves that behind, and nobody could remove the folder.
    fn unmount() {
        let mut mounts = 8;
        let unmount = || Command::new("umount").arg("--lazy").arg(kept("docker")).stderr(Stdio::null()).status();
        while mounts > 0 && unmount().is_ok_and(|status| status.success()) {
            mounts -= 1;
        }
    }

    /// kill -9, with the daemon behind it.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
        let pid = std::fs::read_to_string(self.path("exec/containerd/containerd.pid")).unwrap_or_default();
        if let Some(pid) = pid.trim().parse().ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        Self::unmount();
        // A daemon that finds the file of its predecessor may take whoever has its number now for it, even a process
        // that has ended and that nobody waits for.
        for file in ["pid", "exec/containerd/containerd.pid"] {
            let _ = std::fs::remove_file(self.path(file));
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.path("log")).unwrap_or_default();
            let from = log.len().saturating_sub(4000);
            eprintln!("the engine's log ends with: {}", log.get(from..).unwrap_or(&log));
        }
        let Some(mut process) = self.process.take() else { return };
        // Asked to stop, it takes its containers and mounts along.
        let _ =
            rustix::process::kill_process(rustix::process::Pid::from_child(&process.0), rustix::process::Signal::TERM);
        let end = Instant::now() + LIMIT;
        while Instant::now() < end && process.0.try_wait().is_ok_and(|status| status.is_none()) {
            std::thread::sleep(Duration::from_millis(50));
        }
        Self::unmount();
    }
}
