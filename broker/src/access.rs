//! Who a client is: the seam for identity sources and the one that reads the credential file.
//! What an identity may do is decided by [`contract::access`].

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use contract::Timestamp;
use contract::access::{CredentialFile, Identity, Role};
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

/// Identities from a [`CredentialFile`], read again when the file changes: every second, and before a credential is
/// refused, so that one whose making was confirmed a moment ago is known. A file that cannot be read or parsed later on
/// leaves the identities as they were.
#[derive(Debug)]
pub struct FileAuthenticator {
    path: PathBuf,
    file: RwLock<CredentialFile>,
    /// Of the version in `file`. Held while it is read, so that an older version never replaces a newer one.
    stamp: Mutex<Option<Stamp>>,
}

/// What tells one version of the file from the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    modified: SystemTime,
    bytes: u64,
    inode: u64,
    /// Whether the file was so young when it was looked at that a later version may have the same time.
    young: bool,
}

/// File systems tell times apart that differ by this much, the coarse ones too.
const YOUNG: Duration = Duration::from_secs(3);

impl FileAuthenticator {
    /// Reads `path`. An absent file is allowed and means that nobody is known yet.
    pub fn open(path: &Path) -> Result<Self, BrokerError> {
        let stamp = stamp(path);
        let file = match stamp {
            None => {
                tracing::warn!(path = %path.display(), "no credential file yet: nobody can connect");
                CredentialFile::default()
            }
            Some(_) => read(path)?,
        };
        Ok(Self { path: path.to_owned(), file: RwLock::new(file), stamp: Mutex::new(stamp) })
    }

    /// The identity of that name with the digest of its token; `None` where there is none or it has expired.
    fn find(&self, name: &str) -> Option<(Identity, String)> {
        let file = self.file.read().unwrap_or_else(PoisonError::into_inner);
        let credential = file.identities.iter().find(|credential| credential.name == name)?;
        let expired = credential.expires_at.is_some_and(|moment| moment <= Timestamp::now());
        (!expired).then(|| (file.identity(credential), credential.token_sha256.to_ascii_lowercase()))
    }

    fn admit(&self, user: &str, digest: &str) -> Option<Admission> {
        let found = self.find(user);
        // An unknown name costs the same comparison as a known one.
        let expected = found.as_ref().map_or("", |(_, token_sha256)| token_sha256);
        let equal = bool::from(digest.as_bytes().ct_eq(expected.as_bytes()));
        let (identity, token_sha256) = found.filter(|_| equal)?;
        Some(Admission { identity, token_sha256 })
    }

    /// Reads the file if it is another than before.
    fn reload(&self) {
        let mut known = self.stamp.lock().unwrap_or_else(PoisonError::into_inner);
        let now = stamp(&self.path);
        // A file that is gone for a moment is being replaced; deleting it is not how identities are revoked.
        let Some(now) = now.filter(|now| Some(*now) != *known || now.young) else { return };
        // Noted before it is read: one that changes in between is read again.
        let first_look = known.replace(now) != Some(now);
        match read(&self.path) {
            Ok(new) => {
                let mut file = self.file.write().unwrap_or_else(PoisonError::into_inner);
                if *file != new {
                    tracing::info!(count = new.identities.len(), "credentials read again");
                    *file = new;
                }
            }
            Err(error) if first_look => tracing::error!(%error, "keeping the identities known before"),
            Err(_) => {}
        }
    }
}

impl Authenticator for FileAuthenticator {
    fn authenticate(&self, user: &str, token: &str) -> Option<Admission> {
        let digest = hex(&Sha256::digest(token.as_bytes()));
        self.admit(user, &digest).or_else(|| {
            self.reload();
            self.admit(user, &digest)
        })
    }

    fn still_admits(&self, admission: &Admission) -> bool {
        self.find(&admission.identity.name)
            .is_some_and(|(identity, token)| identity == admission.identity && token == admission.token_sha256)
    }

    fn refresh(&self) {
        self.reload();
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::metadata(path).ok()?;
    let modified = metadata.modified().ok()?;
    // A time in the future says nothing.
    let young = !modified.elapsed().is_ok_and(|age| age >= YOUNG);
    Some(Stamp { modified, bytes: metadata.len(), inode: metadata.ino(), young })
}

fn read(path: &Path) -> Result<CredentialFile, BrokerError> {
    let refuse = |reason: String| BrokerError::Credentials { path: path.to_owned(), reason };
    let text = std::fs::read(path).map_err(|error| refuse(error.to_string()))?;
    let file: CredentialFile = serde_json::from_slice(&text).map_err(|error| refuse(error.to_string()))?;
    for credential in &file.identities {
        let digest = &credential.token_sha256;
        if digest.len() != 64 || !digest.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(refuse(format!("token_sha256 of `{}` must be 64 hexadecimal digits", credential.name)));
        }
    }
    Ok(file)
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
