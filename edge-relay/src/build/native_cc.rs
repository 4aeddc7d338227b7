//! The host's own C compiler, for the native board.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use contract::Code;
use contract::artifact::file;
use contract::state::Toolchain as ToolchainReport;
use firmware::sources;
use serde_json::json;
use tokio::process::Command;

use super::process::{self, End};
use super::toolchain::{Built, Job, Toolchain, Working};
use crate::counters::lock;
use crate::work::Failure;

const HELP: &str = "no C compiler was found: install one (Debian: 'apt install gcc libc6-dev'; Fedora: \
                    'dnf install gcc'; macOS: 'xcode-select --install'), or name yours in the variable CC";

/// `cc`, from the variable CC or the PATH.
#[derive(Debug)]
pub struct NativeCc {
    work: PathBuf,
    limit: Duration,
    /// The version that a compiler at this path had, looked up again when the file changes.
    known: Mutex<Option<(PathBuf, std::time::SystemTime, String)>>,
}

impl NativeCc {
    /// Builds in folders under `work`, each build for at most `limit`.
    pub fn new(work: PathBuf, limit: Duration) -> Self {
        Self { work, limit, known: Mutex::default() }
    }

    fn path() -> OsString {
        std::env::var_os("PATH").unwrap_or_else(|| OsString::from("/usr/local/bin:/usr/bin:/bin"))
    }

    fn compiler() -> Option<PathBuf> {
        let named = std::env::var("CC").ok().filter(|cc| !cc.trim().is_empty());
        match named {
            Some(cc) => process::find(cc.trim(), &Self::path()),
            None => ["cc", "gcc", "clang"].iter().find_map(|name| process::find(name, &Self::path())),
        }
    }

    /// A command without the relay's environment: what is built depends on what is named here.
    fn command(program: &std::path::Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", Self::path()).env("LC_ALL", "C").env("HOME", "/nonexistent");
        command
    }

    async fn version(&self) -> Result<String, String> {
        let compiler = Self::compiler().ok_or_else(|| HELP.to_owned())?;
        let modified = std::fs::metadata(&compiler).and_then(|meta| meta.modified()).map_err(|e| e.to_string())?;
        if let Some((path, at, version)) = &*lock(&self.known)
            && *path == compiler
            && *at == modified
        {
            return Ok(version.clone());
        }
        let mut command = Self::command(&compiler);
        command.arg("--version").kill_on_drop(true);
        let output = tokio::time::timeout(Duration::from_secs(10), command.output()).await;
        let output = match output {
            Ok(Ok(output)) if output.status.success() => output.stdout,
            Ok(Ok(output)) => {
                return Err(format!("{} does not work: {}", compiler.display(), process::describe(output.status)));
            }
            Ok(Err(error)) => return Err(format!("{} does not work: {error}", compiler.display())),
            Err(_) => return Err(format!("{} does not answer", compiler.display())),
        };
        let first = String::from_utf8_lossy(&output).lines().next().unwrap_or("unknown version").to_owned();
        *lock(&self.known) = Some((compiler, modified, first.clone()));
        Ok(first)
    }

    async fn compile(&self, job: Job) -> Result<Built, Failure> {
        let dir = Folder::make(&self.work).map_err(|e| Failure::storage("cannot make a folder for the build", &e))?;
        let storage = |e: std::io::Error| Failure::storage("cannot write the sources", &e);
        for name in [file::MODEL_C, file::MODEL_H] {
            std::fs::write(dir.0.join(name), job.artifact.read(name).map_err(storage)?).map_err(storage)?;
        }
        let mut arguments = vec![file::MODEL_C.to_owned()];
        for (name, text) in sources::native() {
            std::fs::write(dir.0.join(name), text).map_err(storage)?;
            if name.ends_with(".c") {
                arguments.push((*name).to_owned());
            }
        }
        let Some(compiler) = Self::compiler() else {
            return Err(Failure::new(Code::TOOLCHAIN_MISSING, HELP));
        };
        let mut command = Self::command(&compiler);
        command
            .args(sources::native_flags())
            .arg(sources::artifact_flag(job.artifact.manifest.artifact.as_str()))
            .args(arguments)
            .args(["-o", "image"])
            .env("TMPDIR", &dir.0);
        (job.log)(&format!("{} for board {}", compiler.display(), job.board.board));
        let since = Instant::now();
        let end = process::run(command, &dir.0, self.limit, &job.log).await;
        match end.map_err(|e| Failure::new(Code::TOOLCHAIN_MISSING, format!("{}: {e}", compiler.display())))? {
            End::Exited(status) if status.success() => {}
            End::Exited(status) => {
                let message =
                    format!("the compiler ended with {}; the device's log has its output", process::describe(status));
                return Err(Failure::new(Code::BUILD_FAILED, message));
            }
            End::TimedOut => {
                let message = format!("the build was killed after {} s", self.limit.as_secs());
                return Err(Failure::new(Code::BUILD_TIMEOUT, message));
            }
        }
        let build_ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
        let image = std::fs::read(dir.0.join("image")).map_err(|e| {
            Failure::new(Code::BUILD_FAILED, format!("the compiler reported success and left no image: {e}"))
        })?;
        let mut detail = json!({ "build_ms": build_ms, "image_bytes": image.len() });
        if let Some((flash, ram)) = self.sizes(&dir.0).await {
            detail["flash_bytes"] = json!(flash);
            detail["ram_bytes"] = json!(ram);
            (job.log)(&format!("built in {build_ms} ms: {flash} bytes of flash, {ram} bytes of RAM"));
        }
        Ok(Built { image, detail })
    }

    /// Flash and RAM in bytes, as binutils' `size` counts them, where it is installed.
    async fn sizes(&self, dir: &std::path::Path) -> Option<(u64, u64)> {
        let size = process::find("size", &Self::path())?;
        let mut command = Self::command(&size);
        command.arg("image").current_dir(dir).kill_on_drop(true);
        let output = tokio::time::timeout(Duration::from_secs(5), command.output()).await.ok()?.ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut numbers = text.lines().nth(1)?.split_whitespace().map_while(|word| word.parse::<u64>().ok());
        let (text, data, bss) = (numbers.next()?, numbers.next()?, numbers.next()?);
        Some((text + data, data + bss))
    }
}

impl Toolchain for NativeCc {
    fn name(&self) -> &'static str {
        "cc"
    }

    fn core_digest(&self) -> [u8; 32] {
        sources::native_digest()
    }

    fn probe(&self) -> Working<'_, ToolchainReport> {
        Box::pin(async {
            let (version, problem) = match self.version().await {
                Ok(version) => (version, None),
                Err(problem) => (String::new(), Some(problem)),
            };
            ToolchainReport { name: self.name().to_owned(), version, problem }
        })
    }

    fn build(&self, job: Job) -> Working<'_, Result<Built, Failure>> {
        Box::pin(self.compile(job))
    }
}

/// A build's folder; removed when the build is over, however it ends.
struct Folder(PathBuf);

impl Folder {
    fn make(work: &std::path::Path) -> std::io::Result<Self> {
        let dir = work.join(uuid::Uuid::now_v7().simple().to_string());
        std::fs::create_dir_all(&dir)?;
        Ok(Self(dir))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(dir = %self.0.display(), %error, "cannot remove a build's folder");
        }
    }
}
