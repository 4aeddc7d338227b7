//! What every toolchain offers.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use contract::state::Toolchain as ToolchainReport;
use serde_json::Value;

use crate::boards::BoardType;
use crate::counters::lock;
use crate::fetch::Artifact;
use crate::work::Failure;

/// A future of a toolchain; dropping it ends everything that it started.
pub type Working<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Takes lines of output.
pub type Log = Arc<dyn Fn(&str) + Send + Sync>;

/// A compiler on this machine or in a container.
pub trait Toolchain: Send + Sync + fmt::Debug {
    /// Its name in board files.
    fn name(&self) -> &'static str;

    /// Changes whenever the firmware around the model, or how it is compiled, changes.
    fn core_digest(&self, board: &BoardType) -> [u8; 32];

    /// Whether it can be used, and its version.
    fn probe(&self) -> Working<'_, ToolchainReport>;

    /// Builds. Killed at its time limit with all its processes.
    fn build(&self, job: Job) -> Working<'_, Result<Built, Failure>>;
}

/// What is to be built.
pub struct Job {
    /// The model's sources.
    pub artifact: Artifact,
    /// The board.
    pub board: BoardType,
    /// Takes the output line by line.
    pub log: Log,
}

/// What was built.
#[derive(Debug, Clone)]
pub struct Built {
    /// The image, as the board's programmer takes it.
    pub image: Vec<u8>,
    /// What of the flash it takes, in bytes.
    pub flash_bytes: u64,
    /// Sizes and times, for the command's report.
    pub detail: Value,
}

/// The lines of a build, to quote the last ones.
#[derive(Debug, Clone, Default)]
pub struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    /// Adds a line. Only the last hundred are kept.
    pub fn push(&self, line: &str) {
        let mut lines = lock(&self.0);
        if lines.len() >= 100 {
            lines.remove(0);
        }
        lines.push(line.to_owned());
    }

    /// The last `count` lines.
    pub fn tail(&self, count: usize) -> Vec<String> {
        let lines = lock(&self.0);
        lines[lines.len().saturating_sub(count)..].to_vec()
    }
}
