//! TLS as a client.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls_pki_types::CertificateDer;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use x509_parser::prelude::FromDer as _;

use crate::{TlsError, file, provider};

/// Whom a client trusts and what it shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientTls {
    /// Certificates of authorities, PEM; a local authority's `ca.crt`, or the system's bundle.
    pub authorities: PathBuf,
    /// Certificate and key of its own, PEM.
    pub own: Option<(PathBuf, PathBuf)>,
}

/// Where Linux distributions keep the authorities that they trust.
const BUNDLES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

impl ClientTls {
    /// Trusts what the system trusts.
    pub fn of_system() -> Self {
        let bundle = BUNDLES.iter().map(Path::new).find(|path| path.exists());
        Self { authorities: bundle.unwrap_or(Path::new(BUNDLES[0])).to_owned(), own: None }
    }

    /// Trusts the authorities in this file only.
    pub fn of_file(authorities: &Path) -> Self {
        Self { authorities: authorities.to_owned(), own: None }
    }

    pub(crate) fn connector(&self) -> Result<TlsConnector, TlsError> {
        let mut roots = RootCertStore::empty();
        // A system's bundle may hold a few that rustls does not take; the others count.
        let (added, _) = roots.add_parsable_certificates(file::certificates(&self.authorities)?);
        if added == 0 {
            return Err(TlsError::Content {
                path: self.authorities.clone(),
                what: "certificate of an authority",
                way_out: "name the ca.crt of the installation with --ca",
            });
        }
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        let config = match &self.own {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                builder.with_client_auth_cert(file::certificates(certificate)?, file::key(key)?)?
            }
        };
        Ok(TlsConnector::from(Arc::new(config)))
    }
}

/// The common name in a certificate's subject.
pub(crate) fn common_name(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, certificate) = x509_parser::certificate::X509Certificate::from_der(certificate).ok()?;
    let name = certificate.subject().iter_common_name().next()?.as_str().ok()?;
    Some(name.to_owned())
}
