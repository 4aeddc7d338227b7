//! `tinymlaas board`: one virtual board.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::args::Board;
use crate::exit::Failure;
use crate::role;

/// Runs the board until a signal or the end of the lifeline.
pub fn run(board: Board) -> Result<(), Failure> {
    role::start_logging();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|error| Failure::Internal(format!("the runtime does not start: {error}")))?;
    let stop: &'static AtomicBool = Box::leak(Box::new(AtomicBool::new(false)));
    let token = runtime.block_on(async { role::shutdown_on_signal() })?;
    runtime.spawn(async move {
        token.cancelled().await;
        stop.store(true, Ordering::Relaxed);
    });
    let mut config = virtual_board::BoardConfig::new(board.name.as_str(), board.dir);
    config.baud = board.baud;
    // On this thread, which lives as long as the process: the firmware dies with the thread that started it.
    virtual_board::run(&config, stop).map_err(|error| Failure::Environment(error.to_string()))
}
