//! Who gets in, and who may do what.

use std::time::Duration;

use contract::Timestamp;
use contract::access::{CredentialFile, Role};
use rumqttc::{ConnectReturnCode, ConnectionError, QoS, SubscribeReasonCode};

use crate::support::*;

fn code(result: Result<Client, ConnectionError>) -> ConnectReturnCode {
    match result {
        Ok(_) => ConnectReturnCode::Success,
        Err(ConnectionError::ConnectionRefused(code)) => code,
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn only_the_right_token_gets_in() {
    let broker = Running::start().await;
    assert_eq!(code(Client::connect(broker.options("admin", "a")).await), ConnectReturnCode::Success);
    let mut wrong = broker.options("admin", "b");
    wrong.set_credentials("admin", "guess");
    assert_eq!(code(Client::connect(wrong).await), ConnectReturnCode::BadUserNamePassword);
    let mut unknown = broker.options("admin", "c");
    unknown.set_credentials("nobody", token("admin"));
    assert_eq!(code(Client::connect(unknown).await), ConnectReturnCode::BadUserNamePassword);
    let anonymous = rumqttc::MqttOptions::new("d", "127.0.0.1", broker.addr.port());
    assert_eq!(code(Client::connect(anonymous).await), ConnectReturnCode::NotAuthorized);
    assert_eq!(broker.metrics.refused_credentials.get(), 3);
}

#[tokio::test]
async fn messages_reach_whoever_may_have_them() {
    let broker = Running::start().await;
    let mut viewer = broker.client("viewer", "watching").await;
    assert_eq!(
        viewer.subscribe("tinymlaas/v1/relays/+/events", QoS::AtLeastOnce).await,
        [SubscribeReasonCode::Success(QoS::AtLeastOnce)]
    );
    let mut relay = broker.client("bench", "bench").await;
    relay.publish(EVENTS, "one").await;
    assert_eq!(viewer.text().await, "one");
}

#[tokio::test]
async fn a_refused_publish_is_dropped_and_counted() {
    let broker = Running::start().await;
    let mut admin = broker.client("admin", "watching").await;
    admin.subscribe("tinymlaas/v1/#", QoS::AtLeastOnce).await;
    let mut other = broker.client("other", "other").await;
    other.publish(EVENTS, "forged").await;
    let mut viewer = broker.client("viewer", "viewer").await;
    viewer.publish(COMMANDS, "forged").await;
    assert_eq!(broker.metrics.refused_publishes.get(), 2);
    assert!(admin.hears_nothing().await);
}

#[tokio::test]
async fn a_refused_subscription_fails_and_the_others_of_its_packet_do_not() {
    let broker = Running::start().await;
    let mut relay = broker.client("bench", "bench").await;
    for forbidden in [
        "#",
        "tinymlaas/v1/#",
        "tinymlaas/v1/relays/other/commands",
        "tinymlaas/v1/relays/+/commands",
        "$share/group/tinymlaas/v1/relays/bench/commands",
        "$SYS/#",
    ] {
        let codes = relay.subscribe(forbidden, QoS::AtLeastOnce).await;
        assert_eq!(codes, [SubscribeReasonCode::Failure], "{forbidden}");
    }
    let mut admin = broker.client("admin", "admin").await;
    let filters =
        ["tinymlaas/v1/relays/+/events", "#"].map(|path| rumqttc::SubscribeFilter::new(path.into(), QoS::AtLeastOnce));
    admin.requests.subscribe_many(filters).await.unwrap();
    let rumqttc::Packet::SubAck(ack) = admin.packet().await else { panic!("no SUBACK") };
    assert_eq!(ack.return_codes, [SubscribeReasonCode::Success(QoS::AtLeastOnce), SubscribeReasonCode::Failure]);
    relay.publish(EVENTS, "one").await;
    assert_eq!(admin.text().await, "one");
}

#[tokio::test]
async fn an_identity_that_is_removed_is_disconnected() {
    let broker = Running::start().await;
    let mut relay = broker.client("bench", "bench").await;
    let mut rotated = broker.client("other", "other").await;
    let mut admin = broker.client("admin", "admin").await;
    let mut left: Vec<_> = everybody();
    left.retain(|credential| credential.name != "bench");
    for credential in &mut left {
        if credential.name == "other" {
            credential.token_sha256 = "0".repeat(64);
        }
    }
    write_credentials(broker.dir.path(), left);
    assert!(relay.try_packet().await.is_err());
    assert!(rotated.try_packet().await.is_err());
    assert_eq!(broker.metrics.closed_revoked.get(), 2);
    assert_eq!(code(Client::connect(broker.options("bench", "bench")).await), ConnectReturnCode::BadUserNamePassword);
    admin.publish(COMMANDS, "still here").await;
    // A file that makes no sense changes nothing.
    std::fs::write(broker.dir.path().join("credentials.json"), "{").unwrap();
    tokio::time::sleep(Duration::from_millis(2500)).await;
    admin.publish(COMMANDS, "still here").await;
}

#[tokio::test]
async fn whoever_may_do_less_than_at_connect_is_disconnected() {
    let broker = Running::start().await;
    let mut file = CredentialFile { identities: everybody(), ..CredentialFile::default() };
    file.groups.insert("hall".into(), ["bench".parse().unwrap()].into());
    let mut limited = credential("limited", Role::Operator);
    limited.groups = Some(["hall".to_owned()].into());
    file.identities.push(limited);
    write_file(broker.dir.path(), &file);
    let mut demoted = broker.client("operator", "demoted").await;
    let mut expiring = broker.client("viewer", "expiring").await;
    let mut limited = broker.client("limited", "limited").await;
    let mut admin = broker.client("admin", "admin").await;
    limited.publish(COMMANDS, "within its group").await;
    assert_eq!(broker.metrics.refused_publishes.get(), 0);
    for credential in &mut file.identities {
        match credential.name.as_str() {
            "operator" => credential.role = Role::Viewer,
            "viewer" => credential.expires_at = Some(Timestamp::now().plus_seconds(2)),
            _ => {}
        }
    }
    file.groups.insert("hall".into(), ["other".parse().unwrap()].into());
    write_file(broker.dir.path(), &file);
    assert!(demoted.try_packet().await.is_err(), "another role");
    assert!(limited.try_packet().await.is_err(), "another relay in its group");
    assert!(expiring.try_packet().await.is_err(), "expired");
    assert_eq!(code(Client::connect(broker.options("viewer", "late")).await), ConnectReturnCode::BadUserNamePassword);
    let mut limited = broker.client("limited", "limited").await;
    limited.publish(COMMANDS, "not its relay any more").await;
    assert_eq!(broker.metrics.refused_publishes.get(), 1);
    admin.publish(COMMANDS, "still here").await;
}

#[tokio::test]
async fn a_credential_is_accepted_as_soon_as_it_is_in_the_file() {
    let broker = Running::start().await;
    let mut identities = everybody();
    for number in 0..200 {
        let name = format!("relay-{number}");
        identities.push(credential(&name, relay(&name)));
        write_credentials(broker.dir.path(), identities.clone());
        assert_eq!(code(Client::connect(broker.options(&name, &name)).await), ConnectReturnCode::Success, "{name}");
    }
    assert_eq!(broker.metrics.refused_credentials.get(), 0);
}

#[tokio::test]
async fn an_identity_over_its_messages_a_second_is_slowed_down_and_loses_nothing() {
    let broker = Running::with(|config| config.limits.messages_per_second = 50).await;
    let mut viewer = broker.client("viewer", "viewer").await;
    viewer.subscribe(EVENTS, QoS::AtLeastOnce).await;
    let mut relay = broker.client("bench", "bench").await;
    for number in 0..120 {
        relay.requests.publish(EVENTS, QoS::AtLeastOnce, false, number.to_string()).await.unwrap();
    }
    let mut acknowledged = 0;
    while acknowledged < 120 {
        if let rumqttc::Packet::PubAck(_) = relay.packet().await {
            acknowledged += 1;
        }
    }
    for number in 0..120 {
        assert_eq!(viewer.text().await, number.to_string());
    }
    assert!(broker.metrics.throttled.get() > 0);
}
