//! An ATmega1284P in simavr: builds a model into a firmware of nothing else and reads its answers from the UART.

use std::fs;
use std::process::Command;

use model_compiler::codegen::Sources;

const CHIP: &str = "atmega1284p";
const FLAGS: [&str; 6] = ["-std=c99", "-Os", "-Wall", "-Wextra", "-Wconversion", "-Werror"];

const HARNESS: &str = r#"
#include <avr/interrupt.h>
#include <avr/io.h>
#include <avr/sleep.h>
#include "inputs.h"
#include "model.h"

static void put(char c)
{
    while (!(UCSR0A & (1 << UDRE0))) {
    }
    UDR0 = (uint8_t)c;
}

int main(void)
{
    uint16_t vector, at;
    UCSR0B = 1 << TXEN0;
    tml_init();
    for (vector = 0; vector < COUNT; vector++) {
        int8_t *input = tml_input();
        const int8_t *output;
        for (at = 0; at < TML_INPUT_BYTES; at++) {
            input[at] = (int8_t)pgm_read_byte(inputs + vector * TML_INPUT_BYTES + at);
        }
        if (tml_invoke() != 0) {
            put('!');
        }
        output = tml_output();
        put('=');
        for (at = 0; at < TML_OUTPUT_BYTES; at++) {
            put("0123456789abcdef"[(output[at] >> 4) & 15]);
            put("0123456789abcdef"[output[at] & 15]);
        }
        put('\n');
    }
    cli();
    sleep_enable();
    sleep_cpu();
    return 0;
}
"#;

/// Whether this machine has what the chip needs; says so where it has not.
pub fn present() -> bool {
    let missing: Vec<&str> = ["avr-gcc", "simavr"]
        .into_iter()
        .filter(|program| Command::new(program).arg("--help").output().is_err())
        .collect();
    if !missing.is_empty() {
        eprintln!("SKIPPED: no {missing:?} on this machine, nothing ran on an AVR");
    }
    missing.is_empty()
}

/// Builds and runs a model; the answers one behind another.
pub fn run(sources: &Sources, inputs: &[Vec<i8>]) -> Vec<i8> {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write("model.c", &sources.model_c);
    write("model.h", &sources.model_h);
    write("main.c", HARNESS);
    let bytes: Vec<String> = inputs.iter().flatten().map(|byte| byte.to_string()).collect();
    let (count, bytes) = (inputs.len(), bytes.join(", "));
    write(
        "inputs.h",
        &format!(
            "#include <avr/pgmspace.h>\n#define COUNT {count}\nstatic const int8_t inputs[] PROGMEM = {{ {bytes} }};\n"
        ),
    );
    let chip = format!("-mmcu={CHIP}");
    let built = Command::new("avr-gcc")
        .args(FLAGS)
        .args([chip.as_str(), "-o", "model.elf", "model.c", "main.c", "-lm"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let run = Command::new("timeout")
        .args(["300", "simavr", "-m", CHIP, "-f", "16000000", "model.elf"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    let lines: Vec<&str> = text.lines().filter_map(|line| line.split_once('=').map(|(_, hex)| hex)).collect();
    let digits = |hex: &str| -> Vec<i8> {
        let digits: Vec<u32> = hex.chars().map_while(|c| c.to_digit(16)).collect();
        digits.chunks_exact(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).map(u8::cast_signed).collect()
    };
    assert_eq!(lines.len(), inputs.len(), "{text}");
    lines.into_iter().flat_map(digits).collect()
}
