//! What [`contract::access`] decides is what happens over the wire: every identity tries every topic.

use contract::access::{CredentialFile, Identity, Role};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnectReturnCode, LastWill, Packet, PubAckReason, SubscribeReasonCode};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions};

use crate::support::table::{FILTERS, topics};
use crate::support::{PATIENCE, Running, credential, everybody, token, write_file};

/// Everybody, and an operator and a viewer of a group that has only the relay `bench`.
fn file() -> CredentialFile {
    let mut file = CredentialFile { identities: everybody(), ..CredentialFile::default() };
    file.groups.insert("hall".into(), ["bench".parse().unwrap()].into());
    for (name, role) in [("hall-operator", Role::Operator), ("hall-viewer", Role::Viewer)] {
        let mut limited = credential(name, role);
        limited.groups = Some(["hall".to_owned()].into());
        file.identities.push(limited);
    }
    file
}

async fn next(events: &mut EventLoop) -> Result<Packet, ConnectionError> {
    loop {
        if let Event::Incoming(packet) = tokio::time::timeout(PATIENCE, events.poll()).await.expect("no packet came")? {
            return Ok(packet);
        }
    }
}

fn options(broker: &Running, name: &str, client: &str) -> MqttOptions {
    let mut options = MqttOptions::new(client, "127.0.0.1", broker.addr.port());
    options.set_credentials(name, token(name));
    options
}

async fn publish(requests: &AsyncClient, events: &mut EventLoop, topic: &str) -> bool {
    requests.publish(topic, QoS::AtLeastOnce, false, "x").await.unwrap();
    loop {
        if let Packet::PubAck(ack) = next(events).await.unwrap() {
            return match ack.reason {
                PubAckReason::Success | PubAckReason::NoMatchingSubscribers => true,
                PubAckReason::NotAuthorized => false,
                other => panic!("{topic}: {other:?}"),
            };
        }
    }
}

async fn subscribe(requests: &AsyncClient, events: &mut EventLoop, filter: &str) -> bool {
    requests.subscribe(filter, QoS::AtLeastOnce).await.unwrap();
    loop {
        if let Packet::SubAck(ack) = next(events).await.unwrap() {
            return match ack.return_codes[0] {
                SubscribeReasonCode::Success(_) => true,
                SubscribeReasonCode::NotAuthorized => false,
                other => panic!("{filter}: {other:?}"),
            };
        }
    }
}

#[tokio::test]
async fn every_identity_tries_every_topic() {
    let broker = Running::start().await;
    let file = file();
    write_file(broker.dir.path(), &file);
    let (mut tried, mut refused, mut wills, mut refused_wills) = (0_u64, 0_u64, 0_u64, 0_u64);
    for credential in &file.identities {
        let identity: Identity = file.identity(credential);
        let name = &identity.name;
        let (requests, mut events) = AsyncClient::new(options(&broker, name, &format!("{name}-tries")), 100);
        while !matches!(next(&mut events).await.unwrap(), Packet::ConnAck(_)) {}
        for topic in topics() {
            let (may_publish, may_subscribe) = (identity.allows_publish(&topic), identity.allows_subscribe(&topic));
            assert_eq!(publish(&requests, &mut events, &topic).await, may_publish, "{name} publishes to {topic}");
            assert_eq!(subscribe(&requests, &mut events, &topic).await, may_subscribe, "{name} subscribes to {topic}");
            tried += 2;
            refused += u64::from(!may_publish) + u64::from(!may_subscribe);

            let mut with_will = options(&broker, name, &format!("{name}-wills"));
            with_will.set_last_will(LastWill::new(&topic, "gone", QoS::AtLeastOnce, false, None));
            let (requests, mut events) = AsyncClient::new(with_will, 10);
            let accepted = match next(&mut events).await {
                Ok(Packet::ConnAck(_)) => true,
                Err(ConnectionError::ConnectionRefused(ConnectReturnCode::NotAuthorized)) => false,
                other => panic!("{name} with a will on {topic}: {other:?}"),
            };
            assert_eq!(accepted, may_publish, "{name} with a will on {topic}");
            wills += 1;
            refused_wills += u64::from(!accepted);
            if accepted {
                requests.disconnect().await.unwrap();
                while events.poll().await.is_ok() {}
            }
        }
        for filter in FILTERS {
            let may = identity.allows_subscribe(filter);
            assert_eq!(subscribe(&requests, &mut events, filter).await, may, "{name} subscribes to {filter}");
            tried += 1;
            refused += u64::from(!may);
        }
    }
    println!("{tried} tried, {refused} refused; {wills} wills, {refused_wills} refused");
    let metrics = &broker.metrics;
    assert_eq!(metrics.refused_publishes.get() + metrics.refused_subscriptions.get(), refused + refused_wills);
}
