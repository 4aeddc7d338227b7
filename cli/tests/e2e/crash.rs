//! kill -9 of any part at any step: what was acknowledged is done, once, and nothing stays stuck.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use contract::State;
use contract::api::CommandView;
use contract::event::{CommandReport, Event, EventBody};
use serde_json::json;

use crate::fleet::{Fleet, project, signal};

/// Events as the real mosquitto_sub prints them.
struct Events {
    child: Child,
    seen: Arc<Mutex<Vec<Event>>>,
}

impl Events {
    fn of(fleet: &Fleet) -> Self {
        let mut child = fleet
            .mosquitto("mosquitto_sub")
            .args(["-q", "1", "-t", "tinymlaas/v1/relays/demo/events"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("mosquitto_sub is installed by 'cargo xtask test'");
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let seen: Arc<Mutex<Vec<Event>>> = Arc::default();
        let sink = seen.clone();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if let Ok(event) = serde_json::from_str(&line) {
                    sink.lock().unwrap().push(event);
                }
            }
        });
        // mosquitto_sub does not say when its subscription stands.
        std::thread::sleep(Duration::from_millis(500));
        Self { child, seen }
    }

    fn reports(&self, id: &str) -> Vec<CommandReport> {
        let seen = self.seen.lock().unwrap();
        let of_command = seen.iter().filter_map(|event| match &event.body {
            EventBody::Command(report) if report.command.as_str() == id => Some(report.clone()),
            _ => None,
        });
        of_command.collect()
    }

    fn wait(&self, id: &str, state: State, seconds: u64) {
        let begin = Instant::now();
        while !self.reports(id).iter().any(|report| report.state == state) {
            assert!(
                begin.elapsed() < Duration::from_secs(seconds),
                "{id} was not {state} within {seconds} s: {:?}",
                self.reports(id)
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A compiler that takes its time, and then is the real one.
fn slow_compiler(folder: &Path, seconds: u32) -> String {
    let path = folder.join("slow-cc");
    let mut file = std::fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o755).open(&path).unwrap();
    writeln!(file, "#!/bin/sh\ncase \"$*\" in *--version*|*-dump*) ;; *) sleep {seconds} ;; esac\nexec cc \"$@\"")
        .unwrap();
    path.to_str().unwrap().to_owned()
}

fn import_digits(fleet: &Fleet) {
    let csv = project().join("models/digits/digits.csv");
    let onnx = project().join("models/digits/digits.onnx");
    fleet.cli_json(&["dataset", "import", csv.to_str().unwrap(), "--name", "digits", "--input-scale", "0.0625"]);
    fleet.cli_json(&["model", "import", onnx.to_str().unwrap(), "--name", "digits", "--dataset", "digits"]);
    fleet.cli_json(&["model", "compile", "digits"]);
}

fn install(id: &str, device: &str) -> serde_json::Value {
    json!({"id": id, "verb": "install", "device": device, "model": "digits", "observe": {"interval_ms": 200}})
}

/// A command ended well, exactly once, and its board runs what it should.
fn done_once(fleet: &Fleet, id: &str, device: &str) -> CommandView {
    let view = fleet.ended(id, 90);
    assert_eq!(view.state, Some(State::Succeeded), "{id}: {:?} {}", view.code, view.message);
    let view = fleet.command(id);
    let ends = view.events.iter().filter(|event| matches!(&event.body, EventBody::Command(r) if r.state.is_terminal()));
    assert_eq!(ends.count(), 1, "{id} ended once: {:?}", view.events);
    fleet.until(10, "the state tells of the firmware", |fleet| {
        fleet.device(device).state.firmware.is_some_and(|firmware| firmware.verified)
    });
    view
}

#[test]
fn the_relay_killed_at_each_step_goes_on() {
    let tools = tempfile::tempdir().unwrap();
    let compiler = slow_compiler(tools.path(), 2);
    // At 115,200 baud writing the firmware takes seconds, as on a real board.
    let fleet = Fleet::start_with(&["--baud", "115200", "--boards", "2"], &[("CC", &compiler)]);
    import_digits(&fleet);
    let events = Events::of(&fleet);

    // Building comes first: later installs find the build in the cache.
    fleet.send(&install("at-building", "board-1"));
    events.wait("at-building", State::Building, 20);
    fleet.kill("relay");
    done_once(&fleet, "at-building", "board-1");

    for state in [State::Flashing, State::Verifying] {
        let id = format!("at-{state}");
        fleet.send(&install(&id, "board-1"));
        events.wait(&id, state, 40);
        fleet.kill("relay");
        done_once(&fleet, &id, "board-1");
    }

    // The cloud stands still, so the relay waits for the manifest: it is killed while fetching.
    let cloud = fleet.processes("cloud");
    cloud.iter().for_each(|pid| signal("-STOP", *pid));
    fleet.send(&install("at-fetching", "board-1"));
    events.wait("at-fetching", State::Fetching, 20);
    fleet.kill("relay");
    std::thread::sleep(Duration::from_millis(500));
    cloud.iter().for_each(|pid| signal("-CONT", *pid));
    done_once(&fleet, "at-fetching", "board-1");

    // Two commands for one device: the second waits as accepted while the first is flashed.
    fleet.send(&install("first", "board-1"));
    fleet.send(&install("at-accepted", "board-1"));
    events.wait("at-accepted", State::Accepted, 20);
    events.wait("first", State::Flashing, 40);
    fleet.kill("relay");
    done_once(&fleet, "first", "board-1");
    done_once(&fleet, "at-accepted", "board-1");

    let before = fleet.device("board-1").readings;
    fleet.until(20, "readings go on", |fleet| fleet.device("board-1").readings > before);
}

#[test]
fn the_board_killed_while_it_is_flashed_comes_back() {
    let fleet = Fleet::start(&["--baud", "115200", "--boards", "1"]);
    import_digits(&fleet);
    let events = Events::of(&fleet);
    fleet.send(&install("cut", "board-1"));
    events.wait("cut", State::Flashing, 40);
    fleet.kill("board");
    let view = fleet.ended("cut", 90);
    // Either the retry reached the board that came back, or the relay says what happened; it never hangs.
    assert!(matches!(view.state, Some(State::Succeeded | State::Failed)), "{view:?}");
    fleet.send(&install("again", "board-1"));
    done_once(&fleet, "again", "board-1");
}

#[test]
fn the_same_id_twice_has_one_effect() {
    let fleet = Fleet::start(&["--boards", "1"]);
    import_digits(&fleet);
    let events = Events::of(&fleet);
    for _ in 0..3 {
        fleet.send(&install("once", "board-1"));
    }
    let view = done_once(&fleet, "once", "board-1");
    fleet.send(&install("once", "board-1"));
    let begin = Instant::now();
    while events.reports("once").iter().filter(|report| report.code == contract::Code::DUPLICATE).count() < 3 {
        assert!(begin.elapsed() < Duration::from_secs(10), "repeats are answered: {:?}", events.reports("once"));
        std::thread::sleep(Duration::from_millis(20));
    }
    let flashings = events
        .reports("once")
        .iter()
        .filter(|r| r.state == State::Flashing && r.code != contract::Code::DUPLICATE && r.progress > 0.0)
        .map(|r| r.progress.to_bits())
        .collect::<std::collections::BTreeSet<_>>()
        .len();
    assert!(flashings > 0, "it was flashed: {:?}", view.events);
    let last = events.reports("once").last().cloned().unwrap();
    assert_eq!((last.state, last.code), (State::Succeeded, contract::Code::DUPLICATE));
}

/// Numbers of all stored readings of the relay's telemetry stream, sorted.
fn stored(fleet: &Fleet) -> Vec<u64> {
    let mut all: Vec<u64> =
        ["board-1", "board-2"].iter().flat_map(|d| fleet.readings(d, 1000)).map(|reading| reading.head.seq).collect();
    all.sort_unstable();
    all
}

fn assert_gap_free(fleet: &Fleet) {
    // What came last may still be on its way: ask until what is there has no gap.
    let mut numbers = Vec::new();
    fleet.until(30, "no reading is missing and none is double", |fleet| {
        numbers = stored(fleet);
        numbers.windows(2).all(|pair| pair[1] == pair[0] + 1)
    });
    assert!(numbers.len() > 20, "only {} readings", numbers.len());
    assert_eq!(numbers.first(), Some(&1), "the first reading is there");
    println!("{} readings, numbers 1 to {}, none missing, none double", numbers.len(), numbers.last().unwrap());
}

#[test]
fn broker_and_cloud_killed_while_telemetry_flows_lose_nothing() {
    let fleet = Fleet::start(&["--demo"]);
    for device in ["board-1", "board-2"] {
        fleet.cli_json_lines(&["device", "observe", device, "--interval-ms", "100"]);
    }
    for role in ["broker", "cloud", "broker", "relay", "cloud"] {
        std::thread::sleep(Duration::from_millis(1500));
        let before =
            fleet.try_get::<contract::api::DeviceView>("/relays/demo/devices/board-1").map_or(0, |d| d.readings);
        fleet.kill(role);
        fleet.until(40, &format!("readings go on after the {role} was killed"), |fleet| {
            fleet
                .try_get::<contract::api::DeviceView>("/relays/demo/devices/board-1")
                .is_ok_and(|device| device.readings > before + 5)
        });
    }
    assert_gap_free(&fleet);
}

#[test]
fn a_command_that_the_broker_acknowledged_survives_its_death() {
    let fleet = Fleet::start(&["--boards", "1"]);
    import_digits(&fleet);
    let (relay, cloud) = (fleet.processes("relay"), fleet.processes("cloud"));
    // Nobody but the broker has the command: relay and cloud stand still.
    relay.iter().chain(&cloud).for_each(|pid| signal("-STOP", *pid));
    fleet.send(&install("kept", "board-1"));
    fleet.kill("broker");
    std::thread::sleep(Duration::from_secs(1));
    relay.iter().chain(&cloud).for_each(|pid| signal("-CONT", *pid));
    done_once(&fleet, "kept", "board-1");
}

#[test]
fn two_devices_work_side_by_side() {
    let tools = tempfile::tempdir().unwrap();
    let compiler = slow_compiler(tools.path(), 1);
    let fleet = Fleet::start_with(&["--baud", "57600", "--boards", "2"], &[("CC", &compiler)]);
    import_digits(&fleet);
    let events = Events::of(&fleet);
    fleet.send(&install("one", "board-1"));
    fleet.send(&install("two", "board-2"));
    // Both are flashed at the same time: neither has ended when the other begins.
    events.wait("one", State::Flashing, 40);
    events.wait("two", State::Flashing, 40);
    let ended = |id: &str| events.reports(id).iter().any(|report| report.state.is_terminal());
    assert!(!ended("one") && !ended("two"), "one waited for the other");
    done_once(&fleet, "one", "board-1");
    done_once(&fleet, "two", "board-2");
}
