//! One virtual board as a process of its own, for the tests: `board NAME DIR BAUD [cortex-m4|microbit|pico PROGRAM]`.

use std::sync::atomic::AtomicBool;

use virtual_board::Machine;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, dir, baud, kind @ ..] = arguments.as_slice() else {
        return Err("usage: board NAME DIR BAUD [cortex-m4|microbit|pico PROGRAM]".into());
    };
    if let [_, program] = kind {
        virtual_board::pico::run(name, dir.as_ref(), program.as_ref(), &AtomicBool::new(false))?;
        return Ok(());
    }
    let machine = match kind.first().map(String::as_str) {
        None => Machine::Native,
        Some("microbit") => Machine::Microbit,
        Some(_) => Machine::CortexM4,
    };
    let mut config = virtual_board::BoardConfig::of(machine, name.as_str(), dir);
    config.baud = baud.parse()?;
    virtual_board::run(&config, &AtomicBool::new(false))?;
    Ok(())
}
