//! What a broker has to put up with.

use std::time::{Duration, Instant};

use rumqttc::QoS;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::*;

/// A 3.1.1 CONNECT as bytes.
pub fn connect_frame(user: &str, client: &str, keep_alive: u16) -> Vec<u8> {
    let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', 4, 0b1100_0010];
    body.extend(keep_alive.to_be_bytes());
    for text in [client, user, &token(user)] {
        body.extend((text.len() as u16).to_be_bytes());
        body.extend(text.as_bytes());
    }
    let mut frame = vec![0x10, body.len() as u8];
    frame.extend(body);
    frame
}

/// Whether the broker closes the connection, whatever it says before.
async fn closes(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await.is_ok()
}

pub async fn raw(broker: &Running, user: &str, client: &str, keep_alive: u16) -> TcpStream {
    let mut stream = TcpStream::connect(broker.addr).await.unwrap();
    stream.write_all(&connect_frame(user, client, keep_alive)).await.unwrap();
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, [0x20, 2, 0, 0]);
    stream
}

#[tokio::test]
async fn garbage_closes_only_its_own_connection() {
    let broker = Running::start().await;
    for garbage in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0x10, 0xff, 0xff, 0xff, 0xff],
        &[0x10, 2, 0, 0],
        &[0x10, 0],
        &[0xe0, 0],
        &[0; 64],
    ] {
        let mut stream = TcpStream::connect(broker.addr).await.unwrap();
        stream.write_all(garbage).await.unwrap();
        assert!(closes(&mut stream).await, "{garbage:?}");
    }
    // Packets that only servers send: rumqttd's parsers would panic on some.
    for garbage in [
        &[0x20, 2, 0, 0][..],
        &[0x90, 3, 0, 1, 0],
        &[0xb0, 3, 0, 1, 0],
        &[0xf0, 2, 0, 0],
        &[0x00, 0],
        &[0x36, 6, 0, 1, b'a', 0, 1, b'x'],
        &[0x30, 4, 0, 9, b'a', b'b'],
        &[0x80, 2, 0, 1],
        &[0x82, 2, 0, 1],
        &[0x32, 5, 0, 1, b'a', 0, 0],
        &[0x30, 3, 0, 1, b'#'],
        &[0x10, 2, 0, 0],
    ] {
        let mut stream = raw(&broker, "bench", "garbage", 60).await;
        stream.write_all(garbage).await.unwrap();
        assert!(closes(&mut stream).await, "{garbage:?}");
    }
    assert!(broker.metrics.closed_malformed.get() >= 16);
    broker.client("bench", "bench").await.publish(EVENTS, "x").await;
}

#[tokio::test]
async fn a_packet_above_the_limit_closes_the_connection_and_one_at_the_limit_passes() {
    let broker = Running::start().await;
    let mut viewer = broker.client("viewer", "viewer").await;
    viewer.subscribe(EVENTS, QoS::AtLeastOnce).await;
    let mut relay = broker.client("bench", "bench").await;
    let overhead = 1 + 3 + 2 + EVENTS.len() + 2;
    let largest = "x".repeat(256 * 1024 - overhead);
    relay.publish(EVENTS, &largest).await;
    assert_eq!(viewer.text().await.len(), largest.len());
    relay.requests.publish(EVENTS, QoS::AtLeastOnce, false, format!("{largest}y")).await.unwrap();
    assert!(relay.try_packet().await.is_err());
    assert_eq!(broker.metrics.closed_oversize.get(), 1);
    assert!(viewer.hears_nothing().await);
}

#[tokio::test]
async fn silence_ends_a_connection_after_one_and_a_half_keep_alives() {
    let broker = Running::start().await;
    let mut silent = raw(&broker, "bench", "silent", 1).await;
    let started = Instant::now();
    assert!(closes(&mut silent).await);
    assert!(started.elapsed() > Duration::from_millis(1400));
    assert_eq!(broker.metrics.closed_keep_alive.get(), 1);
    // Zero means none.
    let mut patient = raw(&broker, "bench", "patient", 0).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    patient.write_all(&[0xc0, 0]).await.unwrap();
    let mut answer = [0; 2];
    patient.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, [0xd0, 0]);
}

#[tokio::test]
async fn a_socket_without_connect_is_closed_in_time() {
    let broker = Running::with(|config| config.limits.connect_timeout = Duration::from_millis(300)).await;
    let mut idle = TcpStream::connect(broker.addr).await.unwrap();
    assert!(closes(&mut idle).await);
    let mut dripping = TcpStream::connect(broker.addr).await.unwrap();
    let started = Instant::now();
    for byte in connect_frame("bench", "drip", 60) {
        tokio::time::sleep(Duration::from_millis(50)).await;
        if dripping.write_all(&[byte]).await.is_err() {
            break;
        }
    }
    assert!(started.elapsed() < Duration::from_secs(5));
    assert!(broker.metrics.refused_timeout.get() >= 2);
}

#[tokio::test]
async fn idle_sockets_do_not_keep_clients_out() {
    let broker = Running::with(|config| config.limits.pending_sockets = 150).await;
    let mut idle = Vec::new();
    for _ in 0..200 {
        idle.push(TcpStream::connect(broker.addr).await.unwrap());
    }
    let started = Instant::now();
    broker.client("bench", "bench").await.publish(EVENTS, "x").await;
    assert!(started.elapsed() < Duration::from_secs(2));
    // The oldest had to go, the newest may still connect.
    assert!(broker.metrics.refused_connections.get() >= 50);
    let mut last = idle.pop().unwrap();
    last.write_all(&connect_frame("bench", "late", 60)).await.unwrap();
    let mut answer = [0; 4];
    last.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, [0x20, 2, 0, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_that_reads_nothing_blocks_nobody() {
    let broker = Running::start().await;
    let mut stuck = raw(&broker, "viewer", "stuck", 60).await;
    let mut frame = vec![0x82, (5 + EVENTS.len()) as u8, 0, 1, 0, EVENTS.len() as u8];
    frame.extend(EVENTS.as_bytes());
    frame.push(0);
    stuck.write_all(&frame).await.unwrap();
    let mut viewer = broker.client("viewer", "viewer").await;
    viewer.subscribe(EVENTS, QoS::AtLeastOnce).await;
    let mut relay = broker.client("bench", "bench").await;
    let large = "x".repeat(64 * 1024);
    for index in 0..400 {
        let started = Instant::now();
        relay.publish(EVENTS, &format!("{index} {large}")).await;
        assert!(viewer.text().await.starts_with(&format!("{index} ")));
        assert!(started.elapsed() < Duration::from_secs(2), "message {index}");
    }
    drop(stuck);
}

#[tokio::test]
async fn limits_on_topics_filters_and_subscriptions_hold() {
    let broker = Running::with(|config| {
        config.limits.topics = 2;
        config.limits.filters = 4;
        config.limits.subscriptions = 3;
    })
    .await;
    let mut admin = broker.client("admin", "admin").await;
    for index in 0..5 {
        let filter = format!("tinymlaas/v1/relays/r{index}/events");
        let codes = admin.subscribe(&filter, QoS::AtLeastOnce).await;
        let granted = codes == [rumqttc::SubscribeReasonCode::Success(QoS::AtLeastOnce)];
        assert_eq!(granted, index < 3, "{index}");
    }
    let mut viewer = broker.client("viewer", "viewer").await;
    for index in 3..6 {
        let filter = format!("tinymlaas/v1/relays/r{index}/events");
        let codes = viewer.subscribe(&filter, QoS::AtLeastOnce).await;
        let granted = codes == [rumqttc::SubscribeReasonCode::Success(QoS::AtLeastOnce)];
        assert_eq!(granted, index < 4, "{index}");
    }
    let mut relay = broker.client("bench", "bench").await;
    for topic in [EVENTS, PRESENCE, "tinymlaas/v1/relays/bench/state"] {
        relay.publish(topic, "x").await;
    }
    assert_eq!(broker.metrics.refused_publishes.get(), 1);
}

#[tokio::test]
async fn a_restart_forgets_sessions_and_says_so() {
    let broker = Running::start().await;
    let mut options = broker.options("viewer", "keeper");
    options.set_clean_session(false);
    let mut viewer = Client::connect(options).await.unwrap();
    viewer.subscribe(EVENTS, QoS::AtLeastOnce).await;
    let dir = broker.stop().await;
    assert!(viewer.try_packet().await.is_err());
    let broker = Running::open(dir, |_| {}).await;
    let mut options = broker.options("viewer", "keeper");
    options.set_clean_session(false);
    let viewer = Client::connect(options).await.unwrap();
    assert!(!viewer.session_present);
}
