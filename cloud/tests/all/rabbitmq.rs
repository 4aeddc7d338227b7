//! A real RabbitMQ that asks the cloud: the same rules as on the embedded broker.

use cloud::{Cloud, credentials};
use contract::access::Role;
use reqwest::StatusCode;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::foreign::{Count, Forbidden, Login, everything};
use crate::rabbitmq_server::{RabbitMq, free_ports, installed};
use crate::world::{self, Api};

#[tokio::test(flavor = "multi_thread")]
async fn every_identity_tries_every_topic_on_rabbitmq() {
    if !installed() {
        return;
    }
    world::start_log();
    let dir = tempfile::Builder::new().prefix("cloud-test-").tempdir().unwrap();
    let path = dir.path().join("credentials.json");
    let relay = |name: &str| Role::Relay(name.parse().unwrap());
    let mut logins: Vec<(String, String)> = [
        ("admin", Role::Admin),
        ("operator", Role::Operator),
        ("viewer", Role::Viewer),
        ("cloud", Role::Cloud),
        ("bench", relay("bench")),
        ("other", relay("other")),
    ]
    .into_iter()
    .map(|(name, role)| (name.to_owned(), credentials::add(&path, name, role).unwrap()))
    .collect();
    let token = |logins: &[(String, String)], name: &str| logins.iter().find(|(own, _)| own == name).unwrap().1.clone();
    credentials::write_private(&dir.path().join("cloud-token"), token(&logins, "cloud").as_bytes()).unwrap();
    let [port] = free_ports();
    let cloud = Cloud::open(world::config(dir.path(), port)).await.unwrap();
    let stop = CancellationToken::new();
    let (address, task) = world::serve(cloud, stop.clone()).await;
    let api = Api::new(address, &token(&logins, "admin"));
    assert_eq!(api.send("PUT", "/groups/hall", json!(["bench"])).await.0, StatusCode::NO_CONTENT);
    for role in ["operator", "viewer"] {
        let name = format!("hall-{role}");
        let wanted = json!({"name": name, "role": role, "groups": ["hall"]});
        let (status, issued) = api.send("POST", "/tokens", wanted).await;
        assert_eq!(status, StatusCode::CREATED);
        logins.push((name, issued["token"].as_str().unwrap().to_owned()));
    }
    let secret = credentials::new_token().unwrap();
    let (folder, base, password) = (dir.path().join("rabbitmq"), api.base().to_owned(), secret.clone());
    let start = move || RabbitMq::start(&folder, port, &base, ("tester", &password));
    let _broker = tokio::task::spawn_blocking(start).await.unwrap();
    api.until("/health", |health| health["status"] == "ok").await;

    let login = |name: &str, token: &str| Login { port, name: name.into(), token: token.into() };
    for (name, token) in [("admin", "wrong"), ("nobody", "wrong"), ("admin", logins[1].1.as_str())] {
        assert!(login(name, token).connect("guesses").await.is_err(), "'{name}' is let in");
    }
    let file = credentials::load(&path).unwrap();
    let tries: Vec<_> = logins
        .iter()
        .map(|(name, token)| {
            let credential = file.identities.iter().find(|credential| credential.name == *name).unwrap();
            (file.identity(credential), login(name, token))
        })
        .collect();
    let count = everything(&login("tester", &secret), &tries, Forbidden::Refused).await;
    let Count { tried, refused, wills, refused_wills } = count;
    println!("RabbitMQ: {tried} tried, {refused} refused; {wills} wills, {refused_wills} refused");
    stop.cancel();
    task.await.unwrap();
}
