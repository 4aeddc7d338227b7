//! From the first byte to CONNACK: version, credentials, client id, will, session.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::time::Duration;

use rumqttd::protocol::{
    ConnAckProperties, Connect, ConnectProperties, LastWill, LastWillProperties, Packet, PublishProperties,
};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use zeroize::Zeroizing;

use crate::access::Admission;
use crate::audit::Sender;
use crate::client::Client;
use crate::codec::{
    DecodeError, Incoming, Refusal, Version, decode, protocol_level, put_connack, put_refusal, take_frame,
};
use crate::deliver::Outbound;
use crate::durable::Message;
use crate::pace::{Lag, Pace};
use crate::publish::RECEIVE_MAXIMUM;
use crate::router::Link;
use crate::sessions::{Claim, ClaimError, Kept};
use crate::shared::Shared;
use crate::topics::{check_client_id, check_topic};
use crate::wire::{Tls, Transport, Wire};
use contract::access::Role;
use std::sync::Arc;

/// Nobody needs a larger CONNECT: a will is at most 64 KiB.
const CONNECT_BYTES: usize = 80 * 1024;
/// Wrong credentials are answered this late, so that guessing is slow.
const WRONG_CREDENTIALS_DELAY: Duration = Duration::from_millis(500);

/// A will as it is kept for the connection.
pub(crate) struct Will {
    pub(crate) message: LastWill,
    pub(crate) properties: Option<PublishProperties>,
    pub(crate) delay: Duration,
}

/// A client that got its CONNACK.
pub(crate) struct Accepted {
    pub(crate) client: Client,
    pub(crate) claim: Claim,
    pub(crate) link: Link,
    pub(crate) link_id: u32,
    pub(crate) durable: UnboundedReceiver<Message>,
    pub(crate) will: Option<Will>,
    pub(crate) keep_alive: Duration,
    /// How long the session outlives the connection.
    pub(crate) expiry: Duration,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error("refused: {0}")]
    Refused(&'static str),
    #[error("the router did not take the connection")]
    Router,
}

/// A CONNECT packet, taken apart.
struct Request {
    version: Version,
    connect: Connect,
    properties: Option<ConnectProperties>,
    will: Option<Will>,
    /// Name and token.
    login: Option<(String, Zeroizing<String>)>,
}

/// Reads CONNECT, decides, and writes CONNACK into the wire's output.
pub(crate) async fn accept<S: Transport>(shared: &Arc<Shared>, wire: &mut Wire<S>) -> Result<Accepted, ConnectError> {
    let request = read_request(shared, wire).await?;
    let version = request.version;
    let login = request.login.as_ref();
    let admission = login.and_then(|(name, token)| shared.authenticator.authenticate(name, token));
    let Some(admission) = admission else {
        shared.metrics.refused_credentials.up();
        let user = login.map_or("", |(name, _)| name.as_str());
        tracing::warn!(user = user.chars().take(64).collect::<String>(), "wrong or missing credentials");
        tokio::time::sleep(WRONG_CREDENTIALS_DELAY).await;
        let refusal = if login.is_some() { Refusal::Credentials } else { Refusal::NotAuthorized };
        put_refusal(&mut wire.output, version, refusal);
        return Err(ConnectError::Refused("wrong or missing credentials"));
    };
    if let Err(why) = check_certificate(shared, wire.tls(), &admission) {
        shared.metrics.refused_certificate.up();
        tracing::warn!(identity = admission.identity.name, "CONNECT refused: {why}");
        put_refusal(&mut wire.output, version, Refusal::NotAuthorized);
        return Err(ConnectError::Refused(why));
    }
    if let Err((refusal, why)) = check_request(shared, &request, &admission) {
        let will = request.will.as_ref().map(|will| String::from_utf8_lossy(&will.message.topic));
        tracing::warn!(identity = admission.identity.name, will = will.as_deref(), "CONNECT refused: {why}");
        put_refusal(&mut wire.output, version, refusal);
        return Err(ConnectError::Refused(why));
    }
    let assigned = request.connect.client_id.is_empty().then(|| format!("auto-{:032x}", fresh_number()));
    let client_id = assigned.clone().unwrap_or_else(|| request.connect.client_id.clone());
    let claim = match shared.sessions.claim(&client_id, &admission).await {
        Ok(claim) => claim,
        Err(error) => {
            let (refusal, counter) = match error {
                ClaimError::Foreign => (Refusal::ClientId, &shared.metrics.refused_client_id),
                ClaimError::TooMany | ClaimError::TooManyOfIdentity => {
                    (Refusal::TooMany, &shared.metrics.refused_connections)
                }
                ClaimError::Superseded | ClaimError::Stuck => (Refusal::Busy, &shared.metrics.closed_taken_over),
            };
            counter.up();
            tracing::warn!(identity = admission.identity.name, client = client_id, "CONNECT refused: {error}");
            put_refusal(&mut wire.output, version, refusal);
            return Err(ConnectError::Refused("client id"));
        }
    };
    start_session(shared, wire, request, admission, claim, assigned).await
}

/// A certificate is a second proof beside the token: whoever shows one must be whom it names.
fn check_certificate(shared: &Shared, tls: Option<Tls>, admission: &Admission) -> Result<(), &'static str> {
    let Some(tls) = tls else {
        return Ok(());
    };
    match tls.certified {
        Some(name) if name != admission.identity.name => Err("the client certificate is another identity's"),
        None if shared.require_certificates && matches!(admission.identity.role, Role::Relay(_)) => {
            Err("a relay must show its client certificate here; 'tinymlaas relay enroll' gets one")
        }
        _ => Ok(()),
    }
}

async fn read_request<S: Transport>(shared: &Shared, wire: &mut Wire<S>) -> Result<Request, ConnectError> {
    let frame = loop {
        match take_frame(&mut wire.input, CONNECT_BYTES.min(shared.limits.packet_bytes))? {
            Some(frame) => break frame,
            // An early look, so that a client of another protocol does not wait for the timeout.
            None if wire.input.first().is_some_and(|byte| *byte != 0x10) => {
                return Err(DecodeError::Malformed("not CONNECT".into()).into());
            }
            None => wire.progress(true).await?,
        };
    };
    let version = match protocol_level(&frame)? {
        4 => Version::V4,
        5 => Version::V5,
        level => {
            let version = if level > 5 { Version::V5 } else { Version::V4 };
            put_refusal(&mut wire.output, version, Refusal::Version);
            return Err(ConnectError::Refused("protocol version"));
        }
    };
    let Incoming::Other(Packet::Connect(connect, properties, message, will_properties, login)) =
        decode(version, frame)?
    else {
        return Err(DecodeError::Malformed("not CONNECT".into()).into());
    };
    let will = message.map(|message| Will {
        delay: Duration::from_secs(
            will_properties.as_ref().and_then(|properties| properties.delay_interval).unwrap_or(0).into(),
        ),
        properties: will_properties.map(published),
        message,
    });
    let login = login.map(|login| (login.username, Zeroizing::new(login.password)));
    Ok(Request { version, connect, properties, will, login })
}

fn published(will: LastWillProperties) -> PublishProperties {
    PublishProperties {
        payload_format_indicator: will.payload_format_indicator,
        message_expiry_interval: will.message_expiry_interval,
        response_topic: will.response_topic,
        correlation_data: will.correlation_data,
        user_properties: will.user_properties,
        content_type: will.content_type,
        ..PublishProperties::default()
    }
}

fn check_request(shared: &Shared, request: &Request, admission: &Admission) -> Result<(), (Refusal, &'static str)> {
    let id = &request.connect.client_id;
    let checked = if id.is_empty() {
        if request.version == Version::V4 && !request.connect.clean_session {
            Err("an empty client id needs a clean session")
        } else {
            Ok(())
        }
    } else {
        check_client_id(id)
    };
    if let Err(why) = checked {
        shared.metrics.refused_client_id.up();
        return Err((Refusal::ClientId, why));
    }
    if let Some(will) = &request.will {
        let allowed = match check_topic(&will.message.topic, &shared.limits) {
            Ok(topic) => admission.identity.allows_publish(topic) && shared.topics.admit(topic),
            Err(_) => false,
        };
        if !allowed {
            shared.metrics.refused_publishes.up();
            return Err((Refusal::NotAuthorized, "the will's topic is not allowed for this identity"));
        }
    }
    Ok(())
}

/// Unique for this process and beyond: time and a counter would do, randomness needs no state.
fn fresh_number() -> u128 {
    use std::hash::{BuildHasher, RandomState};
    let half = || u128::from(RandomState::new().hash_one(std::time::Instant::now()));
    half() << 64 | half()
}

async fn start_session<S: Transport>(
    shared: &Arc<Shared>,
    wire: &mut Wire<S>,
    request: Request,
    admission: Admission,
    mut claim: Claim,
    assigned: Option<String>,
) -> Result<Accepted, ConnectError> {
    let Request { version, connect, properties, will, .. } = request;
    let asked = properties.as_ref().and_then(|properties| properties.session_expiry_interval);
    let expiry = match version {
        Version::V4 if connect.clean_session => Duration::ZERO,
        Version::V4 => shared.limits.session_expiry,
        Version::V5 => Duration::from_secs(asked.unwrap_or(0).into()).min(shared.limits.session_expiry),
    };
    let mut kept = claim.session().and_then(|session| {
        session.expires = None;
        session.kept.take()
    });
    if connect.clean_session
        && let Some(link) = kept.take().and_then(|kept| kept.link)
    {
        shared.router.forget(link).await;
    }
    // Without its link the session's subscriptions are gone, so it is a new one.
    let kept = kept.and_then(|kept| kept.link.map(|link| (kept, link)));
    let session_present = kept.is_some();
    let (kept, link_id) = kept.unwrap_or_else(|| (Kept::default(), shared.router.fresh_id()));
    let clean = expiry.is_zero() && !session_present;
    let link = shared.router.link(link_id, clean).await.map_err(|_| ConnectError::Router)?;

    let receive_maximum =
        properties.as_ref().and_then(|properties| properties.receive_maximum).map_or(usize::MAX, usize::from);
    let largest = properties
        .as_ref()
        .and_then(|properties| properties.max_packet_size)
        .map_or(usize::MAX, |bytes| bytes as usize);
    let given_expiry = asked.filter(|asked| u64::from(*asked) > expiry.as_secs());
    put_connack(
        &mut wire.output,
        version,
        session_present,
        ConnAckProperties {
            session_expiry_interval: given_expiry.map(|_| u32::try_from(expiry.as_secs()).unwrap_or(u32::MAX)),
            receive_max: Some(RECEIVE_MAXIMUM),
            max_packet_size: u32::try_from(shared.limits.packet_bytes_of(&admission.identity.role)).ok(),
            assigned_client_identifier: assigned,
            topic_alias_max: Some(0),
            subscription_identifiers_available: Some(0),
            shared_subscription_available: Some(0),
            ..ConnAckProperties::default()
        },
    );
    let (durable_sender, durable) = unbounded_channel();
    let identity = admission.identity.name.clone();
    let mut client = Client {
        shared: shared.clone(),
        sender: Arc::new(Sender::new(&admission, &claim.client, wire.peer())),
        version,
        admission,
        client: claim.client.clone(),
        uniform_qos: None,
        subscriptions: kept.subscriptions,
        received: kept.received,
        outbound: Outbound::new(version, receive_maximum.max(1), largest, !expiry.is_zero()),
        batch: VecDeque::new(),
        acks: VecDeque::new(),
        subacks: VecDeque::new(),
        pace: Pace::default(),
        lag: Lag::new(shared.flow.clone(), shared.limits.segment_bytes * shared.limits.segments / 4),
        quota: shared.quotas.of(&identity, shared.limits.messages_per_second),
        arrived: 0,
        batch_bytes: 0,
        verdicts: HashMap::new(),
        refusals: 0,
        durable_key: claim.generation,
        durable_sender,
        new_expiry: None,
    };
    client.outbound.resume(&mut wire.output, kept.unfinished);
    client.note_qos();
    for (topic, subscription) in &client.subscriptions {
        if subscription.durable {
            client.attach(topic);
        }
    }
    Ok(Accepted {
        client,
        claim,
        link,
        link_id,
        durable,
        will,
        keep_alive: Duration::from_secs(connect.keep_alive.into()).mul_f32(1.5),
        expiry,
    })
}
