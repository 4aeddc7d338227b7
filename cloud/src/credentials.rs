//! The file of identities: made, extended and read here; the broker only reads it. The cloud writes into it what its
//! database says (see `roster`); what must be known before the first cloud has started is added to it directly.
//!
//! A token is 256 random bits in base64url. The file holds its SHA-256 alone, so it can be shown exactly once.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use contract::Timestamp;
use contract::access::{Credential, CredentialFile, Identity, Role};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use thiserror::Error;

use crate::mosquitto;

/// What is wrong with the file of identities.
#[derive(Debug, Error)]
pub enum CredentialError {
    /// It cannot be read or written.
    #[error("cannot {action} the credential file {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Its content is not of the documented form.
    #[error("the credential file {} cannot be read: {reason}; restore it, or delete it to start with new tokens", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A name that cannot be used.
    #[error(transparent)]
    Name(#[from] contract::ids::InvalidId),
    /// The operating system gives no random numbers.
    #[error("the operating system gives no random numbers: {0}")]
    Random(getrandom::Error),
}

/// A fresh token: 256 random bits as 43 characters of base64url.
///
/// # Errors
/// [`CredentialError::Random`].
pub fn new_token() -> Result<String, CredentialError> {
    let mut bytes = [0u8; 32];
    getrandom::fill(&mut bytes).map_err(CredentialError::Random)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// SHA-256 of a token, as 64 lower-case hex digits.
pub fn hash_token(token: &str) -> String {
    hex(&Sha256::digest(token.as_bytes()))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Reads the file.
///
/// # Errors
/// [`CredentialError`] names the file.
pub fn load(path: &Path) -> Result<CredentialFile, CredentialError> {
    let bytes = fs::read(path).map_err(io_error("read", path))?;
    serde_json::from_slice(&bytes)
        .map_err(|error| CredentialError::Malformed { path: path.to_owned(), reason: error.to_string() })
}

/// Reads the file, or makes an empty one with mode 0600 where there is none.
///
/// # Errors
/// [`CredentialError`] names the file.
pub fn ensure(path: &Path) -> Result<CredentialFile, CredentialError> {
    match load(path) {
        Err(CredentialError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            let empty = CredentialFile::default();
            save(path, &empty)?;
            Ok(empty)
        }
        other => other,
    }
}

/// The turn to change the file, among all processes; given back when dropped.
///
/// # Errors
/// [`CredentialError`] names the file.
pub(crate) fn lock(path: &Path) -> Result<File, CredentialError> {
    let lock = path.with_extension("lock");
    let open = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&lock);
    let file = open.map_err(io_error("open", &lock))?;
    file.lock().map_err(io_error("lock", &lock))?;
    Ok(file)
}

/// Gives `name` a new token with this role, in place of one that it had, and returns the token: it is stored nowhere
/// else.
///
/// # Errors
/// [`CredentialError`]; then the file is as it was.
pub fn add(path: &Path, name: &str, role: Role) -> Result<String, CredentialError> {
    contract::ids::check_plain_name("identity", name)?;
    let _turn = lock(path)?;
    let mut file = ensure(path)?;
    let token = new_token()?;
    file.identities.retain(|identity| identity.name != name);
    let mut credential = Credential::new(name, role, hash_token(&token));
    credential.token_pbkdf2 = Some(mosquitto::hash_token(&token)?);
    file.identities.push(credential);
    save(path, &file)?;
    Ok(token)
}

/// Like [`add`], with the token written to `token_file` (mode 0600). The token stays where that file already holds one
/// that is valid for `name` in this role, so this can be called at each start; what the file of identities does not have of
/// it yet is added. Returns whether a token was made.
///
/// # Errors
/// [`CredentialError`] names the file.
pub fn ensure_token(path: &Path, name: &str, role: Role, token_file: &Path) -> Result<bool, CredentialError> {
    let file = ensure(path)?;
    match fs::read_to_string(token_file) {
        Ok(text) => {
            let token = text.trim();
            let known = find(&file, token, Timestamp::now());
            if let Some(known) = known.filter(|credential| credential.name == name && credential.role == role) {
                if known.token_pbkdf2.is_none() {
                    complete(path, token)?;
                }
                return Ok(false);
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(io_error("read", token_file)(error)),
    }
    let token = add(path, name, role)?;
    write_private(token_file, format!("{token}\n").as_bytes()).map_err(io_error("write", token_file))?;
    Ok(true)
}

/// Whether a token that was given to `name` has been taken away since: `token_file` has one, and the file of identities
/// knows others and not this one. A file of identities that is lost says nothing about anybody.
///
/// # Errors
/// [`CredentialError`] names the file.
pub fn was_taken_away(path: &Path, name: &str, token_file: &Path) -> Result<bool, CredentialError> {
    let file = ensure(path)?;
    let token = match fs::read_to_string(token_file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(io_error("read", token_file)(error)),
    };
    let known = find(&file, token.trim(), Timestamp::now());
    Ok(!file.identities.is_empty() && known.is_none_or(|credential| credential.name != name))
}

/// Adds to a token's line what Mosquitto wants of it.
fn complete(path: &Path, token: &str) -> Result<(), CredentialError> {
    let (digest, hash) = (hash_token(token), mosquitto::hash_token(token)?);
    let _turn = lock(path)?;
    let mut file = ensure(path)?;
    let lines = file.identities.iter_mut().filter(|credential| credential.token_sha256 == digest);
    lines.for_each(|credential| credential.token_pbkdf2 = Some(hash.clone()));
    save(path, &file)
}

/// Writes a file atomically with mode 0600: readers see the old content or the new, also after a power cut.
///
/// # Errors
/// As the operating system reports them; then the old content stands.
pub fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let unique = uuid::Uuid::new_v4().simple().to_string();
    let temporary = folder.join(format!(".{name}.{unique}.tmp"));
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        File::open(folder)?.sync_all()
    })();
    if written.is_err() {
        // The first error is the one that matters.
        let _ = fs::remove_file(&temporary);
    }
    written
}

pub(crate) fn save(path: &Path, file: &CredentialFile) -> Result<(), CredentialError> {
    // Plain structs and strings: serialization to memory cannot fail.
    let mut text = serde_json::to_vec_pretty(file).unwrap_or_default();
    text.push(b'\n');
    write_private(path, &text).map_err(io_error("write", path))
}

pub(crate) fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CredentialError {
    let path = path.to_owned();
    move |source| CredentialError::Io { action, path, source }
}

/// The identity that a token belongs to. Every line is compared in constant time, so that the time taken says nothing.
fn find<'a>(file: &'a CredentialFile, token: &str, now: Timestamp) -> Option<&'a Credential> {
    let presented = hash_token(token);
    let mut found = None;
    for credential in &file.identities {
        let same = credential.token_sha256.as_bytes().ct_eq(presented.as_bytes());
        if bool::from(same) && credential.expires_at.is_none_or(|end| now < end) {
            found = Some(credential);
        }
    }
    found
}

/// The file in memory, read again when it changes.
#[derive(Debug)]
pub struct Credentials {
    path: PathBuf,
    cached: Mutex<Cached>,
}

#[derive(Debug)]
struct Cached {
    stamp: Option<Stamp>,
    file: CredentialFile,
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

impl Credentials {
    /// Reads the file, making an empty one where there is none.
    ///
    /// # Errors
    /// [`CredentialError`] names the file.
    pub fn open(path: &Path) -> Result<Self, CredentialError> {
        let file = ensure(path)?;
        Ok(Self { path: path.to_owned(), cached: Mutex::new(Cached { stamp: stamp(path), file }) })
    }

    /// Who a token belongs to.
    pub fn identify(&self, token: &str) -> Option<Identity> {
        self.with_file(|file| find(file, token, Timestamp::now()).map(|found| file.identity(found)))
    }

    /// The identity of that name, while its token is `token_sha256` and not expired: what a session depends on.
    pub fn still_valid(&self, name: &str, token_sha256: &str) -> Option<Identity> {
        let now = Timestamp::now();
        self.with_file(|file| {
            file.identities
                .iter()
                .find(|c| c.name == name && c.token_sha256 == token_sha256 && c.expires_at.is_none_or(|end| now < end))
                .map(|found| file.identity(found))
        })
    }

    /// The identity of that name, where it is known and not expired.
    pub fn named(&self, name: &str) -> Option<Identity> {
        let now = Timestamp::now();
        self.with_file(|file| {
            let known = |c: &&Credential| c.name == name && c.expires_at.is_none_or(|end| now < end);
            file.identities.iter().find(known).map(|found| file.identity(found))
        })
    }

    /// The identity behind a credential that is not in the file, with the groups that are.
    pub fn resolve(&self, credential: &Credential) -> Identity {
        self.with_file(|file| file.identity(credential))
    }

    /// All of it.
    pub fn file(&self) -> CredentialFile {
        self.with_file(CredentialFile::clone)
    }

    fn with_file<T>(&self, read: impl FnOnce(&CredentialFile) -> T) -> T {
        let mut cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = stamp(&self.path);
        if stamp != cached.stamp || stamp.is_some_and(|stamp| stamp.young) {
            cached.stamp = stamp;
            match load(&self.path) {
                Ok(file) => cached.file = file,
                // The identities known so far stay: a file that is damaged for a moment locks nobody out, or in anew.
                Err(error) => tracing::error!(%error, "keeping the identities that were read before"),
            }
        }
        read(&cached.file)
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = fs::metadata(path).ok()?;
    let modified = metadata.modified().ok()?;
    // A time in the future says nothing.
    let young = !modified.elapsed().is_ok_and(|age| age >= YOUNG);
    Some(Stamp { modified, bytes: metadata.len(), inode: metadata.ino(), young })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_token_is_found_by_its_hash_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credentials.json");
        let token = add(&path, "admin", Role::Admin).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(!text.contains(&token), "the token itself is stored");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let credentials = Credentials::open(&path).unwrap();
        assert_eq!(credentials.identify(&token).unwrap().name, "admin");
        assert_eq!(credentials.identify("wrong"), None);
        assert_eq!(credentials.identify(""), None);
    }

    #[test]
    fn a_changed_file_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credentials.json");
        let credentials = Credentials::open(&path).unwrap();
        let first = add(&path, "eve", Role::Viewer).unwrap();
        assert!(credentials.identify(&first).is_some());
        let second = add(&path, "eve", Role::Operator).unwrap();
        assert!(credentials.identify(&first).is_none(), "a replaced token is refused");
        assert_eq!(credentials.identify(&second).unwrap().role, Role::Operator);
        fs::write(&path, "{").unwrap();
        assert!(credentials.identify(&second).is_some(), "a damaged file changes nothing");
    }

    #[test]
    fn expired_tokens_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credentials.json");
        let token = add(&path, "eve", Role::Viewer).unwrap();
        let mut file = load(&path).unwrap();
        file.identities[0].expires_at = Some(Timestamp::now().plus_seconds(-1));
        save(&path, &file).unwrap();
        assert_eq!(Credentials::open(&path).unwrap().identify(&token), None);
    }

    #[test]
    fn a_token_file_is_made_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credentials.json");
        let token_file = folder.path().join("admin-token");
        assert!(ensure_token(&path, "admin", Role::Admin, &token_file).unwrap());
        let token = fs::read_to_string(&token_file).unwrap();
        assert!(!ensure_token(&path, "admin", Role::Admin, &token_file).unwrap());
        assert_eq!(token, fs::read_to_string(&token_file).unwrap());
        // As of a version that did not keep what Mosquitto wants.
        let mut file = load(&path).unwrap();
        assert!(file.identities[0].token_pbkdf2.take().is_some());
        save(&path, &file).unwrap();
        assert!(!ensure_token(&path, "admin", Role::Admin, &token_file).unwrap());
        assert!(load(&path).unwrap().identities[0].token_pbkdf2.is_some());
        let gone = |name: &str, file: &Path| was_taken_away(&path, name, file).unwrap();
        assert!(!gone("admin", &token_file), "it is valid");
        assert!(gone("other", &token_file), "and somebody else's");
        assert!(!gone("other", &folder.path().join("none")), "there never was one");
        let mut file = load(&path).unwrap();
        file.identities[0].name = "eve".to_owned();
        file.identities[0].token_sha256 = hash_token("another");
        save(&path, &file).unwrap();
        assert!(gone("admin", &token_file));
        fs::remove_file(&path).unwrap();
        assert!(!gone("admin", &token_file), "nobody is known");
        fs::remove_file(&path).unwrap();
        assert!(ensure_token(&path, "admin", Role::Admin, &token_file).unwrap(), "a lost credential file is mended");
        assert_ne!(token, fs::read_to_string(&token_file).unwrap());
        assert!(matches!(add(&path, "no name", Role::Viewer), Err(CredentialError::Name(_))));
    }
}
