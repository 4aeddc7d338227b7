//! Who may publish and subscribe where. Pure decisions: brokers enforce them.
//!
//! `rule` says for each topic who speaks on it and whether the relay hears it; it has an arm for every topic, so a new
//! one cannot be left without a rule. What is no topic of the contract is nobody's.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::ids::{DeviceId, RelayId};
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

    /// A role of people by its name; `None` for any other text, `cloud` and `relay` included.
    pub fn of_person(name: &str) -> Option<Self> {
        [Role::Admin, Role::Operator, Role::Viewer].into_iter().find(|role| role.as_str() == name)
    }

    /// Whether it belongs to people and to what acts for them.
    pub const fn is_person(&self) -> bool {
        matches!(self, Role::Admin | Role::Operator | Role::Viewer)
    }

    /// Whether this role may change things through the HTTP API.
    pub const fn may_command(&self) -> bool {
        matches!(self, Role::Admin | Role::Operator)
    }
}

/// Which relays a person's identity is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Reach {
    /// All there are and will be.
    #[default]
    All,
    /// Those of its groups.
    Only(BTreeSet<RelayId>),
}

impl Reach {
    /// Whether `relay` is within.
    pub fn has(&self, relay: &str) -> bool {
        match self {
            Reach::All => true,
            Reach::Only(relays) => relays.iter().any(|known| known.as_str() == relay),
        }
    }
}

/// Somebody who is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The user name over MQTT.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// To which relays, where it is an operator's or a viewer's; the others are limited by their role alone.
    pub reach: Reach,
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
    /// The same token as a plain Mosquitto checks it (see [`Credential::is_mosquitto_hash`]); absent where the token was
    /// made before there was this field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_pbkdf2: Option<String>,
    /// The groups of relays that an operator or a viewer is limited to; absent means all relays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<BTreeSet<String>>,
    /// After this moment the token is not accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

impl Credential {
    /// One that is about all relays and does not expire.
    pub fn new(name: impl Into<String>, role: Role, token_sha256: impl Into<String>) -> Self {
        let (name, token_sha256) = (name.into(), token_sha256.into());
        Self { name, role, token_sha256, token_pbkdf2: None, groups: None, expires_at: None }
    }

    /// Whether a text has the form in which Mosquitto keeps passwords: `$7$ITERATIONS$SALT$HASH`, with 12 bytes of salt
    /// and 64 of PBKDF2-HMAC-SHA512 in base64. Nothing else may enter its file, where a line break or a colon would be
    /// another line or field.
    pub fn is_mosquitto_hash(text: &str) -> bool {
        use base64::Engine as _;
        let decodes = |part: Option<&str>, length: usize| {
            part.and_then(|part| base64::engine::general_purpose::STANDARD.decode(part).ok())
                .is_some_and(|bytes| bytes.len() == length)
        };
        let mut parts = text.split('$');
        (parts.next(), parts.next()) == (Some(""), Some("7"))
            && parts.next().is_some_and(|number| {
                number.bytes().all(|c| c.is_ascii_digit()) && number.parse().is_ok_and(|n: u32| (1..=1000).contains(&n))
            })
            && decodes(parts.next(), 12)
            && decodes(parts.next(), 64)
            && parts.next().is_none()
    }
}

/// The credential file that the broker and the cloud read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialFile {
    /// All identities.
    pub identities: Vec<Credential>,
    /// The relays of each group.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub groups: BTreeMap<String, BTreeSet<RelayId>>,
}

impl CredentialFile {
    /// Whom a line of this file is about. A group that the file does not have holds no relay.
    pub fn identity(&self, credential: &Credential) -> Identity {
        let limited = matches!(credential.role, Role::Operator | Role::Viewer);
        let reach = match &credential.groups {
            Some(groups) if limited => {
                Reach::Only(groups.iter().filter_map(|group| self.groups.get(group)).flatten().cloned().collect())
            }
            _ => Reach::All,
        };
        Identity { name: credential.name.clone(), role: credential.role.clone(), reach }
    }
}

/// Who speaks on a topic, and whether it speaks to the relay.
struct Rule {
    /// Roles that may publish; a relay under its own name only.
    speak: &'static [Part],
    /// Whether the relay itself is who it is for.
    to_relay: bool,
}

/// A party to a topic.
#[derive(PartialEq, Eq)]
enum Part {
    Admin,
    /// For relays within its reach.
    Operator,
    Cloud,
    /// The relay in the topic.
    Relay,
}

/// The rule of a topic. Beside the relay, admin and cloud hear everything, and people what is in [`filter::WATCHED`].
const fn rule(topic: &Topic) -> Rule {
    use Part::{Admin, Cloud, Operator, Relay};
    match topic {
        Topic::Presence(_) | Topic::State(_) | Topic::Events(_) | Topic::Telemetry(..) | Topic::Logs(..) => {
            Rule { speak: &[Relay], to_relay: false }
        }
        Topic::Requests(_) => Rule { speak: &[Relay], to_relay: false },
        Topic::Commands(_) => Rule { speak: &[Admin, Operator, Cloud], to_relay: true },
        Topic::Responses(_) => Rule { speak: &[Cloud], to_relay: true },
        Topic::Sync(_) => Rule { speak: &[Admin, Cloud], to_relay: true },
        Topic::CloudCommands => Rule { speak: &[Admin, Operator], to_relay: false },
        Topic::CloudEvents => Rule { speak: &[Cloud], to_relay: false },
        // The broker's own.
        Topic::BrokerAudit => Rule { speak: &[], to_relay: false },
        // Under the own name; see `Identity::allows_publish`.
        Topic::Health(_) => Rule { speak: &[Admin, Cloud], to_relay: false },
    }
}

/// What an identity may do, as filters: for brokers that hold lists instead of asking.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grants {
    /// Covers the topics that it may publish to. A `+` for a device also covers what is no valid name.
    pub publish: BTreeSet<String>,
    /// Covers the filters that it may subscribe to.
    pub subscribe: BTreeSet<String>,
}

impl Identity {
    /// Whether this identity may publish to `topic`, also as its last will. Topics outside of the contract are nobody's.
    pub fn allows_publish(&self, topic: &str) -> bool {
        let Some(topic) = Topic::parse(topic) else {
            return false;
        };
        let concerns = |relay: &RelayId| match &self.role {
            Role::Relay(own) => own == relay,
            Role::Operator => self.reach.has(relay.as_str()),
            Role::Admin | Role::Viewer | Role::Cloud => true,
        };
        self.speaks(&topic) && topic.relay().is_none_or(concerns)
    }

    /// Whether the role speaks on topics of this kind.
    fn speaks(&self, topic: &Topic) -> bool {
        if matches!(topic, Topic::Health(name) if *name != self.name) {
            return false;
        }
        let speak = rule(topic).speak;
        match &self.role {
            Role::Admin => speak.contains(&Part::Admin),
            Role::Operator => speak.contains(&Part::Operator),
            Role::Viewer => false,
            Role::Cloud => speak.contains(&Part::Cloud),
            Role::Relay(_) => speak.contains(&Part::Relay),
        }
    }

    /// Whether this identity may subscribe to `filter`.
    pub fn allows_subscribe(&self, filter: &str) -> bool {
        match &self.role {
            Role::Admin | Role::Cloud => covers(&format!("{ROOT}/#"), filter),
            Role::Operator | Role::Viewer => {
                self::filter::WATCHED.iter().any(|watched| covers(watched, filter)) && self.reaches(filter)
            }
            Role::Relay(own) => Topic::parse(filter)
                .is_some_and(|topic| rule(&topic).to_relay && topic.relay().is_none_or(|relay| relay == own)),
        }
    }

    /// Whether a filter is about relays within reach only: a wildcard in the relay's place is about all of them.
    fn reaches(&self, filter: &str) -> bool {
        let relay = filter.strip_prefix(ROOT).and_then(|rest| rest.strip_prefix("/relays/"));
        match relay.and_then(|rest| rest.split('/').next()) {
            Some(relay) => self.reach.has(relay),
            None => true,
        }
    }

    /// The same rules as [`allows_publish`](Self::allows_publish) and [`allows_subscribe`](Self::allows_subscribe), as
    /// filters.
    pub fn grants(&self) -> Grants {
        // Any names will do: they are replaced.
        let (Ok(relay), Ok(device)) = (RelayId::new("any"), DeviceId::new("any")) else {
            return Grants::default();
        };
        let every = Topic::every(&relay, &device, &self.name);
        let heard: Vec<String> = match &self.role {
            Role::Admin | Role::Cloud => vec![format!("{ROOT}/#")],
            Role::Operator | Role::Viewer => filter::WATCHED.map(str::to_owned).to_vec(),
            Role::Relay(_) => every.iter().filter(|topic| rule(topic).to_relay).map(Topic::wide).collect(),
        };
        let spoken = every.iter().filter(|topic| self.speaks(topic)).map(Topic::wide);
        Grants { publish: self.narrow(spoken), subscribe: self.narrow(heard.into_iter()) }
    }

    /// Filters, with the relays that the identity is limited to in the relay's place.
    fn narrow(&self, filters: impl Iterator<Item = String>) -> BTreeSet<String> {
        let only: Option<Vec<&RelayId>> = match (&self.role, &self.reach) {
            (Role::Relay(own), _) => Some(vec![own]),
            (Role::Operator | Role::Viewer, Reach::Only(relays)) => Some(relays.iter().collect()),
            _ => None,
        };
        let any = format!("{ROOT}/relays/+/");
        let narrowed = filters.flat_map(|filter| match (&only, filter.strip_prefix(&any)) {
            (Some(only), Some(rest)) => only.iter().map(|relay| format!("{ROOT}/relays/{relay}/{rest}")).collect(),
            _ => vec![filter],
        });
        narrowed.collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_looked_up_in_the_file() {
        let bench = RelayId::new("bench").unwrap();
        let mut file = CredentialFile::default();
        file.groups.insert("hall".into(), [bench].into());
        let mut credential = Credential::new("eve", Role::Operator, "");
        assert_eq!(file.identity(&credential).reach, Reach::All);
        credential.groups = Some(["hall".to_owned(), "unheard-of".to_owned()].into());
        let identity = file.identity(&credential);
        assert!(identity.reach.has("bench") && !identity.reach.has("other"));
        credential.groups = Some(BTreeSet::new());
        assert_eq!(file.identity(&credential).reach, Reach::Only(BTreeSet::new()), "no group is no relay");
        credential.role = Role::Admin;
        assert_eq!(file.identity(&credential).reach, Reach::All, "an admin is never limited");
    }

    #[test]
    fn only_what_mosquitto_writes_may_enter_its_file() {
        // Made by mosquitto_passwd 2.0.11 of the password `b`.
        let real = "$7$101$n3jCLs3Tf0zWvisA$zLQ8SoXD3UJ6IAzw16kWRv7jafkVuHp2k9TpUGHvysI4fJaYy4mhXB2bUrDbNXeF0v1R4anhgLbrMIMwMjAz+g==";
        assert!(Credential::is_mosquitto_hash(real));
        for (from, to) in [
            ("$7$", "$6$"),
            ("101", "100000000"),
            ("101", "+1"),
            ("n3jC", "n3j\n"),
            ("zLQ8", "zL:8"),
            ("==", "==\nx:y"),
            ("$7", "x$7"),
        ] {
            assert!(!Credential::is_mosquitto_hash(&real.replacen(from, to, 1)), "{from} {to}");
        }
        assert!(!Credential::is_mosquitto_hash("") && !Credential::is_mosquitto_hash(&format!("{real}$")));
    }
}
