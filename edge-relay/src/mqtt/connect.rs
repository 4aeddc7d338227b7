//! Options of the MQTT connection.
//!
//! MQTT 3.1.1, because every broker speaks it. It has no way to announce a maximum packet size, so this client reads
//! packets up to [`MAX_INCOMING`], and refuses what is over the contract's limits with an answer; a packet even
//! larger than that is shed by one connect with a clean session, see [`super::poll`].

use std::time::Duration;

use contract::ids::RelayId;
use contract::limits::MAX_PACKET_BYTES;
use contract::presence::{Presence, Status};
use contract::timestamp::Timestamp;
use contract::topic::Topic;
use rumqttc::{LastWill, MqttOptions, NetworkOptions, QoS};

use crate::config::RelayConfig;

/// Largest packet that is read from the broker, in bytes.
pub const MAX_INCOMING: usize = 4 * 1024 * 1024;

/// Messages on their way to the broker without its acknowledgement.
const INFLIGHT: u16 = 64;

/// The options, without the will.
pub fn options(config: &RelayConfig, token: &str) -> MqttOptions {
    let mut options = MqttOptions::new(config.identity(), &config.broker_host, config.broker_port);
    options
        .set_credentials(config.identity(), token)
        .set_keep_alive(Duration::from_secs(15))
        .set_clean_session(false)
        .set_manual_acks(true)
        .set_max_packet_size(MAX_INCOMING, MAX_PACKET_BYTES)
        .set_inflight(INFLIGHT);
    options
}

/// Network options: without TCP_NODELAY each acknowledgement waits 40 ms for the peer's delayed ACK.
pub fn network() -> NetworkOptions {
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    network.set_connection_timeout(5);
    network
}

/// A presence document.
pub fn presence(relay: &RelayId, journal: &str, epoch: u64, status: Status, reason: Option<&str>) -> Presence {
    Presence {
        relay: relay.clone(),
        journal: journal.to_owned(),
        epoch,
        status,
        at: Timestamp::now(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        reason: reason.map(str::to_owned),
    }
}

/// The will of the connection with this epoch.
pub fn will(relay: &RelayId, journal: &str, epoch: u64) -> LastWill {
    let topic = Topic::Presence(relay.clone()).to_string();
    let document = presence(relay, journal, epoch, Status::Offline, Some("lost"));
    // A presence document is far below the packet limit.
    let payload = contract::wire::encode(&topic, &document).unwrap_or_default();
    LastWill::new(topic, payload, QoS::AtLeastOnce, true)
}
