//! Commands: written down, published until answered, once.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::json;

use crate::relay::{ROOT, listen};
use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_published_until_the_relay_answers() {
    let world = World::new();
    let cloud = world.cloud().await;
    let relay = world.relay();
    relay.birth(&["a"]).await;
    cloud.api.until("/relays", |relays| relays[0]["online"] == true).await;
    let api = cloud.api.with(&world.tokens.operator);
    let body = br#"{"verb":"identify","device":"a","note":"kept"}"#.to_vec();
    let (status, view) = api.call("POST", "/relays/bench/commands", body).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{view}");
    assert_eq!((&view["verb"], &view["device"], &view["state"]), (&json!("identify"), &json!("a"), &json!(null)));
    let id = view["command"].as_str().unwrap().to_owned();
    let first = relay.next("commands", 5, |command| command["id"] == *id).await;
    assert_eq!((&first["verb"], &first["note"]), (&json!("identify"), &json!("kept")));
    assert!(first["issued_at"].is_string());
    // The relay does not answer: it hears it again.
    relay.next("commands", 10, |command| command["id"] == *id).await;
    relay.event(1, &id, "accepted", "ok").await;
    relay.event(2, &id, "succeeded", "ok").await;
    let path = format!("/relays/bench/commands/{id}");
    let view = api.until(&path, |view| view["state"] == "succeeded").await;
    assert_eq!(view["events"].as_array().unwrap().len(), 2);
    assert_eq!(view["progress"], 1.0);
    let count = relay.all("commands").len();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(relay.all("commands").len(), count, "an answered command is not published again");
    let list = api.get("/commands?relay=bench&device=a").await;
    assert_eq!((list.as_array().unwrap().len(), &list[0]["events"]), (1, &json!([])));
    cloud.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_are_used_once() {
    let world = World::new();
    let cloud = world.cloud().await;
    let relay = world.relay();
    relay.birth(&["a"]).await;
    cloud.api.until("/relays", |relays| relays[0]["online"] == true).await;
    let post = async |body: &str| cloud.api.call("POST", "/relays/bench/commands", body.as_bytes().to_vec()).await;
    assert_eq!(post(r#"{"id":"one","verb":"rescan"}"#).await.0, StatusCode::ACCEPTED);
    assert_eq!(post(r#"{"id":"one","verb":"rescan"}"#).await.0, StatusCode::ACCEPTED, "the same again is no new one");
    let (status, error) = post(r#"{"id":"one","verb":"diagnose"}"#).await;
    assert_eq!((status, &error["code"], &error["field"]), (StatusCode::CONFLICT, &json!("conflict"), &json!("id")));
    for (body, code, field) in [
        (r#"{"verb":"fly"}"#, "unknown_verb", json!("verb")),
        (r#"{"verb":"install","device":"a"}"#, "missing_field", json!("model")),
        (r#"{"verb":"rescan","expires_at":"2001-01-01T00:00:00Z"}"#, "expired", json!("expires_at")),
        ("[]", "malformed", json!(null)),
        ("", "malformed", json!(null)),
    ] {
        let (status, error) = post(body).await;
        assert_eq!((status, &error["code"]), (StatusCode::BAD_REQUEST, &json!(code)), "{body}: {error}");
        assert_eq!(error["field"], field, "{body}");
    }
    let (status, error) = cloud.api.call("POST", "/relays/nobody/commands", br#"{"verb":"rescan"}"#.to_vec()).await;
    assert_eq!((status, &error["field"]), (StatusCode::NOT_FOUND, &json!("relay")));
    assert!(error["message"].as_str().unwrap().contains("bench"), "{error}");
    assert_eq!(cloud.api.get("/commands").await.as_array().unwrap().len(), 1);
    cloud.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_accepted_while_the_broker_is_away_arrives_and_others_are_recorded() {
    let mut world = World::new();
    let cloud = world.cloud().await;
    let relay = world.relay();
    relay.birth(&["a"]).await;
    cloud.api.until("/relays", |relays| relays[0]["online"] == true).await;
    world.broker.restart();
    let body = br#"{"id":"early","verb":"rescan"}"#.to_vec();
    assert_eq!(cloud.api.call("POST", "/relays/bench/commands", body).await.0, StatusCode::ACCEPTED);
    relay.next("sync", 15, |sync| sync["rebirth"] == true).await;
    relay.birth(&["a"]).await;
    relay.skip();
    // It may have been published before the relay was back: then it comes again.
    let heard = relay.all("commands").iter().any(|command| command["id"] == "early");
    if !heard {
        relay.next("commands", 15, |command| command["id"] == "early").await;
    }
    let (admin, _inbox, task) = listen("script", "admin", &world.tokens.admin, world.broker.port, &[], None);
    let topic = format!("{ROOT}/relays/bench/commands");
    admin.publish(topic, rumqttc::QoS::AtLeastOnce, false, r#"{"id":"by-hand","verb":"rescan"}"#).await.unwrap();
    let view = cloud.api.until("/relays/bench/commands/by-hand", |view| view["verb"] == "rescan").await;
    assert_eq!(view["state"], json!(null));
    // One that the cloud never saw is known by its events; a late event does not turn the state back.
    relay.event(2, "unseen", "succeeded", "ok").await;
    relay.event(1, "unseen", "accepted", "ok").await;
    let complete = |view: &serde_json::Value| view["events"].as_array().is_some_and(|events| events.len() == 2);
    let view = cloud.api.until("/relays/bench/commands/unseen", complete).await;
    assert_eq!((&view["state"], &view["events"][0]["state"]), (&json!("succeeded"), &json!("accepted")));
    relay.event(3, "unseen", "succeeded", "duplicate").await;
    let view = cloud
        .api
        .until("/relays/bench/commands/unseen", |view| view["events"].as_array().is_some_and(|e| e.len() == 3))
        .await;
    assert_eq!(view["code"], "ok", "a repeat does not hide why it stands where it does");
    task.abort();
    cloud.stop().await;
}
