//! Who a client is: the seam for identity sources and the one that reads the credential file.
//! What an identity may do is decided by [`contract::access`].

use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};
use std::time::SystemTime;

use contract::Timestamp;
use contract::access::{Credential, CredentialFile, Identity, Role};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::BrokerError;

/// An identity that has proven itself, and the digest of what it proved itself with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    /// Who it is.
    pub identity: Identity,
    /// SHA-256 of the token, lower-case hex; a changed token ends the connections made with the old one.
    pub token_sha256: String,
}

/// A source of identities.
pub trait Authenticator: Send + Sync + 'static {
    /// Who this is, or `None` for a wrong name, a wrong token or one that has expired.
    fn authenticate(&self, user: &str, token: &str) -> Option<Admission>;

    /// Whether somebody who was admitted earlier would still be.
    fn still_admits(&self, admission: &Admission) -> bool;

    /// Called every second: takes note of changes in the source.
    fn refresh(&self) {}
}

/// Whether durable messages on exactly this topic are kept for `identity` (a relay or the cloud), not merely watched
/// by it: only the addressee's acknowledgement may remove them.
pub(crate) fn is_addressee(identity: &Identity) -> bool {
    matches!(identity.role, Role::Relay(_) | Role::Cloud)
}

/// Identities from a [`CredentialFile`], read again when the file changes. A file that cannot be read or parsed
/// later on leaves the identities as they were.
#[derive(Debug)]
pub struct FileAuthenticator {
    path: PathBuf,
    state: RwLock<Known>,
}

#[derive(Debug, Default)]
struct Known {
    stamp: Option<Stamp>,
    identities: Vec<Credential>,
}

/// What tells one version of the file from the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    modified: SystemTime,
    bytes: u64,
    inode: u64,
}

impl FileAuthenticator {
    /// Reads `path`. An absent file is allowed and means that nobody is known yet.
    pub fn open(path: &Path) -> Result<Self, BrokerError> {
        let known = match stamp(path) {
            None => {
                tracing::warn!(path = %path.display(), "no credential file yet: nobody can connect");
                Known::default()
            }
            Some(stamp) => Known { stamp: Some(stamp), identities: read(path)? },
        };
        Ok(Self { path: path.to_owned(), state: RwLock::new(known) })
    }

    fn find(&self, name: &str) -> Option<Credential> {
        let known = self.state.read().unwrap_or_else(PoisonError::into_inner);
        known.identities.iter().find(|credential| credential.name == name).cloned()
    }
}

impl Authenticator for FileAuthenticator {
    fn authenticate(&self, user: &str, token: &str) -> Option<Admission> {
        let digest = hex(&Sha256::digest(token.as_bytes()));
        let found = self.find(user);
        // An unknown name costs the same comparison as a known one.
        let expected = found.as_ref().map_or("", |credential| &credential.token_sha256).to_ascii_lowercase();
        let equal = bool::from(digest.as_bytes().ct_eq(expected.as_bytes()));
        let credential = found.filter(|credential| equal && !expired(credential))?;
        Some(Admission { identity: Identity { name: credential.name, role: credential.role }, token_sha256: digest })
    }

    fn still_admits(&self, admission: &Admission) -> bool {
        self.find(&admission.identity.name).is_some_and(|credential| {
            credential.role == admission.identity.role
                && credential.token_sha256.eq_ignore_ascii_case(&admission.token_sha256)
                && !expired(&credential)
        })
    }

    fn refresh(&self) {
        let now = stamp(&self.path);
        let before = self.state.read().unwrap_or_else(PoisonError::into_inner).stamp;
        // A file that is gone for a moment is being replaced; deleting it is not how identities are revoked.
        if now.is_none() || now == before {
            return;
        }
        let identities = read(&self.path);
        let mut known = self.state.write().unwrap_or_else(PoisonError::into_inner);
        known.stamp = now;
        match identities {
            Ok(identities) => {
                tracing::info!(count = identities.len(), "credentials read again");
                known.identities = identities;
            }
            Err(error) => tracing::error!(%error, "keeping the identities known before"),
        }
    }
}

fn expired(credential: &Credential) -> bool {
    credential.expires_at.is_some_and(|moment| moment <= Timestamp::now())
}

fn stamp(path: &Path) -> Option<Stamp> {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::metadata(path).ok()?;
    Some(Stamp { modified: metadata.modified().ok()?, bytes: metadata.len(), inode: metadata.ino() })
}

fn read(path: &Path) -> Result<Vec<Credential>, BrokerError> {
    let refuse = |reason: String| BrokerError::Credentials { path: path.to_owned(), reason };
    let text = std::fs::read(path).map_err(|error| refuse(error.to_string()))?;
    let file: CredentialFile = serde_json::from_slice(&text).map_err(|error| refuse(error.to_string()))?;
    for credential in &file.identities {
        let digest = &credential.token_sha256;
        if digest.len() != 64 || !digest.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(refuse(format!("token_sha256 of `{}` must be 64 hexadecimal digits", credential.name)));
        }
    }
    Ok(file.identities)
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
