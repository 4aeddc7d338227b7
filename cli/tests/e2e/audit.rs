//! What was acknowledged is on record with who sent it, whoever is killed meanwhile.

use std::collections::BTreeMap;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::fleet::Fleet;

/// Publishes a command until the broker has acknowledged it; how often that took.
fn publish(fleet: &Fleet, id: &str) -> usize {
    let body = json!({"id": id, "verb": "rescan"}).to_string();
    let mut tries = 0;
    fleet.until(120, &format!("{id} is acknowledged"), |fleet| {
        tries += 1;
        let mut command = fleet.mosquitto("mosquitto_pub");
        command.args(["-q", "1", "-t", "tinymlaas/v1/relays/demo/commands", "-m", &body]);
        command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
    });
    tries
}

/// How many lines of the audit log tell of each command over MQTT.
fn recorded(fleet: &Fleet) -> Option<BTreeMap<String, usize>> {
    let output = fleet.cli(&["audit", "--action", "command.rescan", "--limit", "500", "--json"]);
    let lines: Vec<Value> = output.status.success().then(|| serde_json::from_slice(&output.stdout).ok())??;
    let mut counts = BTreeMap::new();
    for line in lines.iter().filter(|line| line["source"] == "mqtt") {
        assert_eq!(
            (&line["actor"], &line["role"], &line["target"]),
            (&json!("admin"), &json!("admin"), &json!("demo"))
        );
        *counts.entry(line["detail"]["command"].as_str().unwrap().to_owned()).or_insert(0) += 1;
    }
    Some(counts)
}

#[test]
fn every_acknowledged_command_is_on_record_once_for_each_time_it_was_sent() {
    let mut fleet = Fleet::start(&["--boards", "1"]);
    let mut sent = BTreeMap::new();
    for number in 0..24 {
        let id = format!("audited-{number}");
        let tries = publish(&fleet, &id);
        sent.insert(id, tries);
        match number % 6 {
            1 => fleet.kill("cloud"),
            3 => fleet.kill("broker"),
            _ => {}
        }
        if number == 12 {
            fleet.kill_up();
            fleet.up();
        }
    }
    let complete = |counts: &BTreeMap<String, usize>| sent.keys().all(|id| counts.contains_key(id));
    fleet.until(120, "all of them are on record", |fleet| recorded(fleet).as_ref().is_some_and(complete));
    let counts = recorded(&fleet).unwrap();
    for (id, tries) in &sent {
        // One that was not acknowledged may have been taken all the same; it is another message then.
        let lines = counts[id];
        assert!(lines <= *tries, "{id} was sent {tries} times and is on record {lines} times");
    }
    for id in sent.keys() {
        fleet.ended(id, 60);
    }
    let tried: usize = sent.values().sum();
    let lines: usize = counts.values().sum();
    eprintln!(
        "{} commands in {tried} messages, {lines} on record, 4 kills each of broker and cloud, 1 of all",
        sent.len()
    );
}
