//! Our broker, bare rumqttd and Mosquitto (where installed) in the same run on the same machine, each a process of its
//! own: QoS 1 round trips, and throughput from 8 publishers to one subscriber. Clients are plain sockets with
//! TCP_NODELAY, so that what is measured is the broker.
//!
//! `cargo bench -p broker --bench broker`

#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use contract::RelayId;
use contract::access::{Credential, CredentialFile, Role};
use sha2::{Digest, Sha256};

const ROUNDS: usize = 3;
const ROUND_TRIPS: usize = 3000;
const PUBLISHERS: usize = 8;
const PAYLOAD: usize = 120;
/// Unacknowledged publishes of one publisher.
const WINDOW: usize = 100;
const LOAD_FOR: Duration = Duration::from_secs(2);
const ROUND_TRIP_TOPIC: &str = "tinymlaas/v1/health/admin";
const LOAD_TOPIC: &str = "tinymlaas/v1/relays/bench/events";

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, role, address, folder] = &arguments[..] {
        let address = address.parse().unwrap();
        match role.as_str() {
            "serve-ours" => return serve_ours(address, Path::new(folder)),
            "serve-rumqttd" => return serve_rumqttd(address),
            _ => {}
        }
    }
    let folder = tempfile::Builder::new().prefix("broker-bench-").tempdir().unwrap();
    write_credentials(folder.path());
    let mut brokers = vec![Contender::start("ours", folder.path()), Contender::start("rumqttd", folder.path())];
    if Command::new(mosquitto()).arg("-h").output().is_ok() {
        brokers.push(Contender::start("mosquitto", folder.path()));
    } else {
        println!("Mosquitto is not installed (Debian: mosquitto): left out");
    }
    for round in 1..=ROUNDS {
        for broker in &mut brokers {
            broker.round_trips();
            broker.throughput();
        }
        println!("round {round} of {ROUNDS} done");
    }
    report(&mut brokers);
}

fn report(brokers: &mut [Contender]) {
    println!(
        "\nQoS 1 round trip: one client, {ROUND_TRIPS} messages a round; throughput: {PUBLISHERS} publishers, {PAYLOAD} B, \
         QoS 1, one subscriber; medians of {ROUNDS} rounds\n"
    );
    println!("{:<10} {:>9} {:>9} {:>14} {:>10}", "broker", "p50 ms", "p99 ms", "delivered/s", "lost");
    let mut rows = HashMap::new();
    for broker in brokers {
        let row = (median(&mut broker.p50), median(&mut broker.p99), median(&mut broker.rates));
        println!("{:<10} {:>9.3} {:>9.3} {:>14.0} {:>10}", broker.name, row.0, row.1, row.2, broker.lost);
        rows.insert(broker.name, row);
    }
    let ours = rows["ours"];
    if let Some(mosquitto) = rows.get("mosquitto") {
        println!("\nround trip p50, ours / mosquitto: {:.2} (goal: at most 2)", ours.0 / mosquitto.0);
        println!("throughput, ours / mosquitto:     {:.2}", ours.2 / mosquitto.2);
    }
    println!("throughput, rumqttd / ours:       {:.2} (goal: at most 1.3)", rows["rumqttd"].2 / ours.2);
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn mosquitto() -> &'static str {
    // Debian puts it where users' paths do not look.
    if Path::new("/usr/sbin/mosquitto").exists() { "/usr/sbin/mosquitto" } else { "mosquitto" }
}

fn token(name: &str) -> String {
    format!("bench-token-of-{name}")
}

fn write_credentials(folder: &Path) {
    let credential = |name: &str, role| {
        let digest: String = Sha256::digest(token(name).as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
        Credential::new(name, role, digest)
    };
    let identities =
        vec![credential("admin", Role::Admin), credential("bench", Role::Relay(RelayId::new("bench").unwrap()))];
    let text = serde_json::to_vec(&CredentialFile { identities, ..CredentialFile::default() }).unwrap();
    std::fs::write(folder.join("credentials.json"), text).unwrap();
}

fn serve_ours(address: SocketAddr, folder: &Path) {
    let mut config = broker::BrokerConfig::new(address, folder);
    // What is measured is the broker, not its limit.
    config.limits.messages_per_second = u32::MAX;
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(broker::run(config, std::future::pending())).unwrap();
}

fn serve_rumqttd(address: SocketAddr) {
    let settings = rumqttd::ServerSettings {
        name: "bench".into(),
        listen: address,
        tls: None,
        next_connection_delay_ms: 1,
        connections: rumqttd::ConnectionSettings {
            connection_timeout_ms: 5000,
            max_payload_size: 256 * 1024,
            max_inflight_count: 100,
            auth: None,
            external_auth: None,
            dynamic_filters: false,
        },
    };
    let config = rumqttd::Config {
        router: rumqttd::RouterConfig {
            max_connections: 100,
            max_outgoing_packet_count: 200,
            max_segment_size: 100 * 1024 * 1024,
            max_segment_count: 10,
            ..Default::default()
        },
        v4: Some(HashMap::from([("1".into(), settings)])),
        ..Default::default()
    };
    rumqttd::Broker::new(config).start().unwrap();
}

struct Contender {
    name: &'static str,
    address: SocketAddr,
    process: Child,
    p50: Vec<f64>,
    p99: Vec<f64>,
    rates: Vec<f64>,
    lost: u64,
}

impl Drop for Contender {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Contender {
    fn start(name: &'static str, folder: &Path) -> Self {
        // Free a moment ago; rumqttd and Mosquitto cannot be asked what they took.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut command = if name == "mosquitto" {
            let config = folder.join("mosquitto.conf");
            let text = format!(
                "listener {} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\nmax_queued_messages 0\n",
                address.port()
            );
            std::fs::write(&config, text).unwrap();
            let mut command = Command::new(mosquitto());
            command.arg("-c").arg(config);
            command
        } else {
            let mut command = Command::new(std::env::current_exe().unwrap());
            command.arg(format!("serve-{name}")).arg(address.to_string()).arg(folder);
            command
        };
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let started = Instant::now();
        while TcpStream::connect(address).is_err() {
            assert!(started.elapsed() < Duration::from_secs(10), "{name} did not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { name, address, process, p50: Vec::new(), p99: Vec::new(), rates: Vec::new(), lost: 0 }
    }

    fn round_trips(&mut self) {
        let mut client = Client::connect(self.address, "admin", "round-trip");
        client.subscribe(ROUND_TRIP_TOPIC);
        let frame = publish(ROUND_TRIP_TOPIC);
        let mut times = Vec::new();
        for _ in 0..ROUND_TRIPS {
            let started = Instant::now();
            client.stream.write_all(&frame).unwrap();
            // Its own acknowledgement and the message, in either order.
            let (mut acknowledged, mut received) = (false, None);
            while !acknowledged || received.is_none() {
                client.fill();
                while let Some((kind, id)) = client.next_packet() {
                    match kind {
                        4 => acknowledged = true,
                        3 => {
                            received = Some(started.elapsed());
                            client.stream.write_all(&[0x40, 2, (id >> 8) as u8, id as u8]).unwrap();
                        }
                        _ => {}
                    }
                }
            }
            times.push(received.unwrap().as_secs_f64() * 1e3);
        }
        times.sort_by(f64::total_cmp);
        self.p50.push(times[times.len() / 2]);
        self.p99.push(times[times.len() * 99 / 100]);
    }

    fn throughput(&mut self) {
        let stop = Arc::new(AtomicBool::new(false));
        let published = Arc::new(AtomicU64::new(0));
        let received = Arc::new(AtomicU64::new(0));
        let mut subscriber = Client::connect(self.address, "admin", "subscriber");
        subscriber.subscribe(LOAD_TOPIC);
        let counter = received.clone();
        let reading = std::thread::spawn(move || subscriber.take_all(&counter));
        let publishers: Vec<_> = (0..PUBLISHERS)
            .map(|index| {
                let client = Client::connect(self.address, "bench", &format!("publisher-{index}"));
                let (stop, published) = (stop.clone(), published.clone());
                std::thread::spawn(move || client.publish_until(&stop, &published))
            })
            .collect();
        // The start is not counted.
        std::thread::sleep(Duration::from_millis(300));
        let (begin, started) = (received.load(Ordering::Relaxed), Instant::now());
        std::thread::sleep(LOAD_FOR);
        let rate = (received.load(Ordering::Relaxed) - begin) as f64 / started.elapsed().as_secs_f64();
        stop.store(true, Ordering::Relaxed);
        for publisher in publishers {
            publisher.join().unwrap();
        }
        reading.join().unwrap();
        self.rates.push(rate);
        self.lost += published.load(Ordering::Relaxed).saturating_sub(received.load(Ordering::Relaxed));
    }
}

/// A QoS 1 PUBLISH with packet id 1: every message waits for its acknowledgement or shares the id, which no broker minds.
fn publish(topic: &str) -> Vec<u8> {
    let length = 2 + topic.len() + 2 + PAYLOAD;
    let mut frame = vec![0x32, (length % 128) as u8 | 0x80, (length / 128) as u8];
    frame.extend((topic.len() as u16).to_be_bytes());
    frame.extend(topic.as_bytes());
    frame.extend([0, 1]);
    frame.extend([b'x'; PAYLOAD]);
    frame
}

/// A blocking 3.1.1 client with just enough protocol.
struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
    start: usize,
}

impl Client {
    fn connect(address: SocketAddr, user: &str, id: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', 4, 0b1100_0010, 0, 60];
        for text in [id, user, &token(user)] {
            body.extend((text.len() as u16).to_be_bytes());
            body.extend(text.as_bytes());
        }
        let mut client = Self { stream, buffer: Vec::new(), start: 0 };
        client.stream.write_all(&[0x10, body.len() as u8]).unwrap();
        client.stream.write_all(&body).unwrap();
        assert_eq!(client.wait(), 2, "CONNACK");
        client
    }

    fn subscribe(&mut self, topic: &str) {
        let mut frame = vec![0x82, (5 + topic.len()) as u8, 0, 1];
        frame.extend((topic.len() as u16).to_be_bytes());
        frame.extend(topic.as_bytes());
        frame.push(1);
        self.stream.write_all(&frame).unwrap();
        assert_eq!(self.wait(), 9, "SUBACK");
    }

    fn wait(&mut self) -> u8 {
        loop {
            if let Some((kind, _)) = self.next_packet() {
                return kind;
            }
            self.fill();
        }
    }

    fn fill(&mut self) {
        assert!(self.try_fill().unwrap() > 0, "the broker closed the connection");
    }

    fn try_fill(&mut self) -> std::io::Result<usize> {
        self.buffer.drain(..self.start);
        self.start = 0;
        let length = self.buffer.len();
        self.buffer.resize(length + 64 * 1024, 0);
        let read = self.stream.read(&mut self.buffer[length..]);
        self.buffer.truncate(length + *read.as_ref().unwrap_or(&0));
        read
    }

    /// Type and packet id of the next whole packet in the buffer.
    fn next_packet(&mut self) -> Option<(u8, u16)> {
        let packet = &self.buffer[self.start..];
        let (first, low) = (*packet.first()?, *packet.get(1)?);
        let (header, length) = if low & 0x80 == 0 {
            (2, usize::from(low))
        } else {
            (3, usize::from(low & 0x7f) + usize::from(*packet.get(2)?) * 128)
        };
        let body = packet.get(header..header + length)?;
        let number = |at: usize| u16::from_be_bytes([body[at], body[at + 1]]);
        let id = match first >> 4 {
            3 => number(2 + usize::from(number(0))),
            4 | 9 => number(0),
            _ => 0,
        };
        self.start += header + length;
        Some((first >> 4, id))
    }

    fn publish_until(mut self, stop: &AtomicBool, published: &AtomicU64) {
        let frame = publish(LOAD_TOPIC);
        let window = frame.repeat(WINDOW);
        let mut open = 0;
        loop {
            let stopping = stop.load(Ordering::Relaxed);
            if !stopping && open <= WINDOW / 2 {
                let more = WINDOW - open;
                self.stream.write_all(&window[..more * frame.len()]).unwrap();
                open += more;
                published.fetch_add(more as u64, Ordering::Relaxed);
            }
            if open == 0 {
                return;
            }
            self.fill();
            while let Some((4, _)) = self.next_packet() {
                open -= 1;
            }
        }
    }

    /// Acknowledges and counts messages until none comes for a while.
    fn take_all(mut self, received: &AtomicU64) {
        self.stream.set_read_timeout(Some(Duration::from_millis(700))).unwrap();
        let mut acks = Vec::new();
        while matches!(self.try_fill(), Ok(1..)) {
            acks.clear();
            while let Some((kind, id)) = self.next_packet() {
                if kind == 3 {
                    acks.extend([0x40, 2, (id >> 8) as u8, id as u8]);
                }
            }
            received.fetch_add(acks.len() as u64 / 4, Ordering::Relaxed);
            self.stream.write_all(&acks).unwrap();
        }
    }
}
