//! Over TLS, as from another machine.

use std::net::TcpStream;
use std::process::{Command, Output};

use crate::fleet::{BINARY, Fleet, free_ports};

/// A client that knows the authority's certificate and the admin's token, and nothing else of the data folder.
fn far(fleet: &Fleet, args: &[&str], ca: &std::path::Path, mqtts: u16, https: u16) -> Output {
    Command::new(BINARY)
        .args(args)
        .args(["--mqtt", &format!("mqtts://localhost:{mqtts}"), "--api", &format!("https://localhost:{https}")])
        .args(["--ca", ca.to_str().unwrap(), "--data-dir", "/nonexistent"])
        .env("TINYMLAAS_TOKEN", fleet.token())
        .output()
        .unwrap()
}

#[test]
fn others_come_in_over_tls_beside_two_hundred_silent_sockets() {
    let (mqtts, https) = free_ports();
    let (mqtts_arg, https_arg) = (mqtts.to_string(), https.to_string());
    let fleet = Fleet::start(&["--boards", "0", "--tls", "--mqtts-port", &mqtts_arg, "--https-port", &https_arg]);
    assert!(fleet.said("tls/ca.crt"), "{}", fleet.output.lock().unwrap());
    let ca = fleet.dir.join("tls/ca.crt");

    let silent: Vec<TcpStream> =
        (0..200).map(|n| TcpStream::connect(("127.0.0.1", if n % 2 == 0 { mqtts } else { https })).unwrap()).collect();
    let output = far(&fleet, &["health"], &ca, mqtts, https);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let output = far(&fleet, &["relay", "list", "--json"], &ca, mqtts, https);
    assert!(String::from_utf8_lossy(&output.stdout).contains("\"demo\""));
    drop(silent);

    // Whoever does not trust the authority is told so, and how to.
    let stranger = tempfile::tempdir().unwrap();
    transport::authority::Authority::open(stranger.path()).unwrap();
    let output = far(&fleet, &["health"], &stranger.path().join("ca.crt"), mqtts, https);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(text.contains("certificate") && text.contains("--ca"), "{text}");
}
