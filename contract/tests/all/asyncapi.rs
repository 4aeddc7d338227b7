//! docs/asyncapi.json is up to date, and every reference in it leads somewhere.

use serde_json::Value;

use crate::document;

#[test]
fn the_committed_document_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/asyncapi.json");
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        committed == document::text(),
        "docs/asyncapi.json is not what crate and topics.md give; run 'cargo run -p contract --example asyncapi'"
    );
}

#[test]
fn every_reference_leads_somewhere() {
    let document = document::document();
    let mut found = 0;
    let mut left = vec![&document];
    while let Some(value) = left.pop() {
        match value {
            Value::Object(map) => {
                if let Some(Value::String(reference)) = map.get("$ref") {
                    let pointer = reference.strip_prefix('#').unwrap();
                    assert!(document.pointer(pointer).is_some(), "{reference}");
                    found += 1;
                }
                left.extend(map.values());
            }
            Value::Array(items) => left.extend(items),
            _ => {}
        }
    }
    assert!(found > 40, "{found} references");
}

#[test]
fn every_example_has_the_fields_that_its_schema_requires() {
    let document = document::document();
    let mut checked = 0;
    for (name, message) in document["components"]["messages"].as_object().unwrap() {
        let schema = &document["components"]["schemas"][name];
        let mut parts = vec![schema];
        parts.extend(schema["allOf"].as_array().into_iter().flatten());
        for example in message["examples"].as_array().into_iter().flatten() {
            for part in &parts {
                let part = match part["$ref"].as_str() {
                    Some(reference) => document.pointer(reference.strip_prefix('#').unwrap()).unwrap(),
                    None => part,
                };
                for field in part["required"].as_array().into_iter().flatten() {
                    assert!(example["payload"].get(field.as_str().unwrap()).is_some(), "{name}: {field}");
                    checked += 1;
                }
            }
        }
    }
    assert!(checked > 50, "{checked} fields");
}
