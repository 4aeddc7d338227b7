//! The key that signs manifests: made at the first start, kept in `signing.key` with mode 0600.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use contract::artifact::{Manifest, SignedManifest};
use ed25519_dalek::{Signer as _, SigningKey};
use sha2::{Digest as _, Sha256};

use crate::credentials::{CredentialError, hex, write_private};
use crate::error::CloudError;

/// Name of the key's file in the cloud's folder: the base64 of its 32 secret bytes.
const FILE: &str = "signing.key";

/// The public key of the cloud with this folder, made where there is none: the base64 of its 32 bytes, as `trusted.pub`
/// of a relay holds it.
///
/// # Errors
/// [`CloudError`] names the file.
pub fn ensure_key(dir: &Path) -> Result<String, CloudError> {
    Ok(ManifestSigner::open(dir)?.public_key())
}

/// Signs manifests.
#[derive(Debug)]
pub struct ManifestSigner {
    key: SigningKey,
}

impl ManifestSigner {
    /// Reads the key, or makes one.
    pub(crate) fn open(dir: &Path) -> Result<Self, CloudError> {
        make_folder(dir)?;
        let path = dir.join(FILE);
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                let bytes = STANDARD.decode(text.trim()).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
                let secret = bytes.ok_or_else(|| CloudError::Damaged {
                    path: path.clone(),
                    reason:
                        "it does not hold 32 bytes in base64; restore it, or delete it and give the relays the new \
                             public key"
                            .into(),
                })?;
                Ok(Self { key: SigningKey::from_bytes(&secret) })
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let mut secret = [0u8; 32];
                getrandom::fill(&mut secret).map_err(CredentialError::Random)?;
                write_private(&path, format!("{}\n", STANDARD.encode(secret)).as_bytes())
                    .map_err(CloudError::io("write", &path))?;
                Ok(Self { key: SigningKey::from_bytes(&secret) })
            }
            Err(error) => Err(CloudError::io("read", &path)(error)),
        }
    }

    /// The public key in base64.
    pub(crate) fn public_key(&self) -> String {
        STANDARD.encode(self.key.verifying_key().as_bytes())
    }

    /// The keys that relays shall trust, in base64.
    pub(crate) fn trusted(&self) -> Vec<String> {
        vec![self.public_key()]
    }

    /// What a join token pins the key by: the first 16 bytes of its SHA-256, in base64url.
    pub(crate) fn fingerprint(&self) -> String {
        URL_SAFE_NO_PAD.encode(&Sha256::digest(self.key.verifying_key().as_bytes())[..16])
    }

    /// Signs a manifest.
    pub(crate) fn sign(&self, manifest: &Manifest) -> SignedManifest {
        let public = self.key.verifying_key();
        let mut signed = SignedManifest {
            // Plain structs and strings: serialization to memory cannot fail.
            document: serde_json::to_string(manifest).unwrap_or_default(),
            key_id: hex(&Sha256::digest(public.as_bytes())[..8]),
            signature: String::new(),
        };
        signed.signature = STANDARD.encode(self.key.sign(&signed.signed_bytes()).to_bytes());
        signed
    }
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

    #[test]
    fn the_key_stays_and_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let first = ensure_key(folder.path()).unwrap();
        assert_eq!(first, ensure_key(folder.path()).unwrap());
        let path = folder.path().join(FILE);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::write(&path, "nonsense").unwrap();
        let error = ensure_key(folder.path()).unwrap_err().to_string();
        assert!(error.contains("signing.key") && error.contains("restore"), "{error}");
    }
}
