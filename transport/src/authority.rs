//! The certificate authority of one installation.
//!
//! One folder: `ca.crt` and `ca.key` (the authority), `server.crt` and `server.key` (what its servers show). The keys are
//! ECDSA on P-256 and have mode 0600. Whoever connects needs `ca.crt` and nothing else.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use time::{Duration, OffsetDateTime};

use crate::{TlsError, file};

/// The authority itself outlives whatever it signs.
const AUTHORITY_DAYS: i64 = 3650;
/// Browsers refuse server certificates that live longer than 398 days.
const SERVER_DAYS: i64 = 397;
/// A server certificate is replaced when so much of its life is left.
const RENEW_DAYS: i64 = 30;
/// How long a relay's certificate lives.
pub const CLIENT_DAYS: i64 = 397;
/// Clocks of small machines are often late.
const SKEW: Duration = Duration::days(1);

/// A local certificate authority.
pub struct Authority {
    folder: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// The authority in `folder`; where there is none yet, a new one.
    ///
    /// # Errors
    /// If files cannot be read or written, or are not what they should be. Half an authority (one of its two files) is
    /// an error too: to replace it silently would cut off everybody who trusts it.
    pub fn open(folder: &Path) -> Result<Self, TlsError> {
        let (certificate, key) = (folder.join("ca.crt"), folder.join("ca.key"));
        // The certificate is written last: a key alone is what a kill in between leaves.
        if !certificate.exists() {
            create(&certificate, &key)?;
        }
        let pair = KeyPair::from_pem(&file::text(&key)?).map_err(|_| TlsError::Content {
            path: key.clone(),
            what: "private key in PEM form",
            way_out: "restore it from a backup, or delete ca.crt for a new authority that all clients must be told of",
        })?;
        let issuer = Issuer::from_ca_cert_pem(&file::text(&certificate)?, pair).map_err(|_| TlsError::Content {
            path: certificate,
            what: "certificate of an authority",
            way_out: "restore it from a backup, or delete it for a new authority that all clients must be told of",
        })?;
        Ok(Self { folder: folder.to_owned(), issuer })
    }

    /// The authority's certificate, which whoever connects must trust.
    pub fn certificate(&self) -> PathBuf {
        self.folder.join("ca.crt")
    }

    /// Certificate and key for servers that are reached under `names` (host names or IP addresses), in files. They are
    /// made when absent, when they end within 30 days, or when a name is missing. Returns whether they are new.
    ///
    /// # Errors
    /// If a name is neither, or files cannot be written.
    pub fn ensure_server(&self, names: &[String]) -> Result<bool, TlsError> {
        let (certificate, key) = (self.folder.join("server.crt"), self.folder.join("server.key"));
        if let Some(bad) = names.iter().find(|name| !is_name(name)) {
            return Err(TlsError::Name(bad.clone()));
        }
        let wanted = sorted(names);
        // What the certificate is for stands beside it: reading it back out of X.509 would need a parser of ours.
        let note = self.folder.join("server.names");
        let due = (OffsetDateTime::now_utc() + Duration::days(SERVER_DAYS)).unix_timestamp();
        let renew = (OffsetDateTime::now_utc() + Duration::days(RENEW_DAYS)).unix_timestamp();
        let known = std::fs::read_to_string(&note).unwrap_or_default();
        let (ends, has) = known.split_once('\n').unwrap_or_default();
        if certificate.exists()
            && key.exists()
            && ends.parse::<i64>().is_ok_and(|ends| ends > renew)
            && has.trim_end() == wanted.join("\n")
        {
            return Ok(false);
        }
        let mut params = CertificateParams::new(wanted.clone())?;
        params.distinguished_name = name("TinyMLaaS");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        limit(&mut params, SERVER_DAYS);
        let pair = KeyPair::generate()?;
        let signed = params.signed_by(&pair, &self.issuer)?;
        // A reader may meet the new key beside the old certificate; it then keeps what it has and looks again.
        file::write(&key, pair.serialize_pem().as_bytes(), 0o600)?;
        file::write(&certificate, signed.pem().as_bytes(), 0o644)?;
        file::write(&note, format!("{due}\n{}\n", wanted.join("\n")).as_bytes(), 0o644)?;
        Ok(true)
    }

    /// A client certificate for `identity` from its signing request in PEM form. Only the key is taken from the
    /// request; names and uses that it asks for are not. Returns PEM.
    ///
    /// # Errors
    /// If the request cannot be read or its signature is wrong.
    pub fn sign_client(&self, request: &str, identity: &str) -> Result<String, TlsError> {
        let refused = |error: rcgen::Error| TlsError::Request(error.to_string());
        let mut request = CertificateSigningRequestParams::from_pem(request).map_err(refused)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = name(identity);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        limit(&mut params, CLIENT_DAYS);
        request.params = params;
        Ok(request.signed_by(&self.issuer)?.pem())
    }
}

/// Names under which this machine is reached without anybody saying so: localhost and what the system calls itself.
pub fn own_names() -> Vec<String> {
    let mut names = vec!["localhost".to_owned(), Ipv4Addr::LOCALHOST.to_string(), Ipv6Addr::LOCALHOST.to_string()];
    if let Ok(host) = std::fs::read_to_string("/proc/sys/kernel/hostname") {
        let host = host.trim().to_owned();
        if is_name(&host) && !host.contains('.') {
            names.push(format!("{host}.local"));
        }
        if is_name(&host) {
            names.push(host);
        }
    }
    sorted(&names)
}

fn create(certificate: &Path, key: &Path) -> Result<(), TlsError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = name("TinyMLaaS local authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    limit(&mut params, AUTHORITY_DAYS);
    let pair = KeyPair::generate()?;
    let signed = params.self_signed(&pair)?;
    file::write(key, pair.serialize_pem().as_bytes(), 0o600)?;
    file::write(certificate, signed.pem().as_bytes(), 0o644)
}

fn name(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name
}

fn limit(params: &mut CertificateParams, days: i64) {
    let now = OffsetDateTime::now_utc();
    (params.not_before, params.not_after) = (now - SKEW, now + Duration::days(days));
}

fn sorted(names: &[String]) -> Vec<String> {
    let mut names = names.to_vec();
    names.sort();
    names.dedup();
    names
}

fn is_name(name: &str) -> bool {
    rustls_pki_types::ServerName::try_from(name).is_ok() || name.parse::<IpAddr>().is_ok()
}
