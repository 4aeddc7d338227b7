//! What a broker is told at its start: addresses, folders and limits.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use contract::access::Role;
use transport::server::ServerFiles;

/// Everything that [`crate::Broker::bind`] needs.
#[derive(Debug, Clone)]
pub struct BrokerConfig {
    /// Where clients connect; port 0 takes a free one (see [`crate::Broker::local_addr`]).
    pub listen: SocketAddr,
    /// Where clients connect over TLS, if anywhere.
    pub tls: Option<TlsConfig>,
    /// The credential file ([`contract::access::CredentialFile`] as JSON), read again when it changes.
    pub credentials: PathBuf,
    /// Folder of the durable store; made when absent.
    pub durable_dir: PathBuf,
    /// Topic filters whose publishes are on disk before they are acknowledged.
    pub durable_filters: Vec<String>,
    /// Bounds on everything that a client can make grow.
    pub limits: Limits,
}

impl BrokerConfig {
    /// The usual layout below a data folder: `credentials.json` and `broker/`.
    pub fn new(listen: SocketAddr, data_dir: &Path) -> Self {
        Self {
            listen,
            tls: None,
            credentials: data_dir.join("credentials.json"),
            durable_dir: data_dir.join("broker"),
            durable_filters: contract::topic::filter::DURABLE.iter().map(|filter| (*filter).to_owned()).collect(),
            limits: Limits::default(),
        }
    }
}

/// The door with TLS.
#[derive(Debug, Clone)]
pub struct TlsConfig {
    /// Its address; port 0 takes a free one (see [`crate::Broker::tls_addr`]).
    pub listen: SocketAddr,
    /// Certificate and key, read again when they change.
    pub files: ServerFiles,
    /// Relays that come through this door must show the certificate that they got when they were enrolled: a token
    /// alone is then worth nothing.
    pub require_certificates: bool,
}

/// Bounds. Whatever goes beyond one is refused with a reason that names it, never queued without end.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Clients connected at once.
    pub connections: usize,
    /// Clients connected at once under one identity.
    pub connections_per_identity: usize,
    /// Messages a second from all connections of one identity; more are read later.
    pub messages_per_second: u32,
    /// Bytes of one identity's messages that wait for the disk; while there are more, it is not read from.
    pub in_flight_bytes: usize,
    /// Sockets that have not completed CONNECT yet; beyond it the oldest is closed.
    pub pending_sockets: usize,
    /// Time from accepting a socket to its complete CONNECT packet.
    pub connect_timeout: Duration,
    /// Largest MQTT packet in bytes, fixed header included.
    pub packet_bytes: usize,
    /// The same for operators and viewers: they send commands at most.
    pub packet_bytes_of_people: usize,
    /// Longest topic or filter in bytes.
    pub topic_bytes: usize,
    /// Most levels of a topic or filter.
    pub topic_levels: usize,
    /// Distinct topics published to since the start (the router remembers each).
    pub topics: usize,
    /// Distinct filters subscribed to since the start (the router keeps a log for each).
    pub filters: usize,
    /// Subscriptions of one client.
    pub subscriptions: usize,
    /// Sessions kept for clients that are away.
    pub sessions: usize,
    /// How long such a session is kept at most.
    pub session_expiry: Duration,
    /// Retained messages.
    pub retained_messages: usize,
    /// Bytes of all retained messages.
    pub retained_bytes: usize,
    /// Bytes of one segment of a filter's log in the router; the oldest segment is dropped when all are full.
    pub segment_bytes: usize,
    /// Segments of a filter's log.
    pub segments: usize,
    /// Durable messages of one topic.
    pub durable_messages: usize,
    /// Bytes of the durable messages of one topic.
    pub durable_topic_bytes: usize,
    /// Bytes of all durable messages.
    pub durable_bytes: usize,
    /// Records for the audit log that wait for the cloud; beyond it commands are refused.
    pub audit_messages: usize,
    /// Bytes of them.
    pub audit_bytes: usize,
    /// How long a durable message waits for its addressee.
    pub durable_age: Duration,
}

impl Limits {
    /// The largest packet that is taken from an identity.
    pub(crate) fn packet_bytes_of(&self, role: &Role) -> usize {
        match role {
            Role::Operator | Role::Viewer => self.packet_bytes.min(self.packet_bytes_of_people),
            Role::Admin | Role::Cloud | Role::Relay(_) => self.packet_bytes,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1_000,
            connections_per_identity: 200,
            messages_per_second: 10_000,
            in_flight_bytes: 16 * 1024 * 1024,
            pending_sockets: 500,
            connect_timeout: Duration::from_secs(10),
            packet_bytes: contract::limits::MAX_PACKET_BYTES,
            packet_bytes_of_people: 2 * contract::limits::MAX_COMMAND_BYTES,
            topic_bytes: 512,
            topic_levels: 16,
            topics: 100_000,
            filters: 10_000,
            subscriptions: 100,
            sessions: 5_000,
            session_expiry: Duration::from_secs(24 * 3600),
            retained_messages: 20_000,
            retained_bytes: 64 * 1024 * 1024,
            segment_bytes: 1024 * 1024,
            segments: 10,
            durable_messages: 1_000,
            durable_topic_bytes: 16 * 1024 * 1024,
            durable_bytes: 256 * 1024 * 1024,
            audit_messages: 100_000,
            audit_bytes: 64 * 1024 * 1024,
            durable_age: Duration::from_secs(7 * 24 * 3600),
        }
    }
}
