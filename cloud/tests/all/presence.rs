//! Births, deaths, and what is stale.

use std::time::Duration;

use serde_json::json;

use crate::relay::Relay;
use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_relay_means_lost_devices_and_stale_epochs_are_ignored() {
    let world = World::new();
    let cloud = world.cloud().await;
    let mut relay = world.relay();
    relay.epoch = 5;
    relay.birth(&["a", "b"]).await;
    let online = |relays: &serde_json::Value| relays[0]["online"] == true && relays[0]["state"] != json!(null);
    let relays = cloud.api.until("/relays", online).await;
    assert_eq!((&relays[0]["relay"], &relays[0]["epoch"]), (&json!("bench"), &json!(5)));
    assert_eq!(cloud.api.get("/devices").await.as_array().unwrap().len(), 2);
    // The will of an older connection, and an older inventory.
    relay.json("presence", relay.presence("offline", 4)).await;
    relay.json("state", relay.state(4, 9, &["old"])).await;
    cloud.api.until("/counters", |c| c["stale_presence"] == 1 && c["stale_state"] == 1).await;
    assert_eq!(cloud.api.get("/relays/bench").await["online"], true);
    assert_eq!(cloud.api.get("/devices").await.as_array().unwrap().len(), 2);
    // A death in another life.
    let mut other = relay.presence("offline", 99);
    other["journal"] = json!("another");
    relay.json("presence", other).await;
    cloud.api.until("/counters", |c| c["stale_presence"] == 2).await;
    assert_eq!(cloud.api.get("/relays/bench").await["online"], true);
    // A device that is not listed any more is not shown any more.
    relay.json("state", relay.state(5, 2, &["a"])).await;
    cloud.api.until("/devices", |devices| devices.as_array().is_some_and(|devices| devices.len() == 1)).await;
    // Its own will.
    relay.json("presence", relay.presence("offline", 5)).await;
    cloud.api.until("/relays/bench", |relay| relay["online"] == false).await;
    let device = cloud.api.get("/relays/bench/devices/a").await;
    assert_eq!((&device["online"], &device["state"]["status"]), (&json!(false), &json!("lost")));
    cloud.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_whose_birth_was_missed_is_asked_for_it() {
    let world = World::new();
    let cloud = world.cloud().await;
    let relay = world.relay();
    tokio::time::sleep(Duration::from_millis(300)).await;
    relay.reading("a", 1, 1).await;
    relay.next("sync", 5, |sync| sync["rebirth"] == true).await;
    relay.json("presence", relay.presence("online", 1)).await;
    // The state is still missing.
    relay.next("sync", 8, |sync| sync["rebirth"] == true).await;
    relay.json("state", relay.state(1, 1, &["a"])).await;
    cloud.api.until("/devices", |devices| devices[0]["readings"] == 1).await;
    cloud.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_restart_loses_nothing_and_the_dead_are_found_out() {
    let mut world = World::new();
    let cloud = world.cloud().await;
    let relay = world.relay();
    let other = Relay::new("other", "journal-o", world.broker.port, &world.tokens.bench);
    relay.birth(&["a"]).await;
    other.birth(&["b"]).await;
    cloud.api.until("/devices", |devices| devices.as_array().is_some_and(|devices| devices.len() == 2)).await;
    // `other` dies together with the broker, so no will tells of it.
    drop(other);
    world.broker.restart();
    relay.skip();
    let sync = relay.next("sync", 15, |sync| sync["resend"] == true && sync["rebirth"] == true).await;
    assert_eq!(sync["journal"], "journal-1");
    relay.birth(&["a"]).await;
    relay.reading("a", 1, 1).await;
    relay.next("sync", 5, |sync| sync["through"]["telemetry"] == 1).await;
    cloud.api.until("/relays/other", |relay| relay["online"] == false).await;
    assert_eq!(cloud.api.get("/relays/bench").await["online"], true);
    cloud.stop().await;
}
