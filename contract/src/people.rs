//! Documents of the HTTP API about people, tokens, invitations and the audit log.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ids::RelayId;
use crate::timestamp::Timestamp;

/// A user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserView {
    /// The name to log in with.
    pub name: String,
    /// `admin`, `operator` or `viewer`.
    pub role: String,
    /// The groups of relays that the user is limited to; absent means all relays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<BTreeSet<String>>,
    /// Whether the user may not log in, nor any of the user's tokens.
    #[serde(default)]
    pub disabled: bool,
    /// When the user was made.
    pub created_at: Timestamp,
}

/// What a user shall be.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserChange {
    /// `admin`, `operator` or `viewer`.
    pub role: String,
    /// The groups of relays that the user is limited to; absent means all relays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<BTreeSet<String>>,
    /// Whether the user may not log in, nor any of the user's tokens.
    #[serde(default)]
    pub disabled: bool,
    /// A new password; a new user needs one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
}

/// A change of one's own password.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasswordChange {
    /// The one until now.
    pub old: String,
    /// The one from now on.
    pub new: String,
}

/// A token without itself: only its digest is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenView {
    /// Its name, which is also the user name over MQTT.
    pub name: String,
    /// `admin`, `operator`, `viewer`, `cloud` or `relay`.
    pub role: String,
    /// The relay that it is for, where it is a relay's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relay: Option<RelayId>,
    /// The groups of relays that it is limited to; absent means all relays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<BTreeSet<String>>,
    /// The user that it belongs to: it may never do more than its user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// After this moment it is not accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

/// What a token shall be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewToken {
    /// Its name, unique among tokens.
    pub name: String,
    /// `admin`, `operator` or `viewer`; at most one's own.
    pub role: String,
    /// The groups of relays that it is limited to; absent means as many as the asker has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<BTreeSet<String>>,
    /// For how many seconds it is accepted; absent means until it is revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_s: Option<u32>,
}

/// A new token, for the only time that it is shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuedToken {
    /// The token itself.
    pub token: String,
    /// What it is.
    pub view: TokenView,
}

/// Whom an invitation is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Guest {
    /// A person, who chooses a password.
    User,
    /// A relay, which makes its own token.
    Relay,
}

impl Guest {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Guest::User => "user",
            Guest::Relay => "relay",
        }
    }
}

/// An invitation that is to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewInvitation {
    /// Whom it is for.
    pub guest: Guest,
    /// The user's or relay's name.
    pub name: String,
    /// For users: `admin`, `operator` or `viewer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// For users: the groups of relays that the user is limited to; absent means all relays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<BTreeSet<String>>,
    /// For how many seconds it is accepted, 3600 where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_s: Option<u32>,
}

/// An invitation without its token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvitationView {
    /// Its number.
    pub id: i64,
    /// Whom it is for.
    pub guest: Guest,
    /// The user's or relay's name.
    pub name: String,
    /// For users: the role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// For users: the groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<BTreeSet<String>>,
    /// Who invited.
    pub created_by: String,
    /// After this moment it is not accepted.
    pub expires_at: Timestamp,
}

/// A new invitation, for the only time that its token is shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuedInvitation {
    /// The join token, see [`JoinToken`].
    pub join: String,
    /// What it is.
    pub view: InvitationView,
}

/// A join token taken apart: the guest's name, a digest that pins the cloud's signing key, and the secret. As text they
/// are separated by dots; a name may have dots too, so it is read from behind.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// The user's or relay's name.
    pub name: String,
    /// The first 16 bytes of the SHA-256 of the cloud's public signing key, in base64url without padding.
    pub key: String,
    /// 256 random bits in base64url without padding.
    pub secret: String,
}

impl JoinToken {
    /// Reads a token; `None` for any other text.
    pub fn parse(text: &str) -> Option<Self> {
        let (rest, secret) = text.trim().rsplit_once('.')?;
        let (name, key) = rest.rsplit_once('.')?;
        let encoded = |text: &str, len| {
            text.len() == len && text.bytes().all(|c| c.is_ascii_alphanumeric() || b"-_".contains(&c))
        };
        let whole = crate::ids::check_plain_name("join token", name).is_ok() && encoded(key, 22) && encoded(secret, 43);
        whole.then(|| Self { name: name.to_owned(), key: key.to_owned(), secret: secret.to_owned() })
    }
}

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.name, self.key, self.secret)
    }
}

/// Using an invitation.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Join {
    /// The join token.
    pub join: String,
    /// For relays: SHA-256 of the token that the relay has made for itself, 64 hex digits. The token never leaves the
    /// relay before it connects with it; the same request may be repeated where its answer was lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_sha256: Option<String>,
    /// For relays: the same token as a plain Mosquitto would check it
    /// ([`crate::access::Credential::is_mosquitto_hash`]). A relay that does not send it cannot connect to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_pbkdf2: Option<String>,
    /// For users: the password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// For relays, where the broker asks for client certificates: a signing request in PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub csr: Option<String>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joined {
    /// The name to connect or log in with.
    pub name: String,
    /// The relay, where it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relay: Option<RelayId>,
    /// Every public key that the cloud has ever signed with, in base64, the newest first. A relay keeps the one that its
    /// join token names, and follows the signed lists from it ([`crate::keys`]).
    #[serde(default)]
    pub trusted: Vec<String>,
    /// The client certificate in PEM, where one was asked for and can be had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
}

/// One line of the audit log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuditView {
    /// Its number; they count up.
    pub id: i64,
    /// When.
    pub at: Timestamp,
    /// Who: the name of a user, a token or an MQTT identity; empty where nobody was recognised.
    pub actor: String,
    /// The role that it had; empty where nobody was recognised.
    pub role: String,
    /// By which way: `api`, `page`, `cli` or `mqtt`.
    pub source: String,
    /// From which address, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// What, such as `command.install`, `login`, `token.create`, `user.change`, `relay.enroll`.
    pub action: String,
    /// On what: a relay, a user, a token, a model.
    pub target: String,
    /// `ok`, or the code of the refusal.
    pub result: String,
    /// More about it; never a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<Value>,
}

// Documents that bring a secret wipe it from memory when they are dropped. Those that show one for the only time do not:
// it goes on to a screen.
macro_rules! wiped {
    ($($document:ty: $($field:ident),+;)+) => {
        $(impl Drop for $document {
            fn drop(&mut self) {
                $(zeroize::Zeroize::zeroize(&mut self.$field);)+
            }
        })+
    };
}

wiped! {
    crate::api::Login: token;
    UserChange: password;
    PasswordChange: old, new;
    Join: join, password;
    JoinToken: secret;
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn join_tokens_are_read_from_behind() {
        let (key, secret) = ("k".repeat(22), "s".repeat(43));
        let token = JoinToken::parse(&format!(" hall.3.{key}.{secret}\n")).unwrap();
        assert_eq!(token.name, "hall.3");
        assert!(JoinToken::parse(&token.to_string()) == Some(token), "written and read again");
        for wrong in
            ["", "a.b.c", &format!("{key}.{secret}"), &format!("../x.{key}.{secret}"), &format!("a.{key}.{secret}x")]
        {
            assert!(JoinToken::parse(wrong).is_none(), "{wrong}");
        }
    }
}
