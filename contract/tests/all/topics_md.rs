//! topics.md says what the crate does: examples, field tables, topics, verbs, states, codes, limits.

use std::collections::{BTreeMap, BTreeSet};

use contract::cloud_command::CloudAction;
use contract::command::{Action, Observe};
use contract::{Code, State, limits};
use serde_json::{Value, json};

use crate::document;
use crate::examples::{KINDS, round_trip};
use crate::page::{self, Field};

/// Tables of what an enum or a verb decides: 'not required' means 'not for every variant' there.
const UNIONS: [&str; 5] = ["Command", "CloudCommand", "CloudEvent", "Request", "Response"];

#[test]
fn every_example_is_what_the_crate_reads_and_writes() {
    let page = page::text();
    let examples = page::examples(&page);
    for example in &examples {
        let at = format!("topics.md line {} ({})", example.line, example.kind);
        let before: Value = serde_json::from_str(&example.text).unwrap_or_else(|error| panic!("{at}: {error}"));
        let encoded =
            round_trip(&example.kind, example.text.as_bytes()).unwrap_or_else(|error| panic!("{at}: {error}"));
        assert_eq!(before, serde_json::from_str::<Value>(&encoded).unwrap(), "{at}");
    }
    for kind in KINDS {
        assert!(examples.iter().any(|example| example.kind == kind), "topics.md shows no {kind}");
    }
    let unmarked = page.lines().filter(|line| line.trim() == "```json").count();
    assert_eq!(unmarked, 0, "a JSON block of topics.md has no type and is checked by nobody");
}

#[test]
fn the_document_inside_of_the_signed_manifest_is_a_manifest() {
    for example in page::examples(&page::text()) {
        let value: Value = serde_json::from_str(&example.text).unwrap();
        if let Some(document) = value.pointer("/manifest/document").and_then(Value::as_str) {
            let encoded = round_trip("Manifest", document.as_bytes()).unwrap();
            assert_eq!(encoded, document);
        }
    }
}

/// The tables that describe a whole payload.
fn roots(kind: &str, value: &Value) -> Vec<&'static str> {
    match kind {
        "Event" => vec![
            "Head",
            "Event",
            match value["type"].as_str() {
                Some("command") => "CommandReport",
                Some("device") => "DeviceReport",
                _ => "Notice",
            },
        ],
        "Reading" => vec!["Head", "Reading"],
        "LogLines" => vec!["Head", "LogLines"],
        other => KINDS.into_iter().filter(|kind| *kind == other).collect(),
    }
}

/// Walks an example along its tables and calls `visit` with pointer, table and field for each field there is.
fn walk<'a>(
    tables: &'a BTreeMap<String, Vec<Field>>,
    roots: &[&'a str],
    value: &Value,
    pointer: &str,
    visit: &mut dyn FnMut(&str, &'a str, &'a Field),
) {
    let fields: Vec<(&str, &Field)> = roots
        .iter()
        .flat_map(|table| {
            let fields = tables.get(*table).unwrap_or_else(|| panic!("topics.md has no table {table}"));
            fields.iter().map(|field| (*table, field))
        })
        .collect();
    for (key, inner) in value.as_object().unwrap_or_else(|| panic!("{pointer} is no object")) {
        let (table, field) = fields
            .iter()
            .find(|(_, field)| field.name == *key)
            .unwrap_or_else(|| panic!("{pointer}/{key} is in an example and in no table of {roots:?}"));
        let pointer = format!("{pointer}/{key}");
        visit(&pointer, table, field);
        if let Some(table) = field.table() {
            match inner {
                Value::Array(items) => {
                    for (index, item) in items.iter().enumerate() {
                        walk(tables, &[table], item, &format!("{pointer}/{index}"), visit);
                    }
                }
                object => walk(tables, &[table], object, &pointer, visit),
            }
        }
    }
}

/// Fields that another field of the same object makes necessary: `source` is `text` in the example.
const DEPENDENT: &[(&str, &str)] = &[("Observe", "pattern"), ("Observe", "source")];

#[test]
fn field_tables_and_types_agree() {
    let page = page::text();
    let tables = page::tables(&page);
    let mut shown: BTreeSet<(String, String)> = BTreeSet::new();
    for example in page::examples(&page) {
        let kind = example.kind.as_str();
        let value: Value = serde_json::from_str(&example.text).unwrap();
        let mut fields = Vec::new();
        walk(&tables, &roots(kind, &value), &value, "", &mut |pointer, table, field| {
            shown.insert((table.to_owned(), field.name.clone()));
            fields.push((pointer.to_owned(), table, field));
        });
        for (pointer, table, field) in fields {
            let at = format!("topics.md line {}: {kind}{pointer}", example.line);
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            let mut without = value.clone();
            without.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(key);
            let refused = round_trip(kind, without.to_string().as_bytes()).is_err();
            if field.required {
                assert!(refused, "{at} is said to be required, and a payload without it is read");
            } else if !UNIONS.contains(&table) && !DEPENDENT.contains(&(table, field.name.as_str())) {
                assert!(!refused, "{at} is said to be optional, and a payload without it is refused");
            }
            if field.kind != "any" && !UNIONS.contains(&table) {
                let mut wrong = value.clone();
                let nonsense = if field.kind.starts_with("list") { json!(true) } else { json!([[]]) };
                *wrong.pointer_mut(&pointer).unwrap() = nonsense;
                assert!(round_trip(kind, wrong.to_string().as_bytes()).is_err(), "{at} takes anything");
            }
        }
    }
    for (table, fields) in &tables {
        for field in fields {
            let key = (table.clone(), field.name.clone());
            let other_verb = table == "Command" && ["artifact", "board", "command"].contains(&field.name.as_str());
            assert!(other_verb || shown.contains(&key), "no example on topics.md shows {table}.{}", field.name);
        }
    }
}

/// The public fields of the structs in the crate's source, by struct; flattened ones are other tables.
fn fields_in_source() -> BTreeMap<String, BTreeSet<String>> {
    let mut structs: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src")).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        let mut name = None;
        let mut flattened = false;
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("pub struct ") {
                name = rest.strip_suffix(" {").map(str::to_owned);
            } else if line == "}" {
                name = None;
            } else if line.trim() == "#[serde(flatten)]" {
                flattened = true;
            } else if let (Some(name), Some(rest)) = (&name, line.strip_prefix("    pub ")) {
                let field = rest.split(':').next().unwrap().to_owned();
                if !std::mem::take(&mut flattened) {
                    structs.entry(name.clone()).or_default().insert(field);
                }
            }
        }
    }
    structs
}

#[test]
fn no_field_of_the_crate_is_missing_from_its_table() {
    let tables = page::tables(&page::text());
    let structs = fields_in_source();
    let mut compared = 0;
    for (table, fields) in &tables {
        let Some(own) = structs.get(table).filter(|_| !UNIONS.contains(&table.as_str()) && table != "Event") else {
            continue;
        };
        let listed: BTreeSet<String> = fields.iter().map(|field| field.name.clone()).collect();
        assert_eq!(&listed, own, "topics.md (left) and the crate (right) differ on {table}");
        compared += 1;
    }
    assert!(compared >= 20, "only {compared} tables were compared");
}

#[test]
fn every_topic_verb_state_and_code_is_on_the_page() {
    let page = page::text();
    for topic in document::topics() {
        let address = document::address(&topic);
        assert!(page.contains(&format!("`{address}`")), "{address}");
        let short = address.strip_prefix("tinymlaas/v1/").unwrap();
        let row = page.lines().find(|line| line.starts_with(&format!("| [`{short}`]"))).unwrap_or_else(|| {
            panic!("no row for {short} in the table of topics");
        });
        let retained = row.split('|').nth(4).unwrap().trim() == "yes";
        assert_eq!(retained, topic.retained(), "{row}");
    }
    for filter in contract::topic::filter::WATCHED {
        assert!(page.contains(&format!("`{filter}`")), "{filter}");
    }
    for verb in Action::VERBS {
        assert!(page.contains(&format!("| `{verb}` |")), "the verb {verb} has no row");
        assert!(page.contains(&format!(r#""verb":"{verb}""#)), "no line on the page sends {verb}");
    }
    for verb in CloudAction::VERBS {
        assert!(page.contains(&format!(r#""verb":"{verb}""#)), "no line on the page sends {verb}");
    }
    for state in State::ALL {
        assert!(page.contains(&format!("| `{state}` |")), "the state {state} has no row");
    }
    for (code, meaning) in Code::ALL {
        let row = format!("| `{code}` | {meaning} |");
        assert!(page.contains(&row), "the table of codes has no row '{row}'");
    }
}

#[test]
fn every_limit_is_on_the_page() {
    let page = page::text();
    let table = page.split("\n## Limits\n").nth(1).unwrap().split("\n## ").next().unwrap();
    for (what, number) in [
        ("MQTT packet", limits::MAX_PACKET_BYTES as u64),
        ("Payload on a `commands` topic", limits::MAX_COMMAND_BYTES as u64),
        ("Block of an artifact", limits::BLOCK_BYTES as u64),
        ("| Artifact", limits::MAX_ARTIFACT_BYTES),
        ("Command id", limits::MAX_COMMAND_ID_BYTES as u64),
        ("Name of a relay", limits::MAX_NAME_BYTES as u64),
        ("Model input", limits::MAX_READING_INPUT_BYTES as u64),
        ("Free text", limits::MAX_TEXT_BYTES as u64),
        ("Lines in one log message", limits::MAX_LOG_LINES as u64),
        ("Text in one log message", limits::MAX_LOG_BYTES as u64),
        ("`timeout_s`", u64::from(limits::MAX_TIMEOUT_S)),
        ("`observe.interval_ms`", u64::from(Observe::MAX_INTERVAL_MS)),
        ("`observe.interval_ms`", u64::from(Observe::MIN_INTERVAL_MS)),
        ("`observe.baud`", u64::from(Observe::MIN_BAUD)),
        ("`observe.baud`", u64::from(Observe::MAX_BAUD)),
        ("`observe.pattern`", contract::pattern::MAX_BYTES as u64),
        ("`observe.pattern`", contract::pattern::MAX_FIELDS as u64),
    ] {
        let row = table.lines().find(|line| line.contains(what)).unwrap_or_else(|| panic!("no row for {what}"));
        let numbers: Vec<&str> = row.split(|c: char| !c.is_ascii_digit()).collect();
        assert!(numbers.contains(&number.to_string().as_str()), "{what} is {number}, the page says {row}");
    }
}

#[test]
fn every_link_within_the_page_leads_to_a_heading() {
    let page = page::text();
    // How the usual renderers make an anchor: lower case, spaces to dashes, other punctuation away.
    let anchors: BTreeSet<String> = page
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| {
            let heading = line.trim_start_matches('#').trim().to_lowercase();
            heading
                .chars()
                .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
                .map(|c| if c == ' ' { '-' } else { c })
                .collect()
        })
        .collect();
    let mut links = 0;
    for part in page.split("](#").skip(1) {
        let anchor = part.split(')').next().unwrap();
        assert!(anchors.contains(anchor), "no heading for #{anchor}");
        links += 1;
    }
    assert!(links > 20, "{links} links");
}
