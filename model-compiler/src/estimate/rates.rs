//! Measured rates of the kernels, and what they add up to.

mod measured;

use std::collections::BTreeSet;

use super::work::{AMOUNTS, Family, Kernel, Work};
use super::{Core, Cost, Figures};

/// What a kernel costs on a core.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// Where it was measured.
    pub core: Core,
    /// True for the form that is used where code shall be small.
    pub small: bool,
    /// What was measured.
    pub kernel: Kernel,
    /// Instructions (AVR: cycles) for one of each kind of its amounts.
    pub instructions: [f64; AMOUNTS],
    /// Deepest stack seen, bytes.
    pub stack: u64,
    /// Code of the kernel where another of its family is there already, bytes.
    pub code: u64,
    /// Code and description of a layer that calls it, bytes.
    pub call: u64,
    /// Code that it shares with its family, bytes.
    pub shared: u64,
}

impl Rate {
    /// Instructions of this work.
    fn of(&self, work: &Work) -> f64 {
        // Amounts are far below 2^53.
        self.instructions.iter().zip(work.amounts).map(|(rate, amount)| rate * amount as f64).sum()
    }
}

/// A row of the table; `bytes` are stack, code, call and shared code.
const fn row(core: Core, small: bool, kernel: Kernel, instructions: [f64; AMOUNTS], bytes: [u64; 4]) -> Rate {
    let [stack, code, call, shared] = bytes;
    Rate { core, small, kernel, instructions, stack, code, call, shared }
}

/// Code that reads records of channels, bytes.
const RECORD_CODE: u64 = 120;

/// The rate of a kernel on a core, of the small form or the fast one.
pub fn rate(core: Core, small: bool, kernel: Kernel) -> Option<&'static Rate> {
    let core = core.measured_on();
    // An AVR is too small for anything but one form.
    let small = small && core != Core::Avr;
    measured::MEASURED.iter().find(|rate| (rate.core, rate.small, rate.kernel) == (core, small, kernel))
}

/// Instructions of each layer on a core.
pub fn by_layer(cost: &Cost, core: Core) -> Vec<u64> {
    // `as` saturates.
    let of = |work: &Work| rate(core, cost.small, work.kernel).map_or(0, |rate| rate.of(work).round() as u64);
    cost.work.iter().map(of).collect()
}

/// Adds up what a model costs on a core.
pub fn figures(cost: &Cost, core: Core) -> Figures {
    let mut figures = Figures { flash_bytes: cost.constant_bytes, stack_bytes: 0, instructions: 0 };
    let mut instructions = 0.0;
    let mut seen = BTreeSet::new();
    let mut shared = [0; Family::ALL.len()];
    for work in &cost.work {
        let Some(rate) = rate(core, cost.small, work.kernel) else { continue };
        instructions += rate.of(work);
        figures.stack_bytes = figures.stack_bytes.max(rate.stack);
        figures.flash_bytes += rate.call;
        if seen.insert(work.kernel.source()) {
            figures.flash_bytes += rate.code;
        }
        let family = work.kernel.family() as usize;
        shared[family] = shared[family].max(rate.shared);
    }
    figures.flash_bytes += shared.iter().sum::<u64>() + if cost.records { RECORD_CODE } else { 0 };
    // `as` saturates.
    figures.instructions = instructions.round() as u64;
    figures
}
