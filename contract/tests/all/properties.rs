//! Parsers on arbitrary input: nothing panics, every refusal says why, what is read is written the same.

use contract::cloud_command::CloudCommand;
use contract::command::{Action, Command};
use contract::ids::check_plain_name;
use contract::limits::{MAX_COMMAND_BYTES, MAX_TEXT_BYTES, clip};
use contract::topic::covers;
use contract::{ArtifactId, Code, CommandId, DeviceId, Malformed, ModelRef, RelayId, Timestamp, Topic};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Map, Value, json};

use crate::examples::{KINDS, round_trip};

const CASES: u32 = 256;

/// Any JSON, small, with the keys that matter more often than others.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        // So short that serde_json's reader is exact; with more digits it may be off by the last bit, which is not what
        // is tested.
        any::<i32>().prop_map(|number| Value::from(f64::from(number) / 1000.0)),
        ".{0,12}".prop_map(Value::from),
        select(vec!["install", "digits", "board-1", "command", "online", "block", "2026-01-01T00:00:00Z", "events"])
            .prop_map(Value::from),
    ];
    let key = prop_oneof![
        select(vec![
            "id",
            "verb",
            "device",
            "model",
            "observe",
            "relay",
            "journal",
            "epoch",
            "seq",
            "floor",
            "at",
            "type",
            "want",
            "through",
            "devices",
            "outputs",
            "prediction",
            "lines",
            "manifest",
            "request",
        ])
        .prop_map(str::to_owned),
        ".{0,6}",
    ];
    leaf.prop_recursive(4, 48, 6, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            vec((key.clone(), inner), 0..8).prop_map(|pairs| Value::Object(pairs.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

fn valid_command() -> impl Strategy<Value = Value> {
    let id = "[ -~]{1,64}";
    let name = "[a-z0-9][a-z0-9._-]{0,20}";
    let artifact = "[0-9a-f]{64}".prop_map(|hex| json!({"artifact": format!("sha256:{hex}")}));
    let model = (name, proptest::option::of(1u32..)).prop_map(|(name, version)| match version {
        Some(version) => json!({"model": format!("{name}@{version}")}),
        None => json!({"model": name}),
    });
    let what = prop_oneof![artifact, model];
    let observe = (any::<bool>(), select(vec!["samples", "serial"]), 10u32..=3_600_000)
        .prop_map(|(enabled, source, interval)| json!({"enabled": enabled, "source": source, "interval_ms": interval}));
    let options = (
        proptest::option::of(0i64..4_000_000_000),
        proptest::option::of(1u32..=86_400),
        proptest::option::of(any::<u64>()),
    );
    (id, select(Action::VERBS.to_vec()), name, what, observe, options).prop_map(
        |(id, verb, name, what, observe, (expires, timeout, expect))| {
            let mut command = json!({"id": id, "verb": verb});
            let map = command.as_object_mut().unwrap();
            match verb {
                "install" => {
                    map.insert("device".into(), json!(name));
                    map.insert("observe".into(), observe);
                    map.extend(what.as_object().unwrap().clone());
                }
                "build" => {
                    map.insert("board".into(), json!(name));
                    map.extend(what.as_object().unwrap().clone());
                }
                "observe" => {
                    map.insert("device".into(), json!(name));
                    map.insert("observe".into(), observe);
                }
                "cancel" => {
                    map.insert("command".into(), json!(name));
                }
                "set_board" => {
                    map.insert("device".into(), json!(name));
                    map.insert("board".into(), json!(name));
                }
                "rescan" | "diagnose" => {}
                _ => {
                    map.insert("device".into(), json!(name));
                }
            }
            if let Some(seconds) = expires {
                map.insert("expires_at".into(), json!(Timestamp::from_micros(seconds * 1_000_000)));
            }
            if let Some(seconds) = timeout {
                map.insert("timeout_s".into(), json!(seconds));
            }
            if let Some(version) = expect {
                map.insert("expect".into(), json!(version));
            }
            command
        },
    )
}

/// What every refusal must have: a known code, a message of bounded length, and the id where there is a readable one.
fn check_refusal(payload: &[u8], refusal: &Malformed) -> Result<(), TestCaseError> {
    prop_assert!(Code::ALL.iter().any(|(code, _)| *code == refusal.code.as_str()), "{}", refusal.code);
    prop_assert!(!refusal.message.is_empty());
    prop_assert!(refusal.message.len() < MAX_TEXT_BYTES, "{} bytes", refusal.message.len());
    prop_assert!(!refusal.message.contains(char::is_control), "{:?}", refusal.message);
    if payload.len() > MAX_COMMAND_BYTES {
        prop_assert_eq!(refusal.code.as_str(), "too_large");
        return Ok(());
    }
    let readable = serde_json::from_slice::<Value>(payload)
        .ok()
        .and_then(|value| value.get("id").and_then(Value::as_str).and_then(|id| CommandId::new(id).ok()));
    prop_assert_eq!(&refusal.id, &readable, "{}", refusal.message);
    if readable.is_some() {
        prop_assert!(refusal.field.is_some(), "{}", refusal.message);
    }
    Ok(())
}

fn check_commands(payload: &[u8]) -> Result<(), TestCaseError> {
    if let Err(refusal) = Command::parse(payload) {
        check_refusal(payload, &refusal)?;
    }
    if let Err(refusal) = CloudCommand::parse(payload) {
        check_refusal(payload, &refusal)?;
    }
    Ok(())
}

fn check_all(payload: &[u8]) -> Result<(), TestCaseError> {
    for kind in KINDS {
        match round_trip(kind, payload) {
            Ok(encoded) => {
                let again = round_trip(kind, encoded.as_bytes());
                prop_assert_eq!(again.as_deref(), Ok(encoded.as_str()), "{}", kind);
            }
            Err(refusal) => {
                prop_assert!(!refusal.message.is_empty() && refusal.message.len() < MAX_TEXT_BYTES);
            }
        }
    }
    Ok(())
}

/// The filter of MQTT 3.1.1 section 4.7, word by word: does it match this topic?
fn matches(filter: &[&str], topic: &[&str]) -> bool {
    if topic[0].starts_with('$') && matches!(filter[0], "+" | "#") {
        return false;
    }
    match (filter, topic) {
        (["#"], _) => true,
        // `a/#` also matches its parent level `a`.
        ([level, "#"], [only]) => *level == "+" || level == only,
        ([level, rest @ ..], [first, others @ ..]) if *level == "+" || level == first => {
            if rest.is_empty() || others.is_empty() {
                rest.is_empty() && others.is_empty()
            } else {
                matches_below(rest, others)
            }
        }
        _ => false,
    }
}

/// As [`matches`], where `$` means nothing any more.
fn matches_below(filter: &[&str], topic: &[&str]) -> bool {
    match (filter, topic) {
        (["#"], _) => true,
        ([level, "#"], [only]) => *level == "+" || level == only,
        ([level, rest @ ..], [first, others @ ..]) if *level == "+" || level == first => {
            match (rest.is_empty(), others.is_empty()) {
                (true, true) => true,
                (false, false) => matches_below(rest, others),
                _ => false,
            }
        }
        _ => false,
    }
}

fn level() -> impl Strategy<Value = &'static str> {
    select(vec!["a", "b", "", "$x"])
}

fn filter() -> impl Strategy<Value = String> {
    (vec(prop_oneof![3 => level(), 2 => Just("+")], 0..4), any::<bool>()).prop_map(|(levels, all)| {
        let mut levels = levels;
        if all || levels.is_empty() {
            levels.push("#");
        }
        levels.join("/")
    })
}

/// Every topic of up to four levels over the alphabet of [`level`].
fn universe() -> Vec<Vec<&'static str>> {
    let alphabet = ["a", "b", "", "$x"];
    let mut all: Vec<Vec<&str>> = Vec::new();
    let mut last: Vec<Vec<&str>> = vec![vec![]];
    for _ in 0..5 {
        last = last.iter().flat_map(|t| alphabet.iter().map(move |l| [&t[..], &[*l]].concat())).collect();
        all.extend(last.clone());
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_are_refused_with_a_reason(payload in vec(any::<u8>(), 0..512)) {
        check_commands(&payload)?;
        check_all(&payload)?;
    }

    #[test]
    fn arbitrary_json_is_read_or_refused_with_a_reason(value in any_json()) {
        let payload = value.to_string();
        check_commands(payload.as_bytes())?;
        check_all(payload.as_bytes())?;
    }

    #[test]
    fn valid_commands_come_out_the_same(value in valid_command()) {
        let command = Command::parse(value.to_string().as_bytes()).map_err(|e| TestCaseError::fail(e.message))?;
        prop_assert_eq!(&command.to_json(), &value);
        prop_assert!(command.extra.is_empty());
        prop_assert_eq!(Command::parse(command.to_json().to_string().as_bytes()), Ok(command));
    }

    #[test]
    fn a_broken_field_is_named(value in valid_command(), which in any::<Index>(), nonsense in any_json()) {
        let mut broken = value.clone();
        let map = broken.as_object_mut().unwrap();
        let key = map.keys().nth(which.index(map.len())).unwrap().clone();
        map.insert(key.clone(), nonsense);
        let payload = broken.to_string();
        check_commands(payload.as_bytes())?;
        if let Err(refusal) = Command::parse(payload.as_bytes()) {
            let named = refusal.field.as_deref().unwrap_or("id");
            // Where nothing is left of `model` or `artifact`, the message names either.
            let either = |name: &str| matches!(name, "model" | "artifact");
            let inner = named.split('.').next() == Some(key.as_str());
            prop_assert!(inner || key == "verb" || (either(named) && either(&key)), "{} for {}", named, key);
        }
    }

    #[test]
    fn cut_and_bent_commands_never_panic(value in valid_command(), cut in any::<Index>(), at in any::<Index>(), byte in any::<u8>()) {
        let mut payload = value.to_string().into_bytes();
        check_commands(&payload[..cut.index(payload.len())])?;
        let at = at.index(payload.len());
        payload[at] = byte;
        check_commands(&payload)?;
    }

    #[test]
    fn recorded_payloads_with_one_nonsense_field_never_panic(kind in select(KINDS.to_vec()), which in any::<Index>(), nonsense in any_json()) {
        let path = format!("{}/tests/wire/{kind}.json", env!("CARGO_MANIFEST_DIR"));
        let mut value: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let map = value.as_object_mut().unwrap();
        let key = map.keys().nth(which.index(map.len())).unwrap().clone();
        map.insert(key, nonsense);
        check_all(value.to_string().as_bytes())?;
    }

    #[test]
    fn refusals_stay_short_whatever_was_sent(text in "\\PC{0,3000}", field in select(vec!["id", "verb", "device", "model", "observe", "expires_at", "timeout_s", "expect"])) {
        let mut command = json!({"id": "1", "verb": "install", "device": "a", "model": "m"});
        command[field] = json!(text);
        check_commands(command.to_string().as_bytes())?;
    }

    #[test]
    fn topics_are_read_and_written_the_same(text in "(tinymlaas/v1/)?(relays|cloud|health|[a-z/+#]{0,9})/[a-z+#/.A-Z-]{0,9}(/(state|events|commands|devices/[a-z]{1,3}/(logs|telemetry)))?") {
        if let Some(topic) = Topic::parse(&text) {
            prop_assert_eq!(topic.to_string(), text);
        }
    }

    #[test]
    fn arbitrary_topics_never_panic(text in ".{0,80}") {
        if let Some(topic) = Topic::parse(&text) {
            prop_assert_eq!(topic.to_string(), text);
        }
    }

    #[test]
    fn covering_means_that_every_topic_is_matched(pattern in filter(), filter in filter()) {
        let split = |text: &'static str| -> Vec<&'static str> { text.split('/').collect() };
        let (p, f) = (split(pattern.clone().leak()), split(filter.clone().leak()));
        let escaped = universe().into_iter().find(|topic| matches(&f, topic) && !matches(&p, topic));
        let truth = escaped.is_none();
        // The one equivalence that is documented as not seen.
        if p == ["+", "#"] && f == ["#"] {
            prop_assert!(!covers(&pattern, &filter));
        } else {
            prop_assert_eq!(covers(&pattern, &filter), truth, "{} and {}: {:?}", pattern, filter, escaped);
        }
    }

    #[test]
    fn a_filter_matches_topics_as_mqtt_says(pattern in filter(), topic in vec(level(), 1..5)) {
        let levels: Vec<&str> = pattern.split('/').collect();
        prop_assert_eq!(covers(&pattern, &topic.join("/")), matches(&levels, &topic));
    }

    #[test]
    fn times_round_trip_to_the_millisecond(micros in 0i64..253_402_300_800_000_000) {
        let text = Timestamp::from_micros(micros).to_string();
        prop_assert_eq!(Timestamp::parse(&text).map(Timestamp::as_micros), Some(micros.div_euclid(1000) * 1000), "{}", text);
    }

    #[test]
    fn any_number_of_microseconds_is_written_as_a_time(micros in any::<i64>()) {
        prop_assert!(Timestamp::parse(&Timestamp::from_micros(micros).to_string()).is_some());
    }

    #[test]
    fn whole_seconds_are_read_as_times(seconds in 0i64..253_402_300_800) {
        let time: Timestamp = serde_json::from_value(json!(seconds)).unwrap();
        prop_assert_eq!(time.as_micros(), seconds * 1_000_000);
    }

    #[test]
    fn arbitrary_times_never_panic(text in ".{0,40}", number in any::<f64>(), whole in any::<u64>()) {
        let _ = Timestamp::parse(&text);
        let _ = serde_json::from_value::<Timestamp>(json!(number));
        let _ = serde_json::from_value::<Timestamp>(json!(whole));
    }

    #[test]
    fn ids_are_kept_as_they_are_or_refused(text in prop_oneof![".{0,70}", "[a-z0-9._-]{0,70}", "sha256:[0-9a-f]{62,66}", "[a-z]{1,5}@[0-9+-]{0,11}"]) {
        if let Ok(id) = RelayId::new(&*text) {
            prop_assert_eq!(id.as_str(), &text);
            // A name is a topic segment and a folder.
            prop_assert!(!text.contains(['/', '+', '#', '$', '\\']) && text != "." && text != "..");
        }
        prop_assert_eq!(RelayId::new(&*text).is_ok(), DeviceId::new(&*text).is_ok());
        prop_assert_eq!(RelayId::new(&*text).is_ok(), check_plain_name("dataset", &text).is_ok());
        if let Ok(id) = ArtifactId::new(&*text) {
            prop_assert_eq!(format!("sha256:{}", id.hex()), text.clone());
        }
        if let Ok(model) = text.parse::<ModelRef>() {
            prop_assert_eq!(model.to_string(), text.clone());
        }
        if let Err(error) = CommandId::new(&*text) {
            prop_assert!(!error.to_string().contains(char::is_control));
        }
    }

    #[test]
    fn clipped_text_fits_and_keeps_its_beginning(text in "\\PC{0,6000}") {
        let clipped = clip(&text);
        prop_assert!(clipped.len() <= MAX_TEXT_BYTES);
        match clipped.strip_suffix('…') {
            Some(kept) if text.len() > MAX_TEXT_BYTES => prop_assert!(text.starts_with(kept) && kept.len() + 8 > MAX_TEXT_BYTES),
            _ => prop_assert_eq!(clipped, text),
        }
    }
}
