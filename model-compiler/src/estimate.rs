//! What a compiled model needs on a board, said before anybody flashes it.
//!
//! Weights, arena and multiply-accumulates are exact. The rest is a documented
//! allowance per core: serial firmware, generated kernels, stack, cycles per
//! multiply-accumulate.

use contract::artifact::BoardReport;
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
    board("mega2560", "Arduino Mega 2560", Core::Avr, 253_952, 8_192, 16_000_000),
    board("nano33ble", "Arduino Nano 33 BLE (nRF52840)", Core::CortexM4, 983_040, 262_144, 64_000_000),
    board("pico", "Raspberry Pi Pico (RP2040)", Core::CortexM0, 2 << 20, 264 << 10, 125_000_000),
    board("esp32", "ESP32 DevKit", Core::Xtensa, 1_310_720, 327_680, 240_000_000),
    board("esp32-s3", "ESP32-S3 DevKit", Core::Xtensa, 1_310_720, 327_680, 240_000_000),
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

/// What a model costs on any board.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// Weights, biases and requantization tables in flash, bytes.
    pub weights_bytes: u64,
    /// Arena of activations in RAM, bytes.
    pub arena_bytes: u64,
    /// Multiply-accumulates of one inference.
    pub macs: u64,
    /// Number of different kernels in the generated code.
    pub kernels: u64,
    /// Number of layers that run.
    pub layers: u64,
}

/// Allowances of one core family, rounded up from builds of the firmware with
/// the digits model (gcc -Os). They err on the side of refusing.
struct Allowance {
    /// Serial firmware with the C start-up code and Arduino core, flash bytes.
    firmware_flash: u64,
    /// Flash of one kernel, bytes.
    kernel_flash: u64,
    /// Flash of one layer's call, bytes.
    layer_flash: u64,
    /// RAM of the firmware (serial buffers, frame buffer, state) and stack, bytes.
    firmware_ram: u64,
    /// Cycles of a multiply-accumulate, times ten.
    deci_cycles_per_mac: u64,
    /// Cycles of an inference beside multiply-accumulates.
    base_cycles: u64,
}

const fn allowance(core: Core) -> Allowance {
    match core {
        Core::Avr => Allowance {
            firmware_flash: 9_000,
            kernel_flash: 1_100,
            layer_flash: 60,
            firmware_ram: 900,
            deci_cycles_per_mac: 260,
            base_cycles: 60_000,
        },
        Core::CortexM0 => Allowance {
            firmware_flash: 24_000,
            kernel_flash: 700,
            layer_flash: 80,
            firmware_ram: 8_192,
            deci_cycles_per_mac: 100,
            base_cycles: 20_000,
        },
        // No figure of its own was measured: the cycles lie between those of its neighbours.
        Core::CortexM3 => Allowance { deci_cycles_per_mac: 80, ..allowance(Core::CortexM4) },
        Core::CortexM4 => Allowance {
            firmware_flash: 24_000,
            kernel_flash: 600,
            layer_flash: 80,
            firmware_ram: 8_192,
            deci_cycles_per_mac: 60,
            base_cycles: 10_000,
        },
        // Two instructions a cycle at best; a third is taken off, to be careful.
        Core::CortexM7 => Allowance { deci_cycles_per_mac: 40, ..allowance(Core::CortexM4) },
        Core::Xtensa => Allowance {
            firmware_flash: 240_000,
            kernel_flash: 700,
            layer_flash: 80,
            firmware_ram: 32_768,
            deci_cycles_per_mac: 70,
            base_cycles: 10_000,
        },
        Core::Host => Allowance {
            firmware_flash: 64_000,
            kernel_flash: 1_000,
            layer_flash: 100,
            firmware_ram: 65_536,
            deci_cycles_per_mac: 10,
            base_cycles: 5_000,
        },
    }
}

/// Estimates a model of this cost on one board.
pub fn estimate(cost: &Cost, board: &Board) -> BoardReport {
    let of = allowance(board.core);
    let flash_bytes =
        of.firmware_flash + of.kernel_flash * cost.kernels + of.layer_flash * cost.layers + cost.weights_bytes;
    let ram_bytes = of.firmware_ram + cost.arena_bytes;
    let cycles = of.base_cycles + cost.macs.saturating_mul(of.deci_cycles_per_mac) / 10;
    let latency_us = cycles.saturating_mul(1_000_000) / board.clock_hz;
    let flash_fits = flash_bytes <= board.flash_bytes;
    let ram_fits = ram_bytes <= board.ram_bytes;
    let needs = |bytes: u64, what: &str, limit: u64| {
        let (bytes, limit) = sizes(bytes, limit);
        format!("needs {bytes} {what}, the board has {limit}")
    };
    let verdict = match (flash_fits, ram_fits) {
        (true, true) => format!(
            "fits: {} of {} flash, {} of {} RAM",
            size(flash_bytes),
            size(board.flash_bytes),
            size(ram_bytes),
            size(board.ram_bytes)
        ),
        (false, true) => format!("does not fit: {}", needs(flash_bytes, "flash", board.flash_bytes)),
        (true, false) => format!("does not fit: {}", needs(ram_bytes, "RAM", board.ram_bytes)),
        (false, false) => format!(
            "does not fit: {}; {}",
            needs(flash_bytes, "flash", board.flash_bytes),
            needs(ram_bytes, "RAM", board.ram_bytes)
        ),
    };
    BoardReport {
        board: board.id.to_owned(),
        flash_bytes,
        flash_total: board.flash_bytes,
        ram_bytes,
        ram_total: board.ram_bytes,
        latency_us: Some(latency_us),
        fits: flash_fits && ram_fits,
        verdict,
    }
}

/// Estimates a model of this cost on every board of [`BOARDS`].
pub fn estimate_all(cost: &Cost) -> Vec<BoardReport> {
    BOARDS.iter().map(|board| estimate(cost, board)).collect()
}

/// A number of bytes for people: `900 B`, `21 kB`, `2.0 MB` (kB is 1024 bytes).
fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{} kB", (bytes + 512) / 1024),
        _ => format!("{:.1} MB", bytes as f64 / 1_048_576.0),
    }
}

/// Two numbers of bytes for people; in bytes where rounding would make them equal.
fn sizes(needed: u64, limit: u64) -> (String, String) {
    let (a, b) = (size(needed), size(limit));
    if a == b {
        return (format!("{needed} B"), format!("{limit} B"));
    }
    (a, b)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn cost(weights_bytes: u64, arena_bytes: u64) -> Cost {
        Cost { weights_bytes, arena_bytes, macs: 40_000, kernels: 4, layers: 6 }
    }

    #[test]
    fn the_message_says_what_is_missing() {
        let uno = find("uno").unwrap();
        let fitting = estimate(&cost(3_000, 600), uno);
        assert!(fitting.fits, "{}", fitting.verdict);
        let arena = estimate(&cost(3_000, 20_700), uno);
        assert!(!arena.fits);
        assert_eq!(arena.verdict, "does not fit: needs 21 kB RAM, the board has 2 kB");
        let both = estimate(&cost(100_000, 20_700), uno);
        assert!(both.verdict.contains("flash, the board has 32 kB; needs 21 kB RAM"), "{}", both.verdict);
        let barely = estimate(&cost(3_000, 1_149), uno);
        assert_eq!(barely.verdict, "does not fit: needs 2049 B RAM, the board has 2048 B");
    }

    #[test]
    fn ids_are_unique() {
        let mut ids: Vec<&str> = BOARDS.iter().map(|board| board.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), BOARDS.len());
    }
}
