//! `tinymlaas board`: one virtual board.

use std::sync::atomic::{AtomicBool, Ordering};

use virtual_board::Machine;
use virtual_board::simulator::Arduino;

use crate::args::Board;
use crate::exit::Failure;
use crate::role;

/// Runs the board until a signal or the end of the lifeline.
pub fn run(board: Board) -> Result<(), Failure> {
    role::start_logging();
    if let Some(arduino) = Arduino::of(&board.board) {
        return Err(become_one(arduino, &board));
    }
    let machine = match board.board.as_str() {
        "cortex-m4" => Machine::CortexM4,
        _ => Machine::Native,
    };
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
    let mut config = virtual_board::BoardConfig::of(machine, board.name.as_str(), board.dir);
    config.baud = board.baud;
    // On this thread, which lives as long as the process: the firmware dies with the thread that started it.
    virtual_board::run(&config, stop).map_err(|error| Failure::Environment(error.to_string()))
}

/// Becomes the simulator of an Arduino: the same process, so that signals and the lifeline reach it. Returns only a failure.
fn become_one(arduino: Arduino, board: &Board) -> Failure {
    use std::os::unix::process::CommandExt as _;
    let failed = |error: &dyn std::fmt::Display| {
        Failure::Environment(format!("a board of type '{}' cannot be simulated: {error}", arduino.board()))
    };
    let cache = board.dir.parent().unwrap_or(&board.dir).join(".simulators");
    match arduino.command(board.name.as_str(), &board.dir, &cache) {
        Ok(mut command) => failed(&command.exec()),
        Err(error) => failed(&error),
    }
}
