//! Mosquitto's own tools as clients, in both protocol versions.

use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::support::*;

fn installed() -> bool {
    let found = Command::new("mosquitto_pub").arg("--help").output().is_ok();
    if !found {
        eprintln!("skipped: mosquitto_pub is not installed (Debian: mosquitto-clients)");
    }
    found
}

fn tool(name: &str, broker: &Running, user: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(name);
    command
        .args(["-h", "127.0.0.1", "-p", &broker.addr.port().to_string()])
        .args(["-u", user, "-P", &token(user)])
        .args(arguments);
    command
}

async fn output(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

#[tokio::test]
async fn publishing_and_subscribing_in_every_version_and_quality() {
    if !installed() {
        return;
    }
    let broker = Running::start().await;
    for version in ["mqttv311", "mqttv5"] {
        for qos in ["0", "1", "2"] {
            let arguments = ["-V", version, "-q", qos, "-t", EVENTS, "-C", "3", "-W", "10"];
            let subscriber =
                tool("mosquitto_sub", &broker, "viewer", &arguments).stdout(Stdio::piped()).spawn().unwrap();
            while broker.metrics.connected.get() < 1 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            // Its SUBSCRIBE follows CONNACK.
            tokio::time::sleep(Duration::from_millis(300)).await;
            for text in ["a", "b", "c"] {
                let arguments = ["-V", version, "-q", qos, "-t", EVENTS, "-m", text];
                let published = output(tool("mosquitto_pub", &broker, "bench", &arguments)).await;
                assert!(published.status.success(), "{published:?}");
            }
            let heard = tokio::task::spawn_blocking(|| subscriber.wait_with_output().unwrap()).await.unwrap();
            assert_eq!(heard.stdout, b"a\nb\nc\n", "{version} QoS {qos}");
            while broker.metrics.connected.get() > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}

#[tokio::test]
async fn refusals_are_told_as_mosquitto_users_know_them() {
    if !installed() {
        return;
    }
    let broker = Running::start().await;
    let publish = ["-t", EVENTS, "-m", "x", "-q", "1"];
    let mut wrong = tool("mosquitto_pub", &broker, "bench", &publish);
    wrong.args(["-P", "guess"]);
    assert!(!output(wrong).await.status.success());
    let old = output(tool("mosquitto_pub", &broker, "viewer", &publish)).await;
    assert!(old.status.success(), "3.1.1: acknowledged and dropped");
    let mut new = tool("mosquitto_pub", &broker, "viewer", &publish);
    new.args(["-V", "mqttv5"]);
    let new = output(new).await;
    let told = String::from_utf8_lossy(&new.stderr).into_owned();
    assert!(told.to_lowercase().contains("not authorized"), "{new:?}");
    let subscribe = ["-V", "mqttv5", "-t", "#", "-W", "3"];
    let denied = output(tool("mosquitto_sub", &broker, "viewer", &subscribe)).await;
    let told = String::from_utf8_lossy(&denied.stderr).into_owned();
    assert!(told.contains("denied"), "{denied:?}");
}
