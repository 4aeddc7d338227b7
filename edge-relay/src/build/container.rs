//! Toolchains in containers, through the API that Docker and Podman share. A container has no network, no capability and
//! no way to get one, a root and sources that cannot be written, one folder that can, at most one device, and bounds on
//! memory, CPU, processes and time.
//!
//! Every container carries the relay's folder for work as a label: what a killed relay leaves is removed by its next start.

use std::collections::HashMap;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bollard::Docker;
use bollard::container::LogOutput;
use bollard::errors::Error;
use bollard::models::{
    ContainerCreateBody, ContainerStateStatusEnum, DeviceMapping, HostConfig, HostConfigLogConfig, Mount, MountType,
    ResourcesUlimits,
};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, ListContainersOptionsBuilder, LogsOptionsBuilder, RemoveContainerOptionsBuilder,
};
use contract::Code;
use futures_util::StreamExt as _;
use tokio::sync::Mutex;

use super::process::Splitter;
use super::toolchain::Log;
use crate::work::Failure;

/// Label of our containers; its value is the relay's folder for work.
const LABEL: &str = "org.tinymlaas.work";
/// Folder that a container reads.
pub const SOURCES: &str = "src";
/// Folder that it may write.
pub const OUTPUT: &str = "out";
/// Where a container has these folders.
const WORK: &str = "/work";
/// Memory of a container in bytes, swap included.
const MEMORY: i64 = 1 << 30;
/// CPUs, in billionths.
const CPUS: i64 = 1_000_000_000;
const PROCESSES: i64 = 128;
/// Files that one process may have open, and processes that the user may have, also outside of the container. What
/// Podman sets where nothing is said is more than some machines allow, and then nothing starts.
const FILES: i64 = 1024;
const OF_USER: i64 = 4096;
/// Largest file that may be written, in bytes.
const FILE: i64 = 256 << 20;
/// Options of the only folder beside the output that can be written.
const TEMPORARY: &str = "rw,noexec,nosuid,nodev,size=256m,mode=1777";
/// How long the engine may take to answer; starting a container on a busy machine takes seconds.
const ANSWER: Duration = Duration::from_secs(60);
/// How long it is looked for an engine that may not be there.
const LOOK: Duration = Duration::from_secs(5);
/// How long removing containers may take when the relay stops.
const STOP: Duration = Duration::from_secs(3);
/// How much longer than its limit a container may run if the relay is not there to end it, in seconds.
const ALONE: u64 = 10;

/// Why nothing ran in a container.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// There is no engine.
    #[error("no container engine: {0}")]
    NoEngine(String),
    /// The engine has no such image.
    #[error("the container engine has no image '{0}': build it with 'docker build -t {0} {1}' (or 'podman build …')")]
    NoImage(String, String),
    /// The engine stopped answering.
    #[error("the container engine was lost ({0}): is it running?")]
    Lost(String),
    /// The engine would not.
    #[error("the container engine refused: {0}")]
    Refused(String),
    /// The device cannot be passed.
    #[error("{0} cannot be passed to a container: {1}")]
    Device(String, std::io::Error),
}

impl Problem {
    /// How a build ends with it.
    pub fn failure(&self) -> Failure {
        let code = match self {
            Problem::NoEngine(_) | Problem::NoImage(..) => Code::TOOLCHAIN_MISSING,
            Problem::Lost(_) => Code::UNAVAILABLE,
            Problem::Refused(_) | Problem::Device(..) => Code::BUILD_FAILED,
        };
        Failure::new(code, self.to_string())
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::DockerResponseServerError { status_code, message } => {
                Problem::Refused(format!("{} (status {status_code})", message.trim()))
            }
            other => Problem::Lost(chain(&other)),
        }
    }
}

/// An error with its causes: those of HTTP clients say nothing by themselves.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

/// An image that toolchains are in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Name {
    /// How the engine knows it.
    pub image: &'static str,
    /// The folder with its Dockerfile.
    pub folder: &'static str,
}

/// The engine of this machine, if there is one.
#[derive(Debug)]
pub struct Engine {
    work: PathBuf,
    /// Whether what an earlier process left was removed. No container of this process is started before.
    swept: Mutex<bool>,
}

/// An image at an engine.
#[derive(Debug, Clone)]
pub struct Image {
    docker: Docker,
    work: PathBuf,
    /// Its name, for people.
    pub name: &'static str,
    /// Its content.
    pub id: String,
    /// Whether the engine runs without privileges, so that its root is this user.
    rootless: bool,
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// By itself.
    Exited {
        /// The exit code.
        code: i64,
        /// Whether it ran into its memory limit.
        out_of_memory: bool,
    },
    /// Removed at its time limit.
    TimedOut,
    /// Removed on request.
    Stopped,
}

impl End {
    /// Words for it.
    pub fn describe(&self) -> String {
        match self {
            End::Exited { out_of_memory: true, .. } => format!("running out of its {} MiB of memory", MEMORY >> 20),
            End::Exited { code, .. } => format!("exit status {code}"),
            End::TimedOut => "its time limit".to_owned(),
            End::Stopped => "a stop on request".to_owned(),
        }
    }
}

/// What runs in a container.
#[derive(Debug, Clone, Default)]
pub struct Inside {
    /// Program and arguments; they run in the folder that holds sources and output.
    pub arguments: Vec<String>,
    /// That folder on the relay: [`SOURCES`] in it is read. Its name is the container's, so that there is never a second
    /// one at the same work.
    pub folder: PathBuf,
    /// Whether [`OUTPUT`] in it is written.
    pub writes: bool,
    /// The only device that it gets.
    pub device: Option<PathBuf>,
}

fn sockets() -> Result<Vec<PathBuf>, Problem> {
    if let Some(host) = std::env::var("DOCKER_HOST").ok().filter(|host| !host.trim().is_empty()) {
        let Some(path) = host.trim().strip_prefix("unix://") else {
            let why = "DOCKER_HOST has to be a 'unix://' socket: an engine behind a network can neither mount a folder of \
                       this machine nor pass its ports";
            return Err(Problem::NoEngine(why.to_owned()));
        };
        return Ok(vec![path.into()]);
    }
    let own = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).into_iter();
    let own = own.flat_map(|dir| [dir.join("docker.sock"), dir.join("podman/podman.sock")]);
    let own: Vec<PathBuf> = own.chain(["/var/run/docker.sock".into(), "/run/podman/podman.sock".into()]).collect();
    Ok(own)
}

impl Engine {
    /// For containers that work in folders under `work`.
    pub fn new(work: &Path) -> Self {
        Self { work: work.canonicalize().unwrap_or_else(|_| work.to_owned()), swept: Mutex::new(false) }
    }

    /// The first engine that answers.
    async fn connect(&self) -> Result<Docker, Problem> {
        let sockets = sockets()?;
        let mut why = None;
        for socket in sockets.iter().filter(|socket| socket.exists()) {
            let connecting = async {
                let docker = Docker::connect_with_unix(
                    &socket.display().to_string(),
                    ANSWER.as_secs(),
                    bollard::API_DEFAULT_VERSION,
                )?;
                docker.negotiate_version().await
            };
            match tokio::time::timeout(LOOK, connecting).await {
                Ok(Ok(docker)) => return Ok(docker),
                Ok(Err(error)) => why = Some(format!("{}: {}", socket.display(), chain(&error))),
                Err(_) => why = Some(format!("{} does not answer", socket.display())),
            }
        }
        Err(Problem::NoEngine(why.unwrap_or_else(|| {
            let looked: Vec<String> = sockets.iter().map(|socket| socket.display().to_string()).collect();
            format!(
                "there is no socket at {}; start Docker or Podman, or name its socket in DOCKER_HOST",
                looked.join(", ")
            )
        })))
    }

    /// Connects; the first time also removes what an earlier process left.
    async fn ready(&self) -> Result<Docker, Problem> {
        let docker = self.connect().await?;
        let mut swept = self.swept.lock().await;
        if !*swept {
            self.remove_all(&docker).await?;
            *swept = true;
        }
        Ok(docker)
    }

    /// Removes every container of this relay's.
    async fn remove_all(&self, docker: &Docker) -> Result<(), Problem> {
        let label = format!("{LABEL}={}", self.work.display());
        let filters = HashMap::from([("label", vec![label.as_str()])]);
        let all = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
        for id in docker.list_containers(Some(all)).await?.into_iter().filter_map(|container| container.id) {
            tracing::info!(container = %id, "removing a container whose work is over");
            remove(docker, &id).await?;
        }
        Ok(())
    }

    /// Ends what still runs, if that takes no longer than whoever stops a relay waits.
    pub async fn stop(&self) {
        let stopping = async { self.remove_all(&self.connect().await?).await };
        match tokio::time::timeout(STOP, stopping).await {
            Ok(Ok(()) | Err(Problem::NoEngine(_))) => {}
            Ok(Err(problem)) => tracing::warn!(%problem, "containers may have been left; the next start removes them"),
            Err(_) => tracing::warn!("containers may have been left; the next start removes them"),
        }
    }

    /// Removes what an earlier process left, if there is an engine.
    pub async fn sweep(&self) {
        match self.ready().await {
            Ok(_) => {}
            Err(Problem::NoEngine(why)) => tracing::debug!("no container engine: {why}"),
            Err(problem) => tracing::warn!(%problem, "cannot look for containers that an earlier process left"),
        }
    }

    /// The image of that name.
    ///
    /// # Errors
    /// [`Problem`].
    pub async fn image(&self, name: Name) -> Result<Image, Problem> {
        let docker = self.ready().await?;
        let found = match docker.inspect_image(name.image).await {
            Ok(found) => found,
            Err(Error::DockerResponseServerError { status_code: 404, .. }) => {
                return Err(Problem::NoImage(name.image.to_owned(), name.folder.to_owned()));
            }
            Err(error) => return Err(error.into()),
        };
        let info = docker.info().await?;
        let rootless = info.security_options.unwrap_or_default().iter().any(|option| option.contains("rootless"))
            || info.docker_root_dir.is_some_and(|dir| is_own(Path::new(&dir), rustix::process::geteuid().as_raw()));
        let id = found.id.unwrap_or_else(|| name.image.to_owned());
        Ok(Image { docker, work: self.work.clone(), name: name.image, id, rootless })
    }
}

/// Whether a folder is this user's, who is not root. Podman says in no other way of Docker's that it runs without
/// privileges: its images are then in a folder of the user.
fn is_own(dir: &Path, user: u32) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    user != 0 && std::fs::metadata(dir).is_ok_and(|meta| meta.uid() == user)
}

/// Removes a container, running or not. One that is gone is fine.
async fn remove(docker: &Docker, id: &str) -> Result<(), Error> {
    let end = tokio::time::Instant::now() + ANSWER;
    loop {
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        match docker.remove_container(id, Some(options)).await {
            Err(Error::DockerResponseServerError { status_code: 404, .. }) => return Ok(()),
            // Somebody else is removing it: until it is gone.
            Err(Error::DockerResponseServerError { status_code: 409, .. }) if tokio::time::Instant::now() < end => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            other => return other,
        }
    }
}

/// A container that is removed when this is dropped, as soon as its engine answers.
struct Running {
    docker: Docker,
    id: String,
    removed: bool,
}

impl Running {
    async fn remove(&mut self) -> Result<(), Error> {
        remove(&self.docker, &self.id).await?;
        self.removed = true;
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some(runtime) = tokio::runtime::Handle::try_current().ok().filter(|_| !self.removed) else { return };
        let (docker, id) = (self.docker.clone(), self.id.clone());
        runtime.spawn(async move {
            let mut tries = 0;
            while let Err(error) = remove(&docker, &id).await {
                tries += 1;
                if tries >= 120 {
                    tracing::warn!(container = %id, %error, "a container was not removed; the next start will");
                    break;
                }
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        });
    }
}

impl Image {
    /// Runs something in a new container for at most `limit`, or until `stop`.
    ///
    /// # Errors
    /// [`Problem`]; the container is gone then, or goes as soon as the engine is back.
    pub async fn run(
        &self,
        inside: &Inside,
        limit: Duration,
        on_out: &Log,
        on_err: &Log,
        stop: impl Future<Output = ()>,
    ) -> Result<End, Problem> {
        let body = self.body(inside, limit)?;
        let name = format!("tinymlaas-{}", inside.folder.file_name().unwrap_or_default().display());
        // An engine that was lost may have left it, and even running.
        remove(&self.docker, &name).await?;
        let named = CreateContainerOptionsBuilder::new().name(&name).build();
        let created = self.docker.create_container(Some(named), body).await?;
        let mut running = Running { docker: self.docker.clone(), id: created.id, removed: false };
        let end = tokio::select! {
            end = self.follow(&running.id, on_out, on_err) => end?,
            () = tokio::time::sleep(limit) => End::TimedOut,
            () = stop => End::Stopped,
        };
        running.remove().await?;
        Ok(end)
    }

    async fn follow(&self, id: &str, on_out: &Log, on_err: &Log) -> Result<End, Problem> {
        self.docker.start_container(id, None).await?;
        let options = LogsOptionsBuilder::new().follow(true).stdout(true).stderr(true).build();
        let mut lines = self.docker.logs(id, Some(options));
        let (mut out, mut err) = (Splitter::default(), Splitter::default());
        while let Some(piece) = lines.next().await {
            match piece? {
                LogOutput::StdErr { message } => err.push(&message, on_err),
                other => out.push(&other.into_bytes(), on_out),
            }
        }
        out.end(on_out);
        err.end(on_err);
        loop {
            let state = self.docker.inspect_container(id, None).await?.state.unwrap_or_default();
            if !matches!(state.status, Some(ContainerStateStatusEnum::RUNNING)) {
                return Ok(End::Exited {
                    code: state.exit_code.unwrap_or(-1),
                    out_of_memory: state.oom_killed.unwrap_or(false),
                });
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Everything that confines it.
    fn body(&self, inside: &Inside, limit: Duration) -> Result<ContainerCreateBody, Problem> {
        let bind = |path: &Path, target: String, read_only: bool| Mount {
            typ: Some(MountType::BIND),
            source: Some(path.display().to_string()),
            target: Some(target),
            read_only: Some(read_only),
            ..Mount::default()
        };
        let folder = |name: &str, read_only| bind(&inside.folder.join(name), format!("{WORK}/{name}"), read_only);
        let mut mounts = vec![folder(SOURCES, true)];
        mounts.extend(inside.writes.then(|| folder(OUTPUT, false)));
        let mut host = HostConfig {
            network_mode: Some("none".to_owned()),
            readonly_rootfs: Some(true),
            privileged: Some(false),
            cap_drop: Some(vec!["ALL".to_owned()]),
            security_opt: Some(vec!["no-new-privileges".to_owned()]),
            tmpfs: Some(HashMap::from([("/tmp".to_owned(), TEMPORARY.to_owned())])),
            memory: Some(MEMORY),
            memory_swap: Some(MEMORY),
            nano_cpus: Some(CPUS),
            pids_limit: Some(PROCESSES),
            ulimits: Some(vec![
                ulimit("core", 0),
                ulimit("fsize", FILE),
                ulimit("nofile", FILES),
                ulimit("nproc", OF_USER),
            ]),
            // Whatever the engine's default is, this one can be read.
            log_config: Some(HostConfigLogConfig {
                typ: Some("json-file".to_owned()),
                config: Some(HashMap::from([("max-size".to_owned(), "16m".to_owned())])),
            }),
            ..HostConfig::default()
        };
        if let Some(port) = &inside.device {
            let failed = |error| Problem::Device(port.display().to_string(), error);
            let node = port.canonicalize().map_err(failed)?;
            let meta = node.metadata().map_err(failed)?;
            if !meta.file_type().is_char_device() {
                return Err(failed(std::io::Error::other("it is no character device")));
            }
            let path = node.display().to_string();
            if path.starts_with("/dev/pts/") {
                // A pseudo terminal can only be opened in the file system that it is in.
                let (major, minor) = (rustix::fs::major(meta.rdev()), rustix::fs::minor(meta.rdev()));
                host.device_cgroup_rules = Some(vec![format!("c {major}:{minor} rw")]);
                mounts.push(bind(&node, PORT.to_owned(), false));
            } else {
                host.devices = Some(vec![DeviceMapping {
                    path_on_host: Some(path),
                    path_in_container: Some(PORT.to_owned()),
                    cgroup_permissions: Some("rw".to_owned()),
                }]);
            }
            host.group_add = Some(vec![meta.gid().to_string()]);
        }
        host.mounts = Some(mounts);
        let (user, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let user = if self.rootless { "0:0".to_owned() } else { format!("{user}:{group}") };
        // If the relay is killed, nobody else ends it.
        let alone = (limit.as_secs() + ALONE).to_string();
        let entrypoint = ["timeout".to_owned(), "-s".to_owned(), "KILL".to_owned(), alone];
        Ok(ContainerCreateBody {
            image: Some(self.id.clone()),
            entrypoint: Some(entrypoint.to_vec()),
            cmd: Some(inside.arguments.clone()),
            working_dir: Some(WORK.to_owned()),
            user: Some(user),
            env: Some(["LC_ALL=C", "HOME=/nonexistent", "TMPDIR=/tmp"].map(str::to_owned).to_vec()),
            network_disabled: Some(true),
            labels: Some(HashMap::from([(LABEL.to_owned(), self.work.display().to_string())])),
            host_config: Some(host),
            ..ContainerCreateBody::default()
        })
    }
}

/// What the device of [`Inside::device`] is called in the container.
pub const PORT: &str = "/dev/ttyBoard";

fn ulimit(name: &str, value: i64) -> ResourcesUlimits {
    ResourcesUlimits { name: Some(name.to_owned()), soft: Some(value), hard: Some(value) }
}

/// A line for a shell that means exactly these words.
pub fn quote(words: &[String]) -> String {
    let quoted = words.iter().map(|word| format!("'{}'", word.replace('\'', r"'\''")));
    quoted.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_shell_reads_the_words_that_were_meant() {
        let words = ["echo", "-n", r#"-DTML_BOARD="uno""#, "it's", "$HOME `id` \\"].map(str::to_owned);
        let output = std::process::Command::new("sh").arg("-c").arg(quote(&words)).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), r#"-DTML_BOARD="uno" it's $HOME `id` \"#);
    }

    #[test]
    fn an_engine_without_privileges_is_known_by_its_folder() {
        use std::os::unix::fs::MetadataExt as _;
        let dir = tempfile::tempdir().unwrap();
        let owner = dir.path().metadata().unwrap().uid();
        assert_eq!(is_own(dir.path(), owner), owner != 0);
        assert!(!is_own(dir.path(), owner + 1) && !is_own(&dir.path().join("none"), owner));
    }

    #[test]
    fn a_lost_engine_can_be_tried_again_and_a_refusal_says_why() {
        let refused =
            Problem::from(Error::DockerResponseServerError { status_code: 500, message: "no space left\n".into() });
        assert_eq!(refused.failure().code, Code::BUILD_FAILED);
        assert!(refused.to_string().contains("no space left (status 500)"), "{refused}");
        assert_eq!(Problem::from(Error::RequestTimeoutError).failure().code, Code::UNAVAILABLE);
        let missing = Problem::NoImage("tinymlaas/avr-gcc".into(), "docker/toolchains/avr".into());
        assert!(missing.to_string().contains("docker build -t tinymlaas/avr-gcc docker/toolchains/avr"), "{missing}");
    }
}
