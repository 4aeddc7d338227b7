//! TLS as a server.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};
pub use tokio_rustls::server::TlsStream;

use crate::{TlsError, client, file, provider};

/// A peer that takes longer for its handshake is closed.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How often the files are looked at, at most.
const LOOK: Duration = Duration::from_secs(1);

/// Files of a TLS server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerFiles {
    /// Its certificate and those between it and the authority, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
    /// Whose signatures on clients' certificates count; without it, clients are not asked for any.
    pub clients: Option<PathBuf>,
}

impl ServerFiles {
    /// `server.crt` and `server.key` of this folder, and clients' certificates if it has a `ca.crt`.
    pub fn of_folder(folder: &Path) -> Self {
        let authority = folder.join("ca.crt");
        Self {
            certificate: folder.join("server.crt"),
            key: folder.join("server.key"),
            clients: authority.exists().then_some(authority),
        }
    }

    fn stamp(&self) -> Stamp {
        [Some(&self.certificate), Some(&self.key), self.clients.as_ref()]
            .map(|path| path.and_then(|path| std::fs::metadata(path).ok()?.modified().ok()))
    }

    fn load(&self) -> Result<TlsAcceptor, TlsError> {
        let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
        let builder = match &self.clients {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let mut roots = RootCertStore::empty();
                for certificate in file::certificates(path)? {
                    roots.add(certificate)?;
                }
                // People's browsers have no certificate and are let in to the password; what a certificate is needed
                // for is decided by whoever asks `peer_name`.
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
                    .allow_unauthenticated()
                    .build()
                    .map_err(|error| TlsError::Tls(tokio_rustls::rustls::Error::General(error.to_string())))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let config = builder.with_single_cert(file::certificates(&self.certificate)?, file::key(&self.key)?)?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

type Stamp = [Option<SystemTime>; 3];

/// Accepts TLS connections; takes new certificates from its files while it runs.
pub struct Server {
    files: ServerFiles,
    state: Mutex<State>,
}

struct State {
    acceptor: TlsAcceptor,
    stamp: Stamp,
    looked: Instant,
}

impl Server {
    /// Reads the files.
    ///
    /// # Errors
    /// If they cannot be read or do not belong together.
    pub fn open(files: ServerFiles) -> Result<Self, TlsError> {
        let stamp = files.stamp();
        let acceptor = files.load()?;
        Ok(Self { files, state: Mutex::new(State { acceptor, stamp, looked: Instant::now() }) })
    }

    /// The handshake, which may take [`HANDSHAKE_TIMEOUT`]. To be called in a task of its own: never where others wait
    /// to be accepted.
    ///
    /// # Errors
    /// If the peer does not speak TLS, does not agree, or is too slow.
    pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> io::Result<TlsStream<S>> {
        let handshake = self.acceptor().accept(stream);
        tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake)
            .await
            .unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "no TLS handshake in time")))
    }

    fn acceptor(&self) -> TlsAcceptor {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.looked.elapsed() >= LOOK {
            state.looked = Instant::now();
            let stamp = self.files.stamp();
            if stamp != state.stamp {
                match self.files.load() {
                    Ok(acceptor) => {
                        tracing::info!(certificate = %self.files.certificate.display(), "certificate read again");
                        (state.acceptor, state.stamp) = (acceptor, stamp);
                    }
                    // Perhaps only one of two files is new yet; the next look decides again.
                    Err(error) => tracing::warn!(%error, "keeping the certificate of before"),
                }
            }
        }
        state.acceptor.clone()
    }
}

/// The identity in a client's certificate: its common name. `None` where the client showed none. What rustls has
/// verified is that one of our authorities signed it and that it is valid now.
pub fn peer_name<S>(stream: &TlsStream<S>) -> Option<String> {
    let certificate = stream.get_ref().1.peer_certificates()?.first()?;
    client::common_name(certificate)
}
