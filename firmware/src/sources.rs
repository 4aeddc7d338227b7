//! The C sources of the firmware as strings, and how to compile them.

use sha2::{Digest, Sha256};

/// Version of the firmware's core, reported in INFO.
pub const CORE_VERSION: &str = env!("CARGO_PKG_VERSION");

/// Macro that must hold the artifact id as a C string, see [`artifact_flag`].
pub const ARTIFACT_MACRO: &str = "TML_ARTIFACT";

const NATIVE: &[(&str, &str)] = &[
    ("main.c", include_str!("../c/main.c")),
    ("tml_core.c", include_str!("../c/tml_core.c")),
    ("tml_core.h", include_str!("../c/tml_core.h")),
    ("tml_frame.c", include_str!("../c/tml_frame.c")),
    ("tml_frame.h", include_str!("../c/tml_frame.h")),
    ("board.h", include_str!("../c/board.h")),
    ("board_native.c", include_str!("../c/board_native.c")),
];

/// Sources of the native board: flat names and contents. A build puts them into one folder
/// with `model.c` and `model.h`, and compiles and links every `.c`.
pub fn native() -> &'static [(&'static str, &'static str)] {
    NATIVE
}

/// Flags for the native build with gcc or clang, sources and `-o` left to the caller.
pub fn native_flags() -> &'static [&'static str] {
    &["-std=c99", "-O2", "-Wall", "-Wextra", "-ffunction-sections", "-fdata-sections", "-Wl,--gc-sections", "-s"]
}

/// The `-D` flag that tells the firmware which artifact it is built from.
pub fn artifact_flag(artifact: &str) -> String {
    format!("-D{ARTIFACT_MACRO}=\"{artifact}\"")
}

/// SHA-256 over names, contents and flags: changes whenever a build would.
pub fn native_digest() -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in NATIVE.iter().flat_map(|(name, text)| [*name, *text]).chain(native_flags().iter().copied()) {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}
