//! What templates share: the frame around every page, and how numbers, sizes, times and readings are written.

use contract::Timestamp;
use contract::api::Me;
use contract::log::Phase;
use contract::reading::{Prediction, Reading};
use contract::state::DeviceStatus;
use contract::{ModelRef, State};
use serde::Serialize;

use crate::picture::{self, Picture};

/// What the layout shows around a page.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    /// Who is logged in; `None` on pages outside of a session.
    pub(crate) who: Option<Me>,
    /// Whether forms that change things are shown.
    pub(crate) may_command: bool,
    /// Whether the audit log is shown, and who there is.
    pub(crate) is_admin: bool,
}

impl Frame {
    /// The frame for a visitor.
    pub(crate) fn of(me: Me) -> Self {
        // The API decides; this only hides what it would refuse.
        let may_command = matches!(me.role.as_str(), "admin" | "operator");
        let is_admin = me.role == "admin";
        Self { who: Some(me), may_command, is_admin }
    }

    /// The frame where nobody is logged in.
    pub(crate) const fn outside() -> Self {
        Self { who: None, may_command: false, is_admin: false }
    }
}

/// A reading as pages show it, on the first load and live alike.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ReadingView {
    pub(crate) relay: String,
    pub(crate) device: String,
    pub(crate) journal: String,
    pub(crate) seq: u64,
    pub(crate) at: Timestamp,
    pub(crate) model: Option<ModelRef>,
    /// What it says in a word or two: the winning label, or the first outputs where the model is no classifier.
    pub(crate) label: String,
    pub(crate) prediction: Option<Prediction>,
    /// All outputs, dequantized.
    pub(crate) outputs: Vec<f32>,
    /// Microseconds.
    pub(crate) latency_us: Option<u64>,
    pub(crate) expected: Option<String>,
    /// Whether prediction and expectation agree; `None` where one is missing.
    pub(crate) correct: Option<bool>,
    pub(crate) picture: Option<Picture>,
}

impl ReadingView {
    pub(crate) fn of(reading: &Reading) -> Self {
        let correct = match (&reading.prediction, &reading.expected) {
            (Some(prediction), Some(expected)) => Some(prediction.label == *expected),
            _ => None,
        };
        Self {
            relay: reading.head.relay.to_string(),
            device: reading.device.to_string(),
            journal: reading.head.journal.clone(),
            seq: reading.head.seq,
            at: reading.head.at,
            model: reading.model.clone(),
            label: label(reading),
            prediction: reading.prediction.clone(),
            outputs: reading.outputs.clone(),
            latency_us: reading.latency_us,
            expected: reading.expected.clone(),
            correct,
            picture: reading.input.as_ref().and_then(picture::draw),
        }
    }
}

fn label(reading: &Reading) -> String {
    match &reading.prediction {
        Some(prediction) => prediction.label.clone(),
        None if reading.outputs.is_empty() => "–".to_owned(),
        None => {
            let first: Vec<String> = reading.outputs.iter().take(3).map(|value| format!("{value:.3}")).collect();
            let more = if reading.outputs.len() > 3 { ", …" } else { "" };
            format!("{}{more}", first.join(", "))
        }
    }
}

/// A whole number in whatever form a template hands it over.
pub(crate) trait Whole {
    /// Its value.
    fn whole(&self) -> u64;
}

/// A real number in whatever form a template hands it over.
pub(crate) trait Real {
    /// Its value.
    fn real(&self) -> f64;
}

macro_rules! numbers {
    ($trait:ident $method:ident $to:ty: $($from:ty),*) => {
        $(impl $trait for $from {
            fn $method(&self) -> $to {
                <$to>::from(*self)
            }
        })*
    };
}

numbers!(Whole whole u64: u64, u32);
numbers!(Real real f64: f64, f32);

impl<T: Whole + ?Sized> Whole for &T {
    fn whole(&self) -> u64 {
        (**self).whole()
    }
}

impl<T: Real + ?Sized> Real for &T {
    fn real(&self) -> f64 {
        (**self).real()
    }
}

/// `3 min ago`.
pub(crate) fn ago(at: &Timestamp) -> String {
    let now = Timestamp::now();
    let seconds = now.millis_since(*at) / 1000;
    match seconds {
        0..=1 => "just now".to_owned(),
        2..=59 => format!("{seconds} s ago"),
        60..=3599 => format!("{} min ago", seconds / 60),
        3600..=86_399 => format!("{} h ago", seconds / 3600),
        _ => format!("{} d ago", seconds / 86_400),
    }
}

/// One digit after the point below 10, where it says something; none above.
fn short(value: f64) -> String {
    let text = if value < 9.95 { format!("{value:.1}") } else { format!("{value:.0}") };
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

/// `2.7 kB` (1 kB = 1,024 bytes, as in a board's data sheet).
pub(crate) fn bytes(count: impl Whole) -> String {
    let count = count.whole();
    // Sizes are far below 2^53.
    #[allow(clippy::cast_precision_loss)]
    let size = count as f64;
    match count {
        0..1024 => format!("{count} B"),
        1024..1_048_576 => format!("{} kB", short(size / 1024.0)),
        _ => format!("{} MB", short(size / 1_048_576.0)),
    }
}

/// `1,797`.
pub(crate) fn count(number: impl Whole) -> String {
    let digits = number.whole().to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `99.4%`, rounded down so that 100% means all.
pub(crate) fn percent(share: impl Real) -> String {
    let tenths = (share.real().clamp(0.0, 1.0) * 1000.0 + 1e-9).floor();
    if tenths >= 1000.0 { "100%".to_owned() } else { format!("{:.1}%", tenths / 10.0) }
}

/// `37` for 37 of 100 in whole percent, at most 100: widths of bars.
pub(crate) fn share(part: impl Whole, whole: impl Whole) -> u64 {
    part.whole().saturating_mul(100).checked_div(whole.whole()).unwrap_or(0).min(100)
}

/// `850 µs`, `4.2 ms`, `21 ms`.
pub(crate) fn micros(count: impl Whole) -> String {
    let count = count.whole();
    // Durations are far below 2^53.
    #[allow(clippy::cast_precision_loss)]
    let value = count as f64;
    match count {
        0..1000 => format!("{count} µs"),
        1000..1_000_000 => format!("{} ms", short(value / 1e3)),
        _ => format!("{} s", short(value / 1e6)),
    }
}

/// `8×8×1`.
pub(crate) fn shape(dimensions: &[u32]) -> String {
    dimensions.iter().map(u32::to_string).collect::<Vec<_>>().join("×")
}

/// `12:03:59`, in UTC; scripts put the browser's own time in its place.
pub(crate) fn clock(at: &Timestamp) -> String {
    at.to_string().split_once('T').map_or_else(String::new, |(_, time)| time.chars().take(8).collect())
}

/// The name of a log line's origin; also its class.
pub(crate) const fn phase(phase: &Phase) -> &'static str {
    match phase {
        Phase::Fetch => "fetch",
        Phase::Build => "build",
        Phase::Flash => "flash",
        Phase::Verify => "verify",
        Phase::Serial => "serial",
    }
}

/// JSON over several lines.
pub(crate) fn pretty(value: &serde_json::Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

/// How a word about a state looks: the chip's class, its icon, its words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Chip {
    /// `good`, `busy`, `bad`, `calm`.
    pub(crate) tone: &'static str,
    pub(crate) icon: &'static str,
    pub(crate) text: &'static str,
}

/// A relay's chip.
pub(crate) const fn relay_chip(online: &bool) -> Chip {
    if *online {
        Chip { tone: "good", icon: "check", text: "online" }
    } else {
        Chip { tone: "bad", icon: "off", text: "offline" }
    }
}

/// A device's chip; a lost relay means lost devices.
pub(crate) const fn device_chip(online: &bool, status: &DeviceStatus) -> Chip {
    if !*online {
        return Chip { tone: "bad", icon: "off", text: "lost" };
    }
    match status {
        DeviceStatus::Empty => Chip { tone: "calm", icon: "ring", text: "empty" },
        DeviceStatus::Busy => Chip { tone: "busy", icon: "work", text: "busy" },
        DeviceStatus::Running => Chip { tone: "good", icon: "play", text: "running" },
        DeviceStatus::Faulty => Chip { tone: "bad", icon: "warn", text: "faulty" },
        DeviceStatus::Lost => Chip { tone: "bad", icon: "off", text: "lost" },
    }
}

/// A command's chip; a command that the relay has not answered yet is on its way.
pub(crate) const fn command_chip(state: &Option<State>) -> Chip {
    match state {
        None => Chip { tone: "calm", icon: "wait", text: "sent" },
        Some(state) => state_chip(state),
    }
}

/// A state's chip.
pub(crate) const fn state_chip(state: &State) -> Chip {
    match state {
        State::Accepted => Chip { tone: "busy", icon: "work", text: "accepted" },
        State::Fetching => Chip { tone: "busy", icon: "work", text: "fetching" },
        State::Building => Chip { tone: "busy", icon: "work", text: "building" },
        State::Flashing => Chip { tone: "busy", icon: "work", text: "flashing" },
        State::Verifying => Chip { tone: "busy", icon: "work", text: "verifying" },
        State::Succeeded => Chip { tone: "good", icon: "check", text: "succeeded" },
        State::Rejected => Chip { tone: "bad", icon: "cross", text: "rejected" },
        State::Failed => Chip { tone: "bad", icon: "cross", text: "failed" },
        State::Cancelled => Chip { tone: "calm", icon: "stop", text: "cancelled" },
        State::Expired => Chip { tone: "calm", icon: "wait", text: "expired" },
        State::TimedOut => Chip { tone: "bad", icon: "wait", text: "timed out" },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!(count(0_u32), "0");
        assert_eq!(count(999_u32), "999");
        assert_eq!(count(1797_u32), "1,797");
        assert_eq!(count(1_234_567_u64), "1,234,567");
        assert_eq!(bytes(576_u32), "576 B");
        assert_eq!(bytes(2_802_u32), "2.7 kB");
        assert_eq!(bytes(2_048_u32), "2 kB");
        assert_eq!(bytes(32_768_u32), "32 kB");
        assert_eq!(micros(850_u32), "850 µs");
        assert_eq!(micros(4_200_u32), "4.2 ms");
        assert_eq!(shape(&[8, 8, 1]), "8×8×1");
    }

    #[test]
    fn a_percentage_never_flatters() {
        assert_eq!(percent(1.0), "100%");
        assert_eq!(percent(0.9999), "99.9%");
        assert_eq!(percent(0.994_444), "99.4%");
        assert_eq!(percent(0.975), "97.5%");
        assert_eq!(share(1_u32, 3_u32), 33);
        assert_eq!(share(5_u32, 0_u32), 0);
    }
}
