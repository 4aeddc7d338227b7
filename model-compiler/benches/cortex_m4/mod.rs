//! A Cortex-M4 in QEMU (mps2-an386): builds a model into a firmware of nothing else, runs it over golden vectors and
//! says what it cost.

use std::fs;
use std::path::Path;
use std::process::Command;

use model_compiler::codegen::Sources;

/// What the compiler is told. Speed is what the kernels are written for, so `-O2`.
pub const FLAGS: [&str; 10] = [
    "-mcpu=cortex-m4",
    "-mthumb",
    "-std=c99",
    "-O2",
    "-ffunction-sections",
    "-fdata-sections",
    "-Wall",
    "-Wextra",
    "-Wconversion",
    "-Werror",
];

const GCC: &str = "arm-none-eabi-gcc";
const QEMU: &str = "qemu-system-arm";
/// Loops without end are cut off here: seconds.
const TIME_LIMIT: &str = "120";

/// What a model costs on the board.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    /// Bytes of all answers that differ from what is expected.
    pub different: u64,
    /// Mean of one inference.
    pub instructions: u64,
    /// Deepest stack of an inference, bytes.
    pub stack: u64,
    /// Code and constants of the whole firmware less those of a firmware without a model, bytes.
    pub flash: u64,
}

/// The programs that are missing here.
pub fn missing() -> Vec<&'static str> {
    [GCC, QEMU].into_iter().filter(|program| Command::new(program).arg("--version").output().is_err()).collect()
}

/// Builds and runs a model. `inputs` and `answers` are vectors one behind another.
pub fn measure(folder: &Path, sources: &Sources, inputs: &[u8], answers: &[u8], vectors: usize) -> Measured {
    fs::write(folder.join("harness.c"), include_str!("harness.c")).unwrap();
    fs::write(folder.join("link.ld"), include_str!("link.ld")).unwrap();
    fs::write(folder.join("empty.c"), include_str!("empty.c")).unwrap();
    fs::write(folder.join("model.c"), &sources.model_c).unwrap();
    fs::write(folder.join("model.h"), &sources.model_h).unwrap();
    fs::write(folder.join("inputs.bin"), inputs).unwrap();
    fs::write(folder.join("answers.bin"), answers).unwrap();
    build(folder, "empty", vectors);
    build(folder, "model", vectors);
    let flash = size(folder, "model.elf") - size(folder, "empty.elf");
    let run = Command::new("timeout")
        .args([TIME_LIMIT, QEMU, "-M", "mps2-an386", "-icount", "shift=0,sleep=off", "-display", "none"])
        .args(["-monitor", "none", "-serial", "none", "-semihosting-config", "enable=on,target=native"])
        .args(["-kernel", "model.elf", "-device", "loader,file=inputs.bin,addr=0x21000000,force-raw=on"])
        .args(["-device", "loader,file=answers.bin,addr=0x21800000,force-raw=on"])
        .current_dir(folder)
        .output()
        .unwrap();
    // Semihosting writes to the standard error of QEMU, other versions to its output.
    let text = format!("{}{}", String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    let value = |name: &str| -> u64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|value| value.trim().parse().ok()).unwrap_or_else(|| panic!("no {name} in {text:?}"))
    };
    assert_eq!(value("failed"), 0, "tml_invoke failed");
    Measured { different: value("different"), instructions: value("instructions"), stack: value("stack"), flash }
}

fn build(folder: &Path, name: &str, vectors: usize) {
    let object = |source: &str, flags: &[&str]| {
        gcc(folder, &[flags, &["-c", "-o", &format!("{source}.o"), &format!("{source}.c")]].concat());
    };
    object(name, &FLAGS);
    let count = format!("-DVECTOR_COUNT={vectors}");
    object("harness", &["-mcpu=cortex-m4", "-mthumb", "-std=gnu99", "-O2", "-ffunction-sections", &count]);
    let (elf, model) = (format!("{name}.elf"), format!("{name}.o"));
    let link = ["-mcpu=cortex-m4", "-mthumb", "-nostartfiles", "-Wl,--gc-sections", "-T", "link.ld", "-o", &elf];
    gcc(folder, &[&link[..], &["harness.o", &model, "-lc", "-lgcc"]].concat());
}

fn gcc(folder: &Path, arguments: &[&str]) {
    let built = Command::new(GCC).args(arguments).current_dir(folder).output().unwrap();
    assert!(built.status.success(), "{arguments:?}\n{}", String::from_utf8_lossy(&built.stderr));
}

/// Bytes of code and of data that begins with values.
fn size(folder: &Path, elf: &str) -> u64 {
    let output = Command::new("arm-none-eabi-size").arg(elf).current_dir(folder).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut fields = text.lines().nth(1).unwrap_or_default().split_whitespace();
    let mut next = || fields.next().and_then(|field| field.parse::<u64>().ok()).unwrap_or_else(|| panic!("{text}"));
    next() + next()
}
