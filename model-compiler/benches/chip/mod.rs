//! Chips in simulators: builds a model into a firmware of nothing else, runs it over vectors and says what it cost.
//!
//! Cortex-M runs in QEMU (mps2 boards), whose timer counts instructions; an AVR in simavr, which counts cycles.

#![allow(dead_code)] // Each of the programs that include this file uses a part of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{LazyLock, Mutex};

use model_compiler::codegen::Sources;
use model_compiler::estimate::Core;

/// Warnings that generated C must not cause.
const STRICT: [&str; 7] =
    ["-std=c99", "-ffunction-sections", "-fdata-sections", "-Wall", "-Wextra", "-Wconversion", "-Werror"];

const QEMU: &str = "qemu-system-arm";
/// Loops without end are cut off here: seconds.
const TIME_LIMIT: &str = "300";
/// Instructions of a tick of the timer with `-icount shift=0`.
const TICK: u64 = 40;

/// A simulated chip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chip {
    /// What its figures stand for.
    pub core: Core,
    gcc: &'static str,
    size: &'static str,
    /// What the compiler is told, as the relay tells it for boards of this kind.
    pub flags: &'static [&'static str],
    /// QEMU's board, or simavr's chip.
    machine: &'static str,
}

/// Cortex-M0+: QEMU has no board with one that has this timer, so its code runs on a Cortex-M3, which knows all of its
/// instructions.
pub const CORTEX_M0: Chip = arm(Core::CortexM0, &["-mcpu=cortex-m0plus", "-mthumb", "-O2"], "mps2-an385");
/// Cortex-M3, no DSP instructions.
pub const CORTEX_M3: Chip = arm(Core::CortexM3, &["-mcpu=cortex-m3", "-mthumb", "-O2"], "mps2-an385");
/// Cortex-M4 with DSP instructions.
pub const CORTEX_M4: Chip = arm(Core::CortexM4, &["-mcpu=cortex-m4", "-mthumb", "-O2"], "mps2-an386");
/// The chip of an Arduino Uno.
pub const AVR: Chip = Chip {
    core: Core::Avr,
    gcc: "avr-gcc",
    size: "avr-size",
    flags: &["-mmcu=atmega328p", "-Os", "-mcall-prologues"],
    machine: "atmega328p",
};

/// The same core with 128 kB of flash and 16 kB of RAM, for what does not fit there.
pub const AVR_LARGE: Chip =
    Chip { flags: &["-mmcu=atmega1284p", "-Os", "-mcall-prologues"], machine: "atmega1284p", ..AVR };

const fn arm(core: Core, flags: &'static [&'static str], machine: &'static str) -> Chip {
    Chip { core, gcc: "arm-none-eabi-gcc", size: "arm-none-eabi-size", flags, machine }
}

/// What a model costs on a chip.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    /// Bytes of all answers that differ from what is expected.
    pub different: u64,
    /// Mean of one inference: instructions on Cortex-M, cycles on AVR.
    pub instructions: u64,
    /// Deepest stack of an inference, bytes.
    pub stack: u64,
    /// Code and constants of the whole firmware less those of a firmware without a model, bytes.
    pub flash: u64,
}

/// The program around libsimavr, compiled once; `None` where that cannot be done.
static SIMAVR: LazyLock<Option<(tempfile::TempDir, PathBuf)>> = LazyLock::new(|| {
    let folder = tempfile::tempdir().ok()?;
    let program = folder.path().join("measure");
    let built = Command::new("cc")
        .args(["-std=gnu99", "-O2", "-I/usr/include/simavr"])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../simulators/avr/measure.c"))
        .args(["-lsimavr", "-lelf", "-o"])
        .arg(&program)
        .output()
        .ok()?;
    built.status.success().then_some((folder, program))
});

/// Sizes of firmwares without a model, by compiler and flags: buffers of a model take no flash.
static EMPTY: Mutex<BTreeMap<String, u64>> = Mutex::new(BTreeMap::new());

impl Chip {
    /// What is missing here to use the chip.
    pub fn missing(&self) -> Vec<&'static str> {
        let absent = |program: &&str| Command::new(program).arg("--version").output().is_err();
        let mut missing: Vec<&str> = [self.gcc].into_iter().filter(absent).collect();
        if self.core == Core::Avr {
            missing.extend(SIMAVR.is_none().then_some("libsimavr-dev"));
        } else {
            missing.extend([QEMU].iter().filter(|program| absent(program)));
        }
        missing
    }

    /// Flash of a model: code and constants of a firmware with it less those of one without, bytes.
    pub fn flash(&self, sources: &Sources) -> u64 {
        let folder = tempfile::tempdir().unwrap();
        self.built(folder.path(), sources, 1)
    }

    /// Builds and runs a model. `inputs` and `answers` are vectors one behind another.
    pub fn measure(&self, sources: &Sources, inputs: &[u8], answers: &[u8], vectors: usize) -> Measured {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        fs::write(folder.join("inputs.bin"), inputs).unwrap();
        fs::write(folder.join("answers.bin"), answers).unwrap();
        let flash = self.built(folder, sources, vectors);
        if self.core == Core::Avr {
            return Measured { flash, ..self.simavr(folder, inputs, answers, vectors) };
        }
        Measured { flash, ..self.qemu(folder, vectors) }
    }

    /// Builds the firmware `model.elf` and says how much larger than an empty one it is.
    fn built(&self, folder: &Path, sources: &Sources, vectors: usize) -> u64 {
        let write = |name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
        write("model.c", &sources.model_c);
        write("model.h", &sources.model_h);
        write("empty.c", include_str!("empty.c"));
        write("cortex_m.c", include_str!("cortex_m.c"));
        write("cortex_m.ld", include_str!("cortex_m.ld"));
        write("avr.c", include_str!("avr.c"));
        let mut known = EMPTY.lock().unwrap();
        let empty = *known.entry(self.gcc.to_owned() + &self.flags.concat()).or_insert_with(|| {
            self.build(folder, "empty", vectors);
            self.size(folder, "empty.elf")
        });
        drop(known);
        self.build(folder, "model", vectors);
        self.size(folder, "model.elf") - empty
    }

    fn qemu(&self, folder: &Path, vectors: usize) -> Measured {
        let run = Command::new("timeout")
            .args([TIME_LIMIT, QEMU, "-M", self.machine, "-icount", "shift=0,sleep=off", "-display", "none"])
            .args(["-monitor", "none", "-serial", "none", "-semihosting-config", "enable=on,target=native"])
            .args(["-kernel", "model.elf", "-device", "loader,file=inputs.bin,addr=0x21000000,force-raw=on"])
            .args(["-device", "loader,file=answers.bin,addr=0x21800000,force-raw=on"])
            .current_dir(folder)
            .output()
            .unwrap();
        // Semihosting writes to the standard error of QEMU, other versions to its output.
        let text = format!("{}{}", String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
        assert_eq!(value(&text, "failed"), 0, "tml_invoke failed");
        Measured {
            different: value(&text, "different"),
            instructions: value(&text, "ticks") * TICK / vectors as u64,
            stack: value(&text, "stack"),
            flash: 0,
        }
    }

    fn simavr(&self, folder: &Path, inputs: &[u8], answers: &[u8], vectors: usize) -> Measured {
        let (_, program) = SIMAVR.as_ref().unwrap();
        let run = Command::new("timeout")
            .args([TIME_LIMIT.as_ref(), program.as_os_str()])
            .args([self.machine, "model.elf", "inputs.bin"])
            .args([(inputs.len() / vectors).to_string(), (answers.len() / vectors).to_string(), "got.bin".into()])
            .current_dir(folder)
            .output()
            .unwrap();
        let text = format!("{}{}", String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
        let runs = value(&text, "runs");
        assert_eq!(runs, vectors as u64, "{text}");
        let got = fs::read(folder.join("got.bin")).unwrap();
        let different = got.iter().zip(answers).filter(|(a, b)| a != b).count() + got.len().abs_diff(answers.len());
        Measured {
            different: different as u64,
            instructions: value(&text, "cycles") / runs,
            stack: value(&text, "stack"),
            flash: 0,
        }
    }

    fn build(&self, folder: &Path, name: &str, vectors: usize) {
        let count = format!("-DVECTOR_COUNT={vectors}");
        let (elf, model) = (format!("{name}.elf"), format!("{name}.c"));
        let object = |source: &str, object: &str, flags: &[&str]| {
            self.gcc(folder, &[self.flags, flags, &["-c", "-o", object, source]].concat());
        };
        object(&model, "model.o", &STRICT);
        let (harness, link): (&str, &[&str]) = match self.core {
            Core::Avr => ("avr.c", &["-Wl,--gc-sections"]),
            _ => ("cortex_m.c", &["-nostartfiles", "-Wl,--gc-sections", "-T", "cortex_m.ld"]),
        };
        object(harness, "harness.o", &["-std=gnu99", "-ffunction-sections", &count]);
        let libraries: &[&str] = if self.core == Core::Avr { &["-lm"] } else { &["-lc", "-lgcc"] };
        self.gcc(folder, &[self.flags, link, &["-o", &elf, "harness.o", "model.o"], libraries].concat());
    }

    fn gcc(&self, folder: &Path, arguments: &[&str]) {
        let built = Command::new(self.gcc).args(arguments).current_dir(folder).output().unwrap();
        let said = String::from_utf8_lossy(&built.stderr);
        assert!(built.status.success(), "{} {arguments:?}\n{said}", self.gcc);
    }

    /// Bytes of code and of data that begins with values.
    fn size(&self, folder: &Path, elf: &str) -> u64 {
        let output = Command::new(self.size).arg(elf).current_dir(folder).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut fields = text.lines().nth(1).unwrap_or_default().split_whitespace();
        let mut next = || fields.next().and_then(|field| field.parse::<u64>().ok()).unwrap_or_else(|| panic!("{text}"));
        next() + next()
    }
}

fn value(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|value| value.trim().parse().ok()).unwrap_or_else(|| panic!("no {name} in {text:?}"))
}
