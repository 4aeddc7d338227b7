//! One virtual board as a process of its own, for the tests: `board NAME DIR BAUD`.

use std::sync::atomic::AtomicBool;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, dir, baud] = arguments.as_slice() else {
        return Err("usage: board NAME DIR BAUD".into());
    };
    let mut config = virtual_board::BoardConfig::new(name.as_str(), dir);
    config.baud = baud.parse()?;
    virtual_board::run(&config, &AtomicBool::new(false))?;
    Ok(())
}
