//! Client ids, takeovers, wills, sessions of clients that are away, QoS 2.

use std::time::Duration;

use rumqttc::{ConnectReturnCode, ConnectionError, LastWill, MqttOptions, Packet, QoS};

use crate::support::*;

fn with_will(mut options: MqttOptions, payload: &str) -> MqttOptions {
    options.set_last_will(LastWill::new(PRESENCE, payload, QoS::AtLeastOnce, true));
    options
}

async fn watcher(broker: &Running) -> Client {
    let mut admin = broker.client("admin", "watcher").await;
    admin.subscribe("tinymlaas/v1/#", QoS::AtLeastOnce).await;
    admin
}

#[tokio::test]
async fn bad_client_ids_are_refused_every_time_and_hurt_nobody() {
    let broker = Running::start().await;
    for id in ["a/b", "a+", "a#", "$a", "with\u{7}bell", &"x".repeat(129)] {
        // Twice: it is the second connection that kills a bare router.
        for _ in 0..2 {
            match Client::connect(broker.options("bench", id)).await {
                Err(ConnectionError::ConnectionRefused(ConnectReturnCode::BadClientId)) => {}
                Err(error) => panic!("{id}: {error}"),
                Ok(_) => panic!("{id} was let in"),
            }
        }
    }
    assert_eq!(broker.metrics.refused_client_id.get(), 12);
    broker.client("bench", "fine").await.publish(EVENTS, "x").await;
}

#[tokio::test]
async fn a_client_id_belongs_to_the_identity_that_uses_it() {
    let broker = Running::start().await;
    let mut relay = broker.client("bench", "mine").await;
    let stolen = Client::connect(broker.options("other", "mine")).await;
    assert!(matches!(stolen, Err(ConnectionError::ConnectionRefused(ConnectReturnCode::BadClientId))));
    relay.publish(EVENTS, "still mine").await;
    relay.leave().await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    broker.client("other", "mine").await;
}

#[tokio::test]
async fn the_connection_limit_refuses_again_and_again_and_then_lets_in() {
    let broker = Running::with(|config| {
        config.limits.connections = 3;
        config.limits.connections_per_identity = 2;
    })
    .await;
    let first = broker.client("bench", "one").await;
    let _second = broker.client("bench", "two").await;
    for _ in 0..3 {
        let third = Client::connect(broker.options("bench", "three")).await;
        assert!(matches!(third, Err(ConnectionError::ConnectionRefused(ConnectReturnCode::ServiceUnavailable))));
    }
    let _other = broker.client("other", "four").await;
    for _ in 0..3 {
        assert!(Client::connect(broker.options("admin", "five")).await.is_err());
    }
    assert_eq!(broker.metrics.refused_connections.get(), 6);
    first.leave().await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    broker.client("bench", "three").await.publish(EVENTS, "x").await;
}

#[tokio::test]
async fn a_takeover_publishes_the_old_will_and_keeps_the_new_one() {
    for clean in [true, false] {
        let broker = Running::start().await;
        let mut watcher = watcher(&broker).await;
        let connect = |will: &str| {
            let mut options = with_will(broker.options("bench", "bench"), will);
            options.set_clean_session(clean);
            options
        };
        let mut old = Client::connect(connect("old will")).await.unwrap();
        old.publish(EVENTS, "from the old").await;
        let mut new = Client::connect(connect("new will")).await.unwrap();
        assert_eq!(new.session_present, !clean);
        new.publish(EVENTS, "from the new").await;
        assert_eq!(watcher.text().await, "from the old");
        assert_eq!(watcher.text().await, "old will");
        assert_eq!(watcher.text().await, "from the new");
        assert!(old.try_packet().await.is_err());
        // Gone without a word: its own will, not the old one's.
        drop(new);
        assert_eq!(watcher.text().await, "new will");
        assert_eq!(broker.metrics.closed_taken_over.get(), 1);
    }
}

#[tokio::test]
async fn a_clean_disconnect_discards_the_will() {
    let broker = Running::start().await;
    let mut watcher = watcher(&broker).await;
    let options = with_will(broker.options("bench", "bench"), "gone");
    Client::connect(options).await.unwrap().leave().await;
    assert!(watcher.hears_nothing().await);
}

#[tokio::test]
async fn a_will_on_anothers_topic_is_refused() {
    let broker = Running::start().await;
    let options = with_will(broker.options("other", "other"), "forged");
    assert!(matches!(
        Client::connect(options).await,
        Err(ConnectionError::ConnectionRefused(ConnectReturnCode::NotAuthorized))
    ));
}

#[tokio::test]
async fn many_takeovers_at_once_leave_one_connection() {
    let broker = Running::start().await;
    let mut attempts = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let options = broker.options("bench", "bench");
        attempts.spawn(async move {
            let Ok(mut client) = Client::connect(options).await else {
                return;
            };
            // Stays until it is thrown out or the test ends.
            let _ = tokio::time::timeout(Duration::from_secs(3), async { while client.events.poll().await.is_ok() {} })
                .await;
        });
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(broker.metrics.connected.get(), 1);
    while attempts.join_next().await.is_some() {}
    broker.client("bench", "bench").await.publish(EVENTS, "x").await;
}

#[tokio::test]
async fn a_persistent_session_keeps_subscriptions_and_messages() {
    let broker = Running::start().await;
    let mut options = broker.options("viewer", "away");
    options.set_clean_session(false);
    let mut viewer = Client::connect(options.clone()).await.unwrap();
    assert!(!viewer.session_present);
    viewer.subscribe(EVENTS, QoS::AtLeastOnce).await;
    viewer.leave().await;
    let mut relay = broker.client("bench", "bench").await;
    for index in 0..250 {
        relay.publish(EVENTS, &index.to_string()).await;
    }
    let mut viewer = Client::connect(options.clone()).await.unwrap();
    assert!(viewer.session_present);
    for index in 0..250 {
        assert_eq!(viewer.text().await, index.to_string());
    }
    // Unsubscribing works in a resumed session too, and is answered even for what is not there.
    for filter in [EVENTS, "tinymlaas/v1/never"] {
        viewer.requests.unsubscribe(filter).await.unwrap();
        loop {
            if let Packet::UnsubAck(_) = viewer.packet().await {
                break;
            }
        }
    }
    relay.publish(EVENTS, "unheard").await;
    assert!(viewer.hears_nothing().await);
    viewer.subscribe(EVENTS, QoS::AtMostOnce).await;
    relay.publish(EVENTS, "heard").await;
    let message = viewer.message().await;
    assert_eq!((&message.payload[..], message.qos), (&b"heard"[..], QoS::AtMostOnce));
    viewer.leave().await;

    options.set_clean_session(true);
    let clean = Client::connect(options.clone()).await.unwrap();
    assert!(!clean.session_present);
    clean.leave().await;
    options.set_clean_session(false);
    let mut again = Client::connect(options).await.unwrap();
    assert!(!again.session_present);
    relay.publish(EVENTS, "for nobody").await;
    assert!(again.hears_nothing().await);
}

#[tokio::test]
async fn messages_not_acknowledged_come_again_and_acknowledged_ones_do_not() {
    let broker = Running::start().await;
    let mut options = broker.options("viewer", "slow-acks");
    options.set_clean_session(false).set_manual_acks(true);
    let mut viewer = Client::connect(options.clone()).await.unwrap();
    viewer.subscribe(EVENTS, QoS::AtLeastOnce).await;
    let mut relay = broker.client("bench", "bench").await;
    for index in 0..10 {
        relay.publish(EVENTS, &index.to_string()).await;
    }
    for _ in 0..10 {
        let message = viewer.message().await;
        if message.payload[0] < b'4' {
            viewer.requests.ack(&message).await.unwrap();
        }
    }
    // Lets the acknowledgements out.
    viewer.publish(COMMANDS, "refused, but a round trip").await;
    drop(viewer);
    let mut viewer = Client::connect(options).await.unwrap();
    for index in 4..10 {
        assert_eq!(viewer.text().await, index.to_string());
    }
}

#[tokio::test]
async fn qos_2_arrives_once_at_the_lower_of_both_qualities() {
    let broker = Running::start().await;
    let mut viewer = broker.client("viewer", "viewer").await;
    let mut relay = broker.client("bench", "bench").await;
    let qualities = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];
    for subscribed in qualities {
        viewer.subscribe(EVENTS, subscribed).await;
        for published in qualities {
            for index in 0..150 {
                relay.requests.publish(EVENTS, published, false, index.to_string()).await.unwrap();
            }
            let receiving = async {
                for index in 0..150 {
                    let message = viewer.message().await;
                    assert_eq!(message.payload, index.to_string());
                    let lower = (published as u8).min(subscribed as u8);
                    assert_eq!(message.qos as u8, lower, "{published:?} {subscribed:?}");
                }
            };
            tokio::select! {
                () = receiving => {}
                error = async { loop { if let Err(error) = relay.events.poll().await { break error } } } => panic!("{error}"),
            }
        }
    }
    assert!(viewer.hears_nothing().await);
}
