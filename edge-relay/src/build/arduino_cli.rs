//! arduino-cli: every board that there is an Arduino core for, named by its FQBN. It is asked for JSON, and its documented
//! exit codes and fields decide; the firmware is handed to it as a sketch.
//!
//! What it leaves in its output folder is kept as one tar, because each core's upload needs other files of it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use contract::Code;
use contract::artifact::file;
use contract::state::Toolchain as ToolchainReport;
use firmware::sources;
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::process::Command;

use super::folder::Folder;
use super::gcc::{self, fits};
use super::process::{self, End};
use super::sensor;
use super::toolchain::{Built, Job, Log, Toolchain, Working};
use crate::boards::BoardType;
use crate::counters::lock;
use crate::work::Failure;

/// The program.
pub const PROGRAM: &str = "arduino-cli";
/// What to do where it is missing.
pub const HELP: &str = "arduino-cli was not found: install it (https://arduino.github.io/arduino-cli) and the core of your \
                        board, such as 'arduino-cli core install arduino:mbed_nano'";
/// Name of the sketch, which its folder and its files share.
pub const SKETCH: &str = "firmware";
/// The port of the firmware whose entry point is the sketch's.
const ENTRY: &str = "main.c";
/// Header that stands before every source: a build property would have to be quoted in a different way for each core.
const DEFINES: &str = "tml_defines.h";

/// `arduino-cli` from the PATH.
#[derive(Debug)]
pub struct ArduinoCli {
    work: PathBuf,
    limit: Duration,
}

/// What `compile --json` prints on standard output once it has begun to build.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Compiled {
    compiler_out: String,
    compiler_err: String,
    success: bool,
    error: String,
    builder_result: Option<BuilderResult>,
}

/// What every command prints on standard error where it ends before it has a result.
#[derive(Debug, Default, Deserialize)]
pub struct Refused {
    /// Why, in one line or more.
    pub error: String,
    /// What the programs that it ran had said until then.
    #[serde(default)]
    pub output: Streams,
}

/// Output of the programs that it ran.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Streams {
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Streams {
    /// Line by line, without the empty ones.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.stdout.lines().chain(self.stderr.lines()).map(str::trim_end).filter(|line| !line.is_empty())
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct BuilderResult {
    executable_sections_size: Option<Vec<Section>>,
}

/// A name or a size that would be empty or zero is left out.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Section {
    name: String,
    size: u64,
}

#[derive(Debug, Deserialize)]
struct Version {
    #[serde(rename = "VersionString")]
    version: String,
}

/// What `core list --json` prints, since version 1.0.
#[derive(Debug, Deserialize)]
struct Cores {
    /// `null` where there is none.
    platforms: Option<Vec<Core>>,
}

#[derive(Debug, Deserialize)]
struct Core {
    id: String,
    #[serde(default)]
    installed_version: String,
}

/// Where arduino-cli finds its cores: its settings come from the environment and from the home folder.
pub fn environment() -> Vec<(OsString, OsString)> {
    let wanted = |name: &str| matches!(name, "PATH" | "HOME") || name.starts_with("ARDUINO_");
    std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(wanted)).collect()
}

fn program() -> Option<PathBuf> {
    process::find(PROGRAM, &std::env::var_os("PATH").unwrap_or_default())
}

fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().envs(environment()).env("LC_ALL", "C");
    command
}

impl ArduinoCli {
    /// Builds in folders under `work`, each build for at most `limit`.
    pub fn new(work: &Path, limit: Duration) -> Self {
        Self { work: work.to_owned(), limit }
    }

    /// Its version and those of its cores: what is built depends on both.
    async fn version(&self) -> Result<String, String> {
        let program = program().ok_or_else(|| HELP.to_owned())?;
        let text = ask(&program, &["version", "--json"]).await?;
        let version: Version = serde_json::from_slice(&text).map_err(|error| {
            format!("'arduino-cli version --json' says nothing useful ({error}); it has to be 1.0 or newer")
        })?;
        let text = ask(&program, &["core", "list", "--json"]).await?;
        let cores: Cores = serde_json::from_slice(&text).map_err(|error| {
            format!("'arduino-cli core list --json' says nothing useful ({error}); it has to be 1.0 or newer")
        })?;
        let cores: Vec<String> =
            cores.platforms.iter().flatten().map(|core| format!("{} {}", core.id, core.installed_version)).collect();
        Ok(format!(
            "arduino-cli {} with {}",
            version.version,
            if cores.is_empty() { "no core".into() } else { cores.join(", ") }
        ))
    }

    async fn compile(&self, job: Job) -> Result<Built, Failure> {
        let program = program().ok_or_else(|| Failure::new(Code::TOOLCHAIN_MISSING, HELP))?;
        let Some(port) = sources::port(&job.board.firmware) else {
            let message = format!(
                "board '{}' asks for firmware '{}', which there is none of",
                job.board.board, job.board.firmware
            );
            return Err(Failure::new(Code::NOT_SUPPORTED, message));
        };
        let storage = |e: std::io::Error| Failure::storage("cannot write the sketch", &e);
        let dir = Folder::make(&self.work).map_err(storage)?;
        let sketch = dir.path(SKETCH);
        std::fs::create_dir(&sketch).map_err(storage)?;
        std::fs::write(sketch.join(format!("{SKETCH}.ino")), "/* Everything is in the other files. */\n")
            .map_err(storage)?;
        std::fs::write(sketch.join(DEFINES), defines(&job)?).map_err(storage)?;
        for name in [file::MODEL_C, file::MODEL_H] {
            let text = String::from_utf8_lossy(&job.artifact.read(name).map_err(storage)?).into_owned();
            put(&sketch, name, &text).map_err(storage)?;
        }
        for (name, text) in port.sources().filter(|(name, _)| *name != ENTRY) {
            put(&sketch, name, text).map_err(storage)?;
        }
        (job.log)(&format!("{} for {}", program.display(), job.board.target));
        let since = Instant::now();
        let mut compile = command(&program);
        compile.args(["compile", "--json", "--fqbn", &job.board.target]).args(&job.board.flags);
        compile.arg("--build-path").arg(dir.path("build")).arg("--output-dir").arg(dir.path("out")).arg(&sketch);
        let ((out, keep_out), (err, keep_err)) = (keep(), keep());
        let end = process::run_apart(&mut compile, dir.dir(), self.limit, &keep_out, &keep_err).await;
        let end = end.map_err(|e| Failure::new(Code::TOOLCHAIN_MISSING, format!("{}: {e}", program.display())))?;
        let (out, err) = (lock(&out).join(""), lock(&err).clone());
        let said: Option<Compiled> = serde_json::from_str(&out).ok();
        let refused: Option<Refused> = serde_json::from_str(&err.join("")).ok();
        match &refused {
            Some(refused) => refused.output.lines().for_each(|line| (job.log)(line)),
            None => err.iter().for_each(|line| (job.log)(line)),
        }
        let status = match end {
            End::Exited(status) => status,
            End::TimedOut => {
                let message = format!("the build was killed after {} s", self.limit.as_secs());
                return Err(Failure::new(Code::BUILD_TIMEOUT, message));
            }
        };
        if let Some(said) = &said {
            said.compiler_out.lines().chain(said.compiler_err.lines()).for_each(|line| (job.log)(line));
        }
        let said = match said {
            Some(said) if status.success() && said.success => said,
            said => return Err(explain(status.code(), &said.unwrap_or_default(), &refused.unwrap_or_default())),
        };
        let build_ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
        let image = pack(&dir.path("out")).map_err(|e| {
            Failure::new(Code::BUILD_FAILED, format!("arduino-cli reported success and left no image: {e}"))
        })?;
        let sections = said.builder_result.unwrap_or_default().executable_sections_size.unwrap_or_default();
        let size = |name: &str| sections.iter().find(|section| section.name == name).map_or(0, |section| section.size);
        let (flash, ram) = (size("text"), size("data"));
        (job.log)(&format!("built in {build_ms} ms: {flash} bytes of flash, {ram} bytes of RAM"));
        fits(&job.board, flash, ram)?;
        let detail =
            json!({ "build_ms": build_ms, "image_bytes": image.len(), "flash_bytes": flash, "ram_bytes": ram });
        Ok(Built { image, flash_bytes: flash, detail })
    }
}

/// A log that keeps its lines. One that was cut because of its length continues in the next.
fn keep() -> (Arc<Mutex<Vec<String>>>, Log) {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let kept = lines.clone();
    (lines, Arc::new(move |line: &str| lock(&kept).push(line.to_owned())))
}

async fn ask(program: &Path, arguments: &[&str]) -> Result<Vec<u8>, String> {
    let mut command = command(program);
    command.args(arguments).kill_on_drop(true);
    match tokio::time::timeout(Duration::from_secs(10), command.output()).await {
        Ok(Ok(output)) if output.status.success() => Ok(output.stdout),
        Ok(Ok(output)) => Err(format!("{} does not work: {}", program.display(), process::describe(output.status))),
        Ok(Err(error)) => Err(format!("{} does not work: {error}", program.display())),
        Err(_) => Err(format!("{} does not answer", program.display())),
    }
}

fn defines(job: &Job) -> Result<String, Failure> {
    let sensor = sensor::of_model(&job.board, &job.artifact.meta)?.into_iter().chain(sensor::of_board(&job.board));
    let sensor: String = sensor.map(|(name, value)| format!("#define {name} {value}\n")).collect();
    Ok(format!(
        "#define TML_BOARD \"{}\"\n#define TML_BAUD {}\n#define {} \"{}\"\n\
         #ifndef __AVR__\n#pragma GCC optimize (\"O2\")\n#endif\n{sensor}",
        job.board.board,
        job.board.baud,
        sources::ARTIFACT_MACRO,
        job.artifact.manifest.artifact
    ))
}

fn put(sketch: &Path, name: &str, text: &str) -> std::io::Result<()> {
    let is_source = name.ends_with(".c") || name.ends_with(".cpp");
    let before = if is_source { format!("#include \"{DEFINES}\"\n") } else { String::new() };
    std::fs::write(sketch.join(name), before + text)
}

/// What an upload may need, as a tar: the same files give the same bytes. Some cores upload the ELF file (OpenOCD's and
/// the RP2040's recipes do), so it stays in; the map is for people, and an ESP32's merged image is all its other files once more.
fn pack(out: &Path) -> std::io::Result<Vec<u8>> {
    let entries = std::fs::read_dir(out)?.collect::<Result<Vec<_>, _>>()?;
    let mut names: Vec<String> = entries.iter().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.retain(|name| !name.ends_with(".map") && !name.ends_with(".merged.bin"));
    names.sort();
    if names.is_empty() {
        return Err(std::io::ErrorKind::NotFound.into());
    }
    let mut tar = tar::Builder::new(Vec::new());
    for name in names {
        let bytes = std::fs::read(out.join(&name))?;
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, bytes.as_slice())?;
    }
    tar.into_inner()
}

/// What a compile that ended badly was about, by its error, the compiler's output and the exit code.
fn explain(code: Option<i32>, said: &Compiled, refused: &Refused) -> Failure {
    let error = if said.error.is_empty() { &refused.error } else { &said.error };
    let error = error.replace('\n', " ");
    let line = |words: &[&str]| said.compiler_err.lines().find(|line| words.iter().any(|word| line.contains(word)));
    if error.contains("not found: platform not installed") || error.contains("core install") {
        return Failure::new(Code::TOOLCHAIN_MISSING, format!("arduino-cli lacks the core of this board: {error}"));
    }
    if let Some(line) = line(&["Arduino_OV767X.h: No such file"]) {
        let help = "install it: arduino-cli lib install Arduino_OV767X";
        let message = format!("arduino-cli lacks the library of this board's camera ({line}); {help}");
        return Failure::new(Code::TOOLCHAIN_MISSING, message);
    }
    if error.contains("exceeds available space") || error.contains("too big") {
        return Failure::new(Code::DOES_NOT_FIT, format!("the firmware does not fit into the board's memory: {error}"));
    }
    if let Some(line) = line(gcc::FULL) {
        return Failure::new(Code::DOES_NOT_FIT, format!("the firmware does not fit into the board's memory: {line}"));
    }
    let why = match code {
        _ if error.contains("FQBN") => "the target in the board's file is wrong",
        _ if !refused.error.is_empty() => "it did not begin; look at the target and the flags in the board's file",
        Some(5) => "the network failed",
        Some(6) => "its configuration is broken: try 'arduino-cli core update-index'",
        _ => "the device's log has the compiler's output",
    };
    let code = code.map_or_else(|| "a signal".to_owned(), |code| format!("exit status {code}"));
    Failure::new(Code::BUILD_FAILED, format!("arduino-cli ended with {code}: {why} ({error})"))
}

impl Toolchain for ArduinoCli {
    fn name(&self) -> &'static str {
        PROGRAM
    }

    fn core_digest(&self, board: &BoardType) -> [u8; 32] {
        let mut hash = Sha256::new();
        let files = sources::port(&board.firmware).into_iter().flat_map(|port| port.sources());
        let own = [board.board.as_str(), board.target.as_str(), include_str!("arduino_cli.rs")];
        let flags = board.flags.iter().map(String::as_str);
        for part in files.flat_map(|(name, text)| [name, text]).chain(own).chain(flags) {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        for (name, value) in sensor::of_board(board) {
            hash.update(format!("{name} {value}"));
        }
        hash.update(board.baud.to_le_bytes());
        hash.finalize().into()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(code: Option<i32>, out: &str, err: &str) -> Failure {
        explain(code, &serde_json::from_str(out).unwrap_or_default(), &serde_json::from_str(err).unwrap_or_default())
    }

    #[test]
    fn errors_and_exit_codes_have_codes_of_their_own() {
        let missing = r#"{"success":false,"error":"Error during build: Platform 'arduino:mbed_nano' not found: platform not installed\nTry running `arduino-cli core install arduino:mbed_nano`"}"#;
        let core = failure(Some(1), missing, "");
        assert_eq!(core.code, Code::TOOLCHAIN_MISSING);
        assert!(core.message.contains("core install arduino:mbed_nano"), "{}", core.message);
        let large = r#"{"success":false,"error":"Error during build: text section exceeds available space in board"}"#;
        assert_eq!(failure(Some(1), large, "").code, Code::DOES_NOT_FIT);
        let linker = r#"{"compiler_err":"ld: region `RAM' overflowed by 1204 bytes\n","success":false,"error":"Error during build: exit status 1"}"#;
        assert_eq!(failure(Some(1), linker, "").code, Code::DOES_NOT_FIT);
        let camera = r#"{"compiler_err":"board_arduino.cpp:5:10: fatal error: Arduino_OV767X.h: No such file or directory\n","error":"Error during build: exit status 1"}"#;
        let library = failure(Some(1), camera, "");
        assert_eq!(library.code, Code::TOOLCHAIN_MISSING);
        assert!(library.message.contains("lib install Arduino_OV767X"), "{}", library.message);
        // What ends before there is a result is told on standard error.
        let early = failure(Some(1), "", r#"{"error": "unknown flag: --fast"}"#);
        assert!(early.message.contains("flags in the board's file (unknown flag: --fast)"), "{early:?}");
        let target = r#"{"error": "Error during build: Error resolving FQBN: board arduino:avr:one not found"}"#;
        assert!(failure(Some(1), target, "").message.contains("target in the board's file"));
        assert_eq!(failure(Some(9), "no JSON", "nor here").code, Code::BUILD_FAILED);
        assert_eq!(failure(None, "{}", "{}").code, Code::BUILD_FAILED);
    }

    #[test]
    fn what_is_left_out_or_null_is_understood() {
        let cores: Cores = serde_json::from_str(r#"{"platforms": null}"#).unwrap();
        assert!(cores.platforms.is_none());
        let said = r#"{"success": true, "builder_result": {"build_path": "b", "executable_sections_size": [{"name": "text"}]}}"#;
        let said: Compiled = serde_json::from_str(said).unwrap();
        assert_eq!(said.builder_result.unwrap().executable_sections_size.unwrap()[0].size, 0);
        let said: Compiled = serde_json::from_str(r#"{"success": true, "builder_result": {}}"#).unwrap();
        assert!(said.builder_result.unwrap().executable_sections_size.is_none());
    }

    #[test]
    fn an_upload_gets_all_that_any_core_needs() {
        let out = tempfile::tempdir().unwrap();
        let needed =
            ["firmware.ino.bin", "firmware.ino.bootloader.bin", "firmware.ino.elf", "firmware.ino.partitions.bin"];
        for name in needed.into_iter().chain(["firmware.ino.map", "firmware.ino.merged.bin"]) {
            std::fs::write(out.path().join(name), name).unwrap();
        }
        let image = pack(out.path()).unwrap();
        let mut tar = tar::Archive::new(image.as_slice());
        let names = tar.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().display().to_string());
        assert_eq!(names.collect::<Vec<_>>(), needed);
    }
}
