//! A relay's own key, which never leaves it, and the request to have it certified.

use std::path::{Path, PathBuf};

use rcgen::{CertificateParams, DistinguishedName, KeyPair};

use crate::{TlsError, file};

/// Where a relay's folder keeps its key and certificate.
pub struct ClientFiles(PathBuf);

impl ClientFiles {
    /// In this folder.
    pub fn new(folder: &Path) -> Self {
        Self(folder.to_owned())
    }

    /// The private key, mode 0600.
    pub fn key(&self) -> PathBuf {
        self.0.join("client.key")
    }

    /// The certificate, once there is one.
    pub fn certificate(&self) -> PathBuf {
        self.0.join("client.crt")
    }

    /// A signing request in PEM form for this folder's key; the key is made when absent, so that an attempt that was
    /// cut asks for the same key again.
    ///
    /// # Errors
    /// If the key's file cannot be read or written or holds something else.
    pub fn signing_request(&self) -> Result<String, TlsError> {
        let path = self.key();
        if !path.exists() {
            file::write(&path, KeyPair::generate()?.serialize_pem().as_bytes(), 0o600)?;
        }
        let pair = KeyPair::from_pem(&file::text(&path)?).map_err(|_| TlsError::Content {
            path,
            what: "private key in PEM form",
            way_out: "delete it and enroll again",
        })?;
        // Whoever signs decides the name.
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        Ok(params.serialize_request(&pair)?.pem()?)
    }

    /// Keeps a signed certificate.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn keep(&self, certificate: &str) -> Result<(), TlsError> {
        file::write(&self.certificate(), certificate.as_bytes(), 0o644)
    }
}
