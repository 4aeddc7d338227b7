//! What a compiled model needs on a board, said before anybody flashes it.
//!
//! Weights, arena and multiply-accumulates are exact. The time is a sum over layers of counted [`work`] times [`rates`]
//! that were measured kernel by kernel in simulators, as are code and stack of the kernels. What the rest of a firmware
//! takes is a documented allowance per core.

mod boards;
mod rates;
mod work;

use contract::artifact::BoardReport;

use crate::lower;
use crate::optimize::Optimize;
use crate::plan::{self, Plan, Share};
use crate::qir::QuantGraph;
pub use boards::{BOARDS, Board, Core, find};
pub use rates::{Rate, by_layer, figures, rate};
pub use work::{AMOUNTS, Family, Kernel, Work};

/// Most bytes of constants on an AVR: its pointers to flash have 16 bits, and some of what they reach is taken by vectors
/// and by descriptions of layers.
pub const AVR_CONSTANTS: u64 = 62_000;

/// What a model costs on any board.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cost {
    /// Weights, biases, requantization and other tables in flash, bytes.
    pub constant_bytes: u64,
    /// Arena of activations in RAM, bytes.
    pub arena_bytes: u64,
    /// What runs, layer by layer.
    pub work: Vec<Work>,
    /// True for code that shall be small.
    pub small: bool,
    /// True if constants of channels are records.
    pub records: bool,
    /// True if some layers run band by band.
    pub banded: bool,
}

impl Cost {
    /// The cost of a planned model.
    pub fn of(graph: &QuantGraph, plan: &Plan) -> Self {
        let record = |index: usize| plan.records.as_ref().and_then(|records| Some(records[index].as_ref()?.size));
        let constants = graph.nodes.iter().enumerate().map(|(at, node)| lower::constant_bytes(graph, node, record(at)));
        Self {
            constant_bytes: constants.map(|bytes| bytes as u64).sum(),
            arena_bytes: plan.arena_bytes as u64,
            work: work(graph, plan),
            small: plan.optimize == Optimize::Size,
            records: plan.records.is_some(),
            banded: !plan.regions.is_empty(),
        }
    }
}

/// The work of each node; one that runs band by band has that of all bands.
fn work(graph: &QuantGraph, plan: &Plan) -> Vec<Work> {
    let walks = plan::walks(graph, &plan.regions);
    let nodes = graph.nodes.iter().enumerate();
    nodes
        .map(|(index, node)| {
            let banded = walks.iter().find(|(region, _)| (region.first..region.end).contains(&index));
            match banded {
                // Element by element it makes no difference.
                Some((region, walk)) if node.op.window().is_some() => {
                    let mut node = node.clone();
                    let whole = node.op.window().copied().unwrap_or_default();
                    let shares = walk.shares[index - region.first].iter().filter(|share| share.is_work());
                    let mut of = |share: &Share| {
                        node.op.set_window(share.window(&whole));
                        Work::of(graph, &node)
                    };
                    shares.map(&mut of).reduce(Work::and).unwrap_or_else(|| Work::of(graph, &graph.nodes[index]))
                }
                _ => Work::of(graph, node),
            }
        })
        .collect()
}

/// What a model alone costs on a core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figures {
    /// Constants, kernels and calls in flash, bytes.
    pub flash_bytes: u64,
    /// Deepest stack of an inference, bytes.
    pub stack_bytes: u64,
    /// Instructions of an inference; cycles on AVR.
    pub instructions: u64,
}

/// Allowances of one core family. They err on the side of refusing.
struct Allowance {
    /// Serial firmware with the C start-up code and Arduino core, flash bytes; from builds of the firmware.
    firmware_flash: u64,
    /// RAM of the firmware: serial buffers, frame buffer, state and its own stack, bytes.
    firmware_ram: u64,
    /// Cycles of an instruction, in hundredths: the mean over the mix that kernels run, loads and branches included,
    /// with flash that keeps up with the core.
    centicycles: u64,
}

const fn allowance(core: Core) -> Allowance {
    match core {
        // simavr counts cycles.
        Core::Avr => Allowance { firmware_flash: 9_000, firmware_ram: 760, centicycles: 100 },
        // Loads and stores take two cycles, taken branches two to three.
        Core::CortexM0 => Allowance { firmware_flash: 24_000, firmware_ram: 7_936, centicycles: 140 },
        // Consecutive loads overlap; taken branches take two to four cycles.
        Core::CortexM3 | Core::CortexM4 => Allowance { firmware_flash: 24_000, firmware_ram: 7_936, centicycles: 130 },
        // Two instructions a cycle at best.
        Core::CortexM7 => Allowance { firmware_flash: 24_000, firmware_ram: 7_936, centicycles: 80 },
        // Not measured: instructions are taken to be those of a Cortex-M3.
        Core::Xtensa => Allowance { firmware_flash: 240_000, firmware_ram: 32_768, centicycles: 150 },
        // Likewise; two instructions a cycle.
        Core::Host => Allowance { firmware_flash: 64_000, firmware_ram: 65_536, centicycles: 50 },
    }
}

/// Estimates a model of this cost on one board.
pub fn estimate(cost: &Cost, board: &Board) -> BoardReport {
    let of = allowance(board.core);
    let model = figures(cost, board.core);
    let flash_bytes = of.firmware_flash + model.flash_bytes;
    let ram_bytes = of.firmware_ram + cost.arena_bytes + model.stack_bytes;
    let cycles = u128::from(model.instructions) * u128::from(of.centicycles) / 100;
    let latency_us = u64::try_from(cycles * 1_000_000 / u128::from(board.clock_hz)).unwrap_or(u64::MAX);
    let flash_fits = flash_bytes <= board.flash_bytes;
    let ram_fits = ram_bytes <= board.ram_bytes;
    let needs = |bytes: u64, what: &str, limit: u64| {
        let (bytes, limit) = sizes(bytes, limit);
        format!("needs {bytes} {what}, the board has {limit}")
    };
    let reached = board.core != Core::Avr || cost.constant_bytes <= AVR_CONSTANTS;
    let verdict = match (flash_fits, ram_fits) {
        (true, _) if !reached => format!(
            "does not fit: has {} of constants, this chip reads at most {} of them from its flash",
            size(cost.constant_bytes),
            size(AVR_CONSTANTS)
        ),
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
        core: board.core.measured_on().name().to_owned(),
        flash_bytes,
        flash_total: board.flash_bytes,
        ram_bytes,
        ram_total: board.ram_bytes,
        stack_bytes: model.stack_bytes,
        instructions: model.instructions,
        latency_us: Some(latency_us),
        fits: flash_fits && ram_fits && reached,
        fits_with: None,
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

    fn cost(constant_bytes: u64, arena_bytes: u64) -> Cost {
        Cost { constant_bytes, arena_bytes, work: Vec::new(), small: false, records: false, banded: false }
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
        let barely = estimate(&cost(3_000, 1_265), uno);
        assert_eq!(barely.verdict, "does not fit: needs 2049 B RAM, the board has 2048 B");
    }
}
