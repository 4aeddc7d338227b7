//! Files of the cloud: named by their digest, so that writing one twice changes nothing.

use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::credentials::{hex, write_private};

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `artifacts/<hex>.tar`
    Artifact,
    /// `models/<hex>.onnx`
    Onnx,
    /// `models/<hex>.tflite`
    Tflite,
    /// `datasets/<hex>.csv`
    Dataset,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Artifact, Self::Onnx, Self::Tflite, Self::Dataset];

    /// A model file of this format.
    pub fn of_model(format: &str) -> Self {
        if format == "tflite" { Self::Tflite } else { Self::Onnx }
    }

    /// Its folder.
    pub const fn folder(self) -> &'static str {
        match self {
            Self::Artifact => "artifacts",
            Self::Onnx | Self::Tflite => "models",
            Self::Dataset => "datasets",
        }
    }

    const fn extension(self) -> &'static str {
        match self {
            Self::Artifact => "tar",
            Self::Onnx => "onnx",
            Self::Tflite => "tflite",
            Self::Dataset => "csv",
        }
    }

    /// Where the file with this digest (64 hex digits) is.
    pub fn path(self, dir: &Path, sha256: &str) -> PathBuf {
        dir.join(self.folder()).join(format!("{sha256}.{}", self.extension()))
    }
}

/// The SHA-256 of bytes, in hex.
pub fn digest(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Stores bytes under their digest; blocking.
pub fn store(dir: &Path, kind: Kind, sha256: &str, bytes: &[u8]) -> io::Result<()> {
    let path = kind.path(dir, sha256);
    if std::fs::read(&path).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    write_private(&path, bytes)
}

/// Reads at most `len` bytes from `offset` on; blocking.
pub fn read_block(path: &Path, offset: u64, len: usize) -> io::Result<Vec<u8>> {
    let mut file = std::fs::File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut block = Vec::with_capacity(len);
    file.take(len as u64).read_to_end(&mut block)?;
    Ok(block)
}
