//! Built images by content: the same artifact, board, compiler and firmware core are never built twice, not by two
//! devices at the same time, and not after a restart.

use std::path::PathBuf;
use std::time::SystemTime;

use contract::Code;
use contract::ids::ArtifactId;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::sync::OwnedMutexGuard;

use super::toolchain::Built;
use crate::boards::BoardType;
use crate::fetch::evict;
use crate::flights::Flights;
use crate::folder::{replace_file, sync_dir};
use crate::relay::Relay;
use crate::work::Failure;

/// An image in the cache.
#[derive(Debug, Clone)]
pub struct Image {
    /// Its key.
    pub key: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Sizes and times of its build.
    pub detail: Value,
}

#[derive(Debug, Serialize, Deserialize)]
struct Label {
    sha256: ArtifactId,
    detail: Value,
}

/// The cache.
#[derive(Debug)]
pub struct Cache {
    dir: PathBuf,
    bound: u64,
    flights: Flights,
}

/// What decides about an image.
pub fn key(artifact: &ArtifactId, board: &BoardType, toolchain: &str, core: [u8; 32]) -> String {
    let mut hash = Sha256::new();
    for part in [artifact.as_str(), &board.board, &board.target, &board.toolchain, toolchain] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.update(core);
    let digest: [u8; 32] = hash.finalize().into();
    ArtifactId::from_digest(&digest).hex().to_owned()
}

impl Cache {
    /// Images in `dir`; those that no device needs take up to `bound` bytes.
    ///
    /// # Errors
    /// The disk's.
    pub fn new(dir: PathBuf, bound: u64) -> std::io::Result<Self> {
        std::fs::create_dir_all(&dir)?;
        Ok(Self { dir, bound, flights: Flights::default() })
    }

    /// The image with this key. One that is damaged is as good as none.
    pub fn get(&self, key: &str) -> Option<Image> {
        let dir = self.dir.join(key);
        let label: Label = serde_json::from_slice(&std::fs::read(dir.join("label.json")).ok()?).ok()?;
        let bytes = std::fs::read(dir.join("image")).ok()?;
        let digest: [u8; 32] = Sha256::digest(&bytes).into();
        // The time of the folder tells when it was needed last.
        let _ = std::fs::File::open(&dir).and_then(|dir| dir.set_modified(SystemTime::now()));
        (ArtifactId::from_digest(&digest) == label.sha256).then(|| Image {
            key: key.to_owned(),
            bytes,
            detail: label.detail,
        })
    }

    /// Waits until nobody else builds for this key.
    pub async fn alone(&self, key: &str) -> OwnedMutexGuard<()> {
        self.flights.alone(key).await
    }

    /// Keeps an image.
    ///
    /// # Errors
    /// The disk's.
    pub async fn put(&self, relay: &Relay, key: &str, built: Built) -> Result<Image, Failure> {
        let used: Vec<String> = relay
            .devices
            .all()
            .iter()
            .flat_map(|slot| [slot.facts().row.firmware, slot.facts().row.previous])
            .filter_map(|installed| installed?.image)
            .chain([key.to_owned()])
            .collect();
        let (parent, bound, key) = (self.dir.clone(), self.bound, key.to_owned());
        let kept = tokio::task::spawn_blocking(move || {
            let digest: [u8; 32] = Sha256::digest(&built.image).into();
            let label = Label { sha256: ArtifactId::from_digest(&digest), detail: built.detail };
            let (dir, new) = (parent.join(&key), parent.join(format!("{key}.new")));
            let _ = std::fs::remove_dir_all(&new); // left by a relay that was killed right here
            let _ = std::fs::remove_dir_all(&dir); // damaged
            std::fs::create_dir_all(&new)?;
            replace_file(&new.join("image"), &built.image)?;
            replace_file(&new.join("label.json"), &serde_json::to_vec(&label).unwrap_or_default())?;
            sync_dir(&new)?;
            std::fs::rename(&new, &dir)?;
            sync_dir(&parent)?;
            let used: Vec<&str> = used.iter().map(String::as_str).collect();
            evict(&parent, bound, &used);
            Ok(Image { key, bytes: built.image, detail: label.detail })
        })
        .await;
        match kept {
            Ok(result) => result.map_err(|e: std::io::Error| Failure::storage("cannot keep the image", &e)),
            Err(_) => Err(Failure::new(Code::INTERNAL, "keeping the image failed")),
        }
    }
}
