//! Recorded payloads stay readable and come out the same: what was written once is on disks and in queues.

use std::path::Path;

use serde_json::Value;

use crate::examples::{KINDS, round_trip};

/// `Type.json` or `Type-variant.json`.
fn recorded() -> Vec<(String, String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire");
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let kind = name.split('-').next().unwrap().to_owned();
        all.push((name, kind, std::fs::read_to_string(&path).unwrap()));
    }
    all.sort();
    all
}

#[test]
fn what_was_recorded_comes_out_the_same() {
    for (name, kind, text) in recorded() {
        let encoded = round_trip(&kind, text.as_bytes()).unwrap_or_else(|error| panic!("{name}: {error}"));
        let (before, after): (Value, Value) =
            (serde_json::from_str(&text).unwrap(), serde_json::from_str(&encoded).unwrap());
        assert_eq!(before, after, "{name}");
    }
}

#[test]
fn every_type_is_recorded() {
    let recorded = recorded();
    for kind in KINDS {
        assert!(recorded.iter().any(|(_, recorded, _)| recorded == kind), "no recorded {kind}");
    }
}

#[test]
fn fields_that_are_not_known_are_ignored() {
    for (name, kind, text) in recorded() {
        let mut value: Value = serde_json::from_str(&text).unwrap();
        value["a_field_of_tomorrow"] = serde_json::json!({"deep": [1, 2, {"deeper": null}]});
        let encoded = round_trip(&kind, value.to_string().as_bytes()).unwrap_or_else(|error| panic!("{name}: {error}"));
        // Commands are journalled whole: there it is even kept.
        let kept = encoded.contains("a_field_of_tomorrow");
        assert_eq!(kept, kind == "Command" || kind == "CloudCommand", "{name}");
    }
}

#[test]
fn types_that_are_not_known_are_read_as_such() {
    let event = r#"{"relay":"a","journal":"j","epoch":1,"seq":2,"floor":1,"at":"2026-01-01T00:00:00Z","type":"weather","wind":3}"#;
    let event: contract::event::Event = serde_json::from_str(event).unwrap();
    assert_eq!((event.head.seq, event.body), (2, contract::event::EventBody::Unknown));
    let event: contract::cloud_command::CloudEvent = serde_json::from_str(r#"{"type":"weather","wind":3}"#).unwrap();
    assert_eq!(event, contract::cloud_command::CloudEvent::Unknown);
}

#[test]
fn a_reading_that_is_not_finite_is_still_readable() {
    let (_, _, text) = recorded().into_iter().find(|(name, ..)| name == "Reading").unwrap();
    let mut reading: contract::reading::Reading = serde_json::from_str(&text).unwrap();
    reading.outputs = vec![f32::NAN, f32::INFINITY, 0.5];
    reading.prediction.as_mut().unwrap().score = f32::NAN;
    let encoded = serde_json::to_string(&reading).unwrap();
    assert!(encoded.contains("[null,null,0.5]"), "{encoded}");
    let back: contract::reading::Reading = serde_json::from_str(&encoded).unwrap();
    assert!(back.outputs[0].is_nan() && back.outputs[1].is_nan() && back.prediction.unwrap().score.is_nan());
    assert!((back.outputs[2] - 0.5).abs() < f32::EPSILON);
}
