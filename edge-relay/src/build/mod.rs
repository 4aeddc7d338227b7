//! Building firmware: a [`Toolchain`] for each compiler, [`cache`] so that nothing is built twice, [`process`] so that
//! nothing runs on.

pub(crate) mod arduino_cli;
mod cache;
pub(crate) mod container;
mod folder;
pub(crate) mod gcc;
mod objects;
pub(crate) mod process;
mod sensor;
mod toolchain;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use contract::Code;
use contract::lifecycle::State;
use contract::limits;
use contract::log::Phase;
use contract::state::Toolchain as ToolchainReport;
use serde_json::json;

pub use cache::Image;
pub(crate) use container::Engine;
pub(crate) use folder::Folder;
pub use toolchain::{Job, Lines, Log, Toolchain};

use crate::boards::BoardType;
use crate::config::Builds;
use crate::fetch::Artifact;
use crate::folder::check_room;
use crate::relay::Relay;
use crate::work::{Failure, Halt, Ticket};

/// Lines of the toolchain's output that a failed build's event carries.
const TAIL: usize = 20;

/// Toolchains and what they built.
#[derive(Debug)]
pub struct Builder {
    toolchains: Vec<Arc<dyn Toolchain>>,
    cache: cache::Cache,
    work: PathBuf,
    builds: Builds,
    engine: Arc<Engine>,
}

impl Builder {
    /// All toolchains, working in `dir`. Ends what builds of an earlier process still do; those in containers are ended
    /// by [`Builder::sweep`].
    ///
    /// # Errors
    /// The disk's.
    pub fn new(dir: &Path, bound: u64, limit: Duration, builds: Builds) -> std::io::Result<Self> {
        let work = dir.join("work");
        process::sweep(&work);
        std::fs::create_dir_all(&work)?;
        let objects = objects::Objects::new(dir.join("objects"))?;
        let engine = Arc::new(Engine::new(&work));
        let families = [&gcc::NATIVE, &gcc::AVR, &gcc::ARM];
        let toolchains = families.map(|family| {
            let gcc = gcc::Gcc::new(family, &work, objects.clone(), limit, builds, engine.clone());
            let toolchain: Arc<dyn Toolchain> = Arc::new(gcc);
            toolchain
        });
        let arduino: Arc<dyn Toolchain> = Arc::new(arduino_cli::ArduinoCli::new(&work, limit));
        let toolchains = toolchains.into_iter().chain([arduino]).collect();
        Ok(Self { toolchains, cache: cache::Cache::new(dir.join("cache"), bound)?, work, builds, engine })
    }

    /// Removes containers that an earlier process left. Before this, none is started.
    pub async fn sweep(&self) {
        if self.builds != Builds::Local {
            self.engine.sweep().await;
        }
    }

    /// Ends what still runs in containers. Nothing must be begun after this.
    pub async fn stop(&self) {
        if self.builds != Builds::Local {
            self.engine.stop().await;
        }
    }

    /// Where programs that flash boards run, beside this machine.
    pub fn engine(&self) -> (Builds, &Arc<Engine>) {
        (self.builds, &self.engine)
    }

    /// Where builds and flashes work. What an earlier process left there was ended and removed at the start.
    pub fn work(&self) -> &Path {
        &self.work
    }

    /// Looks which toolchains can be used.
    pub async fn probe(&self) -> Vec<ToolchainReport> {
        let mut reports = Vec::new();
        for toolchain in &self.toolchains {
            reports.push(toolchain.probe().await);
        }
        reports
    }

    /// The image with this key, if it is there and whole.
    pub fn cached(&self, key: &str) -> Option<Image> {
        self.cache.get(key)
    }

    /// Builds an artifact for a board, or takes what was built before.
    ///
    /// # Errors
    /// Why there is no image.
    pub async fn image(
        &self,
        relay: &Relay,
        ticket: &Ticket,
        artifact: &Artifact,
        board: &BoardType,
    ) -> Result<Image, Halt> {
        let Some(toolchain) = self.toolchains.iter().find(|toolchain| toolchain.name() == board.toolchain) else {
            let message =
                format!("no toolchain '{}' in this relay, which board '{}' needs", board.toolchain, board.board);
            return Err(Failure::new(Code::NOT_SUPPORTED, message).into());
        };
        let need = u64::from(artifact.manifest.weights_bytes);
        if need > board.flash_bytes || u64::from(artifact.manifest.arena_bytes) > board.ram_bytes {
            let message = format!(
                "the model needs {need} bytes of flash and {} of RAM; board '{}' has {} and {}",
                artifact.manifest.arena_bytes, board.board, board.flash_bytes, board.ram_bytes
            );
            return Err(Failure::new(Code::DOES_NOT_FIT, message).into());
        }
        let report = toolchain.probe().await;
        let key = cache::key(&artifact.manifest.artifact, board, &report.version, toolchain.core_digest(board));
        if let Some(image) = self.cache.get(&key) {
            return Ok(image);
        }
        if let Some(problem) = report.problem {
            return Err(Failure::new(Code::TOOLCHAIN_MISSING, problem).into());
        }
        ticket.advance(relay, State::Building, 0.32, &format!("compiling with {}", report.version)).await?;
        // One builds; whoever wants the same waits here and then finds it.
        let _alone = self.cache.alone(&key).await;
        if let Some(image) = self.cache.get(&key) {
            return Ok(image);
        }
        // Sources, objects, image and its copy in the cache.
        check_room(&relay.config.dir, 4 * board.flash_bytes, relay.config.bounds.reserve)?;
        let lines = Lines::default();
        let log = {
            let (lines, outbox, id) = (lines.clone(), relay.outbox.clone(), ticket.command.id.clone());
            let device = ticket.device().cloned();
            move |text: &str| {
                lines.push(text);
                if let Some(device) = &device {
                    outbox.line(device, Some(&id), Phase::Build, text);
                }
            }
        };
        let job = Job { artifact: artifact.clone(), board: board.clone(), log: Arc::new(log) };
        let built = toolchain.build(job).await.map_err(|mut failure| {
            let tail: Vec<String> = lines.tail(TAIL).iter().map(|line| limits::clip(line)).collect();
            failure.detail = Some(json!({ "log": tail }));
            failure
        })?;
        if built.flash_bytes > board.flash_bytes {
            let message = format!(
                "the firmware has {} bytes; board '{}' has {} bytes of flash",
                built.flash_bytes, board.board, board.flash_bytes
            );
            return Err(Failure::new(Code::DOES_NOT_FIT, message).into());
        }
        let image = self.cache.put(relay, &key, built).await?;
        Ok(image)
    }
}
