//! Whether a manifest can be trusted and what it may announce.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use contract::Code;
use contract::artifact::{Manifest, SignedManifest};
use contract::limits::{BLOCK_BYTES, MAX_ARTIFACT_BYTES};
use ed25519_dalek::{Signature, VerifyingKey};

use crate::work::Failure;

/// A manifest whose signature and limits were checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked {
    /// The document.
    pub manifest: Manifest,
}

/// Checks signature (RFC 8032, strict), purpose and sizes.
///
/// # Errors
/// `signature_invalid`, `artifact_invalid` or `too_large`.
pub fn check(trusted: &[VerifyingKey], signed: &SignedManifest) -> Result<Checked, Failure> {
    let refuse = |message: &str| Failure::new(Code::SIGNATURE_INVALID, message);
    let signature = STANDARD.decode(&signed.signature).ok();
    let signature = signature
        .and_then(|bytes| Signature::from_slice(&bytes).ok())
        .ok_or_else(|| refuse("the manifest's signature is no ed25519 signature in base64"))?;
    let bytes = signed.signed_bytes();
    if !trusted.iter().any(|key| key.verify_strict(&bytes, &signature).is_ok()) {
        return Err(refuse(
            "the manifest is not signed by a key that this relay trusts (trusted.pub in its folder), and the cloud has \
             no newer keys that one of those vouches for; enrol the relay again if it was moved to another fleet",
        ));
    }
    let invalid = |message: String| Failure::new(Code::ARTIFACT_INVALID, message);
    let manifest: Manifest = serde_json::from_str(&signed.document)
        .map_err(|error| invalid(format!("the manifest cannot be read: {error}")))?;
    if manifest.purpose != Manifest::PURPOSE {
        let message = format!("the manifest is signed for '{}', not for '{}'", manifest.purpose, Manifest::PURPOSE);
        return Err(refuse(&message));
    }
    if manifest.size == 0 || manifest.size > MAX_ARTIFACT_BYTES {
        let message = format!("the artifact has {} bytes, allowed are 1 to {MAX_ARTIFACT_BYTES}", manifest.size);
        return Err(Failure::new(Code::TOO_LARGE, message));
    }
    let block = u64::from(manifest.block_bytes);
    if block == 0 || block > BLOCK_BYTES as u64 || manifest.size.div_ceil(block) != u64::from(manifest.blocks) {
        let message = format!(
            "the manifest announces {} blocks of {} bytes for {} bytes; a block has 1 to {BLOCK_BYTES} bytes",
            manifest.blocks, manifest.block_bytes, manifest.size
        );
        return Err(invalid(message));
    }
    Ok(Checked { manifest })
}

impl Checked {
    /// Size of a block in bytes.
    pub fn block_len(manifest: &Manifest, index: u32) -> u64 {
        let block = u64::from(manifest.block_bytes);
        block.min(manifest.size.saturating_sub(block * u64::from(index)))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use ed25519_dalek::{Signer as _, SigningKey};
    use serde_json::json;

    use super::*;

    fn document(purpose: &str) -> String {
        let artifact = format!("sha256:{}", "0".repeat(64));
        json!({
            "artifact": artifact, "purpose": purpose, "model": "digits@1", "size": 10, "block_bytes": 10, "blocks": 1,
            "compiler": "model-compiler", "created_at": "2026-11-23T11:59:00Z", "arena_bytes": 1, "weights_bytes": 1,
            "provenance": {},
        })
        .to_string()
    }

    fn signed(key: &SigningKey, bytes: impl Fn(&SignedManifest) -> Vec<u8>, document: String) -> SignedManifest {
        let mut signed = SignedManifest { document, key_id: String::new(), signature: String::new() };
        signed.signature = STANDARD.encode(key.sign(&bytes(&signed)).to_bytes());
        signed
    }

    #[test]
    fn only_what_a_trusted_key_signed_for_installing_is_taken() {
        let (ours, stranger) = (SigningKey::from_bytes(&[1; 32]), SigningKey::from_bytes(&[2; 32]));
        let trusted = [ours.verifying_key()];
        let good = signed(&ours, SignedManifest::signed_bytes, document(Manifest::PURPOSE));
        assert!(check(&trusted, &good).is_ok());
        assert!(check(&[], &good).is_err(), "nobody is trusted");
        let whole = |signed: &SignedManifest| signed.document.as_bytes().to_vec();
        let foreign = |signed: &SignedManifest| [b"tinymlaas-keys-v1\n", signed.document.as_bytes()].concat();
        let mut tampered = good.clone();
        tampered.document = tampered.document.replace("\"size\":10", "\"size\":11");
        assert_ne!(tampered, good);
        let short = STANDARD.encode([0; 63]);
        for (what, bad) in [
            ("unsigned", SignedManifest { signature: String::new(), ..good.clone() }),
            ("a signature of zeros", SignedManifest { signature: STANDARD.encode([0; 64]), ..good.clone() }),
            ("a short signature", SignedManifest { signature: short, ..good.clone() }),
            ("no base64", SignedManifest { signature: "?".into(), ..good.clone() }),
            ("a stranger's", signed(&stranger, SignedManifest::signed_bytes, document(Manifest::PURPOSE))),
            ("signed without the prefix", signed(&ours, whole, document(Manifest::PURPOSE))),
            ("signed with another prefix", signed(&ours, foreign, document(Manifest::PURPOSE))),
            ("signed for another purpose", signed(&ours, SignedManifest::signed_bytes, document("erase"))),
            ("changed after it was signed", tampered),
        ] {
            assert_eq!(check(&trusted, &bad).unwrap_err().code, Code::SIGNATURE_INVALID, "{what}");
        }
    }
}
