//! `tinymlaas watch`.

use contract::event::{Event, EventBody};
use contract::limits::MAX_PACKET_BYTES;
use contract::presence::Presence;
use contract::reading::Reading;
use contract::topic::{ROOT, filter};
use contract::{Topic, wire};

use crate::args::{Context, Watch};
use crate::client::mqtt::{Incoming, Mqtt};
use crate::exit::Failure;
use crate::output;

/// Prints readings and events as they come.
pub async fn run(context: &Context, watch: Watch) -> Result<(), Failure> {
    let filters = match &watch.relay {
        None => vec![filter::EVENTS.to_owned(), filter::TELEMETRY.to_owned(), filter::PRESENCE.to_owned()],
        Some(relay) => vec![
            Topic::Events(relay.clone()).to_string(),
            format!("{ROOT}/relays/{relay}/devices/+/telemetry"),
            Topic::Presence(relay.clone()).to_string(),
        ],
    };
    let mut mqtt = Mqtt::connect(context, &filters).await?;
    let mut left = watch.count.unwrap_or(u64::MAX);
    while left > 0 {
        let Incoming::Message { topic, payload } = mqtt.next().await? else {
            continue;
        };
        if let Some(line) = line(context, &watch, &topic, &payload) {
            output::print(&line)?;
            left -= 1;
        }
    }
    Ok(())
}

fn line(context: &Context, watch: &Watch, topic: &str, payload: &[u8]) -> Option<String> {
    let wanted = |device: Option<&contract::DeviceId>| watch.device.as_ref().is_none_or(|w| Some(w) == device);
    let text = match Topic::parse(topic)? {
        Topic::Telemetry(_, device) => {
            let reading: Reading = wire::decode(payload, MAX_PACKET_BYTES).ok()?;
            wanted(Some(&device)).then(|| reading_line(&reading))?
        }
        Topic::Events(_) => {
            let event: Event = wire::decode(payload, MAX_PACKET_BYTES).ok()?;
            event_line(&event, wanted)?
        }
        Topic::Presence(_) if watch.device.is_none() => {
            let presence: Presence = wire::decode(payload, MAX_PACKET_BYTES).ok()?;
            format!("{}  {}  {:?} epoch {}", presence.at, presence.relay, presence.status, presence.epoch)
                .to_lowercase()
        }
        _ => return None,
    };
    if context.json { String::from_utf8(payload.to_vec()).ok() } else { Some(text) }
}

fn reading_line(reading: &Reading) -> String {
    let said = match (&reading.prediction, &reading.expected) {
        (Some(p), Some(expected)) => {
            let mark = if p.label == *expected { "✓" } else { "✗" };
            format!("says {} ({:.0} %), is {expected} {mark}", p.label, p.score * 100.0)
        }
        (Some(p), None) => format!("says {} ({:.0} %)", p.label, p.score * 100.0),
        (None, _) => format!("{:?}", reading.outputs),
    };
    let latency = reading.latency_us.map_or_else(String::new, |us| format!("  {us} µs"));
    format!("{}  {}/{}  {said}{latency}", reading.head.at, reading.head.relay, reading.device)
}

fn event_line(event: &Event, wanted: impl Fn(Option<&contract::DeviceId>) -> bool) -> Option<String> {
    let head = format!("{}  {}", event.head.at, event.head.relay);
    match &event.body {
        EventBody::Command(report) if wanted(report.device.as_ref()) => {
            let device = report.device.as_ref().map_or_else(String::new, |d| format!("/{d}"));
            Some(format!("{head}{device}  {} {} {}  {}", report.verb, report.state, report.code, report.message))
        }
        EventBody::Device(report) if wanted(Some(&report.device)) => Some(format!(
            "{head}/{}  {} {}  {}",
            report.device,
            super::device::word(report.status),
            report.code,
            report.message
        )),
        EventBody::Notice(notice) if wanted(None) => Some(format!("{head}  {}  {}", notice.code, notice.message)),
        _ => None,
    }
}
