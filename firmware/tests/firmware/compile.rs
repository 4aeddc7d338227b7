//! The C compiles without a warning, with each compiler that is there.

use std::process::Command;

use crate::process::{Build, compile};

const STRICT: &[&str] = &[
    "-std=c99",
    "-pedantic",
    "-Werror",
    "-Wall",
    "-Wextra",
    "-Wconversion",
    "-Wshadow",
    "-Wstrict-prototypes",
    "-Wmissing-prototypes",
    "-Wcast-align",
    "-O2",
];

#[test]
fn strict_flags_find_nothing() {
    for compiler in ["gcc", "clang"] {
        if Command::new(compiler).arg("--version").output().is_err() {
            eprintln!("SKIPPED strict_flags_find_nothing with {compiler}: not installed");
            continue;
        }
        compile(&Build { compiler, flags: STRICT });
        compile(&Build { compiler, flags: &[STRICT, &["-DTML_MAX_PAYLOAD=64", "-DTML_OUTPUT_BYTES=640"]].concat() });
    }
}

#[test]
fn the_published_flags_make_a_small_image() {
    let (_dir, path) = compile(&Build { compiler: "cc", flags: firmware::sources::native_flags() });
    let size = std::fs::metadata(path).unwrap().len();
    assert!(size < 64 * 1024, "{size}");
}

#[test]
fn core_version_is_the_crates() {
    let core = firmware::sources::native().find(|(name, _)| *name == "tml_core.h").unwrap().1;
    assert!(core.contains(&format!("#define TML_CORE_VERSION \"{}\"", firmware::sources::CORE_VERSION)));
    assert!(core.contains(&format!("#define TML_PROTOCOL_VERSION {}", firmware::PROTOCOL_VERSION)));
}

/// A board with 2 KB of RAM has to hold the core, a model's arena and the stack.
#[test]
fn on_an_atmega328p_the_core_takes_little() {
    if Command::new("avr-gcc").arg("--version").output().is_err() {
        eprintln!("SKIPPED on_an_atmega328p_the_core_takes_little: avr-gcc is not installed");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in firmware::sources::native() {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    std::fs::write(dir.path().join("model.h"), include_str!("../stub/model.h")).unwrap();
    let output = Command::new("avr-gcc")
        .current_dir(dir.path())
        .args(["-mmcu=atmega328p", "-Os", "-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-r", "-nostdlib"])
        .args(["tml_core.c", "tml_frame.c", "-o", "core.o"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let sizes = Command::new("avr-size").arg(dir.path().join("core.o")).output().unwrap();
    let text = String::from_utf8(sizes.stdout).unwrap();
    let row: Vec<u32> = text.lines().nth(1).unwrap().split_whitespace().take(3).map(|n| n.parse().unwrap()).collect();
    eprintln!("core on ATmega328P: {} bytes of flash, {} of RAM", row[0], row[1] + row[2]);
    assert!(row[0] < 4096 && row[1] + row[2] < 160, "{text}");
}
