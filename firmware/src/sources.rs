//! The C sources of the firmware as strings, and how to compile them.

/// Version of the firmware's core, reported in INFO.
pub const CORE_VERSION: &str = env!("CARGO_PKG_VERSION");

/// Macro that must hold the artifact id as a C string, see [`artifact_flag`].
pub const ARTIFACT_MACRO: &str = "TML_ARTIFACT";

/// A file: flat name and content.
pub type File = (&'static str, &'static str);

/// The core, which is the same for all boards.
const CORE: [File; 6] = [
    ("main.c", include_str!("../c/main.c")),
    (MODEL_SIDE, include_str!("../c/tml_core.c")),
    ("tml_core.h", include_str!("../c/tml_core.h")),
    ("tml_frame.c", include_str!("../c/tml_frame.c")),
    ("tml_frame.h", include_str!("../c/tml_frame.h")),
    ("board.h", include_str!("../c/board.h")),
];

/// The one source of the core that includes `model.h` and so changes with the model. The others are the same for all
/// models of a board, and compiling them once is enough.
pub const MODEL_SIDE: &str = "tml_core.c";

/// What Cortex-M boards without an operating system share: their start and their memory.
const CORTEX_M: (File, File) =
    (("cortex_m.c", include_str!("../c/cortex_m.c")), ("cortex_m.ld", include_str!("../c/cortex_m.ld")));

/// What a kind of board adds to the core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Port {
    /// Its name in board files.
    pub name: &'static str,
    files: &'static [File],
    /// File name of its linker script, if it needs one.
    pub linker_script: Option<&'static str>,
}

const PORTS: &[Port] = &[
    Port { name: "native", files: &[("board_native.c", include_str!("../c/board_native.c"))], linker_script: None },
    Port {
        name: "mps2",
        files: &[("board_mps2.c", include_str!("../c/board_mps2.c")), CORTEX_M.0, CORTEX_M.1],
        linker_script: Some(CORTEX_M.1.0),
    },
    Port {
        name: "nrf5",
        files: &[("board_nrf5.c", include_str!("../c/board_nrf5.c")), CORTEX_M.0, CORTEX_M.1],
        linker_script: Some(CORTEX_M.1.0),
    },
    Port {
        name: "rp2040",
        files: &[("board_rp2040.c", include_str!("../c/board_rp2040.c")), CORTEX_M.0, CORTEX_M.1],
        linker_script: Some(CORTEX_M.1.0),
    },
    Port {
        name: "arduino",
        files: &[("board_arduino.cpp", include_str!("../c/board_arduino.cpp"))],
        linker_script: None,
    },
    Port { name: "avr", files: &[("board_avr.c", include_str!("../c/board_avr.c"))], linker_script: None },
];

/// The port of that name.
pub fn port(name: &str) -> Option<&'static Port> {
    PORTS.iter().find(|port| port.name == name)
}

impl Port {
    /// All sources. A build puts them into one folder with `model.c` and `model.h`, and compiles and links every `.c`.
    pub fn sources(&self) -> impl Iterator<Item = File> {
        CORE.iter().chain(self.files).copied()
    }
}

/// Sources of the native board, see [`Port::sources`].
pub fn native() -> impl Iterator<Item = File> {
    PORTS[0].sources()
}

/// Flags for the native build with gcc or clang, sources and `-o` left to the caller.
pub fn native_flags() -> &'static [&'static str] {
    &["-std=c99", "-O2", "-Wall", "-Wextra", "-ffunction-sections", "-fdata-sections", "-Wl,--gc-sections", "-s"]
}

/// The `-D` flag that tells the firmware which artifact it is built from.
pub fn artifact_flag(artifact: &str) -> String {
    format!("-D{ARTIFACT_MACRO}=\"{artifact}\"")
}
