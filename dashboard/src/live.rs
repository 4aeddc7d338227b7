//! `GET /live`: the feed as server-sent events, for one visitor and one page.

use std::collections::{BTreeSet, HashMap};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Query, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use contract::ids::{DeviceId, RelayId};
use futures_util::stream::{self, Stream};
use serde::Deserialize;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::Shared;
use crate::api::{ApiFailure, Pass};
use crate::error::PageError;
use crate::feed::Live;
use crate::session::SessionToken;

/// A comment this often keeps proxies from closing a quiet stream.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How often it is asked whether the visitor may still watch, and which relays.
const CHECK: Duration = Duration::from_secs(5);
/// After this time the browser comes again.
const LIFETIME: Duration = Duration::from_secs(600);
/// What a browser waits before it comes again.
const RETRY: Duration = Duration::from_millis(1500);
/// On pages that show many devices each one's readings come at most this often.
const THINNED: Duration = Duration::from_millis(400);

/// What a page wants to hear of; everything where absent.
#[derive(Debug, Deserialize)]
pub(crate) struct Wanted {
    relay: Option<RelayId>,
    device: Option<DeviceId>,
}

struct Watcher {
    messages: broadcast::Receiver<Arc<Live>>,
    connected: watch::Receiver<bool>,
    closed: CancellationToken,
    until: tokio::time::Instant,
    /// When the visitor's session is looked at again.
    check: tokio::time::Instant,
    shared: Arc<Shared>,
    pass: Pass,
    /// The relays that the visitor is limited to.
    reach: Option<BTreeSet<RelayId>>,
    wanted: Wanted,
    shown: HashMap<(RelayId, DeviceId), Instant>,
}

/// `GET /live?relay=R&device=D`.
pub(crate) async fn live(
    State(shared): State<Arc<Shared>>,
    SessionToken(token): SessionToken,
    Query(wanted): Query<Wanted>,
) -> Result<Response, PageError> {
    let me = shared.api.as_visitor(&token).me().await?;
    let mut connected = shared.feed.connected();
    // The first event tells how things are now.
    connected.mark_changed();
    let watcher = Watcher {
        messages: shared.feed.watch(),
        connected,
        closed: shared.feed.closed().clone(),
        until: tokio::time::Instant::now() + LIFETIME,
        wanted,
        check: tokio::time::Instant::now() + CHECK,
        shared,
        pass: token,
        reach: me.relays,
        shown: HashMap::new(),
    };
    let keep_alive = KeepAlive::new().interval(HEARTBEAT).text("heartbeat");
    Ok(Sse::new(events(watcher)).keep_alive(keep_alive).into_response())
}

fn events(watcher: Watcher) -> impl Stream<Item = Result<Event, Infallible>> {
    stream::unfold(watcher, |mut watcher| async move {
        let event = watcher.next().await?;
        Some((Ok(event), watcher))
    })
}

impl Watcher {
    async fn next(&mut self) -> Option<Event> {
        loop {
            // Every branch is cancel-safe: the question to the API is asked after its branch was taken.
            tokio::select! {
                () = self.closed.cancelled() => return None,
                () = tokio::time::sleep_until(self.until) => return None,
                () = tokio::time::sleep_until(self.check) => self.may_still_watch().await?,
                changed = self.connected.changed() => {
                    changed.ok()?;
                    let online = *self.connected.borrow_and_update();
                    return Some(Event::default().event("feed").retry(RETRY).data(format!("{{\"connected\":{online}}}")));
                }
                message = self.messages.recv() => match message {
                    Ok(live) if self.wants(&live) => return Some(Event::default().event(live.kind).data(&live.data)),
                    Ok(_) => {}
                    // Too slow: what it missed is in the page that it fetches when it comes again.
                    Err(RecvError::Lagged(_) | RecvError::Closed) => return None,
                },
            }
        }
    }

    /// Asks the API again; `None` where the session has ended. One that cannot be asked decides nothing.
    async fn may_still_watch(&mut self) -> Option<()> {
        self.check = tokio::time::Instant::now() + CHECK;
        match self.shared.api.as_visitor(&self.pass).me().await {
            Ok(me) => self.reach = me.relays,
            Err(ApiFailure::Refused(..)) => return None,
            Err(failure) => tracing::debug!(%failure, "a live visitor could not be checked"),
        }
        Some(())
    }

    fn wants(&mut self, live: &Live) -> bool {
        let Some(relay) = &live.relay else {
            return true;
        };
        if self.reach.as_ref().is_some_and(|reach| !reach.contains(relay)) {
            return false;
        }
        if self.wanted.relay.as_ref().is_some_and(|wanted| wanted != relay) {
            return false;
        }
        match (&self.wanted.device, &live.device) {
            (Some(wanted), Some(device)) => wanted == device,
            (Some(_), None) | (None, None) => true,
            (None, Some(_)) if live.kind == "logs" => false,
            (None, Some(device)) if live.kind == "reading" => self.is_due(relay, device),
            (None, Some(_)) => true,
        }
    }

    fn is_due(&mut self, relay: &RelayId, device: &DeviceId) -> bool {
        let key = (relay.clone(), device.clone());
        let due = self.shown.get(&key).is_none_or(|last| last.elapsed() >= THINNED);
        if due {
            self.shown.insert(key, Instant::now());
        }
        due
    }
}
