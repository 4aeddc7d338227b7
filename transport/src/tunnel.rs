//! A port on this machine whose other end is a TLS server.
//!
//! The MQTT and HTTP clients here speak plain TCP: one TLS stack, in one place, serves them all. The port is on the
//! loopback interface and lives as long as the process; who else connects to it reaches a server that asks for
//! credentials like any other.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls_pki_types::ServerName;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

use crate::TlsError;
use crate::client::ClientTls;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// An open tunnel; it closes when dropped, and with it the connections through it.
pub struct Tunnel {
    addr: SocketAddr,
    trouble: Arc<Mutex<Option<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Far {
    host: String,
    port: u16,
    name: ServerName<'static>,
    connector: TlsConnector,
    trouble: Arc<Mutex<Option<String>>>,
}

impl Tunnel {
    /// Opens a port that leads to `host` and `port`. Nothing is connected before somebody connects to it.
    ///
    /// # Errors
    /// If the files of `tls` are not what they should be, or `host` is no name.
    pub async fn open(host: &str, port: u16, tls: &ClientTls) -> Result<Self, TlsError> {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let name = ServerName::try_from(bare.to_owned()).map_err(|_| TlsError::Name(host.to_owned()))?;
        let trouble = Arc::new(Mutex::new(None));
        let far = Far { host: bare.to_owned(), port, name, connector: tls.connector()?, trouble: trouble.clone() };
        let failed = |source| TlsError::File { path: "a port on the loopback interface".into(), source };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(failed)?;
        let addr = listener.local_addr().map_err(failed)?;
        Ok(Self { addr, trouble, task: tokio::spawn(serve(listener, Arc::new(far))) })
    }

    /// Where to connect to.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Why the latest connection to the far side failed, if it did: whoever used the port saw only that it was closed.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn serve(listener: TcpListener, far: Arc<Far>) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((near, _)) => _ = connections.spawn(carry(near, far.clone())),
                Err(error) => {
                    tracing::error!(%error, "the tunnel cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn carry(mut near: TcpStream, far: Arc<Far>) {
    let place = format!("{}:{}", far.host, far.port);
    let connect = async {
        let stream = TcpStream::connect((far.host.as_str(), far.port)).await?;
        // Latency only.
        let _ = (stream.set_nodelay(true), near.set_nodelay(true));
        far.connector.connect(far.name.clone(), stream).await
    };
    let connected = tokio::time::timeout(CONNECT_TIMEOUT, connect)
        .await
        .unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time")));
    let note = |trouble| *far.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    match connected {
        Ok(mut stream) => {
            note(None);
            // Either side may end when it likes; what it means is for the protocol inside to say.
            if let Err(error) = tokio::io::copy_bidirectional(&mut near, &mut stream).await {
                tracing::debug!(%error, place, "a connection through TLS ended");
            }
        }
        Err(error) => {
            tracing::warn!(%error, place, "no TLS connection");
            note(Some(format!("no TLS connection to {place}: {error}")));
        }
    }
}
