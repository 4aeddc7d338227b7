//! Commands survive the broker: acknowledged means on disk, until the addressee has them.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use broker::{Broker, BrokerConfig};
use contract::audit::Published;
use contract::topic::filter;
use rumqttc::{MqttOptions, QoS};

use crate::support::*;

const DIR: &str = "TINYMLAAS_TEST_BROKER_DIR";

/// Not a test by itself: the process that the tests below start and kill, which is this very binary.
#[test]
fn broker_process() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let dir = Path::new(&dir);
        let config = BrokerConfig::new("127.0.0.1:0".parse().unwrap(), dir);
        let broker = Broker::bind(config).await.unwrap();
        std::fs::write(dir.join("addr.new"), broker.local_addr().to_string()).unwrap();
        std::fs::rename(dir.join("addr.new"), dir.join("addr")).unwrap();
        broker.serve(std::future::pending()).await.unwrap();
    });
}

struct Process {
    child: Child,
    addr: SocketAddr,
}

impl Process {
    async fn start(dir: &Path) -> Self {
        let _ = std::fs::remove_file(dir.join("addr"));
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "cases::durable::broker_process", "--nocapture"])
            .env(DIR, dir)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let started = Instant::now();
        let addr = loop {
            if let Ok(text) = std::fs::read_to_string(dir.join("addr")) {
                break text.parse().unwrap();
            }
            assert!(started.elapsed() < PATIENCE, "the broker did not start");
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        Self { child, addr }
    }

    /// SIGKILL.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn options(&self, user: &str, client: &str) -> MqttOptions {
        let mut options = MqttOptions::new(client, self.addr.ip().to_string(), self.addr.port());
        options.set_credentials(user, token(user));
        options
    }

    async fn client(&self, user: &str, client: &str) -> Client {
        Client::connect(self.options(user, client)).await.unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn acknowledged_commands_survive_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    write_credentials(dir.path(), everybody());
    let mut acknowledged = Vec::new();
    for round in 0..3 {
        let broker = Process::start(dir.path()).await;
        let mut operator = broker.client("operator", "operator").await;
        for index in 0..50 {
            let text = format!("{round}-{index}");
            operator.publish(COMMANDS, &text).await;
            acknowledged.push(text);
        }
        broker.kill();
    }
    let broker = Process::start(dir.path()).await;
    let mut relay = broker.client("bench", "bench").await;
    relay.subscribe(COMMANDS, QoS::AtLeastOnce).await;
    for expected in &acknowledged {
        assert_eq!(relay.text().await, *expected);
    }
    assert!(relay.hears_nothing().await);
    relay.leave().await;
    // The acknowledgements are written without a sync, which a killed process does not lose either.
    tokio::time::sleep(Duration::from_millis(300)).await;
    broker.kill();
    let broker = Process::start(dir.path()).await;
    let mut relay = broker.client("bench", "bench").await;
    relay.subscribe(COMMANDS, QoS::AtLeastOnce).await;
    assert!(relay.hears_nothing().await);
}

#[tokio::test]
async fn a_publisher_that_is_cut_off_in_full_flight_loses_nothing_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    write_credentials(dir.path(), everybody());
    let broker = Process::start(dir.path()).await;
    let mut operator = broker.client("operator", "operator").await;
    for index in 0..400 {
        let text = index.to_string();
        operator.requests.publish(COMMANDS, QoS::AtLeastOnce, false, text).await.unwrap();
    }
    let mut acknowledged = 0;
    while acknowledged < 200 {
        if let rumqttc::Packet::PubAck(_) = operator.packet().await {
            acknowledged += 1;
        }
    }
    broker.kill();
    let broker = Process::start(dir.path()).await;
    let mut relay = broker.client("bench", "bench").await;
    relay.subscribe(COMMANDS, QoS::AtLeastOnce).await;
    for index in 0..acknowledged {
        assert_eq!(relay.text().await, index.to_string());
    }
}

#[tokio::test]
async fn live_commands_reach_the_addressee_and_whoever_watches_once() {
    let broker = Running::start().await;
    let mut relay = broker.client("bench", "bench").await;
    relay.subscribe(COMMANDS, QoS::AtLeastOnce).await;
    let mut wildcard = broker.client("viewer", "wildcard").await;
    wildcard.subscribe("tinymlaas/v1/relays/+/commands", QoS::AtLeastOnce).await;
    let mut exact = broker.client("operator", "exact").await;
    exact.subscribe(COMMANDS, QoS::AtLeastOnce).await;
    let mut operator = broker.client("operator", "operator").await;
    for (qos, text) in [(QoS::AtLeastOnce, "one"), (QoS::ExactlyOnce, "two")] {
        operator.publish_with(COMMANDS, text, qos, false).await;
        assert_eq!(relay.text().await, text);
        assert_eq!(wildcard.text().await, text);
        assert_eq!(exact.text().await, text);
    }
    for client in [&mut relay, &mut wildcard, &mut exact] {
        assert!(client.hears_nothing().await);
    }
    // Two records for the audit log wait for the cloud.
    assert_eq!(broker.metrics.durable_depth.get(), 2);
}

#[tokio::test]
async fn somebody_who_watches_does_not_take_the_command_from_the_relay() {
    let broker = Running::start().await;
    let mut watching = broker.options("operator", "watching");
    watching.set_clean_session(false);
    let mut watching = Client::connect(watching).await.unwrap();
    watching.subscribe(COMMANDS, QoS::AtLeastOnce).await;
    let mut operator = broker.client("operator", "operator").await;
    operator.publish(COMMANDS, "for the relay").await;
    assert_eq!(watching.text().await, "for the relay");
    // The command and its record for the audit log.
    assert_eq!(broker.metrics.durable_depth.get(), 2);
    let mut relay = broker.client("bench", "bench").await;
    relay.subscribe(COMMANDS, QoS::AtLeastOnce).await;
    assert_eq!(relay.text().await, "for the relay");
}

#[tokio::test]
async fn what_the_addressee_has_not_acknowledged_comes_again_with_its_session() {
    let broker = Running::start().await;
    let mut options = broker.options("bench", "bench");
    options.set_clean_session(false).set_manual_acks(true);
    let mut relay = Client::connect(options.clone()).await.unwrap();
    relay.subscribe(COMMANDS, QoS::AtLeastOnce).await;
    let mut operator = broker.client("operator", "operator").await;
    for text in ["one", "two"] {
        operator.publish(COMMANDS, text).await;
    }
    let first = relay.message().await;
    relay.requests.ack(&first).await.unwrap();
    assert_eq!(relay.text().await, "two");
    relay.publish(EVENTS, "a round trip").await;
    drop(relay);
    operator.publish(COMMANDS, "three").await;
    let mut relay = Client::connect(options).await.unwrap();
    assert!(relay.session_present, "it need not subscribe again");
    assert_eq!(relay.text().await, "two");
    assert_eq!(relay.text().await, "three");
}

#[tokio::test]
async fn a_full_queue_refuses_rather_than_loses() {
    let broker = Running::with(|config| config.limits.durable_messages = 10).await;
    let mut operator = broker.client("operator", "operator").await;
    for index in 0..10 {
        operator.publish(COMMANDS, &index.to_string()).await;
    }
    operator.requests.publish(COMMANDS, QoS::AtLeastOnce, false, "too many").await.unwrap();
    assert!(operator.try_packet().await.is_err(), "3.1.1 is cut off");
    assert_eq!(broker.metrics.refused_publishes.get(), 1);
    // Other topics go on, and room is made by taking.
    let mut operator = broker.client("operator", "again").await;
    operator.publish("tinymlaas/v1/cloud/commands", "another queue").await;
    let mut relay = broker.client("bench", "bench").await;
    relay.subscribe(COMMANDS, QoS::AtLeastOnce).await;
    for index in 0..10 {
        assert_eq!(relay.text().await, index.to_string());
    }
    relay.publish(EVENTS, "a round trip").await;
    operator.publish(COMMANDS, "room again").await;
    assert_eq!(relay.text().await, "room again");
}

#[tokio::test]
async fn old_messages_are_dropped_and_counted() {
    let broker = Running::with(|config| config.limits.durable_age = Duration::ZERO).await;
    let mut operator = broker.client("operator", "operator").await;
    operator.publish(COMMANDS, "too late").await;
    // The command and its record for the audit log.
    assert_eq!(broker.metrics.durable_depth.get(), 2);
    // Expiry runs every minute; a restart is what a test can wait for.
    let dir = broker.stop().await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    let broker = Running::open(dir, |config| config.limits.durable_age = Duration::ZERO).await;
    assert_eq!(broker.metrics.durable_expired.get(), 1);
    // The record is not dropped, however old.
    assert_eq!(broker.metrics.durable_depth.get(), 1);
}

#[tokio::test]
async fn commands_to_many_relays_do_not_mix() {
    let broker = Running::start().await;
    let mut operator = broker.client("operator", "operator").await;
    let mut expected = HashSet::new();
    for index in 0..20 {
        let (topic, text) = if index % 2 == 0 {
            (COMMANDS, format!("bench-{index}"))
        } else {
            ("tinymlaas/v1/relays/other/commands", format!("other-{index}"))
        };
        operator.publish(topic, &text).await;
        expected.insert(text);
    }
    for name in ["bench", "other"] {
        let mut relay = broker.client(name, name).await;
        relay.subscribe(&format!("tinymlaas/v1/relays/{name}/commands"), QoS::AtLeastOnce).await;
        for _ in 0..10 {
            let text = relay.text().await;
            assert!(text.starts_with(name) && expected.remove(&text), "{text}");
        }
    }
    assert!(expected.is_empty());
}

#[tokio::test]
async fn who_sent_a_command_is_kept_with_it_for_the_cloud() {
    let broker = Running::start().await;
    let mut operator = broker.client("operator", "console").await;
    operator.publish(COMMANDS, "one").await;
    let mut cloud = broker.client("cloud", "cloud").await;
    cloud.publish(COMMANDS, "two").await;
    drop((operator, cloud));
    // The broker dies; record and command were on disk before the acknowledgement.
    let dir = broker.stop().await;
    let broker = Running::open(dir, |_| {}).await;
    let mut cloud = broker.client("cloud", "cloud").await;
    cloud.subscribe(filter::BROKER_AUDIT, QoS::AtLeastOnce).await;
    let record: Published = serde_json::from_slice(&cloud.message().await.payload).unwrap();
    assert_eq!(
        (record.identity.as_str(), record.role.as_str(), record.client.as_str()),
        ("operator", "operator", "console")
    );
    assert_eq!((record.topic.as_str(), record.payload.as_deref()), (COMMANDS, Some("one")));
    assert_eq!(record.address.as_deref(), Some("127.0.0.1"));
    assert!(cloud.hears_nothing().await, "the cloud records its own commands itself");
    // Watching takes nothing away, and nobody else may.
    let mut admin = broker.client("admin", "admin").await;
    admin.subscribe(filter::BROKER_AUDIT, QoS::AtLeastOnce).await;
    admin.publish(COMMANDS, "three").await;
    let record: Published = serde_json::from_slice(&admin.message().await.payload).unwrap();
    assert_eq!(record.identity, "admin");
    admin.publish(filter::BROKER_AUDIT, "forged").await;
    assert_eq!(broker.metrics.refused_publishes.get(), 1);
}

#[tokio::test]
async fn commands_wait_when_their_records_have_no_room() {
    let broker = Running::with(|config| config.limits.audit_messages = 1).await;
    let mut operator = broker.client("operator", "console").await;
    operator.publish(COMMANDS, "one").await;
    operator.requests.publish(COMMANDS, QoS::AtLeastOnce, false, "two").await.unwrap();
    while operator.try_packet().await.is_ok() {}
    let mut cloud = broker.client("cloud", "cloud").await;
    cloud.subscribe(filter::BROKER_AUDIT, QoS::AtLeastOnce).await;
    cloud.message().await;
    // Its acknowledgement makes room; it is sent by the client when the message was taken.
    let mut operator = broker.client("operator", "console").await;
    cloud.requests.publish("tinymlaas/v1/health/cloud", QoS::AtLeastOnce, false, "x").await.unwrap();
    while !matches!(cloud.packet().await, rumqttc::Packet::PubAck(_)) {}
    operator.publish(COMMANDS, "three").await;
    let record: Published = serde_json::from_slice(&cloud.message().await.payload).unwrap();
    assert_eq!(record.payload.as_deref(), Some("three"));
}
