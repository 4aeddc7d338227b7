//! Measured rates of the kernels, and what they add up to.

mod measured;

use std::collections::BTreeMap;

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

/// The stack of one kernel.
#[derive(Debug, Clone, Copy, Default)]
struct Frame {
    /// Layers that run it.
    calls: usize,
    /// Deepest stack seen, bytes.
    bytes: u64,
}

/// What `tml_invoke` puts on the stack beside its kernels, most seen, bytes.
const INVOKE_STACK: u64 = 24;

/// What running band by band adds to that, bytes: 76 and 6 were the most seen.
const fn bands_stack(core: Core) -> u64 {
    if matches!(core, Core::Avr) { 40 } else { 112 }
}

/// A bound of the stack: a compiler may take a kernel with one call into `tml_invoke`, and another one runs on top.
fn stack(mut frames: Vec<Frame>, bands: u64) -> u64 {
    frames.sort_by_key(|frame| std::cmp::Reverse(frame.bytes));
    let deepest = frames.first().copied().unwrap_or_default();
    let once = |frame: &&Frame| deepest.calls == 1 || frame.calls == 1;
    let below = frames.iter().skip(1).find(once).map_or(0, |frame| frame.bytes);
    deepest.bytes + below + INVOKE_STACK + bands
}

/// Adds up what a model costs on a core.
pub fn figures(cost: &Cost, core: Core) -> Figures {
    let mut figures = Figures { flash_bytes: cost.constant_bytes, stack_bytes: 0, instructions: 0 };
    let mut instructions = 0.0;
    let mut seen: BTreeMap<Kernel, Frame> = BTreeMap::new();
    let mut shared = [0; Family::ALL.len()];
    for work in &cost.work {
        let Some(rate) = rate(core, cost.small, work.kernel) else { continue };
        instructions += rate.of(work);
        figures.flash_bytes += rate.call;
        let frame = seen.entry(work.kernel.source()).or_default();
        if frame.calls == 0 {
            figures.flash_bytes += rate.code;
        }
        frame.calls += 1;
        frame.bytes = frame.bytes.max(rate.stack);
        let family = work.kernel.family() as usize;
        shared[family] = shared[family].max(rate.shared);
    }
    figures.stack_bytes = stack(seen.into_values().collect(), if cost.banded { bands_stack(core) } else { 0 });
    figures.flash_bytes += shared.iter().sum::<u64>() + if cost.records { RECORD_CODE } else { 0 };
    // `as` saturates.
    figures.instructions = instructions.round() as u64;
    figures
}
