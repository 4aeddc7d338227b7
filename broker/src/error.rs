//! What can end or prevent the broker's service.

use std::net::SocketAddr;
use std::path::PathBuf;

/// Why the broker could not start or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// The address cannot be listened on.
    #[error("cannot listen on {addr}: {source}; choose another port or stop what holds this one")]
    Listen {
        /// The address asked for.
        addr: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// Certificate or key cannot be used.
    #[error(transparent)]
    Tls(#[from] transport::TlsError),
    /// The durable store cannot be opened.
    #[error("cannot open the durable store {path}: {source}")]
    Store {
        /// File or folder concerned.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The credential file cannot be used.
    #[error("cannot read the credentials {path}: {reason}")]
    Credentials {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The router inside has stopped answering; only a restart helps.
    #[error("the router no longer answers ({0}); the process must be restarted")]
    RouterDead(&'static str),
}
