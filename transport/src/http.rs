//! An HTTP/1 server in which a slow client delays nobody: each connection has a task of its own, a time limit for its
//! TLS handshake and for the headers of each request, and there is a limit on connections.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{HeaderName, HeaderValue, Request};
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tower_service::Service as _;

use crate::server::Server;

/// For the headers of a request, and for the pause before the next one on the same connection.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// Connections at once, over all addresses.
const MOST: usize = 2_000;
/// Connections at once of one address, unless it is this machine's own: a reverse proxy is there.
const MOST_OF_ADDRESS: usize = 200;
/// Streams of events never end by themselves: when the server stops, open connections get so long.
const GOODBYE: Duration = Duration::from_secs(2);
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Where clients come in.
pub struct Door {
    /// Accepts TCP connections.
    pub listener: TcpListener,
    /// With TLS, or without.
    pub tls: Option<Arc<Server>>,
}

/// Serves `router` at all doors until `stop`. Handlers see the peer as [`ConnectInfo`], and behind TLS the header
/// `x-forwarded-proto: https`, as behind a proxy.
pub async fn serve(doors: Vec<Door>, router: Router, stop: CancellationToken) {
    let house = Arc::new(House { router, counts: Mutex::default() });
    let mut tasks = tokio::task::JoinSet::new();
    for door in doors {
        tasks.spawn(accept(door, house.clone(), stop.clone()));
    }
    while tasks.join_next().await.is_some() {}
}

struct House {
    router: Router,
    counts: Mutex<HashMap<IpAddr, usize>>,
}

async fn accept(door: Door, house: Arc<House>, stop: CancellationToken) {
    let mut guests = tokio::task::JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = door.listener.accept() => accepted,
            Some(_) = guests.join_next() => continue,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                let Some(guest) = house.enter(peer.ip()) else {
                    tracing::warn!(%peer, "too many HTTP connections: closed");
                    continue;
                };
                // Latency only.
                let _ = stream.set_nodelay(true);
                guests.spawn(welcome(guest, stream, peer, door.tls.clone(), stop.clone()));
            }
            Err(error) => {
                // Out of file descriptors, most likely; spinning would not make any.
                tracing::error!(%error, "cannot accept an HTTP connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(door);
    let _ = tokio::time::timeout(GOODBYE, async { while guests.join_next().await.is_some() {} }).await;
}

impl House {
    fn enter(self: &Arc<Self>, ip: IpAddr) -> Option<Guest> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = counts.values().sum();
        let count = counts.entry(ip).or_default();
        if all >= MOST || (*count >= MOST_OF_ADDRESS && !ip.is_loopback()) {
            return None;
        }
        *count += 1;
        Some(Guest { house: self.clone(), ip })
    }
}

/// Counts as one connection of its address while it lives.
struct Guest {
    house: Arc<House>,
    ip: IpAddr,
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut counts = self.house.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.ip) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.ip);
            }
        }
    }
}

async fn welcome(guest: Guest, stream: TcpStream, peer: SocketAddr, tls: Option<Arc<Server>>, stop: CancellationToken) {
    match tls {
        None => talk(&guest, stream, peer, false, stop).await,
        Some(tls) => match tls.accept(stream).await {
            Ok(stream) => talk(&guest, stream, peer, true, stop).await,
            Err(error) => tracing::debug!(%peer, %error, "no TLS connection"),
        },
    }
}

async fn talk<S>(guest: &Guest, stream: S, peer: SocketAddr, is_tls: bool, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let router = guest.house.router.clone();
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        if is_tls {
            request.headers_mut().insert(FORWARDED_PROTO, HeaderValue::from_static("https"));
        }
        router.clone().call(request)
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "an HTTP connection ended");
    }
}
