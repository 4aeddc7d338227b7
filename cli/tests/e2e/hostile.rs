//! Garbage on every topic, as everybody who may publish there: an answer where there is a sender, a counter, and the
//! system goes on.

use serde_json::json;

use crate::fleet::Fleet;

const GARBAGE: [&[u8]; 7] = [
    b"",
    b"\xff\xfe\x00garbage",
    b"{",
    b"[1,2,3]",
    b"{\"id\":\"x\"}",
    b"{\"id\":7,\"verb\":\"install\"}",
    b"{\"relay\":\"other\",\"journal\":\"j\",\"epoch\":999999,\"seq\":18446744073709551615,\"status\":\"online\"}",
];

/// Publishes as the relay itself, as a broken or hostile one would.
fn as_relay(fleet: &Fleet, topic: &str, payload: &[u8]) {
    let token = std::fs::read_to_string(fleet.dir.join("relay/demo/token")).unwrap();
    let mut child = std::process::Command::new("mosquitto_pub")
        .args(["-h", "127.0.0.1", "-p", &fleet.mqtt.to_string(), "-u", "relay-demo", "-P", token.trim()])
        .args(["-q", "1", "-t", topic, if payload.is_empty() { "-n" } else { "-s" }])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), payload).unwrap();
    assert!(child.wait().unwrap().success(), "publishing to {topic}");
}

#[test]
fn garbage_on_every_topic_is_counted_and_the_system_goes_on() {
    let fleet = Fleet::start(&["--demo"]);
    let root = "tinymlaas/v1/relays/demo";
    for garbage in GARBAGE {
        for topic in ["commands", "sync"] {
            fleet.publish(&format!("{root}/{topic}"), garbage);
        }
        fleet.publish("tinymlaas/v1/cloud/commands", garbage);
        for topic in
            ["events", "requests", "devices/board-1/telemetry", "devices/board-1/logs", "devices/ghost/telemetry"]
        {
            as_relay(&fleet, &format!("{root}/{topic}"), garbage);
        }
    }

    // Where an id can be read, its sender gets an answer that names the field and the way out.
    fleet.send(&json!({"id": "bad-verb", "verb": "explode"}));
    let view = fleet.ended("bad-verb", 10);
    assert_eq!(view.state, Some(contract::State::Rejected));
    assert_eq!(view.code, Some(contract::Code::UNKNOWN_VERB));
    assert!(view.message.contains("install"), "{}", view.message);
    fleet.send(&json!({"id": "no-device", "verb": "install", "model": "digits"}));
    let view = fleet.ended("no-device", 10);
    assert_eq!((view.state, view.code), (Some(contract::State::Rejected), Some(contract::Code::MISSING_FIELD)));
    assert!(view.message.contains("device"), "{}", view.message);
    fleet.send(&json!({"id": "ghost", "verb": "restart", "device": "ghost"}));
    assert_eq!(fleet.ended("ghost", 10).code, Some(contract::Code::UNKNOWN_DEVICE));
    fleet.send(&json!({"id": "late", "verb": "restart", "device": "board-1", "expires_at": "2020-01-01T00:00:00Z"}));
    assert_eq!(fleet.ended("late", 10).state, Some(contract::State::Expired));

    // 1 MB on commands is over the packet limit: the broker ends that connection, and nothing else.
    let mut child = fleet
        .mosquitto("mosquitto_pub")
        .args(["-q", "1", "-t", &format!("{root}/commands"), "-s"])
        .stdin(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    // The broker may close before all is written.
    let _ = std::io::Write::write_all(&mut child.stdin.take().unwrap(), &vec![b'x'; 1_000_000]);
    let begin = std::time::Instant::now();
    while child.try_wait().unwrap().is_none() && begin.elapsed().as_secs() < 5 {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let _ = child.kill();
    let _ = child.wait();
    // 100 kB fits a packet and is over the limit of a command: the relay says so.
    fleet.publish(&format!("{root}/commands"), &vec![b' '; 100_000]);

    let counters = |fleet: &Fleet| fleet.relay().state.unwrap().counters;
    fleet.until(20, "the relay has counted what it could not read", |fleet| {
        counters(fleet).get("malformed").is_some_and(|count| *count >= 5)
    });
    let cloud: std::collections::BTreeMap<String, u64> = fleet.get("/counters");
    assert!(cloud.values().sum::<u64>() > 0, "the cloud has counted what it could not read: {cloud:?}");

    let before = fleet.device("board-1").readings;
    fleet.until(20, "readings go on", |fleet| fleet.device("board-1").readings > before + 2);
    fleet.send(&json!({"id": "still-works", "verb": "self_test", "device": "board-1"}));
    assert_eq!(fleet.ended("still-works", 30).state, Some(contract::State::Succeeded));
    for role in ["broker", "cloud", "relay"] {
        assert_eq!(fleet.processes(role).len(), 1, "{role}");
    }
    assert!(!fleet.said("starting it again"), "nothing had to be restarted:\n{}", fleet.output.lock().unwrap());
}

#[test]
fn nobody_comes_in_without_a_credential() {
    let fleet = Fleet::start(&["--boards", "0"]);
    let try_to = |user: &[&str]| {
        std::process::Command::new("mosquitto_pub")
            .args(["-h", "127.0.0.1", "-p", &fleet.mqtt.to_string(), "-t", "tinymlaas/v1/cloud/commands", "-m", "{}"])
            .args(user)
            .output()
            .unwrap()
            .status
            .success()
    };
    assert!(!try_to(&[]), "anonymous");
    assert!(!try_to(&["-u", "admin", "-P", "admin"]), "a guess");
    assert!(!try_to(&["-u", "admin"]), "no password");
    assert!(try_to(&["-u", "admin", "-P", &fleet.token()]), "the token");
    for path in ["/relays", "/devices", "/models", "/commands", "/counters"] {
        let error = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
            reqwest::get(format!("http://127.0.0.1:{}/api/v1{path}", fleet.http)).await.unwrap().status()
        });
        assert_eq!(error, 401, "{path}");
    }
}
