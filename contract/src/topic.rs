//! The topic grammar: a bounded set per relay and per device, one enum for all of it.

use std::fmt;

use crate::ids::{DeviceId, RelayId};

/// The root of every topic.
pub const ROOT: &str = "tinymlaas/v1";

/// One topic of the contract.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Topic {
    /// `relays/{relay}/presence`, retained, also the last will.
    Presence(RelayId),
    /// `relays/{relay}/state`, retained.
    State(RelayId),
    /// `relays/{relay}/commands`.
    Commands(RelayId),
    /// `relays/{relay}/events`.
    Events(RelayId),
    /// `relays/{relay}/requests`: the relay asks for manifests and blocks.
    Requests(RelayId),
    /// `relays/{relay}/responses`: the cloud answers them.
    Responses(RelayId),
    /// `relays/{relay}/sync`: a host confirms what it has stored.
    Sync(RelayId),
    /// `relays/{relay}/devices/{device}/telemetry`.
    Telemetry(RelayId, DeviceId),
    /// `relays/{relay}/devices/{device}/logs`.
    Logs(RelayId, DeviceId),
    /// `cloud/commands`.
    CloudCommands,
    /// `cloud/events`.
    CloudEvents,
    /// `broker/audit`: who published commands; from the broker itself.
    BrokerAudit,
    /// `health/{name}`: round trips of health checks; the payload means nothing.
    Health(String),
}

/// Filters that hosts subscribe to.
pub mod filter {
    /// Presence of all relays.
    pub const PRESENCE: &str = "tinymlaas/v1/relays/+/presence";
    /// State of all relays.
    pub const STATE: &str = "tinymlaas/v1/relays/+/state";
    /// Commands to all relays, as an observer.
    pub const COMMANDS: &str = "tinymlaas/v1/relays/+/commands";
    /// Events of all relays.
    pub const EVENTS: &str = "tinymlaas/v1/relays/+/events";
    /// Artifact requests of all relays.
    pub const REQUESTS: &str = "tinymlaas/v1/relays/+/requests";
    /// Telemetry of all devices.
    pub const TELEMETRY: &str = "tinymlaas/v1/relays/+/devices/+/telemetry";
    /// Logs of all devices.
    pub const LOGS: &str = "tinymlaas/v1/relays/+/devices/+/logs";
    /// Commands to the cloud.
    pub const CLOUD_COMMANDS: &str = "tinymlaas/v1/cloud/commands";
    /// Events of the cloud.
    pub const CLOUD_EVENTS: &str = "tinymlaas/v1/cloud/events";
    /// Who published commands.
    pub const BROKER_AUDIT: &str = "tinymlaas/v1/broker/audit";
    /// What people may watch: everything but the transfer of artifacts, health checks, and the audit.
    pub const WATCHED: [&str; 8] = [PRESENCE, STATE, COMMANDS, EVENTS, TELEMETRY, LOGS, CLOUD_COMMANDS, CLOUD_EVENTS];
    /// Topics whose messages a broker keeps until their addressee has acknowledged them.
    pub const DURABLE: [&str; 3] = [COMMANDS, CLOUD_COMMANDS, BROKER_AUDIT];
}

/// Writes down one topic of each kind. The match is made from the same list and has no other arm, so a topic that is
/// missing here does not compile.
macro_rules! every {
    ($($kind:ident => $topic:expr),* $(,)?) => {
        impl Topic {
            /// One topic of each kind, with these names as its parameters: for tables of rules, documents and tests.
            pub fn every(relay: &RelayId, device: &DeviceId, name: &str) -> Vec<Topic> {
                let parameters = Parameters { relay, device, name };
                vec![$(($topic)(&parameters)),*]
            }

            /// The name of the topic's kind.
            pub const fn kind(&self) -> &'static str {
                match self { $(Topic::$kind { .. } => stringify!($kind)),* }
            }
        }
    };
}

/// What topics are made of.
struct Parameters<'a> {
    relay: &'a RelayId,
    device: &'a DeviceId,
    name: &'a str,
}

every! {
    Presence => |p: &Parameters<'_>| Topic::Presence(p.relay.clone()),
    State => |p: &Parameters<'_>| Topic::State(p.relay.clone()),
    Commands => |p: &Parameters<'_>| Topic::Commands(p.relay.clone()),
    Events => |p: &Parameters<'_>| Topic::Events(p.relay.clone()),
    Requests => |p: &Parameters<'_>| Topic::Requests(p.relay.clone()),
    Responses => |p: &Parameters<'_>| Topic::Responses(p.relay.clone()),
    Sync => |p: &Parameters<'_>| Topic::Sync(p.relay.clone()),
    Telemetry => |p: &Parameters<'_>| Topic::Telemetry(p.relay.clone(), p.device.clone()),
    Logs => |p: &Parameters<'_>| Topic::Logs(p.relay.clone(), p.device.clone()),
    CloudCommands => |_: &Parameters<'_>| Topic::CloudCommands,
    CloudEvents => |_: &Parameters<'_>| Topic::CloudEvents,
    BrokerAudit => |_: &Parameters<'_>| Topic::BrokerAudit,
    Health => |p: &Parameters<'_>| Topic::Health(p.name.to_owned()),
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Topic::Presence(relay) => write!(f, "{ROOT}/relays/{relay}/presence"),
            Topic::State(relay) => write!(f, "{ROOT}/relays/{relay}/state"),
            Topic::Commands(relay) => write!(f, "{ROOT}/relays/{relay}/commands"),
            Topic::Events(relay) => write!(f, "{ROOT}/relays/{relay}/events"),
            Topic::Requests(relay) => write!(f, "{ROOT}/relays/{relay}/requests"),
            Topic::Responses(relay) => write!(f, "{ROOT}/relays/{relay}/responses"),
            Topic::Sync(relay) => write!(f, "{ROOT}/relays/{relay}/sync"),
            Topic::Telemetry(relay, device) => {
                write!(f, "{ROOT}/relays/{relay}/devices/{device}/telemetry")
            }
            Topic::Logs(relay, device) => write!(f, "{ROOT}/relays/{relay}/devices/{device}/logs"),
            Topic::CloudCommands => write!(f, "{ROOT}/cloud/commands"),
            Topic::CloudEvents => write!(f, "{ROOT}/cloud/events"),
            Topic::BrokerAudit => write!(f, "{ROOT}/broker/audit"),
            Topic::Health(name) => write!(f, "{ROOT}/health/{name}"),
        }
    }
}

impl Topic {
    /// Reads a topic; `None` for one that is not of the contract.
    pub fn parse(text: &str) -> Option<Topic> {
        let rest = text.strip_prefix(ROOT)?.strip_prefix('/')?;
        let mut parts = rest.split('/');
        let topic = match (parts.next()?, parts.next()?, parts.next(), parts.next(), parts.next()) {
            ("relays", relay, Some(leaf), None, None) => {
                let relay = relay.parse().ok()?;
                match leaf {
                    "presence" => Topic::Presence(relay),
                    "state" => Topic::State(relay),
                    "commands" => Topic::Commands(relay),
                    "events" => Topic::Events(relay),
                    "requests" => Topic::Requests(relay),
                    "responses" => Topic::Responses(relay),
                    "sync" => Topic::Sync(relay),
                    _ => return None,
                }
            }
            ("relays", relay, Some("devices"), Some(device), Some(leaf)) => {
                let (relay, device) = (relay.parse().ok()?, device.parse().ok()?);
                match leaf {
                    "telemetry" => Topic::Telemetry(relay, device),
                    "logs" => Topic::Logs(relay, device),
                    _ => return None,
                }
            }
            ("cloud", "commands", None, None, None) => Topic::CloudCommands,
            ("cloud", "events", None, None, None) => Topic::CloudEvents,
            ("broker", "audit", None, None, None) => Topic::BrokerAudit,
            ("health", name, None, None, None) if !name.is_empty() => Topic::Health(name.to_owned()),
            _ => return None,
        };
        parts.next().is_none().then_some(topic)
    }

    /// The filter for topics of this kind, of all relays and devices.
    pub fn wide(&self) -> String {
        let mut before = "";
        let parts = self.to_string();
        let wide = parts.split('/').map(|part| {
            let name = matches!(before, "relays" | "devices");
            before = if name { "" } else { part };
            if name { "+" } else { part }
        });
        wide.collect::<Vec<_>>().join("/")
    }

    /// The relay that this topic belongs to.
    pub fn relay(&self) -> Option<&RelayId> {
        match self {
            Topic::Presence(relay)
            | Topic::State(relay)
            | Topic::Commands(relay)
            | Topic::Events(relay)
            | Topic::Requests(relay)
            | Topic::Responses(relay)
            | Topic::Sync(relay)
            | Topic::Telemetry(relay, _)
            | Topic::Logs(relay, _) => Some(relay),
            Topic::CloudCommands | Topic::CloudEvents | Topic::BrokerAudit | Topic::Health(_) => None,
        }
    }

    /// Whether messages on this topic are retained.
    pub const fn retained(&self) -> bool {
        matches!(self, Topic::Presence(_) | Topic::State(_))
    }
}

/// Whether every topic that `filter` matches is also matched by `pattern` (both may have `+` and a final `#`).
/// A topic is a filter without wildcards, so this also tells whether a topic matches. As MQTT has it, a wildcard at the
/// beginning does not match topics that begin with `$`. Never says yes wrongly; says no to the one equivalence that
/// no pattern of ours uses (`+/#` and `#`).
pub fn covers(pattern: &str, filter: &str) -> bool {
    if filter.starts_with('$') && pattern.starts_with(['+', '#']) {
        return false;
    }
    let mut pattern = pattern.split('/');
    let mut filter = filter.split('/').peekable();
    loop {
        match (pattern.next(), filter.next()) {
            (Some("#"), _) => return true,
            (Some("+"), Some(part)) if part != "#" => {}
            (Some(want), Some(part)) if want == part => {}
            (None, None) => return true,
            _ => return false,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn topics_round_trip() {
        let relay = RelayId::new("bench-1").unwrap();
        let device = DeviceId::new("board-1").unwrap();
        for topic in Topic::every(&relay, &device, "admin") {
            assert_eq!(Topic::parse(&topic.to_string()), Some(topic));
        }
    }

    #[test]
    fn wide_filters() {
        let (relay, device) = (RelayId::new("devices").unwrap(), DeviceId::new("relays").unwrap());
        let wide: Vec<String> = Topic::every(&relay, &device, "admin").iter().map(Topic::wide).collect();
        for known in [filter::PRESENCE, filter::TELEMETRY, filter::LOGS, filter::CLOUD_EVENTS] {
            assert!(wide.iter().any(|filter| filter == known), "{known} is not in {wide:?}");
        }
        assert!(wide.contains(&"tinymlaas/v1/health/admin".to_owned()));
    }

    #[test]
    fn foreign_topics_are_not_ours() {
        for text in [
            "",
            "tinymlaas/v1",
            "tinymlaas/v1/",
            "tinymlaas/v2/cloud/commands",
            "tinymlaas/v1/relays/Bench/state",
            "tinymlaas/v1/relays//state",
            "tinymlaas/v1/relays/a/state/more",
            "tinymlaas/v1/relays/a/devices/b/telemetry/more",
            "tinymlaas/v1/relays/a/devices/b",
        ] {
            assert_eq!(Topic::parse(text), None, "{text}");
        }
    }

    #[test]
    fn covering() {
        assert!(covers("a/+/c", "a/b/c"));
        assert!(covers("a/+/c", "a/+/c"));
        assert!(covers("a/#", "a/+/c"));
        assert!(covers("a/#", "a/#"));
        assert!(!covers("a/+/c", "a/#"));
        assert!(!covers("a/b/c", "a/+/c"));
        assert!(!covers("a/+", "a/#"));
        assert!(!covers("a/b", "a/b/c"));
        assert!(!covers("a/b/c", "a/b"));
    }
}
