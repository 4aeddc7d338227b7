//! What stands between a socket and a protocol, the same for MQTT and HTTP.
//!
//! - [`authority`]: a certificate authority of one installation, its server certificate, certificates for relays.
//! - [`request`]: the other side of the latter: a relay's own key and its signing request.
//! - [`server`]: TLS as a server, with certificates that are read again when their files change.
//! - [`client`]: TLS as a client: whom it trusts, and what it shows of itself.
//! - [`tunnel`]: a port on this machine whose other end is a TLS server, for clients that speak plain TCP only.
//! - [`websocket`]: a byte stream inside WebSocket messages, as MQTT over WebSocket is.
//! - [`http`]: an HTTP server in which a slow client delays nobody.
//!
//! TLS is rustls with ring; versions 1.2 and 1.3, rustls's choice of suites.

pub mod authority;
pub mod client;
mod file;
pub mod http;
pub mod request;
pub mod server;
pub mod tunnel;
pub mod websocket;

use std::path::PathBuf;
use std::sync::Arc;

use tokio_rustls::rustls::crypto::CryptoProvider;

/// What can go wrong with certificates and their files.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file holds something else than it should.
    #[error("{path} holds no {what}; {way_out}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What was expected in it.
        what: &'static str,
        /// What to do about it.
        way_out: &'static str,
    },
    /// A certificate cannot be made.
    #[error("no certificate could be made: {0}")]
    Make(#[from] rcgen::Error),
    /// A signing request is none, or its signature is wrong.
    #[error("the signing request is refused: {0}")]
    Request(String),
    /// rustls does not accept certificate, key or authority.
    #[error("TLS: {0}")]
    Tls(#[from] tokio_rustls::rustls::Error),
    /// A name is neither a host name nor an address.
    #[error("'{0}' is no host name and no IP address")]
    Name(String),
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(tokio_rustls::rustls::crypto::ring::default_provider())
}
