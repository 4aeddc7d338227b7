//! Which keys the fleet signs with: numbered lists, each signed with a key of the list before it, so that a relay that
//! trusts one of them can follow to the newest, however long it was away.

use serde::{Deserialize, Serialize};

use crate::ids::RelayId;
use crate::timestamp::Timestamp;

/// Lists that one answer carries; a cloud that has replaced its key more often sends the newest.
pub const MAX_LISTS: usize = 64;

/// Keys that a list has at most.
pub const MAX_KEYS: usize = 8;

/// The keys that relays shall trust from now on; all others are retired.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyList {
    /// Grows by one with each list. A relay never goes back, so a retired key does not return.
    pub version: u64,
    /// Ed25519 public keys, base64 of 32 bytes each.
    pub keys: Vec<String>,
    /// When the list was made.
    pub created_at: Timestamp,
}

/// A list as text, with a signature over exactly that text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedKeyList {
    /// [`KeyList`] as JSON text.
    pub document: String,
    /// The first 16 hex digits of the SHA-256 of the signing key's 32 public bytes.
    pub key_id: String,
    /// Ed25519 (RFC 8032) signature over `tinymlaas-keys-v1\n` and the bytes of `document`, in base64. The first list
    /// of a fleet is signed with its own key, each other with one of the list before.
    pub signature: String,
}

impl SignedKeyList {
    /// What is signed before the document, so that a manifest's signature is none of a list.
    pub const DOMAIN: &'static [u8] = b"tinymlaas-keys-v1\n";

    /// The bytes that the signature covers.
    pub fn signed_bytes(&self) -> Vec<u8> {
        [Self::DOMAIN, self.document.as_bytes()].concat()
    }
}

/// A key of the fleet, as the HTTP API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyView {
    /// Version of the list that brought it.
    pub version: u64,
    /// The first 16 hex digits of the SHA-256 of its 32 public bytes.
    pub key_id: String,
    /// Its public bytes in base64.
    pub public: String,
    /// When it was made; for the first, when lists were.
    pub since: Timestamp,
    /// When the next took its place; absent for the one in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retired_at: Option<Timestamp>,
}

/// A relay and the list that it follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Follower {
    /// The relay.
    pub relay: RelayId,
    /// Whether it is connected.
    pub online: bool,
    /// Version of the list, as it reported last; 0 for the keys of its enrolment.
    pub version: u64,
}

/// `GET /keys`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeysView {
    /// Every key there ever was, oldest first; the last is the one in use.
    pub keys: Vec<KeyView>,
    /// The relays.
    pub relays: Vec<Follower>,
}
