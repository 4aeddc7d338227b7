//! Which keys may sign manifests: those of the enrolment, later those of the newest list that they lead to. Kept in
//! `trusted.pub`, one key in base64 a line, with the version of the list in a line `# version N`.
//!
//! A list is followed in an order that a kill cannot hurt: first the kept artifacts get manifests that the new keys have
//! signed, beside those of the old; then the file is replaced; then memory.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use contract::Code;
use contract::artifact::SignedManifest;
use contract::ids::ArtifactId;
use contract::keys::{KeyList, MAX_KEYS, MAX_LISTS, SignedKeyList};
use contract::request::{ResponseBody, Want};
use ed25519_dalek::{Signature, VerifyingKey};
use tokio::sync::{Mutex, Notify};

use crate::error::RelayError;
use crate::fetch::check;
use crate::folder::replace_file;
use crate::relay::Relay;
use crate::work::Failure;

/// Name of the file in the relay's folder.
const FILE: &str = "trusted.pub";
/// What precedes the version in it.
const VERSION: &str = "# version ";
/// How long to wait after the cloud did not answer.
const AGAIN: Duration = Duration::from_secs(60);

/// The keys of one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Keys {
    /// Version of the list they are from; 0 for those of the enrolment.
    version: u64,
    keys: Vec<VerifyingKey>,
}

/// The keys that this relay trusts.
#[derive(Debug)]
pub struct Trust {
    path: PathBuf,
    held: RwLock<Keys>,
    /// Held by whoever follows lists.
    turn: Mutex<()>,
    /// Asks to look for newer lists.
    pub look: Notify,
}

impl Trust {
    /// Reads the keys. Without one no manifest can be trusted, so at least one is required.
    ///
    /// # Errors
    /// A missing or unreadable file names the line at fault.
    pub fn open(dir: &Path) -> Result<Self, RelayError> {
        let path = dir.join(FILE);
        let text = fs::read_to_string(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => RelayError::Missing {
                path: path.clone(),
                help: "it holds the fleet's public signing keys, base64, one a line; without one nothing can be installed",
            },
            _ => RelayError::File { what: "cannot read", path: path.clone(), source },
        })?;
        let held = parse(&text).map_err(|problem| RelayError::Content { path: path.clone(), problem })?;
        Ok(Self { path, held: RwLock::new(held), turn: Mutex::new(()), look: Notify::new() })
    }

    /// The keys.
    pub fn keys(&self) -> Vec<VerifyingKey> {
        self.held().keys
    }

    /// Version of the list that they are from; 0 for those of the enrolment.
    pub fn version(&self) -> u64 {
        self.held().version
    }

    /// Replaced as a whole, so what a thread that panicked left is whole too.
    fn held(&self) -> Keys {
        self.held.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn keep(&self, keys: Keys) -> io::Result<()> {
        replace_file(&self.path, write(&keys).as_bytes())?;
        *self.held.write().unwrap_or_else(PoisonError::into_inner) = keys;
        Ok(())
    }
}

fn parse(text: &str) -> Result<Keys, String> {
    let mut held = Keys { version: 0, keys: Vec::new() };
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if let Some(version) = line.strip_prefix(VERSION) {
            held.version = version
                .parse()
                .map_err(|_| format!("line {}: '{VERSION}' is followed by a whole number", index + 1))?;
        }
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let key = verifying(line)
            .ok_or_else(|| format!("line {} is no ed25519 public key (32 bytes in base64)", index + 1))?;
        held.keys.push(key);
    }
    if held.keys.is_empty() { Err("there is no key in it".to_owned()) } else { Ok(held) }
}

fn write(held: &Keys) -> String {
    let keys = held.keys.iter().map(|key| STANDARD.encode(key.as_bytes()) + "\n");
    format!("{VERSION}{}\n{}", held.version, keys.collect::<String>())
}

fn verifying(text: &str) -> Option<VerifyingKey> {
    let bytes = STANDARD.decode(text).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok())?;
    VerifyingKey::from_bytes(&bytes).ok()
}

/// The keys after this list; `None` where it is none that follows: too old, not signed by a key that is trusted now, or
/// with nothing in it that could be trusted.
fn next(held: &Keys, signed: &SignedKeyList) -> Option<Keys> {
    let signature = Signature::from_slice(&STANDARD.decode(&signed.signature).ok()?).ok()?;
    let bytes = signed.signed_bytes();
    if !held.keys.iter().any(|key| key.verify_strict(&bytes, &signature).is_ok()) {
        return None;
    }
    let list: KeyList = serde_json::from_str(&signed.document).ok()?;
    if list.version <= held.version || list.keys.is_empty() || list.keys.len() > MAX_KEYS {
        return None;
    }
    let keys: Option<Vec<_>> = list.keys.iter().map(|key| verifying(key)).collect();
    Some(Keys { version: list.version, keys: keys? })
}

/// Looks for newer lists whenever somebody asks to: at each connect, and when the cloud says so.
///
/// # Errors
/// None; it has the form of the relay's other tasks.
pub async fn run(relay: Arc<Relay>) -> Result<(), RelayError> {
    loop {
        relay.trust.look.notified().await;
        while let Err(failure) = refresh(&relay).await {
            tracing::warn!(error = %failure.message, "cannot look for newer signing keys");
            tokio::select! {
                () = relay.trust.look.notified() => {}
                () = tokio::time::sleep(AGAIN) => {}
            }
        }
    }
}

/// Asks for the lists that are newer than the one followed, and follows them.
///
/// # Errors
/// The cloud does not answer, or the disk fails; then what was trusted stays so.
pub async fn refresh(relay: &Relay) -> Result<(), Failure> {
    let _turn = relay.trust.turn.lock().await;
    let before = relay.trust.held();
    let ResponseBody::Keys { lists } = relay.asker.ask(relay, Want::Keys { since: before.version }).await? else {
        return Err(Failure::new(Code::INTERNAL, "the cloud answered something else than lists of keys"));
    };
    let mut after = before.clone();
    for signed in lists.iter().take(MAX_LISTS) {
        after = next(&after, signed).unwrap_or(after);
    }
    if after == before {
        return Ok(());
    }
    for (artifact, signed) in relay.store.manifests() {
        if check(&after.keys, &signed).is_err() {
            renew(relay, &before.keys, &after.keys, &artifact).await?;
        }
    }
    if before.keys != after.keys {
        tracing::info!(relay = %relay.config.relay, version = after.version, "the fleet's signing key has changed");
    }
    relay.trust.keep(after).map_err(|error| Failure::storage("cannot keep the keys", &error))?;
    // The state says which list is followed.
    relay.devices.changed.notify_one();
    Ok(())
}

/// Gets a manifest of a kept artifact that the coming keys have signed.
async fn renew(
    relay: &Relay,
    before: &[VerifyingKey],
    after: &[VerifyingKey],
    artifact: &ArtifactId,
) -> Result<(), Failure> {
    let answer = relay.asker.ask(relay, Want::ArtifactManifest { artifact: artifact.clone() }).await;
    let signed: SignedManifest = match answer {
        Ok(ResponseBody::Manifest { manifest }) => manifest,
        Ok(_) => return Err(Failure::new(Code::INTERNAL, "the cloud answered something else than a manifest")),
        Err(failure) if failure.code == Code::ARTIFACT_NOT_FOUND => {
            tracing::warn!(%artifact, "the cloud does not have it any more: it cannot be installed or observed again");
            return Ok(());
        }
        Err(failure) => return Err(failure),
    };
    if check(after, &signed).is_ok_and(|checked| checked.manifest.artifact == *artifact) {
        let kept = relay.store.renew(before, artifact, &signed);
        kept.map_err(|error| Failure::storage("cannot keep a manifest", &error))?;
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use ed25519_dalek::{Signer as _, SigningKey};

    use super::*;

    fn list(by: &SigningKey, version: u64, keys: &[&SigningKey]) -> SignedKeyList {
        let keys = keys.iter().map(|key| STANDARD.encode(key.verifying_key().as_bytes())).collect();
        let list = KeyList { version, keys, created_at: contract::Timestamp::now() };
        let document = serde_json::to_string(&list).unwrap();
        let mut signed = SignedKeyList { document, key_id: String::new(), signature: String::new() };
        signed.signature = STANDARD.encode(by.sign(&signed.signed_bytes()).to_bytes());
        signed
    }

    #[test]
    fn only_a_newer_list_that_a_trusted_key_signed_is_followed() {
        let [first, second, stranger] = [1, 2, 3].map(|byte| SigningKey::from_bytes(&[byte; 32]));
        let held = Keys { version: 1, keys: vec![first.verifying_key()] };
        let good = list(&first, 2, &[&second]);
        let followed = next(&held, &good).unwrap();
        assert_eq!(followed, Keys { version: 2, keys: vec![second.verifying_key()] });
        let as_manifest = {
            let mut signed = good.clone();
            let bytes = [SignedManifest::DOMAIN, signed.document.as_bytes()].concat();
            signed.signature = STANDARD.encode(first.sign(&bytes).to_bytes());
            signed
        };
        let changed =
            SignedKeyList { document: good.document.replace("\"version\":2", "\"version\":3"), ..good.clone() };
        let many: Vec<&SigningKey> = vec![&second; MAX_KEYS + 1];
        for (what, bad) in [
            ("a stranger's", list(&stranger, 2, &[&stranger])),
            ("signed with the key that it brings", list(&second, 2, &[&second])),
            ("the same version", list(&first, 1, &[&second])),
            ("no key", list(&first, 2, &[])),
            ("too many keys", list(&first, 2, &many)),
            ("signed as a manifest", as_manifest),
            ("changed after it was signed", changed),
            ("no signature", SignedKeyList { signature: String::new(), ..good.clone() }),
        ] {
            assert_eq!(next(&held, &bad), None, "{what}");
        }
        assert_eq!(next(&followed, &list(&first, 3, &[&first])), None, "a retired key brings nobody back");
        assert_eq!(next(&followed, &good), None, "an old list again");
    }

    #[test]
    fn the_file_comes_out_as_it_went_in() {
        let held = Keys { version: 7, keys: vec![SigningKey::from_bytes(&[1; 32]).verifying_key()] };
        assert_eq!(parse(&write(&held)).unwrap(), held);
        let by_hand = write(&held).replace(VERSION, "# ");
        assert_eq!(parse(&by_hand).unwrap().version, 0, "a comment");
        assert!(parse("# nothing\n").unwrap_err().contains("no key"));
        assert!(parse("# version x\n").unwrap_err().contains("line 1"));
        assert!(parse("AAAA\n").unwrap_err().contains("line 1"));
    }
}
