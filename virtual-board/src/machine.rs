//! What a virtual board's microcontroller is: a process of this machine, or a Cortex-M that QEMU emulates.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use rustix::process::Resource;

/// The microcontroller of a virtual board.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Machine {
    /// Firmware is an executable of this machine.
    Native,
    /// Firmware is a raw image for QEMU's mps2-an386, whose UART is the line.
    CortexM4,
    /// A BBC micro:bit, firmware as a raw image for its nRF51822: QEMU's microbit.
    Microbit,
}

/// Where the MPS2's RAM lies: the first word of an image, its stack, has to point into it.
const RAM: std::ops::RangeInclusive<u32> = 0x2000_0001..=0x2040_0000;

impl Machine {
    /// Its board type, as in the relay's board files.
    pub fn board(self) -> &'static str {
        match self {
            Machine::Native => "native",
            Machine::CortexM4 => "cortex-m4",
            Machine::Microbit => "microbit",
        }
    }

    /// Size of its flash in bytes.
    pub fn flash_capacity(self) -> u32 {
        match self {
            Machine::Native => 2 * 1024 * 1024,
            Machine::CortexM4 => 1024 * 1024,
            Machine::Microbit => 256 * 1024,
        }
    }

    /// Debian's packages that are missing for it.
    pub fn missing(self) -> Vec<&'static str> {
        let programs: &[(&str, &str)] = match self {
            Machine::Native => &[],
            Machine::CortexM4 | Machine::Microbit => &[
                ("qemu-system-arm", "qemu-system-arm"),
                ("arm-none-eabi-gcc", "gcc-arm-none-eabi libnewlib-arm-none-eabi"),
                ("setpriv", "util-linux"),
            ],
        };
        let missing = programs.iter().filter(|(program, _)| !crate::simulator::is_installed(program));
        missing.map(|(_, package)| *package).collect()
    }

    /// The program that runs the firmware in the file `image`, with its arguments.
    pub(crate) fn command(self, image: &Path) -> (OsString, Vec<OsString>) {
        match self {
            Machine::Native => (image.into(), Vec::new()),
            Machine::CortexM4 | Machine::Microbit => {
                // An instruction takes 8 ns, on the slower chip 64 ns.
                let (machine, shift) = if self == Machine::CortexM4 { ("mps2-an386", 3) } else { ("microbit", 6) };
                // QEMU does not end with whoever started it; the kernel sees to that if it is asked to. Time in the
                // machine is counted in instructions, so that latencies do not depend on the host's load.
                let arguments = format!(
                    "--pdeathsig KILL -- qemu-system-arm -M {machine} -nodefaults -display none -monitor none \
                     -chardev stdio,id=line,signal=off -serial chardev:line -icount shift={shift},sleep=on -kernel"
                );
                let arguments = arguments.split_whitespace().map(OsString::from);
                ("setpriv".into(), arguments.chain([image.into()]).collect())
            }
        }
    }

    /// Whether the file is firmware for it at all.
    pub(crate) fn check(self, image: &Path) -> io::Result<()> {
        let mut head = [0; 8];
        File::open(image)?.read_exact(&mut head)?;
        let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let (good, what) = match self {
            // The C library would hand anything else to a shell as a script.
            Machine::Native => (head[..4] == *b"\x7fELF", "the image is not an executable of this machine"),
            Machine::CortexM4 | Machine::Microbit => (
                RAM.contains(&word(0)) && word(4) % 2 == 1 && word(4) < self.flash_capacity(),
                "the image does not begin with a Cortex-M's vector table",
            ),
        };
        if good { Ok(()) } else { Err(io::Error::other(what)) }
    }

    /// Limits for its process: far more than firmware needs, far less than a host has.
    pub(crate) fn limits(self) -> &'static [(Resource, u64)] {
        match self {
            Machine::Native => &[
                (Resource::As, 512 * 1024 * 1024),
                (Resource::Core, 0),
                (Resource::Fsize, 0),
                (Resource::Nofile, 16),
                (Resource::Nproc, 0),
            ],
            Machine::CortexM4 | Machine::Microbit => &[(Resource::Core, 0), (Resource::Fsize, 0)],
        }
    }
}
