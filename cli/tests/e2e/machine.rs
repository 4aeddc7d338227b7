//! What is wrong with the machine is said in one sentence, with what to do, and an exit code that is not 0.

use std::net::TcpListener;
use std::process::{Command, Output, Stdio};

use crate::fleet::{BINARY, free_ports};

fn up(args: &[&str], path: Option<&str>) -> Output {
    let mut command = Command::new(BINARY);
    command.arg("up").args(args).stdin(Stdio::null()).env_remove("CC");
    if let Some(path) = path {
        command.env("PATH", path);
    }
    command.output().unwrap()
}

fn one_sentence(output: &Output, words: &[&str]) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(7), "{text}");
    assert_eq!(text.trim().lines().count(), 1, "one sentence: {text}");
    for word in words {
        assert!(text.contains(word), "'{word}' is not in: {text}");
    }
}

#[test]
fn a_port_in_use() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let (free, _) = free_ports();
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let free = free.to_string();
    let common = ["--data-dir", data.to_str().unwrap()];
    let output = up(&[&common[..], &["--mqtt-port", &port, "--http-port", &free]].concat(), None);
    one_sentence(&output, &[&port, "another program", "--mqtt-port"]);
    let output = up(&[&common[..], &["--mqtt-port", &free, "--http-port", &port]].concat(), None);
    one_sentence(&output, &[&port, "another program", "--http-port"]);
}

#[test]
fn a_folder_that_cannot_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a-file");
    std::fs::write(&file, "in the way").unwrap();
    let data = file.join("data");
    let output = up(&["--data-dir", data.to_str().unwrap()], None);
    one_sentence(&output, &[data.to_str().unwrap(), "--data-dir"]);
}

#[test]
fn no_compiler() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let (mqtt, http) = free_ports();
    let (mqtt, http) = (mqtt.to_string(), http.to_string());
    let args = ["--data-dir", data.to_str().unwrap(), "--mqtt-port", &mqtt, "--http-port", &http];
    let output = up(&args, Some("/nonexistent"));
    one_sentence(&output, &["no C compiler", "apt install gcc", "--boards 0"]);
}

#[test]
fn a_folder_in_use() {
    let fleet = crate::fleet::Fleet::start(&["--boards", "0"]);
    let (mqtt, http) = free_ports();
    let (mqtt, http) = (mqtt.to_string(), http.to_string());
    let args = ["--data-dir", fleet.dir.to_str().unwrap(), "--mqtt-port", &mqtt, "--http-port", &http];
    one_sentence(&up(&args, None), &["another 'tinymlaas up'", &fleet.pid().to_string(), "--data-dir"]);
}

/// The compilers and simulators of boards are not on the PATH, the host's own programs are.
#[test]
fn no_cross_compiler() {
    let folder = tempfile::tempdir().unwrap();
    let bin = folder.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    let path = std::env::var("PATH").unwrap();
    let cc = std::env::split_paths(&path).map(|dir| dir.join("cc")).find(|path| path.is_file()).unwrap();
    std::os::unix::fs::symlink(cc, bin.join("cc")).unwrap();
    let data = folder.path().join("data");
    let (mqtt, http) = free_ports();
    let (mqtt, http) = (mqtt.to_string(), http.to_string());
    for (board, packages) in [("uno", ["gcc-avr", "avrdude"]), ("cortex-m4", ["gcc-arm-none-eabi", "qemu-system-arm"])]
    {
        let args = ["--demo", "--board", board, "--data-dir", data.to_str().unwrap(), "--mqtt-port", &mqtt];
        let output = up(&[&args[..], &["--http-port", &http]].concat(), Some(bin.to_str().unwrap()));
        one_sentence(&output, &[&format!("'{board}'"), "apt install", packages[0], packages[1]]);
    }
}
