//! Files of certificates and keys: read with their names in errors, written whole or not at all.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::TlsError;

pub fn wrong(path: &Path, source: std::io::Error) -> TlsError {
    TlsError::File { path: path.to_owned(), source }
}

pub fn text(path: &Path) -> Result<String, TlsError> {
    std::fs::read_to_string(path).map_err(|source| wrong(path, source))
}

/// Writes beside the file, syncs and renames: readers see the old content or the new one. `mode` is the file's from its
/// first byte on.
pub fn write(path: &Path, content: &[u8], mode: u32) -> Result<(), TlsError> {
    let beside = path.with_extension("new");
    let attempt = || -> std::io::Result<()> {
        // A leftover of a killed process may have another mode.
        match std::fs::remove_file(&beside) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside)?;
        file.write_all(content)?;
        file.sync_all()?;
        std::fs::rename(&beside, path)?;
        path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    };
    attempt().map_err(|source| wrong(path, source))
}

/// All certificates of a PEM file, at least one.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let content = std::fs::read(path).map_err(|source| wrong(path, source))?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&content).collect();
    chain.ok().filter(|chain| !chain.is_empty()).ok_or_else(|| TlsError::Content {
        path: path.to_owned(),
        what: "certificate in PEM form",
        way_out: "a PEM file has lines that begin with -----BEGIN CERTIFICATE-----",
    })
}

/// The first private key of a PEM file.
pub fn key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let content = std::fs::read(path).map_err(|source| wrong(path, source))?;
    PrivateKeyDer::from_pem_slice(&content).map_err(|_| TlsError::Content {
        path: path.to_owned(),
        what: "private key in PEM form",
        way_out: "a PEM file has a line that begins with -----BEGIN PRIVATE KEY----- (or EC, RSA)",
    })
}
