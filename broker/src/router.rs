//! The rumqttd router and the links to it. Clients' ids never reach the router: each link gets an id of ours, so no
//! two are ever alike, none is unusual, and what the router remembers per id stays bounded.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rumqttd::local::{LinkBuilder, LinkRx, LinkTx};
use rumqttd::protocol::{Disconnect, DisconnectReasonCode, Packet};
use rumqttd::{Notification, RouterConfig};
use tokio::sync::oneshot;

use crate::config::Limits;

/// The router's channel takes 1000 events; sending to a full one would block the thread.
const BACKLOG: usize = 900;
/// Packets of one link that the router has not taken yet; a link with more waits.
const UNTAKEN: usize = 1000;
/// Messages that the router forwards to one link at a time.
const FORWARD: u64 = 1000;
/// How long the router may take to make a link.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the router may take to forget a link.
const FORGET_TIMEOUT: Duration = Duration::from_secs(5);

/// The router's thread has ended. rumqttd's own error is large and says no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the router is gone")]
pub(crate) struct Gone;

type Connected = Result<(LinkTx, LinkRx), Gone>;

/// A link to be made: id, whether clean, and who waits for it.
type Request = (String, bool, oneshot::Sender<Connected>);

/// Handle of the running router.
pub(crate) struct Router {
    connector: Mutex<mpsc::Sender<Request>>,
    /// Events that the router has not taken. rumqttd does not export their type, so the channel itself cannot be held.
    backlog: Box<dyn Fn() -> usize + Send + Sync>,
    ids: Mutex<Ids>,
}

#[derive(Default)]
struct Ids {
    next: u32,
    free: Vec<u32>,
}

impl Router {
    /// Starts the router in a thread of its own.
    pub(crate) fn start(limits: &Limits) -> Arc<Self> {
        let sender = rumqttd::Router::new(
            0,
            RouterConfig {
                // Ours count first; the router silently drops what goes beyond its own.
                max_connections: limits.connections + 100,
                max_outgoing_packet_count: FORWARD,
                max_segment_size: limits.segment_bytes,
                max_segment_count: limits.segments,
                ..RouterConfig::default()
            },
        )
        .spawn();
        let backlog = sender.clone();
        let (connector, requests) = mpsc::channel::<Request>();
        // Making a link blocks, for ever if the router dies meanwhile: hence a thread that nothing waits for at the
        // end of the process, unlike the runtime's own.
        std::thread::spawn(move || {
            while let Ok((id, clean, made)) = requests.recv() {
                let built = LinkBuilder::new(&id, sender.clone()).clean_session(clean).build();
                // Whoever gave up waiting does not want it any more.
                let _ = made.send(built.map(|(tx, rx, _)| (tx, rx)).map_err(|_| Gone));
            }
        });
        Arc::new(Self {
            connector: Mutex::new(connector),
            backlog: Box::new(move || backlog.len()),
            ids: Mutex::default(),
        })
    }

    fn ids(&self) -> std::sync::MutexGuard<'_, Ids> {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An id that the router knows nothing of.
    pub(crate) fn fresh_id(&self) -> u32 {
        let mut ids = self.ids();
        ids.free.pop().unwrap_or_else(|| {
            ids.next += 1;
            ids.next
        })
    }

    /// Opens a link; `clean` drops what the router remembers under this id, and what it would remember later.
    pub(crate) async fn link(self: &Arc<Self>, id: u32, clean: bool) -> Result<Link, Gone> {
        let (made, link) = oneshot::channel();
        let request = (format!("l{id}"), clean, made);
        self.connector.lock().unwrap_or_else(PoisonError::into_inner).send(request).map_err(|_| Gone)?;
        let link = tokio::time::timeout(CONNECT_TIMEOUT, link).await.map_err(|_| Gone)?;
        let (tx, rx) = link.map_err(|_| Gone)??;
        Ok(Link { id, clean, router: self.clone(), tx, rx })
    }

    /// Makes the router forget a persistent id, which becomes fresh again.
    pub(crate) async fn forget(self: &Arc<Self>, id: u32) {
        match self.link(id, true).await {
            Ok(link) => link.close(drop).await,
            Err(error) => tracing::warn!(%error, "the router did not forget a session"),
        }
    }
}

/// One client's link to the router.
pub(crate) struct Link {
    id: u32,
    clean: bool,
    router: Arc<Router>,
    tx: LinkTx,
    rx: LinkRx,
}

impl Link {
    /// Hands packets to the router: one lock, one event.
    pub(crate) async fn send(&mut self, batch: &mut VecDeque<Packet>) -> Result<(), Gone> {
        let Some(last) = batch.pop_back() else {
            return Ok(());
        };
        while (self.router.backlog)() >= BACKLOG {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        if !batch.is_empty() {
            self.tx.buffer().extend(batch.drain(..));
        }
        let mut untaken = self.tx.send(last).await.map_err(|_| Gone)?;
        while untaken > UNTAKEN {
            tokio::time::sleep(Duration::from_millis(1)).await;
            untaken = self.tx.buffer().len();
        }
        Ok(())
    }

    /// The next notification; safe to drop while it waits.
    pub(crate) async fn next(&mut self) -> Result<Option<Notification>, Gone> {
        self.rx.next().await.map_err(|_| Gone)
    }

    /// A notification that is there already.
    pub(crate) fn next_now(&mut self) -> Option<Result<Option<Notification>, Gone>> {
        match pin!(self.rx.next()).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => Some(result.map_err(|_| Gone)),
            Poll::Pending => None,
        }
    }

    /// Whether the router keeps nothing of this link.
    pub(crate) fn is_clean(&self) -> bool {
        self.clean
    }

    /// Tells the router, after `Unschedule`, to go on. Must not be sent to a router that forgot the link: it panics.
    pub(crate) async fn go_on(&self) -> Result<(), Gone> {
        self.rx.wake().await.map_err(|_| Gone)
    }

    /// Leaves the router and waits until it has forgotten the connection; `last` gets what it still had for the link.
    /// A persistent id keeps its session there; a clean one may be used again.
    pub(crate) async fn close(mut self, mut last: impl FnMut(Notification)) {
        let goodbye = Packet::Disconnect(Disconnect { reason_code: DisconnectReasonCode::NormalDisconnection }, None);
        let gone = async {
            let mut batch = VecDeque::from([goodbye]);
            if self.send(&mut batch).await.is_ok() {
                while let Ok(notification) = self.rx.next().await {
                    notification.into_iter().for_each(&mut last);
                }
            }
        };
        match tokio::time::timeout(FORGET_TIMEOUT, gone).await {
            Ok(()) if self.clean => self.router.ids().free.push(self.id),
            Ok(()) => {}
            // The id is not used again, so a router that comes back later is not confused.
            Err(_) => tracing::warn!("the router did not close a link in time"),
        }
    }

    /// Makes the router's thread panic, by a real trap of it.
    #[cfg(test)]
    pub(crate) async fn break_router(mut self) {
        let goodbye = Disconnect { reason_code: DisconnectReasonCode::NormalDisconnection };
        let mut batch = VecDeque::from([Packet::Disconnect(goodbye, None)]);
        self.send(&mut batch).await.ok();
        while self.rx.next().await.is_ok() {}
        self.go_on().await.ok();
    }
}
