//! The cloud killed with telemetry flowing. It runs as a process of its own: this very test program, started again.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cloud::Cloud;
use tokio_util::sync::CancellationToken;

use crate::world::{Api, World, config, serve, start_log};

const DIR: &str = "CLOUD_TEST_DIR";
const PORT: &str = "CLOUD_TEST_BROKER_PORT";

/// No test but the other process; it passes at once where it was not started as that.
#[tokio::test(flavor = "multi_thread")]
async fn serve_until_killed() {
    let (Ok(dir), Ok(port)) = (std::env::var(DIR), std::env::var(PORT)) else { return };
    start_log();
    let dir = PathBuf::from(dir);
    let cloud = Cloud::open(config(&dir, port.parse().unwrap())).await.unwrap();
    let (address, task) = serve(cloud, CancellationToken::new()).await;
    std::fs::write(dir.join("address.tmp"), address.to_string()).unwrap();
    std::fs::rename(dir.join("address.tmp"), dir.join("address")).unwrap();
    task.await.unwrap();
}

struct Process(Child);

impl Process {
    fn start(dir: &Path, port: u16) -> (Self, SocketAddr) {
        let _ = std::fs::remove_file(dir.join("address"));
        let process = Self(
            Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "crash::serve_until_killed", "--nocapture"])
                .env(DIR, dir)
                .env(PORT, port.to_string())
                .stdout(Stdio::null())
                .spawn()
                .unwrap(),
        );
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            if let Ok(text) = std::fs::read_to_string(dir.join("address")) {
                return (process, text.parse().unwrap());
            }
            assert!(Instant::now() < end, "the cloud does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // SIGKILL.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_again_and_again_nothing_confirmed_is_lost_and_nothing_counts_twice() {
    let world = World::new();
    let relay = world.relay();
    relay.birth(&["a"]).await;
    let (mut process, _) = Process::start(world.dir.path(), world.broker.port);
    let mut seq = 0;
    for round in 0..4 {
        let kill_at = Instant::now() + Duration::from_millis(700 + 250 * round);
        while Instant::now() < kill_at {
            seq += 1;
            relay.reading("a", seq, 1).await;
            if seq % 20 == 0 {
                relay.event(seq / 20, &format!("c{seq}"), "succeeded", "ok").await;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        drop(process);
        // Some that come while nobody is there.
        for _ in 0..50 {
            seq += 1;
            relay.reading("a", seq, 1).await;
            if seq % 20 == 0 {
                relay.event(seq / 20, &format!("c{seq}"), "succeeded", "ok").await;
            }
        }
        process = Process::start(world.dir.path(), world.broker.port).0;
    }
    drop(process);
    // What was confirmed so far may be forgotten by the relay: it must be in the database already.
    let confirmed = relay
        .all("sync")
        .iter()
        .filter_map(|sync| sync["through"]["telemetry"].as_u64())
        .max()
        .expect("nothing was confirmed");
    let (process, address) = Process::start(world.dir.path(), world.broker.port);
    let api = Api::new(address, &world.tokens.admin);
    relay.skip();
    let sync = relay.next("sync", 15, |sync| sync["resend"] == true).await;
    assert!(sync["through"]["telemetry"].as_u64().unwrap() >= confirmed, "{sync} after {confirmed}");
    // As asked, everything that was not confirmed comes again.
    relay.birth(&["a"]).await;
    for again in confirmed + 1..=seq {
        relay.reading("a", again, 1).await;
    }
    let device = api.until("/relays/bench/devices/a", |device| device["readings"].as_u64() >= Some(seq)).await;
    assert_eq!(device["readings"], seq, "some count twice");
    assert_eq!(device["correct"], seq / 2);
    let mut before = seq + 1;
    while before > 1 {
        let page = api.get(&format!("/relays/bench/devices/a/readings?before={before}&limit=1000")).await;
        for reading in page.as_array().unwrap() {
            before -= 1;
            assert_eq!(reading["seq"], before, "one is missing or there twice");
        }
        assert!(!page.as_array().unwrap().is_empty(), "the rest below {before} is missing");
    }
    let last = seq / 20;
    relay.next("sync", 10, |sync| sync["through"]["events"] == last && sync["through"]["telemetry"] == seq).await;
    for n in 1..=last {
        assert_eq!(api.get(&format!("/relays/bench/commands/c{}", n * 20)).await["state"], "succeeded");
    }
    eprintln!("{seq} readings, {confirmed} of them confirmed before the last kill");
    drop(process);
}
