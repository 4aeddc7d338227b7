//! MQTT 5: reason codes, properties, session expiry, delayed wills. The client is rumqttc's.

use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnectProperties, ConnectReturnCode, Filter, LastWill, LastWillProperties, Packet, PubAckReason,
    PublishProperties, SubscribeReasonCode,
};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions};

use crate::support::{COMMANDS, EVENTS, PATIENCE, PRESENCE, Running, token};

struct Client {
    requests: AsyncClient,
    events: EventLoop,
}

fn options(broker: &Running, user: &str, client: &str) -> MqttOptions {
    let mut options = MqttOptions::new(client, "127.0.0.1", broker.addr.port());
    options.set_credentials(user, token(user));
    options
}

impl Client {
    async fn connect(options: MqttOptions) -> Result<(Self, bool), ConnectionError> {
        let (requests, mut events) = AsyncClient::new(options, 100);
        let present = loop {
            let event = tokio::time::timeout(PATIENCE, events.poll()).await.unwrap()?;
            if let Event::Incoming(Packet::ConnAck(ack)) = event {
                break ack.session_present;
            }
        };
        Ok((Self { requests, events }, present))
    }

    async fn packet(&mut self) -> Result<Packet, ConnectionError> {
        loop {
            let event = tokio::time::timeout(PATIENCE, self.events.poll()).await.expect("no packet came");
            if let Event::Incoming(packet) = event? {
                return Ok(packet);
            }
        }
    }

    async fn subscribe(&mut self, filter: &str) -> SubscribeReasonCode {
        self.requests.subscribe(filter, QoS::AtLeastOnce).await.unwrap();
        loop {
            if let Packet::SubAck(ack) = self.packet().await.unwrap() {
                return ack.return_codes[0];
            }
        }
    }

    async fn publish(&mut self, topic: &str, payload: &str) -> PubAckReason {
        self.requests.publish(topic, QoS::AtLeastOnce, false, payload.to_owned()).await.unwrap();
        loop {
            if let Packet::PubAck(ack) = self.packet().await.unwrap() {
                return ack.reason;
            }
        }
    }
}

#[tokio::test]
async fn refusals_have_reasons() {
    let broker = Running::with(|config| config.limits.durable_messages = 1).await;
    let mut wrong = options(&broker, "bench", "wrong");
    wrong.set_credentials("bench", "guess");
    assert!(matches!(
        Client::connect(wrong).await,
        Err(ConnectionError::ConnectionRefused(ConnectReturnCode::BadUserNamePassword))
    ));
    let (mut operator, _) = Client::connect(options(&broker, "operator", "operator")).await.unwrap();
    assert_eq!(operator.publish(EVENTS, "x").await, PubAckReason::NotAuthorized);
    assert_eq!(operator.publish(COMMANDS, "x").await, PubAckReason::Success);
    assert_eq!(operator.publish(COMMANDS, "x").await, PubAckReason::QuotaExceeded);
    assert_eq!(operator.subscribe("#").await, SubscribeReasonCode::NotAuthorized);
    assert_eq!(
        operator.subscribe("$share/g/tinymlaas/v1/relays/+/events").await,
        SubscribeReasonCode::SharedSubscriptionsNotSupported
    );
}

#[tokio::test]
async fn properties_pass_and_expired_messages_do_not() {
    let broker = Running::start().await;
    let (mut viewer, _) = Client::connect(options(&broker, "viewer", "viewer")).await.unwrap();
    viewer.subscribe(EVENTS).await;
    let (mut relay, _) = Client::connect(options(&broker, "bench", "bench")).await.unwrap();
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let properties = PublishProperties {
            payload_format_indicator: Some(1),
            content_type: Some("application/json".into()),
            user_properties: vec![("key".into(), "value".into())],
            ..PublishProperties::default()
        };
        relay.requests.publish_with_properties(EVENTS, qos, false, "{}", properties.clone()).await.unwrap();
        let got = loop {
            tokio::select! {
                packet = viewer.packet() => if let Packet::Publish(publish) = packet.unwrap() { break publish },
                event = relay.events.poll() => { event.unwrap(); }
            }
        };
        assert_eq!(got.payload, "{}");
        assert_eq!(got.properties, Some(properties), "{qos:?}");
    }
}

#[tokio::test]
async fn a_packet_above_the_limit_is_named() {
    let broker = Running::start().await;
    let mut large = options(&broker, "bench", "bench");
    large.set_max_packet_size(Some(1024 * 1024));
    let (mut relay, _) = Client::connect(large).await.unwrap();
    relay.requests.publish(EVENTS, QoS::AtLeastOnce, false, vec![0; 300 * 1024]).await.unwrap();
    // rumqttc knows the limit from CONNACK and does not even send it, or is told by DISCONNECT 0x95.
    assert!(relay.packet().await.is_err() || broker.metrics.closed_oversize.get() == 1);
}

#[tokio::test]
async fn a_session_is_kept_for_as_long_as_was_asked() {
    let broker = Running::start().await;
    let keeping = |seconds| {
        let mut options = options(&broker, "viewer", "keeper");
        options.set_clean_start(false);
        options.set_connect_properties(ConnectProperties {
            session_expiry_interval: Some(seconds),
            ..ConnectProperties::new()
        });
        options
    };
    let (mut viewer, present) = Client::connect(keeping(3600)).await.unwrap();
    assert!(!present);
    viewer.subscribe(EVENTS).await;
    drop(viewer);
    let (mut relay, _) = Client::connect(options(&broker, "bench", "bench")).await.unwrap();
    relay.publish(EVENTS, "kept").await;
    let (mut viewer, present) = Client::connect(keeping(0)).await.unwrap();
    assert!(present);
    let Packet::Publish(kept) = viewer.packet().await.unwrap() else { panic!("no message") };
    assert_eq!(kept.payload, "kept");
    drop(viewer);
    let (_viewer, present) = Client::connect(keeping(0)).await.unwrap();
    assert!(!present, "the session ended with the connection before");
}

#[tokio::test]
async fn a_delayed_will_waits_and_is_forgotten_when_the_client_returns() {
    let broker = Running::start().await;
    let (mut viewer, _) = Client::connect(options(&broker, "viewer", "viewer")).await.unwrap();
    viewer.subscribe(PRESENCE).await;
    let with_will = || {
        let mut options = options(&broker, "bench", "bench");
        options.set_connect_properties(ConnectProperties {
            session_expiry_interval: Some(60),
            ..ConnectProperties::new()
        });
        let properties = LastWillProperties {
            delay_interval: Some(1),
            payload_format_indicator: None,
            message_expiry_interval: None,
            content_type: None,
            response_topic: None,
            correlation_data: None,
            user_properties: Vec::new(),
        };
        let will = LastWill::new(PRESENCE, "gone", QoS::AtLeastOnce, false, Some(properties));
        options.set_last_will(will);
        options
    };
    let (relay, _) = Client::connect(with_will()).await.unwrap();
    drop(relay);
    let (relay, _) = Client::connect(with_will()).await.unwrap();
    let silent = tokio::time::timeout(Duration::from_millis(1800), viewer.packet()).await;
    assert!(silent.is_err(), "{silent:?}");
    drop(relay);
    let Packet::Publish(will) = viewer.packet().await.unwrap() else { panic!("no will") };
    assert_eq!(will.payload, "gone");
}

#[tokio::test]
async fn retain_handling_is_obeyed() {
    let broker = Running::start().await;
    let (mut relay, _) = Client::connect(options(&broker, "bench", "bench")).await.unwrap();
    relay.requests.publish(PRESENCE, QoS::AtLeastOnce, true, "here").await.unwrap();
    while !matches!(relay.packet().await.unwrap(), Packet::PubAck(_)) {}
    let (mut viewer, _) = Client::connect(options(&broker, "viewer", "viewer")).await.unwrap();
    use rumqttc::v5::mqttbytes::v5::RetainForwardRule::{Never, OnNewSubscribe};
    for (rule, expected) in [(Never, 0), (OnNewSubscribe, 0), (OnNewSubscribe, 0)] {
        let mut filter = Filter::new(PRESENCE, QoS::AtLeastOnce);
        filter.retain_forward_rule = rule;
        viewer.requests.subscribe_many([filter]).await.unwrap();
        let mut messages = 0;
        while let Ok(packet) = tokio::time::timeout(Duration::from_millis(300), viewer.packet()).await {
            messages += usize::from(matches!(packet.unwrap(), Packet::Publish(_)));
        }
        assert_eq!(messages, expected);
    }
    assert_eq!(viewer.subscribe(PRESENCE).await, SubscribeReasonCode::Success(QoS::AtLeastOnce));
    assert!(matches!(viewer.packet().await.unwrap(), Packet::Publish(_)));
}
