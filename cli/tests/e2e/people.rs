//! Users, tokens, groups, invitations and the audit log, from the command line.

use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

use crate::fleet::{BINARY, Fleet};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A relay of its own, in its own folder; killed when dropped.
struct Machine(Child);

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The command line with another token.
fn with_token(fleet: &Fleet, user: &str, token: &str, args: &[&str]) -> Output {
    Command::new(BINARY)
        .args(args)
        .args(["--api", &format!("http://127.0.0.1:{}", fleet.http)])
        .args(["--mqtt", &format!("127.0.0.1:{}", fleet.mqtt), "--user", user])
        .env("TINYMLAAS_TOKEN", token)
        .output()
        .unwrap()
}

#[test]
fn from_an_invitation_to_a_relay_and_out_again() {
    let fleet = Fleet::start(&["--boards", "1"]);
    let issued = fleet.cli_json(&["relay", "invite", "attic", "--valid", "10m"]);
    let join = issued["join"].as_str().unwrap().to_owned();
    let elsewhere = tempfile::Builder::new().prefix("tinymlaas-e2e-").tempdir().unwrap();
    let enroll = |join: &str| {
        Command::new(BINARY)
            .args(["relay", "enroll", "--api", &format!("http://127.0.0.1:{}", fleet.http)])
            .args(["--data-dir", elsewhere.path().to_str().unwrap()])
            .env("TINYMLAAS_JOIN", join)
            .output()
            .unwrap()
    };
    let other_key = join.replacen(&join[6..28], &"A".repeat(22), 1);
    let output = enroll(&other_key);
    assert_eq!(output.status.code(), Some(1), "an answer from whoever has not the key of the join token");
    assert!(text(&output.stderr).contains("signing key"), "{}", text(&output.stderr));
    let output = enroll(&join);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let own = elsewhere.path().join("relay/attic/token");
    let token = std::fs::read_to_string(&own).unwrap();
    for name in ["token", "trusted.pub", "client.key"] {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(elsewhere.path().join("relay/attic").join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{name}");
    }
    let output = enroll(&join);
    assert_eq!(output.status.code(), Some(4), "a join token works once: {}", text(&output.stderr));
    assert_eq!(std::fs::read_to_string(&own).unwrap(), token, "and what there was stays");

    let relay = Command::new(BINARY)
        .args(["relay", "run", "--name", "attic", "--mqtt", &format!("127.0.0.1:{}", fleet.mqtt)])
        .args(["--data-dir", elsewhere.path().to_str().unwrap()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _machine = Machine(relay);
    let online = |fleet: &Fleet| {
        let relays = fleet.cli_json(&["relay", "list"]);
        relays.as_array().unwrap().iter().find(|view| view["relay"] == "attic").map(|view| view["online"] == true)
    };
    fleet.until(60, "attic is online", |fleet| online(fleet) == Some(true));

    // Somebody of the group 'home' sees and commands attic alone.
    assert!(fleet.cli(&["group", "set", "home", "attic"]).status.success());
    let issued =
        fleet.cli_json(&["token", "create", "script", "--role", "operator", "--group", "home", "--valid", "1h"]);
    let script = issued["token"].as_str().unwrap().to_owned();
    let output = with_token(&fleet, "script", &script, &["relay", "list", "--json"]);
    let relays: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(relays.as_array().unwrap().len(), 1, "{relays}");
    let output = with_token(&fleet, "script", &script, &["relay", "rescan", "attic"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let output = with_token(&fleet, "script", &script, &["relay", "rescan", "demo"]);
    assert_eq!(output.status.code(), Some(4), "{}", text(&output.stderr));
    assert!(fleet.cli(&["token", "revoke", "script"]).status.success());
    let output = with_token(&fleet, "script", &script, &["relay", "list"]);
    assert_eq!(output.status.code(), Some(4), "{}", text(&output.stderr));

    assert!(fleet.cli(&["relay", "revoke", "attic"]).status.success());
    fleet.until(60, "attic is thrown out", |fleet| online(fleet) == Some(false));

    let password = elsewhere.path().join("password");
    std::fs::write(&password, "correct horse battery\n").unwrap();
    let file = password.to_str().unwrap();
    let output = fleet.cli(&["user", "add", "eve", "--role", "operator", "--password-file", file]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(fleet.cli(&["user", "change", "eve", "--role", "viewer", "--group", "home"]).status.success());
    let users = fleet.cli_json(&["user", "list"]);
    assert_eq!((&users[0]["role"], &users[0]["groups"][0]), (&"viewer".into(), &"home".into()));
    let shown = text(&fleet.cli(&["token", "list"]).stdout);
    assert!(shown.contains("relay-demo") && !shown.contains("script") && !shown.contains("attic"), "{shown}");
    assert!(fleet.cli(&["user", "remove", "eve"]).status.success());
    assert!(fleet.cli(&["group", "remove", "home"]).status.success());

    let actions: Vec<String> = text(&fleet.cli(&["audit", "--export", "jsonl"]).stdout)
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["action"].as_str().unwrap().to_owned())
        .collect();
    for action in [
        "relay.invite",
        "relay.enroll",
        "group.set",
        "token.create",
        "command.rescan",
        "token.revoke",
        "relay.revoke",
        "user.create",
    ] {
        assert!(actions.iter().any(|seen| seen == action), "{action} is not in {actions:?}");
    }
    let shown = text(&fleet.cli(&["audit", "--actor", "script"]).stdout);
    assert!(shown.contains("mqtt 127.0.0.1") && shown.contains("command.rescan"), "{shown}");
    let all = text(&std::fs::read(fleet.dir.join("logs/cloud.log")).unwrap_or_default())
        + &text(&std::fs::read(fleet.dir.join("logs/broker.log")).unwrap_or_default());
    assert!(!all.contains(&script) && !all.contains(&join) && !all.contains(token.trim()), "a secret is in a log");
}

#[test]
fn a_revoked_relay_of_this_machine_stays_out_until_an_admin_lets_it_in() {
    let mut fleet = Fleet::start(&["--boards", "1"]);
    let online = |fleet: &Fleet| fleet.cli_json(&["relay", "list"])[0]["online"] == true;
    assert!(online(&fleet));
    assert!(fleet.cli(&["relay", "revoke", "demo"]).status.success());
    fleet.until(60, "demo is thrown out", |fleet| !online(fleet));
    fleet.stop();
    fleet.up();
    assert!(fleet.said("demo was revoked"), "{}", fleet.output.lock().unwrap());
    assert!(fleet.processes("relay").is_empty() && !online(&fleet), "a new start lets nobody in again");

    let join = fleet.cli_json(&["relay", "invite", "demo"])["join"].as_str().unwrap().to_owned();
    let enrolled = Command::new(BINARY)
        .args(["relay", "enroll", "--api", &format!("http://127.0.0.1:{}", fleet.http)])
        .args(["--data-dir", fleet.dir.to_str().unwrap()])
        .env("TINYMLAAS_JOIN", join)
        .output()
        .unwrap();
    assert!(enrolled.status.success(), "{}", text(&enrolled.stderr));
    fleet.stop();
    fleet.up();
    assert!(!fleet.said("was revoked"), "{}", fleet.output.lock().unwrap());
    fleet.until(60, "demo is back", online);
}
