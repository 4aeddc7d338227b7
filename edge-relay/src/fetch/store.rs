//! Artifacts on the relay's disk: blocks while they arrive, then the unpacked files beside their signed manifest.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use contract::Code;
use contract::artifact::{Manifest, ModelMeta, Sample, SignedManifest, file};
use contract::ids::ArtifactId;
use ed25519_dalek::VerifyingKey;
use sha2::{Digest as _, Sha256};
use tokio::sync::OwnedMutexGuard;

use super::{check, unpack};
use crate::flights::Flights;
use crate::folder::{replace_file, sync_dir};
use crate::relay::Relay;
use crate::work::Failure;

const MANIFEST: &str = "manifest.json";
/// The same manifest with a newer key's signature, where there is one: both are there while keys change.
const RENEWED: &str = "manifest.renewed.json";

/// Where artifacts are.
#[derive(Debug, Clone)]
pub struct Store {
    blocks: PathBuf,
    artifacts: PathBuf,
    bound: u64,
    /// Artifacts that are being fetched.
    pub(super) flights: Flights,
}

/// An artifact whose content was checked.
#[derive(Debug, Clone)]
pub struct Artifact {
    /// Its manifest.
    pub manifest: Manifest,
    /// Its metadata.
    pub meta: ModelMeta,
    dir: PathBuf,
}

impl Artifact {
    /// The bytes of one of its files; empty where it has none.
    ///
    /// # Errors
    /// The disk's.
    pub fn read(&self, name: &str) -> std::io::Result<Vec<u8>> {
        match std::fs::read(self.dir.join(name)) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            other => other,
        }
    }

    /// Golden vectors: inputs with the outputs of the reference.
    ///
    /// # Errors
    /// The disk's.
    pub fn golden(&self) -> std::io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let input = self.meta.input.bytes();
        let record = input + self.meta.output.bytes();
        let bytes = self.read(file::GOLDEN)?;
        Ok(bytes.chunks_exact(record).map(|both| (both[..input].to_vec(), both[input..].to_vec())).collect())
    }

    /// Held-out inputs with their labels.
    ///
    /// # Errors
    /// The disk's.
    pub fn samples(&self) -> std::io::Result<(Vec<u8>, Vec<Sample>)> {
        let index = self.read(file::SAMPLES_INDEX)?;
        // It was checked before it was kept; without it samples have no labels.
        Ok((self.read(file::SAMPLES)?, serde_json::from_slice(&index).unwrap_or_default()))
    }
}

impl Store {
    /// Artifacts in a relay's folder; those that no device needs take up to `bound` bytes.
    pub fn new(dir: &Path, bound: u64) -> Self {
        Self { blocks: dir.join("blocks"), artifacts: dir.join("artifacts"), bound, flights: Flights::default() }
    }

    /// Folder for the blocks of an artifact that is being fetched.
    pub fn blocks(&self, id: &ArtifactId) -> PathBuf {
        self.blocks.join(id.hex())
    }

    /// The artifact, if it is here and its manifest is still trusted.
    pub fn load(&self, trusted: &[VerifyingKey], id: &ArtifactId) -> Option<Artifact> {
        let dir = self.artifacts.join(id.hex());
        let signed = |name: &&str| check(trusted, &read_manifest(&dir.join(name))?).ok();
        let manifest = [MANIFEST, RENEWED].iter().find_map(signed)?.manifest;
        let meta: ModelMeta = serde_json::from_slice(&std::fs::read(dir.join(file::META)).ok()?).ok()?;
        // The time of the folder tells when it was needed last.
        let _ = std::fs::File::open(&dir).and_then(|dir| dir.set_modified(SystemTime::now()));
        (manifest.artifact == *id).then_some(Artifact { manifest, meta, dir })
    }

    /// The newest manifest of each artifact that is kept.
    pub fn manifests(&self) -> Vec<(ArtifactId, SignedManifest)> {
        let entries = std::fs::read_dir(&self.artifacts).into_iter().flatten().flatten();
        let each = entries.filter_map(|entry| {
            let id = format!("sha256:{}", entry.file_name().to_str()?).parse().ok()?;
            let signed = [RENEWED, MANIFEST].iter().find_map(|name| read_manifest(&entry.path().join(name)))?;
            Some((id, signed))
        });
        each.collect()
    }

    /// Keeps a manifest with the signature of a key that is not trusted yet, beside one that is (by `trusted`).
    ///
    /// # Errors
    /// The disk's.
    pub fn renew(&self, trusted: &[VerifyingKey], id: &ArtifactId, signed: &SignedManifest) -> std::io::Result<()> {
        let dir = self.artifacts.join(id.hex());
        let renewed = dir.join(RENEWED);
        if read_manifest(&renewed).is_some_and(|before| check(trusted, &before).is_ok()) {
            std::fs::rename(&renewed, dir.join(MANIFEST))?;
        }
        replace_file(&renewed, &serde_json::to_vec(signed).unwrap_or_default())?;
        sync_dir(&dir)
    }

    /// Joins the blocks, checks the digest of the whole, unpacks it and keeps it.
    pub(super) async fn complete(
        &self,
        relay: &Relay,
        signed: SignedManifest,
        manifest: Manifest,
        alone: OwnedMutexGuard<()>,
    ) -> Result<Artifact, Failure> {
        let (store, used) = (self.clone(), used(relay));
        let joined = tokio::task::spawn_blocking(move || {
            // Until the files are in place, also where the command that asked for them is cancelled meanwhile.
            let _alone = alone;
            store.join(&signed, manifest, &used)
        })
        .await;
        joined.unwrap_or_else(|_| Err(Failure::new(Code::INTERNAL, "unpacking the artifact failed")))
    }

    fn join(&self, signed: &SignedManifest, manifest: Manifest, used: &[ArtifactId]) -> Result<Artifact, Failure> {
        let storage = |error: std::io::Error| Failure::storage("cannot keep the artifact", &error);
        let blocks = self.blocks(&manifest.artifact);
        let mut tar = Vec::with_capacity(usize::try_from(manifest.size).unwrap_or(0));
        for index in 0..manifest.blocks {
            tar.extend(std::fs::read(blocks.join(index.to_string())).map_err(storage)?);
        }
        let digest: [u8; 32] = Sha256::digest(&tar).into();
        if ArtifactId::from_digest(&digest) != manifest.artifact {
            let _ = std::fs::remove_dir_all(&blocks); // fetched anew next time
            let message = "the blocks are each intact but together they are not the artifact that the manifest names";
            return Err(Failure::new(Code::DIGEST_MISMATCH, message));
        }
        let files = unpack::unpack(&tar).inspect_err(|_| {
            let _ = std::fs::remove_dir_all(&blocks);
        })?;
        drop(tar);
        let dir = self.artifacts.join(manifest.artifact.hex());
        let new = self.artifacts.join(format!("{}.new", manifest.artifact.hex()));
        let _ = std::fs::remove_dir_all(&new); // left by a relay that was killed right here
        let _ = std::fs::remove_dir_all(&dir); // its manifest is not trusted any more, or it is damaged
        std::fs::create_dir_all(&new).map_err(storage)?;
        for (name, bytes) in &files {
            replace_file(&new.join(name), bytes).map_err(storage)?;
        }
        let text = serde_json::to_vec(signed).unwrap_or_default();
        replace_file(&new.join(MANIFEST), &text).map_err(storage)?;
        sync_dir(&new).and_then(|()| std::fs::rename(&new, &dir)).map_err(storage)?;
        sync_dir(&self.artifacts).map_err(storage)?;
        let _ = std::fs::remove_dir_all(&blocks);
        let used: Vec<&str> = used.iter().map(ArtifactId::hex).chain([manifest.artifact.hex()]).collect();
        evict(&self.artifacts, self.bound, &used);
        let meta = files.get(file::META).and_then(|bytes| serde_json::from_slice(bytes).ok());
        let meta = meta.ok_or_else(|| Failure::new(Code::ARTIFACT_INVALID, "the artifact has no metadata"))?;
        Ok(Artifact { manifest, meta, dir })
    }
}

fn read_manifest(path: &Path) -> Option<SignedManifest> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

/// Artifacts that devices and commands need.
fn used(relay: &Relay) -> Vec<ArtifactId> {
    let mut used = relay.tickets.artifacts();
    for slot in relay.devices.all() {
        let row = slot.facts().row;
        used.extend([row.firmware, row.previous].into_iter().flatten().map(|installed| installed.firmware.artifact));
    }
    used
}

/// Removes the folders that were needed longest ago until the rest has at most `bound` bytes. Those in `used` stay.
pub(crate) fn evict(parent: &Path, bound: u64, used: &[&str]) {
    let Ok(entries) = std::fs::read_dir(parent) else { return };
    let mut folders: Vec<(SystemTime, u64, PathBuf)> = entries
        .flatten()
        .filter(|entry| !entry.file_name().to_str().is_some_and(|name| used.contains(&name)))
        .filter_map(|entry| {
            let files = std::fs::read_dir(entry.path()).ok()?;
            let bytes = files.flatten().filter_map(|file| file.metadata().ok()).map(|meta| meta.len()).sum();
            Some((entry.metadata().ok()?.modified().ok()?, bytes, entry.path()))
        })
        .collect();
    folders.sort();
    let mut total: u64 = folders.iter().map(|(_, bytes, _)| bytes).sum();
    for (_, bytes, path) in folders {
        if total <= bound {
            return;
        }
        match std::fs::remove_dir_all(&path) {
            Ok(()) => total -= bytes,
            Err(error) => tracing::warn!(path = %path.display(), %error, "cannot make room in a cache"),
        }
    }
}
