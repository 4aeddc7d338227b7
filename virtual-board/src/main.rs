//! One virtual board as a program of its own: `virtual-board --name NAME --dir DIR [--baud N]
//! [--flash BYTES]`. It runs until its standard input ends, or it is killed.

use std::io::Read;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use virtual_board::BoardConfig;

fn main() -> ExitCode {
    let config = match configure(std::env::args().skip(1)) {
        Ok(config) => config,
        Err(message) => {
            eprintln!("{message}\nusage: virtual-board --name NAME --dir DIR [--baud N] [--flash BYTES]");
            return ExitCode::from(2);
        }
    };
    let shutdown = Arc::new(AtomicBool::new(false));
    let at_end = shutdown.clone();
    std::thread::spawn(move || {
        let mut buffer = [0; 64];
        while matches!(std::io::stdin().read(&mut buffer), Ok(1..)) {}
        at_end.store(true, Ordering::Relaxed);
    });
    match virtual_board::run(&config, &shutdown) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("virtual-board: {error}");
            ExitCode::FAILURE
        }
    }
}

fn configure(mut args: impl Iterator<Item = String>) -> Result<BoardConfig, String> {
    let mut config = BoardConfig::new("board", "");
    while let Some(flag) = args.next() {
        let value = args.next().ok_or_else(|| format!("{flag} needs a value"))?;
        let number = || value.parse().map_err(|_| format!("{flag}: {value} is not a number up to {}", u32::MAX));
        match flag.as_str() {
            "--name" => config.name = value,
            "--dir" => config.dir = value.into(),
            "--baud" => config.baud = number()?,
            "--flash" => config.flash_capacity = number()?,
            _ => return Err(format!("unknown flag {flag}")),
        }
    }
    if config.dir.as_os_str().is_empty() {
        return Err("--dir is missing".to_owned());
    }
    Ok(config)
}
