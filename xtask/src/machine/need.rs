//! The list of what tests need, and what of it is missing.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use super::has_program;

/// One thing that tests need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    /// The program that is looked for on the PATH; `None` for files without a program of their own.
    pub program: Option<&'static str>,
    /// Debian's package that has it.
    pub package: &'static str,
    /// What is tested with it.
    pub why: &'static str,
}

const fn program(program: &'static str, package: &'static str, why: &'static str) -> Need {
    Need { program: Some(program), package, why }
}

/// Everything that tests need beside Rust. One list, for `test` and for CI.
pub const NEEDS: &[Need] = &[
    program("cc", "gcc", "the relay builds firmware for the native board; Rust itself links with it"),
    Need { program: None, package: "libc6-dev", why: "the C headers of the same builds" },
    program("clang", "clang", "the firmware under a second compiler and its sanitizers"),
    Need { program: None, package: "libclang-rt-14-dev", why: "clang's sanitizers; Debian 12 has clang 14" },
    program("avr-gcc", "gcc-avr", "firmware for the Arduino Uno"),
    Need { program: None, package: "avr-libc", why: "the C library of the same" },
    program("avrdude", "avrdude", "flashing an Uno over its bootloader"),
    Need { program: None, package: "arduino-core-avr", why: "the bootloader of the simulated Uno" },
    Need { program: None, package: "libsimavr-dev", why: "the chip of the simulated Uno" },
    Need { program: None, package: "libelf-dev", why: "the same" },
    program("arduino-builder", "arduino-builder", "the sketch for boards of Arduino cores"),
    program("arm-none-eabi-gcc", "gcc-arm-none-eabi", "firmware for a Cortex-M4"),
    Need { program: None, package: "libnewlib-arm-none-eabi", why: "the C library of the same" },
    program("qemu-system-arm", "qemu-system-arm", "a Cortex-M4 that runs it"),
    program("node", "nodejs", "an RP2040"),
    program("npm", "npm", "its simulator is a package of npm's registry"),
    program("dockerd", "docker.io", "builds and flashes in containers"),
    program("docker-compose", "docker-compose", "the roles in containers, by the file that people start"),
    program("iptables", "iptables", "the same engine asks for it at its start"),
    program("debootstrap", "debootstrap", "the base of the toolchains' images, where none can be pulled"),
    program("mosquitto", "mosquitto", "a second MQTT broker, to compare ours with"),
    program("mosquitto_pub", "mosquitto-clients", "the lines of topics.md as they stand"),
    program("rabbitmq-server", "rabbitmq-server", "a third one, which asks the cloud who may do what"),
    program("chromium", "chromium", "the dashboard in a real browser"),
    program("chromedriver", "chromium-driver", "the same browser, driven by tests"),
    program("kill", "procps", "the crash tests"),
];

/// What is not here.
pub fn missing() -> Vec<Need> {
    let packages: Vec<&str> = NEEDS.iter().map(|need| need.package).collect();
    let installed = Command::new("dpkg-query")
        .args(["--show", "--showformat=${Package} ${db:Status-Status}\\n"])
        .args(&packages)
        .stderr(Stdio::null())
        .output()
        .map(|output| installed(&String::from_utf8_lossy(&output.stdout)))
        .ok();
    choose(NEEDS, has_program, installed.as_ref())
}

/// The packages that `dpkg-query --showformat='${Package} ${db:Status-Status}\n'` calls installed. A package that was
/// removed with its settings kept is listed too, as `config-files`.
fn installed(output: &str) -> BTreeSet<String> {
    output.lines().filter_map(|line| line.strip_suffix(" installed")).map(|name| name.trim().to_owned()).collect()
}

/// A need with a program is met where the program is, whoever put it there. One without is met by its package; where
/// there is no dpkg (`None`) nobody can tell, so nothing is claimed to be missing.
fn choose(needs: &[Need], has_program: impl Fn(&str) -> bool, installed: Option<&BTreeSet<String>>) -> Vec<Need> {
    let met = |need: &Need| match (need.program, installed) {
        (Some(program), _) => has_program(program),
        (None, Some(installed)) => installed.contains(need.package),
        (None, None) => true,
    };
    needs.iter().filter(|need| !met(need)).copied().collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const OUTPUT: &str = "chromium installed\ngcc installed\nmosquitto config-files\nlibc6-dev not-installed\n";

    #[test]
    fn what_was_removed_is_not_installed() {
        let names: Vec<String> = installed(OUTPUT).into_iter().collect();
        assert_eq!(names, ["chromium", "gcc"]);
        assert!(installed("").is_empty());
    }

    #[test]
    fn a_program_counts_wherever_it_comes_from() {
        let needs = [program("cc", "gcc", ""), program("clang", "clang", "")];
        let left = choose(&needs, |name| name == "cc", Some(&BTreeSet::new()));
        assert_eq!(left.iter().map(|need| need.package).collect::<Vec<_>>(), ["clang"]);
    }

    #[test]
    fn headers_are_looked_up_by_package_and_not_guessed_without_dpkg() {
        let needs = [Need { program: None, package: "libc6-dev", why: "" }];
        assert_eq!(choose(&needs, |_| false, Some(&installed(OUTPUT))).len(), 1);
        assert_eq!(choose(&needs, |_| false, Some(&installed("libc6-dev installed\n"))).len(), 0);
        assert_eq!(choose(&needs, |_| false, None).len(), 0);
    }

    #[test]
    fn this_machine_has_the_compiler_that_linked_this_test() {
        assert!(!missing().iter().any(|need| need.package == "gcc"));
    }
}
