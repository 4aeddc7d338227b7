//! A real Mosquitto with the files that are written for it: the same rules as on the embedded broker.

use std::path::Path;

use cloud::{credentials, mosquitto};
use contract::Timestamp;
use contract::access::{Credential, CredentialFile, Role};
use reqwest::StatusCode;
use serde_json::json;

use crate::broker::{Broker, free_port};
use crate::foreign::{Count, Forbidden, Login, everything};
use crate::world::{self, Running, Tokens};

/// Starts Mosquitto with the files in `folder`, on a free port.
fn start(folder: &Path) -> Broker {
    let port = free_port();
    let path = folder.join("mosquitto.conf");
    let settings = std::fs::read_to_string(&path).unwrap();
    assert!(settings.contains("listener 1883 127.0.0.1\n"), "{settings}");
    std::fs::write(&path, settings.replace("listener 1883", &format!("listener {port}"))).unwrap();
    Broker::with(path, port)
}

fn known(name: &str, role: Role, groups: Option<&str>) -> (Credential, String) {
    let token = credentials::new_token().unwrap();
    let mut credential = Credential::new(name, role, credentials::hash_token(&token));
    credential.token_pbkdf2 = Some(mosquitto::hash_token(&token).unwrap());
    credential.groups = groups.map(|group| [group.to_owned()].into());
    (credential, token)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_identity_tries_every_topic_on_mosquitto() {
    let folder = tempfile::Builder::new().prefix("cloud-test-").tempdir().unwrap();
    let relay = |name: &str| Role::Relay(name.parse().unwrap());
    let everybody = [
        known("admin", Role::Admin, None),
        known("operator", Role::Operator, None),
        known("viewer", Role::Viewer, None),
        known("cloud", Role::Cloud, None),
        known("bench", relay("bench"), None),
        known("other", relay("other"), None),
        known("hall-operator", Role::Operator, Some("hall")),
        known("hall-viewer", Role::Viewer, Some("hall")),
    ];
    let mut file = CredentialFile::default();
    file.groups.insert("hall".into(), ["bench".parse().unwrap()].into());
    file.identities = everybody.iter().map(|(credential, _)| credential.clone()).collect();
    let written = mosquitto::write(folder.path(), &file, Timestamp::now()).unwrap();
    assert_eq!((written.names.len(), written.left_out.len()), (everybody.len(), 0));
    // One more than the rules know, to speak and hear everywhere.
    let token = credentials::new_token().unwrap();
    for (name, line) in [
        ("passwd", format!("tester:{}\n", mosquitto::hash_token(&token).unwrap())),
        ("acl", "\nuser tester\ntopic readwrite #\n".to_owned()),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, std::fs::read_to_string(&path).unwrap() + &line).unwrap();
    }
    let broker = start(folder.path());
    let login = |name: &str, token: &str| Login { port: broker.port, name: name.into(), token: token.into() };
    for (name, token) in [("admin", "wrong"), ("nobody", "wrong"), ("admin", everybody[1].1.as_str()), ("", "")] {
        assert!(login(name, token).connect("guesses").await.is_err(), "'{name}' is let in");
    }
    let tries: Vec<_> = everybody
        .iter()
        .map(|(credential, token)| (file.identity(credential), login(&credential.name, token)))
        .collect();
    let count = everything(&login("tester", &token), &tries, Forbidden::Narrowed).await;
    let Count { tried, refused, wills, refused_wills } = count;
    println!("Mosquitto: {tried} tried, {refused} refused; {wills} wills, {refused_wills} refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn mosquitto_learns_who_comes_and_goes() {
    let dir = tempfile::Builder::new().prefix("cloud-test-").tempdir().unwrap();
    let (path, folder) = (dir.path().join("credentials.json"), dir.path().join("mosquitto"));
    let add = |name: &str, role| credentials::add(&path, name, role).unwrap();
    let tokens = Tokens {
        admin: add("admin", Role::Admin),
        operator: add("olga", Role::Operator),
        viewer: add("victor", Role::Viewer),
        cloud: add("cloud", Role::Cloud),
        bench: add("bench", Role::Relay("bench".parse().unwrap())),
    };
    credentials::write_private(&dir.path().join("cloud-token"), tokens.cloud.as_bytes()).unwrap();
    // As the command line does before the first start.
    mosquitto::write(&folder, &credentials::load(&path).unwrap(), Timestamp::now()).unwrap();
    let broker = start(&folder);
    let mut config = world::config(dir.path(), broker.port);
    config.mosquitto = Some(folder);
    let cloud = Running::start(config, &tokens).await;
    let issue = async |name: &str, valid_s: Option<u32>| {
        let wanted = json!({"name": name, "role": "viewer", "valid_s": valid_s});
        let (status, issued) = cloud.api.send("POST", "/tokens", wanted).await;
        assert_eq!(status, StatusCode::CREATED, "{issued}");
        Login { port: broker.port, name: name.to_owned(), token: issued["token"].as_str().unwrap().to_owned() }
    };
    let revoked = issue("to-be-revoked", None).await;
    let mut connection = revoked.connect_soon("revoked").await;
    let expiring = issue("to-expire", Some(30)).await;
    let mut short = expiring.connect_soon("expiring").await;
    let staying = issue("to-stay", None).await;
    let mut stays = staying.connect_soon("staying").await;
    assert_eq!(cloud.api.call("DELETE", "/tokens/to-be-revoked", Vec::new()).await.0, StatusCode::NO_CONTENT);
    connection.thrown_out().await;
    revoked.refused_soon("revoked").await;
    short.thrown_out().await;
    expiring.refused_soon("expiring").await;
    assert!(stays.subscribe("tinymlaas/v1/cloud/events").await.unwrap(), "whoever stays is not disturbed");
    // Enrolled with a token that never left the relay.
    let (_, issued) = cloud.api.send("POST", "/invitations", json!({"guest": "relay", "name": "attic"})).await;
    let token = credentials::new_token().unwrap();
    let mut join = json!({"join": issued["join"], "token_sha256": credentials::hash_token(&token),
                          "token_pbkdf2": "$7$101$:\n$"});
    let anybody = cloud.api.with("");
    assert_eq!(anybody.send("POST", "/join", join.clone()).await.0, StatusCode::BAD_REQUEST);
    join["token_pbkdf2"] = json!(mosquitto::hash_token(&token).unwrap());
    assert_eq!(anybody.send("POST", "/join", join).await.0, StatusCode::OK);
    Login { port: broker.port, name: "relay-attic".into(), token }.connect_soon("attic").await;
    cloud.stop().await;
}
