//! The life of one connection, over any byte stream: handshake, the loop that moves bytes, the end.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::audit::Sender;
use crate::client::Client;
use crate::codec::{DecodeError, Incoming, decode, put_disconnect, reason, take_frame};
use crate::connect::{Accepted, ConnectError, Will, accept};
use crate::pace::BREAK;
use crate::publish::first_ticket;
use crate::router::Link;
use crate::sessions::Kick;
use crate::shared::Shared;
use crate::wire::{Begun, HIGH_WATER, Transport, Wire};
use transport::websocket;

/// Acknowledgements that wait for the disk before nothing more is read.
const PENDING_ACKS: usize = 256;
/// A client that takes nothing for this long is gone.
const WRITE_STALL: Duration = Duration::from_secs(60);
/// For the last words to a client.
const GOODBYE: Duration = Duration::from_secs(1);
/// For publishes on their way to the disk when their connection ends.
const LAST_TICKETS: Duration = Duration::from_secs(10);

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum End {
    #[error("the client left")]
    Left,
    /// MQTT 5: DISCONNECT that asks for the will.
    #[error("the client left and asked for its will")]
    LeftWithWill,
    #[error("the stream ended: {0}")]
    Stream(io::Error),
    #[error("malformed packet: {0}")]
    Malformed(String),
    #[error("protocol violation: {0}")]
    Violation(&'static str),
    #[error("a packet of {0} bytes is above the limit")]
    Oversize(usize),
    #[error("nothing came for one and a half keep-alives")]
    KeepAlive,
    #[error("the client takes nothing")]
    Stalled,
    /// MQTT 3.1.1 has no other way to say so.
    #[error("a publish had to be kept and could not be")]
    DurableRefused,
    #[error("ended by the broker: {0:?}")]
    Kicked(Kick),
    #[error("the router is gone")]
    Router,
}

impl From<DecodeError> for End {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::Malformed(what) => End::Malformed(what),
            DecodeError::Oversize(bytes) => End::Oversize(bytes),
        }
    }
}

impl End {
    /// What an MQTT 5 client is told.
    fn reason(&self) -> Option<u8> {
        Some(match self {
            End::Left | End::LeftWithWill | End::Stream(_) | End::Stalled => return None,
            End::Malformed(_) => reason::MALFORMED,
            End::Violation(_) => reason::PROTOCOL_ERROR,
            End::Oversize(_) => reason::PACKET_TOO_LARGE,
            End::KeepAlive => reason::KEEP_ALIVE,
            End::DurableRefused => reason::QUOTA_EXCEEDED,
            End::Kicked(Kick::TakenOver) => reason::TAKEN_OVER,
            End::Kicked(Kick::Revoked) => reason::ADMINISTRATIVE,
            End::Kicked(Kick::Shutdown) => reason::SHUTTING_DOWN,
            End::Router => reason::UNSPECIFIED,
        })
    }
}

/// The first byte of `GET`, which begins a WebSocket; MQTT begins with 0x10.
const GET: u8 = b'G';

/// Serves one client, over TLS if the door has it, from its first byte to its last. `connected` is dropped at CONNACK:
/// until then the connection counts as pending.
pub(crate) async fn serve(
    shared: Arc<Shared>,
    stream: TcpStream,
    tls: Option<Arc<transport::server::Server>>,
    connected: impl Send,
) {
    let Some(tls) = tls else {
        return open(shared, stream, connected).await;
    };
    match tls.accept(stream).await {
        Ok(stream) => open(shared, stream, connected).await,
        Err(error) => {
            shared.metrics.refused_tls.up();
            tracing::debug!(%error, "no TLS connection");
        }
    }
}

/// Finds out which protocol is spoken. MQTT and MQTT over WebSocket share their ports: nobody has to know of two.
async fn open<S: Transport>(shared: Arc<Shared>, mut stream: S, connected: impl Send) {
    let first = timeout(shared.limits.connect_timeout, stream.read_u8()).await;
    match first {
        Ok(Ok(GET)) => {
            let handshake = websocket::accept(Begun::new(GET, stream), shared.limits.packet_bytes);
            match timeout(shared.limits.connect_timeout, handshake).await {
                Ok(Ok(stream)) => talk(shared, Wire::new(stream), connected).await,
                Ok(Err(error)) => {
                    shared.metrics.closed_malformed.up();
                    tracing::debug!(%error, "no WebSocket");
                }
                Err(_) => shared.metrics.refused_timeout.up(),
            }
        }
        Ok(Ok(first)) => talk(shared, Wire::begun(first, stream), connected).await,
        Ok(Err(error)) => tracing::debug!(%error, "no first byte"),
        Err(_) => {
            shared.metrics.refused_timeout.up();
            tracing::debug!("nothing came in time");
        }
    }
}

async fn talk<S: Transport>(shared: Arc<Shared>, mut wire: Wire<S>, connected: impl Send) {
    let accepted = timeout(shared.limits.connect_timeout, accept(&shared, &mut wire)).await;
    drop(connected);
    match accepted {
        Ok(Ok(accepted)) => run(&shared, wire, accepted).await,
        Ok(Err(error)) => {
            note_failed_connect(&shared, &error);
            let _ = timeout(GOODBYE, wire.finish()).await;
        }
        Err(_) => {
            shared.metrics.refused_timeout.up();
            tracing::debug!("no CONNECT in time");
        }
    }
}

fn note_failed_connect(shared: &Shared, error: &ConnectError) {
    match error {
        ConnectError::Decode(DecodeError::Oversize(_)) => shared.metrics.closed_oversize.up(),
        ConnectError::Decode(_) => shared.metrics.closed_malformed.up(),
        ConnectError::Io(_) | ConnectError::Refused(_) | ConnectError::Router => {}
    }
    tracing::debug!(%error, "no connection");
}

async fn run<S: Transport>(shared: &Arc<Shared>, mut wire: Wire<S>, accepted: Accepted) {
    let Accepted { mut client, mut claim, mut link, link_id, mut durable, will, keep_alive, expiry } = accepted;
    tracing::debug!(identity = client.admission.identity.name, client = %client.client, "connected");
    let Some(mut kick) = claim.take_kick() else {
        return;
    };
    let moving = Loop { wire: &mut wire, client: &mut client, link: &mut link, keep_alive };
    let end = match moving.run(&mut durable, &mut kick).await {
        Err(end) => end,
        Ok(never) => match never {},
    };
    note_end(shared, &client, &end);
    if let Some(reason) = end.reason() {
        put_disconnect(&mut wire.output, client.version, reason);
    }
    let _ = timeout(GOODBYE, wire.finish()).await;
    drop(wire);

    // Whoever takes over waits for the claim, so everything of this session happens before anything of the next.
    let _ = timeout(LAST_TICKETS, client.finish_tickets()).await;
    client.settle();
    let _ = link.send(&mut client.batch).await;
    client.detach_all();
    let expiry = client.new_expiry.map_or(expiry, |seconds| {
        // A session that began as one to be forgotten cannot be kept after all.
        let asked = Duration::from_secs(seconds.into()).min(shared.limits.session_expiry);
        if expiry.is_zero() { expiry } else { asked }
    });
    let wanted = !matches!(end, End::Left | End::Kicked(Kick::Shutdown));
    if let Some(will) = will.filter(|_| wanted) {
        publish_will(shared, will, expiry, &claim.client, claim.generation, &client.sender).await;
    }
    let clean = link.is_clean();
    // What the router had handed over counts as taken from its log.
    client.outbound.end();
    let mut nowhere = bytes::BytesMut::new();
    link.close(|notification| {
        client.on_notification(&mut nowhere, notification);
    })
    .await;
    if !expiry.is_zero() && shared.sessions.may_keep() {
        if let Some(session) = claim.session() {
            session.kept = Some(client.into_kept(link_id));
            session.expires = Some(Instant::now() + expiry);
        }
    } else if !clean {
        shared.router.forget(link_id).await;
    }
}

fn note_end(shared: &Shared, client: &Client, end: &End) {
    let metrics = &shared.metrics;
    let counter = match end {
        End::Left | End::LeftWithWill | End::Stream(_) | End::Router => None,
        End::Malformed(_) | End::Violation(_) => Some(&metrics.closed_malformed),
        End::Oversize(_) => Some(&metrics.closed_oversize),
        End::KeepAlive | End::Stalled => Some(&metrics.closed_keep_alive),
        // Counted where it was refused.
        End::DurableRefused => None,
        End::Kicked(Kick::TakenOver) => Some(&metrics.closed_taken_over),
        End::Kicked(Kick::Revoked) => Some(&metrics.closed_revoked),
        End::Kicked(Kick::Shutdown) => None,
    };
    let identity = &client.admission.identity.name;
    let client = &client.client;
    match (counter, end) {
        (Some(counter), End::Malformed(_) | End::Violation(_) | End::Oversize(_)) => {
            counter.up();
            tracing::warn!(identity, %client, reason = %end, "connection closed");
        }
        (Some(counter), _) => {
            counter.up();
            tracing::info!(identity, %client, reason = %end, "connection closed");
        }
        (None, _) => tracing::debug!(identity, %client, reason = %end, "connection ended"),
    }
}

/// Publishes a will now or, for MQTT 5's delay, when the client has not come back until then.
async fn publish_will(
    shared: &Arc<Shared>,
    will: Will,
    expiry: Duration,
    client: &Arc<str>,
    generation: u64,
    sender: &Arc<Sender>,
) {
    let Will { message, properties, delay } = will;
    let delay = delay.min(expiry);
    if delay.is_zero() {
        if shared.publish_will(message, properties, sender).await.is_err() {
            tracing::error!(%client, "the router did not take a will");
        }
        return;
    }
    let (shared, client, sender) = (shared.clone(), client.clone(), sender.clone());
    tokio::spawn(async move {
        tokio::time::sleep(delay).await;
        if shared.sessions.unchanged_since(&client, generation)
            && shared.publish_will(message, properties, &sender).await.is_err()
        {
            tracing::error!(%client, "the router did not take a will");
        }
    });
}

struct Loop<'a, S> {
    wire: &'a mut Wire<S>,
    client: &'a mut Client,
    link: &'a mut Link,
    keep_alive: Duration,
}

impl<S: Transport> Loop<'_, S> {
    async fn run(
        self,
        durable: &mut tokio::sync::mpsc::UnboundedReceiver<crate::durable::Message>,
        kick: &mut oneshot::Receiver<Kick>,
    ) -> Result<std::convert::Infallible, End> {
        let Self { wire, client, link, keep_alive } = self;
        let mut heard = Instant::now();
        let mut taken = Instant::now();
        let mut router_waits = false;
        let mut resting = false;
        let mut rest = std::pin::pin!(tokio::time::sleep(Duration::ZERO));
        let mut tick = interval(Duration::from_secs(1));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Clients send their first packets right behind CONNECT.
        read_packets(client, wire)?;
        loop {
            client.outbound.pump(&mut wire.output);
            client.settle();
            client.pace.on_batch(&mut wire.output, &mut client.batch, router_waits);
            let behind = client.shared.flow.on_publishes(std::mem::take(&mut client.batch_bytes));
            let pause = client.pause().max(if behind { BREAK } else { Duration::ZERO });
            if !pause.is_zero() {
                rest.as_mut().reset(tokio::time::Instant::now() + pause);
                resting = true;
            }
            link.send(&mut client.batch).await.map_err(|_| End::Router)?;
            let room = client.outbound.has_room(&wire.output);
            if router_waits && room {
                link.go_on().await.map_err(|_| End::Router)?;
                router_waits = false;
            }
            let in_flight = client.quota.in_flight() <= client.shared.limits.in_flight_bytes;
            let in_pace = (client.pace.may_read() || router_waits) && !resting && in_flight;
            let read = in_pace && client.acks.len() < PENDING_ACKS && wire.output.len() < HIGH_WATER;
            // The router hands over little more than its channel's capacity before it waits, so this is bounded too.
            let listen = room || !router_waits;
            tokio::select! {
                biased;
                order = &mut *kick => return Err(End::Kicked(order.unwrap_or(Kick::TakenOver))),
                result = first_ticket(&mut client.acks) => client.on_ticket(result)?,
                notification = link.next(), if listen => {
                    let mut next = Some(notification);
                    while let Some(notification) = next.take() {
                        if let Some(notification) = notification.map_err(|_| End::Router)? {
                            router_waits |= client.on_notification(&mut wire.output, notification);
                        }
                        next = link.next_now();
                    }
                    client.lag.on_taken(router_waits);
                }
                message = durable.recv(), if room => {
                    let mut next = message;
                    while let Some(message) = next.take() {
                        client.on_durable(&mut wire.output, message);
                        if client.outbound.has_room(&wire.output) {
                            next = durable.try_recv().ok();
                        }
                    }
                }
                progress = wire.progress(read) => {
                    let progress = progress.map_err(End::Stream)?;
                    if progress.wrote > 0 || progress.read > 0 {
                        taken = Instant::now();
                    }
                    if progress.read > 0 {
                        heard = taken;
                        read_packets(client, wire)?;
                        if wire.output.is_empty() && client.pace.holds_nothing() {
                            wire.acknowledge_now();
                        }
                    }
                }
                () = &mut rest, if resting => resting = false,
                _ = tick.tick() => {
                    if taken.elapsed() > Duration::from_millis(200) {
                        client.lag.on_standstill();
                    }
                    if !keep_alive.is_zero() && heard.elapsed() > keep_alive {
                        return Err(End::KeepAlive);
                    }
                    if wire.output.is_empty() {
                        taken = Instant::now();
                    } else if taken.elapsed() > WRITE_STALL {
                        return Err(End::Stalled);
                    }
                }
            }
        }
    }
}

fn read_packets<S: Transport>(client: &mut Client, wire: &mut Wire<S>) -> Result<(), End> {
    let largest = client.shared.limits.packet_bytes_of(&client.admission.identity.role);
    while let Some(frame) = take_frame(&mut wire.input, largest)? {
        let packet = decode(client.version, frame)?;
        match packet {
            Incoming::Publish(publish) => client.on_publish(publish)?,
            Incoming::Other(packet) => client.on_packet(&mut wire.output, packet)?,
        }
    }
    Ok(())
}
