//! Users, tokens, invitations, groups, and the audit log of it all.

use std::time::Duration;

use ::broker::{Broker, BrokerConfig};
use cloud::credentials::{self, hash_token, new_token};
use contract::access::{Reach, Role};
use reqwest::StatusCode;
use rumqttc::{AsyncClient, ConnectReturnCode, ConnectionError, Event, MqttOptions, Packet};
use sea_orm::ConnectionTrait as _;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::world::{Api, Running, World, config};

const OK: StatusCode = StatusCode::OK;
const NO_CONTENT: StatusCode = StatusCode::NO_CONTENT;
const CREATED: StatusCode = StatusCode::CREATED;
const UNAUTHORIZED: StatusCode = StatusCode::UNAUTHORIZED;
const FORBIDDEN: StatusCode = StatusCode::FORBIDDEN;

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

async fn log_in(api: &Api, name: &str, secret: &str) -> Result<Api, StatusCode> {
    let (status, session) = api.with("").send("POST", "/login", json!({"name": name, "password": secret})).await;
    if status == OK { Ok(api.with(&text(&session["token"]))) } else { Err(status) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_logs_in_changes_and_leaves() {
    let world = World::new();
    let cloud = world.cloud().await;
    let admin = &cloud.api;
    let eve = json!({"role": "operator", "password": "correct horse"});
    let (status, error) = admin.send("PUT", "/users/eve", json!({"role": "operator"})).await;
    assert_eq!((status, &error["field"]), (StatusCode::BAD_REQUEST, &json!("password")));
    for bad in ["short", "eve1234567"] {
        let (status, _) = admin.send("PUT", "/users/eve", json!({"role": "operator", "password": bad})).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{bad}");
    }
    assert_eq!(admin.send("PUT", "/users/eve", eve).await.0, OK);
    assert_eq!(log_in(admin, "eve", "wrong horse").await.err(), Some(UNAUTHORIZED));
    assert_eq!(log_in(admin, "nobody", "correct horse").await.err(), Some(UNAUTHORIZED));
    let mine = log_in(admin, "eve", "correct horse").await.unwrap();
    assert_eq!(mine.get("/me").await, json!({"name": "eve", "role": "operator", "user": true}));

    // A token of hers never does more than she, and goes with her.
    assert_eq!(mine.send("POST", "/tokens", json!({"name": "laptop", "role": "admin"})).await.0, FORBIDDEN);
    let (status, issued) = mine.send("POST", "/tokens", json!({"name": "laptop", "role": "operator"})).await;
    assert_eq!(status, CREATED, "{issued}");
    let laptop = admin.with(&text(&issued["token"]));
    assert_eq!(laptop.get("/me").await["role"], "operator");
    assert_eq!(mine.get("/tokens").await.as_array().unwrap().len(), 1, "she sees her own");
    assert!(admin.get("/tokens").await.as_array().unwrap().len() > 5, "an admin sees all");
    assert_eq!(mine.call("DELETE", "/tokens/admin", Vec::new()).await.0, StatusCode::NOT_FOUND);
    assert_eq!(admin.send("PUT", "/users/eve", json!({"role": "viewer"})).await.0, OK);
    assert_eq!(laptop.get("/me").await["role"], "viewer", "at once");
    assert_eq!(mine.get("/me").await["role"], "viewer", "at once");

    let change = json!({"old": "wrong horse", "new": "battery staple"});
    assert_eq!(mine.send("PUT", "/me/password", change).await.0, UNAUTHORIZED);
    let change = json!({"old": "correct horse", "new": "battery staple"});
    assert_eq!(mine.send("PUT", "/me/password", change).await.0, NO_CONTENT);
    assert_eq!(mine.call("GET", "/me", Vec::new()).await.0, UNAUTHORIZED, "the old password's session ends");
    assert!(log_in(admin, "eve", "correct horse").await.is_err());
    let mine = log_in(admin, "eve", "battery staple").await.unwrap();

    assert_eq!(admin.send("PUT", "/users/eve", json!({"role": "viewer", "disabled": true})).await.0, OK);
    for api in [&mine, &laptop] {
        assert_eq!(api.call("GET", "/me", Vec::new()).await.0, UNAUTHORIZED);
    }
    assert_eq!(admin.send("PUT", "/users/eve", json!({"role": "viewer"})).await.0, OK);
    assert_eq!(laptop.get("/me").await["name"], "laptop");
    assert_eq!(admin.call("DELETE", "/users/eve", Vec::new()).await.0, NO_CONTENT);
    for api in [&mine, &laptop] {
        assert_eq!(api.call("GET", "/me", Vec::new()).await.0, UNAUTHORIZED);
    }

    // Nothing of it is stored in the clear.
    for file in ["cloud/cloud.db", "cloud/cloud.db-wal", "credentials.json"] {
        let bytes = std::fs::read(world.dir.path().join(file)).unwrap_or_default();
        for secret in ["battery staple", "correct horse", issued["token"].as_str().unwrap()] {
            assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()), "{file} has {secret}");
        }
    }
    cloud.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_limit_what_is_seen_and_commanded() {
    let world = World::new();
    let cloud = world.cloud().await;
    let admin = &cloud.api;
    assert_eq!(admin.send("PUT", "/groups/hall", json!(["bench"])).await.0, NO_CONTENT);
    let eve = json!({"role": "operator", "groups": ["hall"], "password": "correct horse"});
    assert_eq!(admin.send("PUT", "/users/eve", eve).await.0, OK);
    let unknown = json!({"role": "operator", "groups": ["nowhere"]});
    assert_eq!(admin.send("PUT", "/users/eve", unknown).await.0, StatusCode::BAD_REQUEST);
    let mine = log_in(admin, "eve", "correct horse").await.unwrap();
    assert_eq!(mine.get("/me").await["relays"], json!(["bench"]));
    let relay = world.relay();
    relay.birth(&["a"]).await;
    admin.until("/relays", |relays| relays.as_array().is_some_and(|relays| relays.len() == 1)).await;
    assert_eq!(mine.get("/relays").await.as_array().unwrap().len(), 1);
    assert_eq!(mine.call("GET", "/relays/other", Vec::new()).await.0, FORBIDDEN);
    assert_eq!(mine.call("GET", "/commands?relay=other", Vec::new()).await.0, FORBIDDEN);
    let command = json!({"verb": "rescan"});
    assert_eq!(mine.send("POST", "/relays/bench/commands", command.clone()).await.0, StatusCode::ACCEPTED);
    assert_eq!(mine.send("POST", "/relays/other/commands", command).await.0, FORBIDDEN);
    // A token that she makes has her limits.
    let (_, issued) = mine.send("POST", "/tokens", json!({"name": "laptop", "role": "operator"})).await;
    assert_eq!(admin.with(&text(&issued["token"])).get("/me").await["relays"], json!(["bench"]));
    assert_eq!(admin.send("PUT", "/groups/hall", json!(["other"])).await.0, NO_CONTENT);
    assert_eq!(mine.get("/relays").await, json!([]), "at once");
    assert_eq!(mine.get("/devices").await, json!([]));
    assert_eq!(mine.get("/commands").await, json!([]));
    let file = credentials::load(&world.dir.path().join("credentials.json")).unwrap();
    let laptop = file.identities.iter().find(|credential| credential.name == "laptop").unwrap();
    assert_eq!(file.identity(laptop).reach, Reach::Only(["other".parse().unwrap()].into()));
    cloud.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_token_is_used_once() {
    let world = World::new();
    let cloud = world.cloud().await;
    let (admin, anybody) = (&cloud.api, cloud.api.with(""));
    let invite = async |body: Value| {
        let (status, issued) = admin.send("POST", "/invitations", body).await;
        assert_eq!(status, CREATED, "{issued}");
        (text(&issued["join"]), issued["view"]["id"].as_i64().unwrap())
    };
    let join = async |join: &str, secret: &str| {
        anybody.send("POST", "/join", json!({"join": join, "token_sha256": hash_token(secret)})).await
    };
    let (attic, _) = invite(json!({"guest": "relay", "name": "attic"})).await;
    let (status, joined) = join(&attic, "mine").await;
    assert_eq!(status, OK, "{joined}");
    assert_eq!((&joined["name"], &joined["relay"]), (&json!("relay-attic"), &json!("attic")));
    assert_eq!(joined["trusted"], json!([cloud.public_key]));
    assert_eq!(join(&attic, "mine").await.0, OK, "the answer was lost");
    assert_eq!(join(&attic, "another's").await.0, UNAUTHORIZED, "a replay");
    assert_eq!(admin.with("mine").call("GET", "/me", Vec::new()).await.0, FORBIDDEN, "known, and no person");
    // A relay that was invited anew is the only one with its name.
    let (again, _) = invite(json!({"guest": "relay", "name": "attic"})).await;
    let (taken, _) = invite(json!({"guest": "relay", "name": "cellar"})).await;
    assert_eq!(join(&taken, "mine").await.0, StatusCode::CONFLICT, "another relay's token");
    assert_eq!(join(&again, "newer").await.0, OK);
    assert_eq!(admin.with("mine").call("GET", "/me", Vec::new()).await.0, UNAUTHORIZED);
    assert_eq!(join(&attic, "mine").await.0, OK, "it was used for this");
    assert_eq!(admin.with("mine").call("GET", "/me", Vec::new()).await.0, UNAUTHORIZED, "and has no second effect");
    // Another name with the same secret.
    let bent = again.replace("attic", "bench");
    assert_eq!(join(&bent, "x").await.0, UNAUTHORIZED);
    let (withdrawn, id) = invite(json!({"guest": "relay", "name": "shed"})).await;
    assert_eq!(admin.call("DELETE", &format!("/invitations/{id}"), Vec::new()).await.0, NO_CONTENT);
    assert_eq!(join(&withdrawn, "x").await.0, UNAUTHORIZED);
    let (expired, id) = invite(json!({"guest": "relay", "name": "shed", "valid_s": 1})).await;
    let open = |list: &Value| list.as_array().unwrap().iter().any(|open| open["id"] == id);
    admin.until("/invitations", |list| !open(list)).await;
    assert_eq!(join(&expired, "x").await.0, UNAUTHORIZED);
    // A person chooses a password.
    let (eve, _) = invite(json!({"guest": "user", "name": "eve", "role": "operator"})).await;
    let (status, _) = anybody.send("POST", "/join", json!({"join": eve, "password": "short"})).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "and may choose again");
    assert_eq!(anybody.send("POST", "/join", json!({"join": eve, "password": "correct horse"})).await.0, OK);
    assert_eq!(anybody.send("POST", "/join", json!({"join": eve, "password": "battery staple"})).await.0, UNAUTHORIZED);
    assert_eq!(log_in(admin, "eve", "correct horse").await.unwrap().get("/me").await["role"], "operator");
    assert_eq!(
        admin.send("POST", "/invitations", json!({"guest": "user", "name": "eve"})).await.0,
        StatusCode::CONFLICT
    );
    // Guessing is slowed down.
    let mut tries = 0;
    while join(&bent, "x").await.0 != StatusCode::TOO_MANY_REQUESTS {
        tries += 1;
        assert!(tries < 50, "guesses are never refused");
    }
    cloud.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_file_from_before_brings_nobody_back() {
    let world = World::new();
    let path = world.dir.path().join("credentials.json");
    let cloud = world.cloud().await;
    let (_, issued) = cloud.api.send("POST", "/tokens", json!({"name": "old", "role": "viewer"})).await;
    let before = std::fs::read(&path).unwrap();
    assert_eq!(cloud.api.call("DELETE", "/tokens/old", Vec::new()).await.0, NO_CONTENT);
    cloud.stop().await;
    // As if the cloud had been killed between database and file; and somebody made a token meanwhile.
    credentials::write_private(&path, &before).unwrap();
    let added = credentials::add(&path, "meanwhile", Role::Viewer).unwrap();
    let cloud = world.cloud().await;
    assert_eq!(cloud.api.with(&text(&issued["token"])).call("GET", "/me", Vec::new()).await.0, UNAUTHORIZED);
    assert_eq!(cloud.api.with(&added).get("/me").await["name"], "meanwhile");
    // A lost file is written again, with everybody in it.
    std::fs::remove_file(&path).unwrap();
    cloud.stop().await;
    let cloud = world.cloud().await;
    assert_eq!(cloud.api.with(&added).get("/me").await["name"], "meanwhile");
    cloud.stop().await;
}

/// The embedded broker on the folder of a world.
async fn embedded(world: &World) -> (u16, oneshot::Sender<()>, tokio::task::JoinHandle<()>) {
    let broker = BrokerConfig::new("127.0.0.1:0".parse().unwrap(), world.dir.path());
    let broker = Broker::bind(broker).await.unwrap();
    let port = broker.local_addr().port();
    let (stop, stopped) = oneshot::channel::<()>();
    let task = tokio::spawn(async move {
        broker.serve(async { drop(stopped.await) }).await.unwrap();
    });
    (port, stop, task)
}

/// Connects once; what the broker says.
async fn connect(port: u16, user: &str, token: &str) -> Result<rumqttc::EventLoop, ConnectionError> {
    let mut options = MqttOptions::new(format!("{user}-test"), "127.0.0.1", port);
    options.set_credentials(user, token);
    let (client, mut events) = AsyncClient::new(options, 10);
    // The connection lives as long as the loop is polled; without a client it would end.
    std::mem::forget(client);
    loop {
        let event =
            tokio::time::timeout(Duration::from_secs(60), events.poll()).await.expect("the broker is silent")?;
        if let Event::Incoming(Packet::ConnAck(_)) = event {
            return Ok(events);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_was_enrolled_connects_at_the_first_try_and_a_revoked_one_is_thrown_out() {
    let world = World::new();
    let (port, stop, broker) = embedded(&world).await;
    let mut config = config(world.dir.path(), port);
    config.client_id = "cloud-of-people".into();
    let cloud = Running::start(config, &world.tokens).await;
    let (admin, anybody) = (&cloud.api, cloud.api.with(""));
    for number in 0..200 {
        let name = format!("relay-{number}");
        let (status, issued) = admin.send("POST", "/invitations", json!({"guest": "relay", "name": name})).await;
        assert_eq!(status, CREATED, "{issued}");
        let token = new_token().unwrap();
        let join = json!({"join": issued["join"], "token_sha256": hash_token(&token)});
        let (status, joined) = anybody.send("POST", "/join", join).await;
        assert_eq!(status, OK, "{joined}");
        if let Err(error) = connect(port, &text(&joined["name"]), &token).await {
            panic!("number {number}: {error}");
        }
        if number % 10 == 0 {
            let (_, issued) =
                admin.send("POST", "/tokens", json!({"name": format!("token-{number}"), "role": "viewer"})).await;
            connect(port, &format!("token-{number}"), &text(&issued["token"])).await.unwrap();
        }
    }
    // On a live connection: revoked, expired, demoted.
    let issue = async |name: &str, more: Value| {
        let mut wanted = json!({"name": name, "role": "operator"});
        wanted.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let (_, issued) = admin.send("POST", "/tokens", wanted).await;
        text(&issued["token"])
    };
    let revoked = issue("to-be-revoked", json!({})).await;
    let expiring = issue("to-expire", json!({"valid_s": 2})).await;
    let mut first = connect(port, "to-be-revoked", &revoked).await.unwrap();
    let mut second = connect(port, "to-expire", &expiring).await.unwrap();
    let token = new_token().unwrap();
    let (_, issued) = admin.send("POST", "/invitations", json!({"guest": "relay", "name": "bad"})).await;
    anybody.send("POST", "/join", json!({"join": issued["join"], "token_sha256": hash_token(&token)})).await;
    let mut third = connect(port, "relay-bad", &token).await.unwrap();
    assert_eq!(admin.call("DELETE", "/tokens/to-be-revoked", Vec::new()).await.0, NO_CONTENT);
    assert_eq!(admin.call("POST", "/relays/bad/revoke", Vec::new()).await.0, NO_CONTENT);
    for (events, user, token) in [
        (&mut first, "to-be-revoked", &revoked),
        (&mut second, "to-expire", &expiring),
        (&mut third, "relay-bad", &token),
    ] {
        let end = async { while events.poll().await.is_ok() {} };
        tokio::time::timeout(Duration::from_secs(60), end).await.unwrap_or_else(|_| panic!("{user} stays connected"));
        let again = connect(port, user, token).await;
        let refused = ConnectReturnCode::BadUserNamePassword;
        assert!(matches!(again, Err(ConnectionError::ConnectionRefused(code)) if code == refused), "{user}");
    }
    cloud.stop().await;
    drop(stop);
    broker.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_people_do_is_in_the_audit_log_for_ever() {
    let world = World::new();
    let cloud = world.cloud().await;
    let admin = &cloud.api;
    let relay = world.relay();
    relay.birth(&["a"]).await;
    admin.until("/relays", |relays| relays.as_array().is_some_and(|relays| relays.len() == 1)).await;
    assert_eq!(admin.send("PUT", "/users/eve", json!({"role": "viewer", "password": "correct horse"})).await.0, OK);
    assert!(log_in(admin, "eve", "wrong").await.is_err());
    let mine = log_in(admin, "eve", "correct horse").await.unwrap();
    assert_eq!(mine.send("POST", "/relays/bench/commands", json!({"verb": "rescan"})).await.0, FORBIDDEN);
    let accepted = admin.send("POST", "/relays/bench/commands", json!({"id": "c-1", "verb": "rescan"})).await;
    assert_eq!(accepted.0, StatusCode::ACCEPTED);
    assert_eq!(admin.send("POST", "/tokens", json!({"name": "x", "role": "viewer"})).await.0, CREATED);
    assert_eq!(admin.call("DELETE", "/tokens/x", Vec::new()).await.0, NO_CONTENT);
    assert_eq!(mine.call("POST", "/logout", Vec::new()).await.0, NO_CONTENT);

    let log = admin.get("/audit?limit=100").await;
    let lines: Vec<(String, String, String, String)> = log
        .as_array()
        .unwrap()
        .iter()
        .rev()
        .map(|line| (text(&line["actor"]), text(&line["action"]), text(&line["target"]), text(&line["result"])))
        .collect();
    let expected = [
        ("admin", "user.create", "eve", "ok"),
        ("", "login", "eve", "unauthorized"),
        ("eve", "login", "eve", "ok"),
        ("eve", "POST /relays/{relay}/commands", "bench", "forbidden"),
        ("admin", "command.rescan", "bench", "ok"),
        ("admin", "token.create", "x", "ok"),
        ("admin", "token.revoke", "x", "ok"),
        ("eve", "logout", "eve", "ok"),
    ];
    let lines: Vec<(&str, &str, &str, &str)> = lines.iter().map(|(a, b, c, d)| (&**a, &**b, &**c, &**d)).collect();
    assert_eq!(lines, expected);
    assert!(log.as_array().unwrap().iter().all(|line| line["address"] == "127.0.0.1" && line["source"] == "api"));

    let count = async |query: &str| admin.get(&format!("/audit?{query}")).await.as_array().unwrap().len();
    assert_eq!(count("actor=eve").await, 3);
    assert_eq!(count("action=token.").await, 2);
    assert_eq!(count("target=bench&result=forbidden").await, 1);
    assert_eq!(count("actor=&source=page").await, 0);
    assert_eq!(count("until=2020-01-01T00:00:00Z").await, 0);
    let all = text(&admin.call("GET", "/audit/export", Vec::new()).await.1);
    assert_eq!(all.lines().count(), expected.len());
    assert!(all.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()));
    let csv = text(&admin.call("GET", "/audit/export?format=csv&actor=eve", Vec::new()).await.1);
    assert_eq!(csv.lines().count(), 4, "{csv}");
    assert!(!all.contains("correct horse") && !all.contains("wrong horse"));
    cloud.stop().await;

    let database = open_database(&world).await;
    for statement in ["UPDATE audit SET actor = 'nobody'", "DELETE FROM audit"] {
        let refused = database.execute_unprepared(statement).await.unwrap_err();
        assert!(refused.to_string().contains("only added to"), "{refused}");
    }
}

/// The database as somebody with access to its file opens it.
async fn open_database(world: &World) -> sea_orm::DatabaseConnection {
    let path = world.dir.path().join("cloud/cloud.db");
    sea_orm::Database::connect(format!("sqlite://{}", path.display())).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_over_mqtt_are_in_the_audit_log_though_the_cloud_was_away() {
    let world = World::new();
    let (port, stop, broker) = embedded(&world).await;
    let mut config = config(world.dir.path(), port);
    config.client_id = "cloud-of-people".into();
    let publish = async |payload: &str, topic: &str| {
        let mut options = MqttOptions::new("console", "127.0.0.1", port);
        options.set_credentials("olga", &world.tokens.operator);
        let (client, mut events) = AsyncClient::new(options, 10);
        client.publish(topic, rumqttc::QoS::AtLeastOnce, false, payload).await.unwrap();
        let acknowledged =
            async { while !matches!(events.poll().await.unwrap(), Event::Incoming(Packet::PubAck(_))) {} };
        tokio::time::timeout(Duration::from_secs(60), acknowledged).await.unwrap();
    };
    let commands = "tinymlaas/v1/relays/bench/commands";
    publish(r#"{"id":"early","verb":"install","device":"a","model":"digits"}"#, commands).await;
    let cloud = Running::start(config.clone(), &world.tokens).await;
    let only = |count: usize| move |log: &Value| log.as_array().is_some_and(|log| log.len() == count);
    let log = cloud.api.until("/audit?source=mqtt", only(1)).await;
    let line = &log[0];
    assert_eq!((&line["actor"], &line["role"]), (&json!("olga"), &json!("operator")));
    assert_eq!((&line["action"], &line["target"]), (&json!("command.install"), &json!("bench/a")));
    assert_eq!((&line["detail"]["command"], &line["detail"]["model"]), (&json!("early"), &json!("digits")));
    assert_eq!(line["detail"]["client"], "console");
    publish("no command", commands).await;
    publish(r#"{"id":"c","verb":"compile","model":"unheard-of"}"#, "tinymlaas/v1/cloud/commands").await;
    let log = cloud.api.until("/audit?source=mqtt", only(3)).await;
    assert_eq!((&log[1]["action"], &log[1]["result"]), (&json!("command"), &json!("malformed")));
    assert_eq!((&log[0]["action"], &log[0]["target"]), (&json!("cloud.compile"), &json!("unheard-of")));
    cloud.stop().await;
    publish(r#"{"id":"late","verb":"rescan"}"#, commands).await;
    let cloud = Running::start(config, &world.tokens).await;
    cloud.api.until("/audit?source=mqtt", only(4)).await;
    cloud.stop().await;
    drop(stop);
    broker.await.unwrap();
}
