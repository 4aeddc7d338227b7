//! Who may publish and subscribe where. Pure decisions: brokers enforce them.

use serde::{Deserialize, Serialize};

use crate::ids::RelayId;
use crate::timestamp::Timestamp;
use crate::topic::{ROOT, Topic, covers, filter};

/// What an identity may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Everything that people may do.
    Admin,
    /// Commands the fleet.
    Operator,
    /// Watches.
    Viewer,
    /// The cloud's own services.
    Cloud,
    /// One relay: itself and nothing else.
    Relay(RelayId),
}

impl Role {
    /// The role's name, for logs and pages.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Role::Admin => "admin",
            Role::Operator => "operator",
            Role::Viewer => "viewer",
            Role::Cloud => "cloud",
            Role::Relay(_) => "relay",
        }
    }

    /// Whether this role may change things through the HTTP API.
    pub const fn may_command(&self) -> bool {
        matches!(self, Role::Admin | Role::Operator)
    }
}

/// Somebody who is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The user name over MQTT.
    pub name: String,
    /// What it may do.
    pub role: Role,
}

/// One line of the credential file: the token itself is not in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credential {
    /// The user name.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// SHA-256 of the token, 64 hex digits. Tokens are 256 random bits, so a slow hash would add nothing.
    pub token_sha256: String,
    /// After this moment the token is not accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

/// The credential file that the broker and the cloud read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialFile {
    /// All identities.
    pub identities: Vec<Credential>,
}

impl Identity {
    /// Whether this identity may publish to `topic`. Topics outside of the contract are nobody's.
    pub fn allows_publish(&self, topic: &str) -> bool {
        let Some(topic) = Topic::parse(topic) else {
            return false;
        };
        match &self.role {
            Role::Admin => {
                matches!(topic, Topic::Commands(_) | Topic::CloudCommands | Topic::Sync(_)) || self.own_health(&topic)
            }
            Role::Operator => matches!(topic, Topic::Commands(_) | Topic::CloudCommands),
            Role::Viewer => false,
            Role::Cloud => {
                matches!(topic, Topic::Commands(_) | Topic::Responses(_) | Topic::Sync(_) | Topic::CloudEvents)
                    || self.own_health(&topic)
            }
            Role::Relay(own) => {
                topic.relay() == Some(own)
                    && matches!(
                        topic,
                        Topic::Presence(_)
                            | Topic::State(_)
                            | Topic::Events(_)
                            | Topic::Requests(_)
                            | Topic::Telemetry(..)
                            | Topic::Logs(..)
                    )
            }
        }
    }

    /// Whether this identity may subscribe to `filter`.
    pub fn allows_subscribe(&self, filter: &str) -> bool {
        match &self.role {
            Role::Admin | Role::Cloud => covers(&format!("{ROOT}/#"), filter),
            Role::Operator | Role::Viewer => self::filter::WATCHED.iter().any(|watched| covers(watched, filter)),
            Role::Relay(own) => [Topic::Commands(own.clone()), Topic::Responses(own.clone()), Topic::Sync(own.clone())]
                .iter()
                .any(|topic| topic.to_string() == filter),
        }
    }

    fn own_health(&self, topic: &Topic) -> bool {
        matches!(topic, Topic::Health(name) if *name == self.name)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn identity(role: Role) -> Identity {
        Identity { name: "somebody".into(), role }
    }

    fn relay(name: &str) -> Identity {
        identity(Role::Relay(RelayId::new(name).unwrap()))
    }

    #[test]
    fn a_relay_speaks_for_itself_only() {
        let bench = relay("bench");
        for leaf in ["presence", "state", "events", "requests", "devices/a/telemetry", "devices/a/logs"] {
            assert!(bench.allows_publish(&format!("tinymlaas/v1/relays/bench/{leaf}")), "{leaf}");
            assert!(!bench.allows_publish(&format!("tinymlaas/v1/relays/other/{leaf}")), "{leaf}");
        }
        for leaf in ["commands", "responses", "sync"] {
            assert!(bench.allows_subscribe(&format!("tinymlaas/v1/relays/bench/{leaf}")), "{leaf}");
            assert!(!bench.allows_publish(&format!("tinymlaas/v1/relays/bench/{leaf}")), "{leaf}");
            assert!(!bench.allows_subscribe(&format!("tinymlaas/v1/relays/other/{leaf}")), "{leaf}");
            assert!(!bench.allows_subscribe(&format!("tinymlaas/v1/relays/+/{leaf}")), "{leaf}");
        }
        assert!(!bench.allows_subscribe("tinymlaas/v1/relays/bench/#"));
        assert!(!bench.allows_subscribe("#"));
        assert!(!bench.allows_publish("tinymlaas/v1/cloud/commands"));
    }

    #[test]
    fn a_viewer_watches_and_publishes_nothing() {
        let viewer = identity(Role::Viewer);
        assert!(viewer.allows_subscribe(filter::TELEMETRY));
        assert!(viewer.allows_subscribe("tinymlaas/v1/relays/a/events"));
        assert!(!viewer.allows_subscribe("tinymlaas/v1/relays/a/responses"), "artifacts are not for watching");
        assert!(!viewer.allows_subscribe("tinymlaas/v1/#"));
        assert!(!viewer.allows_publish("tinymlaas/v1/relays/a/commands"));
    }

    #[test]
    fn an_operator_commands_but_impersonates_nobody() {
        let operator = identity(Role::Operator);
        assert!(operator.allows_publish("tinymlaas/v1/relays/a/commands"));
        assert!(operator.allows_publish("tinymlaas/v1/cloud/commands"));
        assert!(!operator.allows_publish("tinymlaas/v1/relays/a/presence"));
        assert!(!operator.allows_publish("tinymlaas/v1/relays/a/sync"));
        assert!(!operator.allows_publish("tinymlaas/v1/relays/a/responses"));
    }

    #[test]
    fn nobody_leaves_the_root() {
        for role in [Role::Admin, Role::Cloud, Role::Operator, Role::Viewer] {
            let somebody = identity(role);
            assert!(!somebody.allows_subscribe("#"));
            assert!(!somebody.allows_subscribe("$SYS/#"));
            assert!(!somebody.allows_subscribe("tinymlaas/v2/#"));
            assert!(!somebody.allows_publish("tinymlaas/v1/relays/a/unheard-of"));
            assert!(!somebody.allows_publish("elsewhere"));
        }
    }
}
