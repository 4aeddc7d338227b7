//! Compilers of the GCC family on this machine: the host's own for the native board, and cross compilers. They differ
//! in names and flags only, and the board's file has the rest. Cross compilers may also be in a container ([`Place`]).
//!
//! What of the firmware does not depend on the model is compiled once for each board and kept ([`Objects`]).

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use contract::Code;
use contract::artifact::file;
use contract::state::Toolchain as ToolchainReport;
use firmware::sources::{self, Port};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::process::Command;

use super::container::{self, Engine, Inside, OUTPUT, Problem, SOURCES};
use super::folder::Folder;
use super::objects::Objects;
use super::process::{self, End};
use super::sensor;
use super::toolchain::{Built, Job, Lines, Log, Toolchain, Working};
use crate::boards::BoardType;
use crate::config::Builds;
use crate::counters::lock;
use crate::work::Failure;

/// What makes one compiler different from another.
#[derive(Debug)]
pub struct Family {
    /// Its name in board files.
    pub name: &'static str,
    /// Programs to look for, the best first.
    pub compilers: &'static [&'static str],
    /// Variable of the environment that names another.
    pub variable: Option<&'static str>,
    /// Binutils' `size` for it.
    pub size: &'static str,
    /// Binutils' `objcopy` for it, if the image is not the executable itself.
    pub objcopy: Option<&'static str>,
    /// Flags for compiling.
    pub flags: &'static [&'static str],
    /// Flags for linking.
    pub link: &'static [&'static str],
    /// The image that it is in, if its programs need not run on this machine.
    pub image: Option<container::Name>,
    /// What to install where it is missing.
    pub help: &'static str,
}

/// The host's own compiler, for the native board.
pub const NATIVE: Family = Family {
    name: "cc",
    compilers: &["cc", "gcc", "clang"],
    variable: Some("CC"),
    size: "size",
    objcopy: None,
    flags: &[],
    link: &["-s"],
    image: None, // what it builds runs here, with the libraries of this machine
    help: "no C compiler was found: install one (Debian: 'apt install gcc libc6-dev'; Fedora: 'dnf install gcc'; \
           macOS: 'xcode-select --install'), or name yours in the variable CC",
};

/// The image with avr-gcc and avrdude.
pub const AVR_IMAGE: container::Name = container::Name { image: "tinymlaas/avr-gcc", folder: "docker/toolchains/avr" };

/// GCC for AVR with avr-libc: Arduino Uno, Nano, Mega. The firmware is plain C, so Arduino's C++ core would only add
/// its timer interrupt and its buffers to what has to fit into 2 kB.
pub const AVR: Family = Family {
    name: "avr-gcc",
    compilers: &["avr-gcc"],
    variable: None,
    size: "avr-size",
    objcopy: Some("avr-objcopy"),
    flags: &["-Os", "-mcall-prologues"],
    link: &[],
    image: Some(AVR_IMAGE),
    help: "avr-gcc was not found: install it with its C library (Debian: 'apt install gcc-avr avr-libc'; Fedora: \
           'dnf install avr-gcc avr-libc')",
};

/// GCC for ARM without an operating system, with newlib.
pub const ARM: Family = Family {
    name: "arm-none-eabi-gcc",
    compilers: &["arm-none-eabi-gcc"],
    variable: None,
    size: "arm-none-eabi-size",
    objcopy: Some("arm-none-eabi-objcopy"),
    flags: &["-O2"],
    link: &["-nostartfiles", "--specs=nano.specs"],
    image: Some(container::Name { image: "tinymlaas/arm-none-eabi-gcc", folder: "docker/toolchains/arm" }),
    help: "arm-none-eabi-gcc was not found: install it with its C library (Debian: 'apt install gcc-arm-none-eabi \
           libnewlib-arm-none-eabi'; Fedora: 'dnf install arm-none-eabi-gcc-cs arm-none-eabi-newlib')",
};

/// Flags for all of them.
const COMMON: &[&str] = &["-std=c99", "-Wall", "-Wextra", "-ffunction-sections", "-fdata-sections"];

/// A compiler of a family, from the PATH or in an image.
#[derive(Debug)]
pub struct Gcc {
    family: &'static Family,
    work: PathBuf,
    objects: Objects,
    limit: Duration,
    builds: Builds,
    engine: Arc<Engine>,
    /// The version that a compiler at this path had, looked up again when the file changes.
    known: Mutex<Option<(PathBuf, std::time::SystemTime, String)>>,
}

/// Where a compiler is.
#[derive(Debug)]
enum Place {
    /// On this machine.
    Here(PathBuf),
    /// In an image.
    Image(container::Image),
}

impl Place {
    fn describe(&self) -> String {
        match self {
            Place::Here(compiler) => compiler.display().to_string(),
            Place::Image(image) => format!("container {}", image.name),
        }
    }
}

/// How often a build is begun again after its engine was lost.
const AGAIN: u32 = 1;
/// How long a lost engine may take to come back.
const RETURN: Duration = Duration::from_secs(30);
/// File with what binutils' `size` says.
const SIZES: &str = "out/sizes";

fn path() -> OsString {
    std::env::var_os("PATH").unwrap_or_else(|| OsString::from("/usr/local/bin:/usr/bin:/bin"))
}

/// A command without the relay's environment: what is built depends on what is named here.
fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", path()).env("LC_ALL", "C").env("HOME", "/nonexistent");
    command
}

impl Gcc {
    /// Builds in folders under `work`, each build for at most `limit`.
    pub fn new(
        family: &'static Family,
        work: &Path,
        objects: Objects,
        limit: Duration,
        builds: Builds,
        engine: Arc<Engine>,
    ) -> Self {
        Self { family, work: work.to_owned(), objects, limit, builds, engine, known: Mutex::default() }
    }

    /// Where to build, and the version of what is there; else why nowhere.
    async fn place(&self) -> Result<(Place, String), String> {
        let Some(name) = self.family.image.filter(|_| self.builds != Builds::Local) else { return self.here().await };
        let missing = match self.builds {
            Builds::Container => None,
            _ => match self.here().await {
                Ok(place) => return Ok(place),
                Err(problem) => Some(problem),
            },
        };
        match self.engine.image(name).await {
            Ok(image) => {
                let version = format!("{} in a container of {} ({})", self.family.name, image.name, image.id);
                Ok((Place::Image(image), version))
            }
            Err(problem) => Err(match missing {
                Some(missing) => format!("{missing}; nor can it run in a container: {problem}"),
                None => problem.to_string(),
            }),
        }
    }

    async fn here(&self) -> Result<(Place, String), String> {
        let version = self.version().await?;
        let compiler = self.compiler().ok_or_else(|| self.family.help.to_owned())?;
        Ok((Place::Here(compiler), version))
    }

    fn compiler(&self) -> Option<PathBuf> {
        let named = self.family.variable.and_then(|name| std::env::var(name).ok()).filter(|cc| !cc.trim().is_empty());
        match named {
            Some(cc) => process::find(cc.trim(), &path()),
            None => self.family.compilers.iter().find_map(|name| process::find(name, &path())),
        }
    }

    async fn version(&self) -> Result<String, String> {
        let compiler = self.compiler().ok_or_else(|| self.family.help.to_owned())?;
        let modified = std::fs::metadata(&compiler).and_then(|meta| meta.modified()).map_err(|e| e.to_string())?;
        if let Some((path, at, version)) = &*lock(&self.known)
            && *path == compiler
            && *at == modified
        {
            return Ok(version.clone());
        }
        let mut command = command(&compiler);
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

    /// All flags for compiling for a board.
    fn flags(&self, board: &BoardType) -> Vec<String> {
        let fixed = COMMON.iter().chain(self.family.flags).map(|flag| (*flag).to_owned());
        let own = [format!("-DTML_BOARD=\"{}\"", board.board), format!("-DTML_BAUD={}", board.baud)];
        let sensor = sensor::of_board(board).into_iter().map(defined);
        fixed.chain(board.flags.iter().cloned()).chain(own).chain(sensor).collect()
    }

    fn linking(&self, board: &BoardType, port: &Port) -> Vec<String> {
        let mut flags = vec!["-Wl,--gc-sections".to_owned()];
        flags.extend(self.family.link.iter().map(|flag| (*flag).to_owned()));
        if let Some(script) = port.linker_script {
            flags.push(format!("-Wl,--defsym=FLASH_BYTES={}", board.flash_bytes));
            flags.push(format!("-Wl,--defsym=RAM_BYTES={}", board.ram_bytes));
            flags.extend(["-T".to_owned(), format!("{SOURCES}/{script}")]);
        }
        flags
    }

    async fn compile(&self, job: Job) -> Result<Built, Failure> {
        let Some(port) = sources::port(&job.board.firmware) else {
            let message = format!(
                "board '{}' asks for firmware '{}', which there is none of",
                job.board.board, job.board.firmware
            );
            return Err(Failure::new(Code::NOT_SUPPORTED, message));
        };
        let missing = |problem| Failure::new(Code::TOOLCHAIN_MISSING, problem);
        let (place, version) = self.place().await.map_err(missing)?;
        let dir = Folder::make(&self.work).map_err(|e| Failure::storage("cannot make a folder for the build", &e))?;
        let storage = |e: std::io::Error| Failure::storage("cannot write the sources", &e);
        let (sources, output) = (dir.path(SOURCES), dir.path(OUTPUT));
        std::fs::create_dir(&sources).and_then(|()| std::fs::create_dir(&output)).map_err(storage)?;
        for name in [file::MODEL_C, file::MODEL_H] {
            std::fs::write(sources.join(name), job.artifact.read(name).map_err(storage)?).map_err(storage)?;
        }
        for (name, text) in port.sources() {
            std::fs::write(sources.join(name), text).map_err(storage)?;
        }
        (job.log)(&format!("{} for board {}", place.describe(), job.board.board));
        let since = Instant::now();

        // The part of the firmware that is the same for all models.
        let key = self.core_key(&job.board, port, &version);
        let core = output.join("core.o");
        let kept = self.objects.take(&key, &core).map_err(storage)?;
        let steps = self.steps(&job, port, kept)?;
        let run =
            Run { dir: &dir, family: self.family, deadline: since + self.limit, limit: self.limit, log: &job.log };
        match place {
            Place::Here(compiler) => run.here(&compiler, &steps).await?,
            Place::Image(image) => self.inside(&run, image, &steps).await?,
        }
        if !kept {
            self.objects.keep(&key, &core).map_err(storage)?;
        }
        let build_ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
        let image = if self.family.objcopy.is_some() { "image" } else { "firmware.elf" };
        let image = std::fs::read(output.join(image)).map_err(|e| {
            Failure::new(Code::BUILD_FAILED, format!("the compiler reported success and left no image: {e}"))
        })?;
        let mut detail =
            json!({ "build_ms": build_ms, "image_bytes": image.len(), "core": if kept { "kept" } else { "compiled" } });
        if let Some((flash, ram)) = std::fs::read_to_string(dir.path(SIZES)).ok().and_then(|text| sizes(&text)) {
            detail["flash_bytes"] = json!(flash);
            detail["ram_bytes"] = json!(ram);
            (job.log)(&format!("built in {build_ms} ms: {flash} bytes of flash, {ram} bytes of RAM"));
            fits(&job.board, flash, ram)?;
        }
        Ok(Built { flash_bytes: image.len() as u64, image, detail })
    }

    /// What makes the image: programs and arguments, in the folder that has sources and output.
    fn steps(&self, job: &Job, port: &Port, kept: bool) -> Result<Vec<Vec<String>>, Failure> {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let source = |name: &str| format!("{SOURCES}/{name}");
        let compiler = self.family.compilers[0];
        let flags = self.flags(&job.board);
        let mut steps = Vec::new();
        if !kept {
            let names = port.sources().map(|(name, _)| name);
            let names = names.filter(|name| name.ends_with(".c") && *name != sources::MODEL_SIDE).map(source);
            let core = words(&[compiler]).into_iter().chain(flags.iter().cloned());
            let core = core.chain(words(&["-r", "-nostdlib"])).chain(names);
            steps.push(core.chain(words(&["-o", "out/core.o"])).collect());
        }
        let artifact = sources::artifact_flag(job.artifact.manifest.artifact.as_str());
        let sensor = sensor::of_model(&job.board, &job.artifact.meta)?.into_iter().map(defined);
        let link = words(&[compiler]).into_iter().chain(flags).chain([artifact]).chain(sensor);
        let link = link.chain([source(file::MODEL_C), source(sources::MODEL_SIDE), "out/core.o".to_owned()]);
        steps.push(link.chain(self.linking(&job.board, port)).chain(words(&["-o", "out/firmware.elf"])).collect());
        if let Some(objcopy) = self.family.objcopy {
            let leave_out = ["-R", ".eeprom", "-R", ".fuse", "-R", ".lock"];
            let copy = words(&[objcopy, "-O", "binary"]).into_iter().chain(words(&leave_out));
            steps.push(copy.chain(words(&["out/firmware.elf", "out/image"])).collect());
        }
        Ok(steps)
    }

    /// All steps in one container. An engine that is lost may come back: then once more.
    async fn inside(&self, run: &Run<'_>, image: container::Image, steps: &[Vec<String>]) -> Result<(), Failure> {
        let (mut image, mut again) = (image, AGAIN);
        loop {
            let problem = match run.inside(&image, steps).await? {
                Ok(()) => return Ok(()),
                Err(problem) => problem,
            };
            let Some(name) = self.family.image.filter(|_| again > 0 && matches!(problem, Problem::Lost(_))) else {
                return Err(problem.failure());
            };
            again -= 1;
            (run.log)(&format!("{problem}; waiting for it"));
            let end = run.deadline.min(Instant::now() + RETURN);
            image = loop {
                match self.engine.image(name).await {
                    Ok(image) => break image,
                    Err(_) if Instant::now() < end => tokio::time::sleep(Duration::from_millis(500)).await,
                    Err(_) => return Err(problem.failure()),
                }
            };
            (run.log)("the container engine is back: building again");
        }
    }

    fn core_key(&self, board: &BoardType, port: &Port, version: &str) -> String {
        let mut hash = Sha256::new();
        let flags = self.flags(board);
        let parts = [version].into_iter().chain(flags.iter().map(String::as_str));
        for part in
            parts.chain(port.sources().filter(|(name, _)| *name != sources::MODEL_SIDE).flat_map(|(n, t)| [n, t]))
        {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        contract::ArtifactId::from_digest(&hash.finalize().into()).hex().to_owned()
    }
}

/// A macro as a flag.
fn defined((name, value): (&str, String)) -> String {
    format!("-D{name}={value}")
}

/// Flash and RAM in bytes, as binutils' `size` counts them.
fn sizes(text: &str) -> Option<(u64, u64)> {
    let mut numbers = text.lines().nth(1)?.split_whitespace().map_while(|word| word.parse::<u64>().ok());
    let (text, data, bss) = (numbers.next()?, numbers.next()?, numbers.next()?);
    Some((text + data, data + bss))
}

/// Whether what was built fits, with room for the stack.
pub(super) fn fits(board: &BoardType, flash: u64, ram: u64) -> Result<(), Failure> {
    let stack = board.stack_bytes;
    if flash <= board.flash_bytes && ram + stack <= board.ram_bytes {
        return Ok(());
    }
    let message = format!(
        "the firmware needs {flash} bytes of flash and {ram} of RAM beside {stack} for the stack; board '{}' has {} and \
         {}: choose a smaller model or a larger board",
        board.board, board.flash_bytes, board.ram_bytes
    );
    Err(Failure::new(Code::DOES_NOT_FIT, message))
}

/// The steps of one build, which share a time limit.
struct Run<'a> {
    dir: &'a Folder,
    family: &'static Family,
    deadline: Instant,
    limit: Duration,
    log: &'a Log,
}

impl Run<'_> {
    /// A log that also keeps the last lines, which decide what a failure of the linker means.
    fn listen(&self) -> (Lines, Log) {
        let lines = Lines::default();
        let (kept, log) = (lines.clone(), self.log.clone());
        let both: Log = Arc::new(move |text: &str| {
            kept.push(text);
            log(text);
        });
        (lines, both)
    }

    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    fn timed_out(&self) -> Failure {
        Failure::new(Code::BUILD_TIMEOUT, format!("the build was killed after {} s", self.limit.as_secs()))
    }

    /// On this machine.
    async fn here(&self, compiler: &Path, steps: &[Vec<String>]) -> Result<(), Failure> {
        let missing = || Failure::new(Code::TOOLCHAIN_MISSING, self.family.help);
        for step in steps {
            let Some((name, arguments)) = step.split_first() else { continue };
            let program = match name {
                name if *name == self.family.compilers[0] => compiler.to_owned(),
                name => process::find(name, &path()).ok_or_else(missing)?,
            };
            let mut command = command(&program);
            command.args(arguments).env("TMPDIR", self.dir.dir());
            let (lines, log) = self.listen();
            let end = process::run(&mut command, self.dir.dir(), self.left(), &log).await;
            match end.map_err(|e| Failure::new(Code::TOOLCHAIN_MISSING, format!("{}: {e}", program.display())))? {
                End::Exited(status) if status.success() => {}
                End::Exited(status) => return Err(explain(&lines.tail(100), &process::describe(status))),
                End::TimedOut => return Err(self.timed_out()),
            }
        }
        // For the report; not everybody has it installed.
        if let Some(size) = process::find(self.family.size, &path()) {
            let mut command = command(&size);
            command.arg("out/firmware.elf").current_dir(self.dir.dir()).kill_on_drop(true);
            if let Ok(Ok(output)) = tokio::time::timeout(Duration::from_secs(5), command.output()).await {
                let _ = std::fs::write(self.dir.path(SIZES), output.stdout);
            }
        }
        Ok(())
    }

    /// In a container. The inner error is the engine's.
    async fn inside(&self, image: &container::Image, steps: &[Vec<String>]) -> Result<Result<(), Problem>, Failure> {
        let mut script: Vec<String> = steps.iter().map(|step| container::quote(step)).collect();
        script.push(format!("{} out/firmware.elf > {SIZES}", self.family.size));
        let inside = Inside {
            arguments: ["sh".to_owned(), "-ec".to_owned(), script.join("\n")].to_vec(),
            folder: self.dir.dir().to_owned(),
            writes: true,
            device: None,
        };
        let (lines, log) = self.listen();
        let end = match image.run(&inside, self.left(), &log, &log, std::future::pending()).await {
            Ok(end) => end,
            Err(problem) => return Ok(Err(problem)),
        };
        match end {
            container::End::Exited { code: 0, .. } => Ok(Ok(())),
            container::End::TimedOut => Err(self.timed_out()),
            end => Err(explain(&lines.tail(100), &end.describe())),
        }
    }
}

/// What GNU ld says where a memory of the chip is too small.
pub(super) const FULL: &[&str] = &["will not fit in region", "overflowed by"];

/// What a compiler that ended badly was about.
fn explain(lines: &[String], end: &str) -> Failure {
    let with = |words: &[&str]| lines.iter().find(|line| words.iter().any(|word| line.contains(word)));
    if let Some(line) = with(FULL) {
        return Failure::new(Code::DOES_NOT_FIT, format!("the firmware does not fit into the board's memory: {line}"));
    }
    if let Some(line) = with(&["No space left on device", "File size limit exceeded"]) {
        return Failure::new(Code::STORAGE_FULL, format!("the relay's disk is full; make room and try again ({line})"));
    }
    Failure::new(Code::BUILD_FAILED, format!("the compiler ended with {end}; the device's log has its output"))
}

impl Toolchain for Gcc {
    fn name(&self) -> &'static str {
        self.family.name
    }

    fn core_digest(&self, board: &BoardType) -> [u8; 32] {
        let mut hash = Sha256::new();
        let flags = self.flags(board);
        let port = sources::port(&board.firmware);
        let linking = port.map(|port| self.linking(board, port)).unwrap_or_default();
        let files = port.into_iter().flat_map(Port::sources).flat_map(|(name, text)| [name, text]);
        for part in files.chain(flags.iter().chain(&linking).map(String::as_str)) {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        hash.finalize().into()
    }

    fn probe(&self) -> Working<'_, ToolchainReport> {
        Box::pin(async {
            let (version, problem) = match self.place().await {
                Ok((_, version)) => (version, None),
                Err(problem) => (String::new(), Some(problem)),
            };
            ToolchainReport { name: self.name().to_owned(), version, problem }
        })
    }

    fn build(&self, job: Job) -> Working<'_, Result<Built, Failure>> {
        Box::pin(self.compile(job))
    }
}
