//! What the tests need from this machine beside Rust: `need` lists it, `install` gets it on Debian and Ubuntu.

mod install;
mod need;

pub use install::install;
pub use need::{Need, missing};

/// Whether a program of this name is on the PATH.
pub fn has_program(name: &str) -> bool {
    let Some(path) = std::env::var_os("PATH") else { return false };
    // Debian keeps daemons such as mosquitto in /usr/sbin, which is not on everybody's PATH.
    std::env::split_paths(&path)
        .chain([std::path::PathBuf::from("/usr/sbin")])
        .any(|folder| folder.join(name).is_file())
}
