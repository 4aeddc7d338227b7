//! Installs Debian packages, as root or with sudo, without leaving a daemon behind.

use std::process::Command;

use super::{Need, has_program};
use crate::failure::{Failure, Outcome};
use crate::step;

/// Debian starts a daemon as soon as its package is there. The tests start their own brokers on free ports, and
/// `tinymlaas up` wants 1883 for itself, so during the installation a policy forbids every start (the interface is
/// described in invoke-rc.d's README.policy-rc.d), and afterwards a broker that was not here before is kept from
/// starting at the next boot. A policy that somebody else has set stays as it is.
const SCRIPT: &str = r#"
set -eu
export DEBIAN_FRONTEND=noninteractive
policy=/usr/sbin/policy-rc.d
brokers=
for package in mosquitto rabbitmq-server; do
    case " $* " in *" $package "*) brokers="$brokers $package.service" ;; esac
done
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    trap 'exit 130' INT TERM HUP
    printf '#!/bin/sh\nexit 101\n' > "$policy"
    chmod 755 "$policy"
fi
apt-get -o DPkg::Lock::Timeout=300 update
apt-get -o DPkg::Lock::Timeout=300 install --yes --no-install-recommends "$@"
if [ -n "$brokers" ] && [ -d /run/systemd/system ]; then
    systemctl disable --now $brokers
fi
"#;

/// How packages can be installed here.
#[derive(Debug, PartialEq, Eq)]
enum Way {
    Root,
    Sudo,
    None,
}

/// Installs what is missing, or says what to do and fails.
pub fn install(missing: &[Need]) -> Outcome {
    if missing.is_empty() {
        step::say("everything that the tests need is installed");
        return Ok(());
    }
    let packages = packages(missing, is_ubuntu());
    let way = way(has_program("apt-get"), rustix::process::geteuid().is_root(), has_program("sudo"));
    let mut command = match way {
        Way::Root => Command::new("sh"),
        Way::Sudo => {
            let mut sudo = Command::new("sudo");
            sudo.arg("sh");
            sudo
        }
        Way::None => return Err(Failure::Machine(advice(missing, &packages))),
    };
    step::say(&format!("installing: {}", packages.join(" ")));
    let status = command
        .args(["-c", SCRIPT, "install"])
        .args(&packages)
        .status()
        .map_err(|error| step::not_started(&command, &error))?;
    if status.success() {
        return Ok(());
    }
    Err(Failure::Machine(format!("the installation ended with {status}\n{}", advice(missing, &packages))))
}

fn way(has_apt: bool, is_root: bool, has_sudo: bool) -> Way {
    match (has_apt, is_root, has_sudo) {
        (true, true, _) => Way::Root,
        (true, false, true) => Way::Sudo,
        _ => Way::None,
    }
}

/// Ubuntu has no package `chromium`: its browser comes through these two.
fn packages(missing: &[Need], ubuntu: bool) -> Vec<&'static str> {
    let name = |package: &'static str| match package {
        "chromium" if ubuntu => "chromium-browser",
        "chromium-driver" if ubuntu => "chromium-chromedriver",
        other => other,
    };
    missing.iter().map(|need| name(need.package)).collect()
}

fn is_ubuntu() -> bool {
    std::fs::read_to_string("/etc/os-release").is_ok_and(|text| text.lines().any(|line| line == "ID=ubuntu"))
}

/// Which packages to install and how, for whoever has to do it by hand.
fn advice(missing: &[Need], packages: &[&str]) -> String {
    let mut text = "these are missing:\n".to_owned();
    for need in missing {
        let program = need.program.unwrap_or("headers");
        text.push_str(&format!("  {program:<14} ({})\n", need.why));
    }
    text.push_str(&format!(
        "On Debian and Ubuntu, as root:\n  apt-get update && apt-get install --no-install-recommends {}\n\
         Elsewhere install the same programs with your package manager, then stop and disable the services of mosquitto and \
         rabbitmq-server: 'tinymlaas up' wants port 1883.\n\
         'cargo xtask test --no-install' tests with what is here and says what was skipped.",
        packages.join(" ")
    ));
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::need::NEEDS;
    use super::*;

    #[test]
    fn root_needs_no_sudo_and_no_apt_means_by_hand() {
        assert_eq!(way(true, true, false), Way::Root);
        assert_eq!(way(true, false, true), Way::Sudo);
        assert_eq!(way(true, false, false), Way::None);
        assert_eq!(way(false, true, true), Way::None);
    }

    #[test]
    fn the_advice_can_be_pasted() {
        let missing: Vec<Need> = NEEDS.iter().filter(|need| need.package.starts_with("chromium")).copied().collect();
        let text = advice(&missing, &packages(&missing, false));
        assert!(text.contains("install --no-install-recommends chromium chromium-driver\n"), "{text}");
        assert!(text.contains("chromedriver") && text.contains("--no-install"), "{text}");
        assert_eq!(packages(&missing, true), ["chromium-browser", "chromium-chromedriver"]);
    }

    #[test]
    fn the_script_is_one_that_a_plain_shell_reads() {
        let status = Command::new("sh").args(["-n", "-c", SCRIPT]).status().unwrap();
        assert!(status.success());
    }

    #[test]
    fn nothing_missing_installs_nothing() {
        assert_eq!(install(&[]), Ok(()));
    }
}
