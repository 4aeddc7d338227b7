//! The broker as a whole: opening, accepting, housekeeping, stopping.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex as AsyncMutex;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval, timeout};
use transport::server::Server;

use crate::access::{Authenticator, FileAuthenticator};
use crate::config::BrokerConfig;
use crate::connection;
use crate::durable::Durable;
use crate::error::BrokerError;
use crate::metrics::Metrics;
use crate::quota::Quotas;
use crate::retained::Retained;
use crate::router::Router;
use crate::sessions::Sessions;
use crate::shared::{Seen, Shared};
use crate::watchdog;

/// How long connections may take to end when the broker stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// A broker that listens; [`Broker::serve`] makes it answer.
pub struct Broker {
    listener: TcpListener,
    addr: SocketAddr,
    tls: Option<TlsDoor>,
    shared: Arc<Shared>,
}

/// The door with TLS, open.
struct TlsDoor {
    listener: TcpListener,
    addr: SocketAddr,
    server: Arc<Server>,
}

/// Binds and serves until `shutdown` completes.
pub async fn run(config: BrokerConfig, shutdown: impl Future<Output = ()>) -> Result<(), BrokerError> {
    Broker::bind(config).await?.serve(shutdown).await
}

impl Broker {
    /// Opens the store and the address, with identities from the credential file.
    pub async fn bind(config: BrokerConfig) -> Result<Self, BrokerError> {
        let authenticator = FileAuthenticator::open(&config.credentials)?;
        Self::bind_with(config, Arc::new(authenticator)).await
    }

    /// As [`Self::bind`], with another source of identities.
    pub async fn bind_with(config: BrokerConfig, authenticator: Arc<dyn Authenticator>) -> Result<Self, BrokerError> {
        allow_many_sockets();
        let limits = config.limits;
        let metrics = Arc::new(Metrics::default());
        let durable = Durable::open(&config.durable_dir, config.durable_filters, limits.clone(), metrics.clone())?;
        let (listener, addr) = listen(config.listen).await?;
        let require_certificates = config.tls.as_ref().is_some_and(|tls| tls.require_certificates);
        let tls = match config.tls {
            None => None,
            Some(tls) => {
                let server = Arc::new(Server::open(tls.files)?);
                let (listener, addr) = listen(tls.listen).await?;
                Some(TlsDoor { listener, addr, server })
            }
        };
        let router = Router::start(&limits);
        let own_link =
            router.link(router.fresh_id(), true).await.map_err(|_| BrokerError::RouterDead("it did not start"))?;
        let shared = Arc::new(Shared {
            sessions: Sessions::new(limits.clone(), metrics.clone()),
            retained: Retained::new(limits.clone(), metrics.clone()),
            topics: Seen::new(limits.topics),
            filters: Seen::new(limits.filters),
            flow: Arc::default(),
            quotas: Quotas::default(),
            own_link: AsyncMutex::new(own_link),
            limits,
            metrics,
            authenticator,
            router,
            durable,
            require_certificates,
        });
        Ok(Self { listener, addr, tls, shared })
    }

    /// Where it listens, with the port that was really taken.
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// Where it listens with TLS, if it does.
    pub fn tls_addr(&self) -> Option<SocketAddr> {
        self.tls.as_ref().map(|door| door.addr)
    }

    /// The counters; they outlive the broker.
    pub fn metrics(&self) -> Arc<Metrics> {
        self.shared.metrics.clone()
    }

    /// Serves clients until `shutdown` completes, or until the router inside is found dead: then the process should
    /// end with an error and be started again.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) -> Result<(), BrokerError> {
        let Self { listener, addr, tls, shared } = self;
        tracing::info!(%addr, tls = tls.as_ref().map(|door| tracing::field::display(door.addr)), "broker listens");
        let pending = Arc::new(Pending::default());
        let mut connections = JoinSet::new();
        let result = {
            let mut shutdown = std::pin::pin!(shutdown);
            let mut dead = std::pin::pin!(watchdog::watch(&shared.router));
            let mut housekeeping = std::pin::pin!(keep_house(&shared));
            loop {
                tokio::select! {
                    () = &mut shutdown => break Ok(()),
                    why = &mut dead => break Err(BrokerError::RouterDead(why)),
                    () = &mut housekeeping => {}
                    Some(_) = connections.join_next() => {}
                    (accepted, server) = accept(&listener, tls.as_ref()) => match accepted {
                        Ok((stream, peer)) => admit(&shared, &pending, &mut connections, stream, peer, server),
                        Err(error) => {
                            // Out of file descriptors, most likely; spinning would not make any.
                            tracing::error!(%error, "cannot accept a connection");
                            tokio::time::sleep(Duration::from_millis(100)).await;
                        }
                    },
                }
            }
        };
        drop((listener, tls));
        if result.is_ok() {
            shared.sessions.close();
            pending.abort_all();
            let all_ended = async { while connections.join_next().await.is_some() {} };
            let _ = timeout(STOP_TIMEOUT, all_ended).await;
        }
        tracing::info!(%addr, "broker stopped");
        result
    }
}

async fn listen(at: SocketAddr) -> Result<(TcpListener, SocketAddr), BrokerError> {
    let refuse = |source| BrokerError::Listen { addr: at, source };
    let listener = TcpListener::bind(at).await.map_err(refuse)?;
    let addr = listener.local_addr().map_err(refuse)?;
    Ok((listener, addr))
}

/// The next socket of either door, and what its TLS is done with. Handshakes are not waited for here.
async fn accept(
    plain: &TcpListener,
    tls: Option<&TlsDoor>,
) -> (std::io::Result<(TcpStream, SocketAddr)>, Option<Arc<Server>>) {
    let behind_tls = async {
        match tls {
            Some(door) => (door.listener.accept().await, Some(door.server.clone())),
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        accepted = plain.accept() => (accepted, None),
        accepted = behind_tls => accepted,
    }
}

/// The usual soft limit of 1,024 open files is below what [`crate::Limits`] promises; the hard one is not.
fn allow_many_sockets() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}

fn admit(
    shared: &Arc<Shared>,
    pending: &Arc<Pending>,
    connections: &mut JoinSet<()>,
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<Arc<Server>>,
) {
    shared.metrics.accepted.up();
    // Latency only; a socket that refuses is served all the same.
    let _ = stream.set_nodelay(true);
    let _ = keep_socket_alive(&stream);
    tracing::trace!(%peer, "accepted");
    let key = pending.enter();
    let ticket = PendingTicket { pending: pending.clone(), key };
    let task = connections.spawn(connection::serve(shared.clone(), stream, tls, ticket));
    if pending.note(key, task, shared.limits.pending_sockets) {
        shared.metrics.refused_connections.up();
        tracing::warn!("too many sockets without CONNECT: the oldest was closed");
    }
}

/// A peer that vanished without a word is noticed even if it asked for no keep-alive.
fn keep_socket_alive(stream: &TcpStream) -> rustix::io::Result<()> {
    use rustix::net::sockopt::{set_socket_keepalive, set_tcp_keepidle};
    set_socket_keepalive(stream, true)?;
    set_tcp_keepidle(stream, Duration::from_secs(60))
}

async fn keep_house(shared: &Shared) {
    let mut seconds = interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for second in 1_u64.. {
        seconds.tick().await;
        shared.authenticator.refresh();
        shared.sessions.revoke(|admission| shared.authenticator.still_admits(admission));
        if second.is_multiple_of(10) {
            shared.sessions.sweep(&shared.router).await;
            tracing::debug!(counters = ?shared.metrics.snapshot(), "broker");
        }
        if second.is_multiple_of(60) {
            shared.durable.expire();
        }
    }
}

/// Sockets without CONNECT yet, oldest first.
#[derive(Default)]
struct Pending {
    inner: Mutex<PendingInner>,
}

#[derive(Default)]
struct PendingInner {
    next: u64,
    sockets: BTreeMap<u64, Option<AbortHandle>>,
}

impl Pending {
    fn lock(&self) -> std::sync::MutexGuard<'_, PendingInner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self) -> u64 {
        let mut inner = self.lock();
        inner.next += 1;
        let key = inner.next;
        inner.sockets.insert(key, None);
        key
    }

    /// Notes the task of a socket, unless it has connected already; true if the oldest had to go.
    fn note(&self, key: u64, task: AbortHandle, limit: usize) -> bool {
        let mut inner = self.lock();
        if let Some(entry) = inner.sockets.get_mut(&key) {
            *entry = Some(task);
        }
        if inner.sockets.len() <= limit {
            return false;
        }
        if let Some((_, Some(oldest))) = inner.sockets.pop_first() {
            oldest.abort();
        }
        true
    }

    fn abort_all(&self) {
        for (_, task) in std::mem::take(&mut self.lock().sockets) {
            if let Some(task) = task {
                task.abort();
            }
        }
    }
}

struct PendingTicket {
    pending: Arc<Pending>,
    key: u64,
}

impl Drop for PendingTicket {
    fn drop(&mut self) {
        self.pending.lock().sockets.remove(&self.key);
    }
}
