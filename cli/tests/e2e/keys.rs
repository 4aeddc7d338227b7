//! The fleet's signing key is replaced while everything runs.

use std::process::Command;

use serde_json::json;

use crate::fleet::{BINARY, Fleet};

#[test]
fn relays_follow_a_new_key() {
    let mut fleet = Fleet::start(&["--demo", "--boards", "2"]);
    fleet.until(120, "a prediction", |fleet| !fleet.readings("board-1", 1).is_empty());
    let invited = fleet.cli_json(&["relay", "invite", "attic", "--valid", "10m"])["join"].as_str().unwrap().to_owned();
    let before = fleet.cli_json(&["key", "list"]);
    let first = before["keys"][0]["key_id"].clone();
    let rotated = fleet.cli_json(&["key", "rotate"]);
    assert_eq!(rotated["version"], 2);
    assert_ne!(rotated["key_id"], first);
    let follows =
        |version: u64| move |fleet: &Fleet| fleet.cli_json(&["key", "list"])["relays"][0]["version"] == version;
    fleet.until(60, "the relay follows list 2", follows(2));
    let output = fleet.cli(&["install", "digits", "--device", "demo/board-1"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let shown = String::from_utf8(fleet.cli(&["key", "list"]).stdout).unwrap();
    assert!(shown.contains("in use") && shown.contains("Every relay follows"), "{shown}");

    // Who was invited before the rotation trusts the old key first, and finds the new one by itself.
    let elsewhere = tempfile::Builder::new().prefix("tinymlaas-e2e-").tempdir().unwrap();
    let output = Command::new(BINARY)
        .args(["relay", "enroll", "--api", &format!("http://127.0.0.1:{}", fleet.http)])
        .args(["--data-dir", elsewhere.path().to_str().unwrap()])
        .env("TINYMLAAS_JOIN", invited)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    // Killed in the middle of nothing in particular; a second key, and who did it is on record.
    fleet.kill_up();
    fleet.up();
    fleet.until(60, "the relay follows list 2 still", follows(2));
    assert_eq!(fleet.cli_json(&["key", "rotate"])["version"], 3);
    fleet.until(60, "the relay follows list 3", follows(3));
    let newest = |fleet: &Fleet| fleet.readings("board-2", 1).first().map(|reading| reading.head.at);
    let seen = newest(&fleet);
    fleet.until(60, "more predictions", |fleet| newest(fleet) > seen);
    let lines = fleet.cli_json(&["audit", "--action", "key.rotate"]);
    let lines = lines.as_array().unwrap();
    assert_eq!(lines.len(), 2);
    assert_eq!(
        (&lines[0]["actor"], &lines[0]["source"], &lines[0]["result"]),
        (&json!("admin"), &json!("cli"), &json!("ok"))
    );
}
