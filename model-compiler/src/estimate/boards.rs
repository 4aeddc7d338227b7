//! The boards that models are estimated for.

use serde::{Deserialize, Serialize};

/// Instruction set family of a board: decides the allowances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Core {
    /// 8-bit AVR: weights are read from flash through PROGMEM.
    Avr,
    /// Cortex-M0+: no DSP instructions.
    CortexM0,
    /// Cortex-M3: no DSP instructions.
    CortexM3,
    /// Cortex-M4 with DSP instructions.
    CortexM4,
    /// Cortex-M7 with DSP instructions, two at a time.
    CortexM7,
    /// Xtensa LX6 and LX7.
    Xtensa,
    /// The machine that the relay runs on.
    Host,
}

impl Core {
    /// Those on which kernels were measured.
    pub const MEASURED: [Self; 4] = [Self::Avr, Self::CortexM0, Self::CortexM3, Self::CortexM4];

    /// The core whose measurements stand for this one's.
    pub const fn measured_on(self) -> Self {
        match self {
            Self::CortexM7 => Self::CortexM4,
            Self::Xtensa | Self::Host => Self::CortexM3,
            measured => measured,
        }
    }

    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Avr => "avr",
            Self::CortexM0 => "cortex-m0",
            Self::CortexM3 => "cortex-m3",
            Self::CortexM4 => "cortex-m4",
            Self::CortexM7 => "cortex-m7",
            Self::Xtensa => "xtensa",
            Self::Host => "host",
        }
    }
}

/// A board that models are estimated for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Board {
    /// Stable id, as the fleet contract and the board files name it.
    pub id: &'static str,
    /// Name for people.
    pub name: &'static str,
    /// Core family.
    pub core: Core,
    /// Flash that a sketch may fill (boot loader taken off), bytes.
    pub flash_bytes: u64,
    /// RAM, bytes.
    pub ram_bytes: u64,
    /// Clock, Hz.
    pub clock_hz: u64,
}

/// The boards that the report lists.
pub const BOARDS: &[Board] = &[
    board("native", "Virtual board on this host", Core::Host, 64 << 20, 64 << 20, 1_000_000_000),
    board("uno", "Arduino Uno (ATmega328P)", Core::Avr, 32_256, 2_048, 16_000_000),
    board("nano", "Arduino Nano (ATmega328P)", Core::Avr, 30_720, 2_048, 16_000_000),
    board("nano-old", "Arduino Nano with the old boot loader", Core::Avr, 30_720, 2_048, 16_000_000),
    board("mega2560", "Arduino Mega 2560", Core::Avr, 253_952, 8_192, 16_000_000),
    board("nano33ble", "Arduino Nano 33 BLE (nRF52840)", Core::CortexM4, 983_040, 262_144, 64_000_000),
    board(
        "nano33ble-ov7675",
        "Arduino Nano 33 BLE with the camera OV7675",
        Core::CortexM4,
        983_040,
        262_144,
        64_000_000,
    ),
    board("pico", "Raspberry Pi Pico (RP2040)", Core::CortexM0, 2 << 20, 264 << 10, 125_000_000),
    board("pico-uart", "Raspberry Pi Pico without an Arduino core", Core::CortexM0, 2 << 20, 256 << 10, 125_000_000),
    board("microbit", "BBC micro:bit (nRF51822)", Core::CortexM0, 256 << 10, 16 << 10, 16_000_000),
    board("microbit2", "BBC micro:bit V2 (nRF52833)", Core::CortexM4, 512 << 10, 128 << 10, 64_000_000),
    board("esp32", "ESP32 DevKit", Core::Xtensa, 1_310_720, 327_680, 240_000_000),
    board("esp32s3", "ESP32-S3 DevKit", Core::Xtensa, 1_310_720, 327_680, 240_000_000),
    board(
        "cortex-m0plus",
        "Generic Cortex-M0+, 128 kB flash, 16 kB RAM",
        Core::CortexM0,
        128 << 10,
        16 << 10,
        48_000_000,
    ),
    board("cortex-m3", "Generic Cortex-M3, 128 kB flash, 20 kB RAM", Core::CortexM3, 128 << 10, 20 << 10, 72_000_000),
    board("cortex-m4", "Generic Cortex-M4, 512 kB flash, 128 kB RAM", Core::CortexM4, 512 << 10, 128 << 10, 80_000_000),
    board("cortex-m7", "Generic Cortex-M7, 1 MB flash, 512 kB RAM", Core::CortexM7, 1 << 20, 512 << 10, 400_000_000),
];

const fn board(
    id: &'static str,
    name: &'static str,
    core: Core,
    flash_bytes: u64,
    ram_bytes: u64,
    clock_hz: u64,
) -> Board {
    Board { id, name, core, flash_bytes, ram_bytes, clock_hz }
}

/// The board with this id.
pub fn find(id: &str) -> Option<&'static Board> {
    BOARDS.iter().find(|board| board.id == id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique() {
        let mut ids: Vec<&str> = BOARDS.iter().map(|board| board.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), BOARDS.len());
    }
}
