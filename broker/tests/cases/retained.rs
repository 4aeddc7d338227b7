//! Retained messages: all of them, kept and deleted by the rules.

use std::collections::HashSet;

use rumqttc::QoS;

use crate::support::*;

fn state_topic(index: usize) -> String {
    format!("tinymlaas/v1/relays/bench/devices/d{index}/telemetry")
}

#[tokio::test]
async fn a_wildcard_subscription_gets_every_retained_message() {
    const COUNT: usize = 1500;
    let broker = Running::start().await;
    let mut relay = broker.client("bench", "bench").await;
    for index in 0..COUNT {
        relay.publish_with(&state_topic(index), "retained", QoS::AtLeastOnce, true).await;
    }
    for (client, qos) in [("at-most-once", QoS::AtMostOnce), ("at-least-once", QoS::AtLeastOnce)] {
        let mut viewer = broker.client("viewer", client).await;
        viewer.subscribe("tinymlaas/v1/relays/+/devices/+/telemetry", qos).await;
        let mut seen = HashSet::new();
        while seen.len() < COUNT {
            let message = viewer.message().await;
            assert!(message.retain);
            assert_eq!(message.qos, qos);
            assert!(seen.insert(message.topic), "sent twice");
        }
        assert!(viewer.hears_nothing().await);
        // Subscribing again replays them: the router alone would not.
        viewer.subscribe(&state_topic(7), qos).await;
        assert_eq!(viewer.message().await.topic, state_topic(7));
    }
}

#[tokio::test]
async fn only_a_retained_empty_payload_deletes() {
    let broker = Running::start().await;
    let mut relay = broker.client("bench", "bench").await;
    relay.publish_with(PRESENCE, "here", QoS::AtLeastOnce, true).await;
    relay.publish_with(PRESENCE, "", QoS::AtLeastOnce, false).await;
    let mut viewer = broker.client("viewer", "one").await;
    viewer.subscribe(PRESENCE, QoS::AtLeastOnce).await;
    assert_eq!(viewer.text().await, "here");
    relay.publish_with(PRESENCE, "", QoS::AtLeastOnce, true).await;
    let live = viewer.message().await;
    assert!(live.payload.is_empty() && !live.retain);
    let mut late = broker.client("viewer", "two").await;
    late.subscribe(PRESENCE, QoS::AtLeastOnce).await;
    assert!(late.hears_nothing().await);
    assert_eq!(broker.metrics.retained.get(), 0);
}

#[tokio::test]
async fn the_store_is_bounded() {
    let broker = Running::with(|config| config.limits.retained_messages = 3).await;
    let mut relay = broker.client("bench", "bench").await;
    for index in 0..5 {
        relay.publish_with(&state_topic(index), "x", QoS::AtLeastOnce, true).await;
    }
    // Replacing is always possible.
    relay.publish_with(&state_topic(0), "y", QoS::AtLeastOnce, true).await;
    assert_eq!(broker.metrics.retained.get(), 3);
    assert_eq!(broker.metrics.refused_publishes.get(), 2);
}
