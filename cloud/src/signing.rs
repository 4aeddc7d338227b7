//! The key that signs manifests, and the lists that tell relays which key that is: `signing.key`, the base64 of 32 secret
//! bytes with mode 0600, and `keys.json`, public, one signed list for each key that there ever was. Made at the first
//! start.
//!
//! A rotation is three steps, and the middle one decides: the new secret is written to `signing.key.next`, the list that
//! names it is added to `keys.json`, the secret takes the place of the old one. Whoever is killed before the second has
//! changed nothing; after it the next start does the third.

use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use contract::Timestamp;
use contract::artifact::{Manifest, SignedManifest};
use contract::keys::{KeyList, MAX_LISTS, SignedKeyList};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::credentials::{CredentialError, hex, write_private};
use crate::error::CloudError;

/// The secret key's file in the cloud's folder.
const FILE: &str = "signing.key";
/// The secret of a rotation that is under way.
const NEXT: &str = "signing.key.next";
/// The lists.
const LISTS: &str = "keys.json";

/// The public keys of the cloud with this folder, the newest first: the base64 of 32 bytes each, as `trusted.pub` of a
/// relay holds them. The first is made where there is none.
///
/// # Errors
/// [`CloudError`] names the file.
pub fn ensure_keys(dir: &Path) -> Result<Vec<String>, CloudError> {
    Ok(ManifestSigner::open(dir)?.known())
}

/// Signs manifests, and the lists of keys.
#[derive(Debug)]
pub struct ManifestSigner {
    dir: PathBuf,
    held: RwLock<Held>,
}

/// What changes together when the key is replaced.
#[derive(Debug)]
struct Held {
    key: SigningKey,
    /// Oldest first; the last is the one of `key`.
    lists: Vec<(KeyList, SignedKeyList)>,
}

/// A key of the fleet, as people see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetKey {
    /// Version of the list that brought it.
    pub version: u64,
    /// The base64 of its 32 public bytes.
    pub public: String,
    /// When it was made; for the first key, when lists were.
    pub since: Timestamp,
    /// When the next took its place.
    pub retired: Option<Timestamp>,
}

impl ManifestSigner {
    /// Reads key and lists, or makes them, and finishes a rotation that was interrupted.
    pub(crate) fn open(dir: &Path) -> Result<Self, CloudError> {
        make_folder(dir)?;
        let mut lists = read_lists(&dir.join(LISTS))?;
        let named = |key: &SigningKey, lists: &[(KeyList, SignedKeyList)]| {
            lists.last().is_some_and(|(list, _)| list.keys.contains(&public(key)))
        };
        let (path, next) = (dir.join(FILE), dir.join(NEXT));
        if let Some(key) = read_key(&next)? {
            if named(&key, &lists) {
                std::fs::rename(&next, &path).map_err(CloudError::io("replace", &path))?;
            } else {
                std::fs::remove_file(&next).map_err(CloudError::io("remove", &next))?;
            }
        }
        let key = match read_key(&path)? {
            Some(key) => key,
            None if !lists.is_empty() => {
                let reason = format!(
                    "it is missing, but {LISTS} beside it names a key that relays trust; restore it from a backup, or \
                     delete {LISTS} too and enrol the relays again"
                );
                return Err(CloudError::Damaged { path, reason });
            }
            None => new_key(&path)?,
        };
        if lists.is_empty() {
            lists.push(sign_list(&key, KeyList { version: 1, keys: vec![public(&key)], created_at: Timestamp::now() }));
            write_lists(dir, &lists)?;
        } else if !named(&key, &lists) {
            let reason = format!(
                "it is not the key that {LISTS} beside it names last; restore both from the same backup, or delete \
                 {LISTS} and enrol the relays again"
            );
            return Err(CloudError::Damaged { path, reason });
        }
        Ok(Self { dir: dir.to_owned(), held: RwLock::new(Held { key, lists }) })
    }

    /// Reads what is held; it is replaced as a whole, so that of a thread that panicked is whole too.
    fn with<T>(&self, read: impl FnOnce(&Held) -> T) -> T {
        read(&self.held.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The public key in base64.
    pub(crate) fn public_key(&self) -> String {
        self.with(|held| public(&held.key))
    }

    /// Every public key there ever was, in base64, the newest first: a relay that was invited with an older one finds
    /// that, and follows the lists from it.
    pub(crate) fn known(&self) -> Vec<String> {
        self.with(|held| held.lists.iter().rev().flat_map(|(list, _)| list.keys.clone()).collect())
    }

    /// What a join token pins the key by: the first 16 bytes of its SHA-256, in base64url.
    pub(crate) fn fingerprint(&self) -> String {
        self.with(|held| URL_SAFE_NO_PAD.encode(&Sha256::digest(held.key.verifying_key().as_bytes())[..16]))
    }

    /// Signs a manifest.
    pub(crate) fn sign(&self, manifest: &Manifest) -> SignedManifest {
        // Plain structs and strings: serialization to memory cannot fail.
        let document = serde_json::to_string(manifest).unwrap_or_default();
        self.with(|held| sign_document(&held.key, document))
    }

    /// The same manifest with a signature of today's key; `None` where no key of ours has ever signed it.
    pub(crate) fn renew(&self, signed: SignedManifest) -> Option<SignedManifest> {
        self.with(|held| {
            if signed.key_id == key_id(&held.key.verifying_key()) {
                return Some(signed);
            }
            let bytes = STANDARD.decode(&signed.signature).ok()?;
            let signature = Signature::from_slice(&bytes).ok()?;
            let mut keys = held.lists.iter().flat_map(|(list, _)| &list.keys).filter_map(|text| verifying(text));
            let ours = keys.any(|key| key.verify_strict(&signed.signed_bytes(), &signature).is_ok());
            ours.then(|| sign_document(&held.key, signed.document))
        })
    }

    /// The signed lists that are newer than version `since`, oldest first, at most [`MAX_LISTS`].
    pub(crate) fn lists(&self, since: u64) -> Vec<SignedKeyList> {
        self.with(|held| {
            let newer = held.lists.iter().filter(|(list, _)| list.version > since).map(|(_, signed)| signed.clone());
            let all: Vec<_> = newer.collect();
            all[all.len().saturating_sub(MAX_LISTS)..].to_vec()
        })
    }

    /// Every key there ever was, oldest first.
    pub(crate) fn keys(&self) -> Vec<FleetKey> {
        self.with(|held| {
            let retired = held.lists.iter().skip(1).map(|(list, _)| Some(list.created_at)).chain([None]);
            let each = held.lists.iter().zip(retired).flat_map(|((list, _), retired)| {
                list.keys.iter().map(move |key| FleetKey {
                    version: list.version,
                    public: key.clone(),
                    since: list.created_at,
                    retired,
                })
            });
            each.collect()
        })
    }

    /// Makes a new key, has the old one vouch for it, and signs with it from now on. The old one is erased.
    ///
    /// # Errors
    /// [`CloudError`] names the file that could not be written; then nothing has changed, or the next start finishes it.
    pub(crate) fn rotate(&self) -> Result<FleetKey, CloudError> {
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        let (path, next) = (self.dir.join(FILE), self.dir.join(NEXT));
        let key = new_key(&next)?;
        let version = held.lists.last().map_or(0, |(list, _)| list.version) + 1;
        let signed = sign_list(&held.key, KeyList { version, keys: vec![public(&key)], created_at: Timestamp::now() });
        let since = signed.0.created_at;
        let mut lists = held.lists.clone();
        lists.push(signed);
        write_lists(&self.dir, &lists)?;
        let renamed = std::fs::rename(&next, &path).map_err(CloudError::io("replace", &path));
        *held = Held { key, lists };
        renamed?;
        Ok(FleetKey { version, public: public(&held.key), since, retired: None })
    }
}

fn public(key: &SigningKey) -> String {
    STANDARD.encode(key.verifying_key().as_bytes())
}

/// The first 16 hex digits of the SHA-256 of a key's public bytes.
pub(crate) fn key_id(key: &VerifyingKey) -> String {
    hex(&Sha256::digest(key.as_bytes())[..8])
}

/// A public key from its base64.
pub(crate) fn verifying(text: &str) -> Option<VerifyingKey> {
    let bytes = STANDARD.decode(text).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok())?;
    VerifyingKey::from_bytes(&bytes).ok()
}

fn sign_document(key: &SigningKey, document: String) -> SignedManifest {
    let mut signed = SignedManifest { document, key_id: key_id(&key.verifying_key()), signature: String::new() };
    signed.signature = STANDARD.encode(key.sign(&signed.signed_bytes()).to_bytes());
    signed
}

fn sign_list(key: &SigningKey, list: KeyList) -> (KeyList, SignedKeyList) {
    let document = serde_json::to_string(&list).unwrap_or_default();
    let mut signed = SignedKeyList { document, key_id: key_id(&key.verifying_key()), signature: String::new() };
    signed.signature = STANDARD.encode(key.sign(&signed.signed_bytes()).to_bytes());
    // As everybody reads it: a time loses digits on its way to text.
    (serde_json::from_str(&signed.document).unwrap_or(list), signed)
}

/// Makes a secret key and writes it.
fn new_key(path: &Path) -> Result<SigningKey, CloudError> {
    let mut secret = Zeroizing::new([0u8; 32]);
    getrandom::fill(secret.as_mut_slice()).map_err(CredentialError::Random)?;
    let text = Zeroizing::new(format!("{}\n", STANDARD.encode(*secret)));
    write_private(path, text.as_bytes()).map_err(CloudError::io("write", path))?;
    Ok(SigningKey::from_bytes(&secret))
}

fn read_key(path: &Path) -> Result<Option<SigningKey>, CloudError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => Zeroizing::new(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(CloudError::io("read", path)(error)),
    };
    let bytes = STANDARD.decode(text.trim()).ok().map(Zeroizing::new);
    let secret = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes.as_slice()).ok()).map(Zeroizing::new);
    let secret = secret.ok_or_else(|| CloudError::Damaged {
        path: path.to_owned(),
        reason: format!(
            "it does not hold 32 bytes in base64; restore it, or delete it and {LISTS} and enrol the relays again"
        ),
    })?;
    Ok(Some(SigningKey::from_bytes(&secret)))
}

fn read_lists(path: &Path) -> Result<Vec<(KeyList, SignedKeyList)>, CloudError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(CloudError::io("read", path)(error)),
    };
    let damaged = |error: serde_json::Error| CloudError::Damaged {
        path: path.to_owned(),
        reason: format!("it is no list of keys ({error}); restore it from a backup"),
    };
    let lists: Vec<SignedKeyList> = serde_json::from_str(&text).map_err(damaged)?;
    lists.into_iter().map(|signed| Ok((serde_json::from_str(&signed.document).map_err(damaged)?, signed))).collect()
}

fn write_lists(dir: &Path, lists: &[(KeyList, SignedKeyList)]) -> Result<(), CloudError> {
    let path = dir.join(LISTS);
    let signed: Vec<&SignedKeyList> = lists.iter().map(|(_, signed)| signed).collect();
    let text = serde_json::to_vec_pretty(&signed).unwrap_or_default();
    write_private(&path, &text).map_err(CloudError::io("write", &path))
}

/// Makes a folder with mode 0700 where there is none.
pub(crate) fn make_folder(dir: &Path) -> Result<(), CloudError> {
    use std::os::unix::fs::DirBuilderExt as _;
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true).mode(0o700).create(dir).map_err(CloudError::io("create", dir))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn newest(dir: &Path) -> String {
        ensure_keys(dir).unwrap().remove(0)
    }

    #[test]
    fn the_key_stays_and_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let first = newest(folder.path());
        assert_eq!(first, newest(folder.path()));
        let path = folder.path().join(FILE);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::write(&path, "nonsense").unwrap();
        let error = ensure_keys(folder.path()).unwrap_err().to_string();
        assert!(error.contains("signing.key") && error.contains("restore"), "{error}");
        std::fs::remove_file(&path).unwrap();
        let error = ensure_keys(folder.path()).unwrap_err().to_string();
        assert!(error.contains("missing") && error.contains("keys.json"), "{error}");
    }

    #[test]
    fn each_list_is_signed_with_the_key_before_it() {
        let folder = tempfile::tempdir().unwrap();
        let signer = ManifestSigner::open(folder.path()).unwrap();
        let first = signer.public_key();
        for version in 2..=4 {
            assert_eq!(signer.rotate().unwrap().version, version);
        }
        assert_eq!(std::fs::metadata(folder.path().join(FILE)).unwrap().permissions().mode() & 0o777, 0o600);
        let lists = signer.lists(0);
        let mut trusted = vec![first];
        for signed in &lists {
            let signature = Signature::from_slice(&STANDARD.decode(&signed.signature).unwrap()).unwrap();
            let vouched = trusted.iter().filter_map(|key| verifying(key)).any(|key| {
                key.verify_strict(&signed.signed_bytes(), &signature).is_ok() && key_id(&key) == signed.key_id
            });
            let list: KeyList = serde_json::from_str(&signed.document).unwrap();
            assert!(vouched, "list {}", list.version);
            trusted = list.keys;
        }
        assert_eq!(trusted, [signer.public_key()]);
        assert_eq!((lists.len(), signer.lists(2).len(), signer.lists(4).len()), (4, 2, 0));
        let again = ManifestSigner::open(folder.path()).unwrap();
        assert_eq!((again.public_key(), again.keys()), (signer.public_key(), signer.keys()));
        let keys = signer.keys();
        assert!(keys[..3].iter().all(|key| key.retired.is_some()) && keys[3].retired.is_none());
    }

    #[test]
    fn a_rotation_that_was_killed_is_finished_or_never_was() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        let old = newest(dir);
        // Before the list: the new secret is thrown away.
        new_key(&dir.join(NEXT)).unwrap();
        assert_eq!(newest(dir), old);
        assert!(!dir.join(NEXT).exists());
        // After the list: the secret takes its place.
        let secret = std::fs::read(dir.join(FILE)).unwrap();
        let new = ManifestSigner::open(dir).unwrap().rotate().unwrap().public;
        std::fs::rename(dir.join(FILE), dir.join(NEXT)).unwrap();
        std::fs::write(dir.join(FILE), &secret).unwrap();
        assert_eq!(newest(dir), new);
        assert!(!dir.join(NEXT).exists());
        // A key that the lists do not name last would sign what relays refuse.
        std::fs::write(dir.join(FILE), &secret).unwrap();
        let error = ensure_keys(dir).unwrap_err().to_string();
        assert!(error.contains("same backup"), "{error}");
    }

    #[test]
    fn only_what_a_key_of_ours_has_signed_is_signed_again() {
        let folder = tempfile::tempdir().unwrap();
        let signer = ManifestSigner::open(folder.path()).unwrap();
        let signed = signer.with(|held| sign_document(&held.key, "{}".to_owned()));
        assert_eq!(signer.renew(signed.clone()), Some(signed.clone()), "still good");
        signer.rotate().unwrap();
        let renewed = signer.renew(signed.clone()).unwrap();
        assert_eq!(renewed.document, signed.document);
        assert_ne!(renewed.key_id, signed.key_id);
        let stranger = SigningKey::from_bytes(&[7; 32]);
        assert_eq!(signer.renew(sign_document(&stranger, "{}".to_owned())), None);
        assert_eq!(signer.renew(SignedManifest { document: "{ }".to_owned(), ..signed }), None, "changed");
    }
}
