//! Board types as data: one file each under `boards/`, embedded, and in the relay's own folder `boards/`. A board that a
//! known toolchain and programmer serve needs no code.

use std::path::Path;

use serde::{Deserialize, Serialize};

/// One board type.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct BoardType {
    /// Its name in commands and states.
    pub board: String,
    /// What it is, for people.
    pub title: String,
    /// Which toolchain builds for it.
    pub toolchain: String,
    /// What that toolchain calls it: an FQBN, a CPU, a target.
    pub target: String,
    /// Which of the firmware's ports it runs.
    pub firmware: String,
    /// Flags of the compiler for this board: its CPU, its clock, its pins.
    #[serde(default)]
    pub flags: Vec<String>,
    /// Flash for firmware in bytes.
    pub flash_bytes: u64,
    /// RAM in bytes.
    pub ram_bytes: u64,
    /// RAM that has to be left for the stack, in bytes.
    #[serde(default)]
    pub stack_bytes: u64,
    /// Speed of its serial line in bit/s.
    pub baud: u32,
    /// How firmware is written to it.
    pub programmer: String,
    /// What the programmer has to know.
    #[serde(default)]
    pub upload: Upload,
    /// How it is reset: `frame` (a RESET frame), `dtr` (the port's DTR line, as opening the port does) or `probe`.
    pub reset: String,
    /// A sensor that feeds the model on the board itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sensor: Option<Sensor>,
    /// USB ids by which it is recognised, `vid:pid` in hexadecimal.
    pub usb: Vec<String>,
}

/// A sensor that feeds the model on the board itself: it fills the input, value by value, and runs the model.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Sensor {
    /// An analogue input: so many values a second, the input's places one after another.
    Adc {
        /// Number of the analogue pin, 0 for A0.
        pin: u8,
        /// Values a second, 1 to 1000.
        rate_hz: u32,
    },
    /// The camera module OV7675 of the Nano 33 BLE's kit: a grey picture each time.
    Ov7675,
}

/// What a programmer has to know of a board.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Upload {
    /// What the programmer calls the chip; for UF2 the `Board-ID` of its drive.
    #[serde(default)]
    pub part: String,
    /// The bootloader's protocol.
    #[serde(default)]
    pub protocol: String,
    /// Speed of the line while it is flashed, in bit/s.
    #[serde(default)]
    pub baud: u32,
    /// What a UF2 bootloader calls the chip's family, in hexadecimal.
    #[serde(default)]
    pub family: String,
    /// Where its flash begins, in hexadecimal.
    #[serde(default)]
    pub address: String,
    /// Which debug probe: `VID:PID:SERIAL`, `own` for the USB device of the board's serial port, empty for the only one.
    #[serde(default)]
    pub probe: String,
}

const FILES: &[&str] = &[
    include_str!("../boards/native.json"),
    include_str!("../boards/uno.json"),
    include_str!("../boards/nano.json"),
    include_str!("../boards/nano-old.json"),
    include_str!("../boards/mega2560.json"),
    include_str!("../boards/cortex-m4.json"),
    include_str!("../boards/nano33ble.json"),
    include_str!("../boards/nano33ble-ov7675.json"),
    include_str!("../boards/pico.json"),
    include_str!("../boards/pico-uart.json"),
    include_str!("../boards/microbit.json"),
    include_str!("../boards/microbit2.json"),
    include_str!("../boards/esp32.json"),
    include_str!("../boards/esp32s3.json"),
];

/// All board types.
#[derive(Debug, Clone)]
pub struct Boards(Vec<BoardType>);

impl Boards {
    /// Reads the embedded files. A file that cannot be read is a fault of the build; a test sees to it.
    pub fn embedded() -> Self {
        Self(FILES.iter().filter_map(|text| serde_json::from_str(text).ok()).collect())
    }

    /// The embedded ones, and those in the files `*.json` of a folder, which may also replace embedded ones. A file
    /// that cannot be read is left out, and the relay's log says why.
    pub fn with_folder(dir: &Path) -> Self {
        let mut boards = Self::embedded();
        let Ok(entries) = std::fs::read_dir(dir) else { return boards };
        let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths.iter().filter(|path| path.extension().is_some_and(|extension| extension == "json")) {
            let read = std::fs::read(path).map_err(|error| error.to_string());
            let board = read.and_then(|text| serde_json::from_slice(&text).map_err(|error| error.to_string()));
            match board {
                Ok(board) => boards.put(board),
                Err(error) => tracing::error!(path = %path.display(), %error, "a board file is left out"),
            }
        }
        boards
    }

    fn put(&mut self, board: BoardType) {
        self.0.retain(|other| other.board != board.board);
        self.0.push(board);
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
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn every_embedded_file_can_be_read_and_names_a_port_of_the_firmware() {
        for text in FILES {
            let board: BoardType = serde_json::from_str(text).unwrap();
            assert!(firmware::sources::port(&board.firmware).is_some(), "{}", board.board);
        }
        assert_eq!(Boards::embedded().0.len(), FILES.len());
    }

    #[test]
    fn a_folder_adds_and_replaces_and_a_broken_file_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let uno: serde_json::Value = serde_json::from_str(FILES[1]).unwrap();
        let mut own = uno.clone();
        own["board"] = "bench".into();
        own["usb"] = serde_json::json!(["1A86:7523"]);
        let mut slower = uno;
        slower["baud"] = 9600.into();
        std::fs::write(dir.path().join("bench.json"), own.to_string()).unwrap();
        std::fs::write(dir.path().join("uno.json"), slower.to_string()).unwrap();
        std::fs::write(dir.path().join("zz.json"), "{").unwrap();
        let boards = Boards::with_folder(dir.path());
        assert_eq!(boards.by_usb(0x1a86, 0x7523).unwrap().board, "bench");
        assert_eq!(boards.get("uno").unwrap().baud, 9600);
        assert_eq!(boards.0.len(), FILES.len() + 1);
    }
}
