//! How long a command takes from its publish to `accepted`, against the broker's own QoS 1 round trip in the same run,
//! and how much memory the relay holds: `cargo xtask bench commands`.

#![allow(clippy::unwrap_used, missing_docs)]

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rumqttc::{Client, Connection, Event, MqttOptions, NetworkOptions, Packet, QoS};
use serde_json::{Value, json};

const ROUNDS: usize = 500;

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let [mqtt, http] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port());
    let begin = Instant::now();
    let mut up = Command::new(env!("CARGO_BIN_EXE_tinymlaas"))
        .args(["up", "--demo", "--mqtt-port", &mqtt.to_string(), "--http-port", &http.to_string(), "--data-dir"])
        .arg(&data)
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut live = None;
    let mut lines = BufReader::new(up.stderr.take().unwrap()).lines();
    for line in lines.by_ref().map_while(Result::ok) {
        if line.contains("✓ live") {
            live = Some(begin.elapsed());
        }
        if line.starts_with("Open") {
            break;
        }
    }
    std::thread::spawn(move || lines.for_each(drop));

    let token = std::fs::read_to_string(data.join("admin-token")).unwrap();
    let (client, mut connection) = connect(mqtt, token.trim());
    let events = "tinymlaas/v1/relays/demo/events";
    let health = "tinymlaas/v1/health/admin";
    for topic in [events, health] {
        client.subscribe(topic, QoS::AtLeastOnce).unwrap();
        wait(&mut connection, |event| matches!(event, Packet::SubAck(_)));
    }

    let round_trips = measure(|number| {
        client.publish(health, QoS::AtLeastOnce, false, format!("{number}")).unwrap();
        let wanted = format!("{number}");
        wait(&mut connection, |packet| matches!(packet, Packet::Publish(p) if p.payload == wanted.as_bytes()));
    });
    let accepted = measure(|number| {
        let id = format!("bench-{number}");
        let command = json!({"id": id, "verb": "identify", "device": "board-1"}).to_string();
        client.publish("tinymlaas/v1/relays/demo/commands", QoS::AtLeastOnce, false, command).unwrap();
        wait(&mut connection, |packet| match packet {
            Packet::Publish(publish) => serde_json::from_slice::<Value>(&publish.payload)
                .is_ok_and(|event| event["command"] == id.as_str() && event["state"] == "accepted"),
            _ => false,
        });
    });

    println!("| what | p50 | p99 |\n|---|---|---|");
    println!("| QoS 1 round trip through the broker | {:.2} ms | {:.2} ms |", round_trips.0, round_trips.1);
    println!("| command publish → accepted, journalled | {:.2} ms | {:.2} ms |", accepted.0, accepted.1);
    println!("| ratio | {:.1}x | {:.1}x |", accepted.0 / round_trips.0, accepted.1 / round_trips.1);
    if let Some(live) = live {
        println!("\nup --demo to the first live prediction: {:.1} s", live.as_secs_f64());
    }
    for role in ["relay", "cloud", "broker"] {
        println!("resident memory of the {role}: {:.1} MB", resident(&data, role));
    }
    Command::new("kill").args(["-INT", &up.id().to_string()]).status().unwrap();
    up.wait().unwrap();
}

fn connect(port: u16, token: &str) -> (Client, Connection) {
    let mut options = MqttOptions::new("bench-commands", "127.0.0.1", port);
    options.set_credentials("admin", token);
    options.set_max_packet_size(262_144, 262_144);
    let (client, mut connection) = Client::new(options, 64);
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    connection.eventloop.set_network_options(network);
    (client, connection)
}

fn wait(connection: &mut Connection, wanted: impl Fn(&Packet) -> bool) {
    for event in connection.iter() {
        if let Event::Incoming(packet) = event.unwrap()
            && wanted(&packet)
        {
            return;
        }
    }
    panic!("the connection ended");
}

/// Median and 99th percentile, in milliseconds.
fn measure(mut round: impl FnMut(usize)) -> (f64, f64) {
    let mut times: Vec<f64> = (0..ROUNDS)
        .map(|number| {
            // One at a time: what follows the answer has ended before the next begins.
            std::thread::sleep(Duration::from_millis(5));
            let begin = Instant::now();
            round(number);
            begin.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    (times[ROUNDS / 2], times[ROUNDS * 99 / 100])
}

/// Resident memory of the process that has `role` in its command line, in MB.
fn resident(data: &std::path::Path, role: &str) -> f64 {
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        if line.contains(data.to_str().unwrap()) && line.split('\0').nth(1) == Some(role) {
            let status = std::fs::read_to_string(entry.path().join("status")).unwrap_or_default();
            let kilobytes = status.lines().find_map(|l| l.strip_prefix("VmRSS:")?.trim().strip_suffix("kB"));
            return kilobytes.and_then(|text| text.trim().parse::<f64>().ok()).unwrap_or(f64::NAN) / 1024.0;
        }
    }
    f64::NAN
}
