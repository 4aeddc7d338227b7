//! Board types as data: one file each under `boards/`, embedded. A board that a known toolchain and programmer serve
//! needs no code.

use serde::Deserialize;

/// One board type.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct BoardType {
    /// Its name in commands and states.
    pub board: String,
    /// What it is, for people.
    pub title: String,
    /// Which toolchain builds for it.
    pub toolchain: String,
    /// What that toolchain calls it: an FQBN, a CPU, a target.
    pub target: String,
    /// Flash for firmware in bytes.
    pub flash_bytes: u64,
    /// RAM in bytes.
    pub ram_bytes: u64,
    /// Speed of its serial line in bit/s.
    pub baud: u32,
    /// How firmware is written to it.
    pub programmer: String,
    /// How it is reset: `frame` (a RESET frame) today.
    pub reset: String,
    /// USB ids by which it is recognised, `vid:pid` in hexadecimal.
    pub usb: Vec<String>,
}

const FILES: &[&str] = &[include_str!("../boards/native.json")];

/// All board types.
#[derive(Debug, Clone)]
pub struct Boards(Vec<BoardType>);

impl Boards {
    /// Reads the embedded files. A file that cannot be read is a fault of the build; a test sees to it.
    pub fn embedded() -> Self {
        Self(FILES.iter().filter_map(|text| serde_json::from_str(text).ok()).collect())
    }

    /// The board type of that name.
    pub fn get(&self, name: &str) -> Option<&BoardType> {
        self.0.iter().find(|board| board.board == name)
    }

    /// The board type that has this USB id.
    pub fn by_usb(&self, vid: u16, pid: u16) -> Option<&BoardType> {
        let id = format!("{vid:04x}:{pid:04x}");
        self.0.iter().find(|board| board.usb.iter().any(|usb| usb.eq_ignore_ascii_case(&id)))
    }

    /// All names, for messages.
    pub fn names(&self) -> String {
        self.0.iter().map(|board| board.board.as_str()).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_embedded_file_can_be_read() {
        assert_eq!(Boards::embedded().0.len(), FILES.len());
        assert!(Boards::embedded().get("native").is_some());
    }
}
