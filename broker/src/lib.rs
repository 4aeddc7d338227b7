//! The embedded MQTT broker behind a guard: identities, access rules, limits, durability, health.
//!
//! The router of rumqttd moves the messages: it matches topics, keeps each subscription's log, and remembers sessions
//! of clients that are away. Everything else is done here, because this is where it can be made safe: the network
//! layer, both protocol versions, who may do what, client ids and takeovers, wills, retained messages, QoS 2, limits,
//! and a store on disk for messages that must survive the broker. It does not know what messages mean; who may publish
//! and subscribe where is decided by [`contract::access`].
//!
//! A connection is generic over its byte stream: TCP or TLS, MQTT bare or in a WebSocket at `/mqtt` of the same port.
//!
//! # What clients notice
//!
//! - No anonymous access. Wrong credentials: CONNACK 4 (MQTT 5: 0x86) after half a second.
//! - A refused publish is answered with 0x87 on MQTT 5; on 3.1.1, which has no such answer, it is acknowledged and
//!   dropped, as Mosquitto does. Either way it is counted and logged with identity and topic.
//! - An identity that sends more messages a second than its limit, or has too many bytes on their way to the disk, is
//!   read from more slowly.
//! - A publish to a durable topic whose queue is full is never acknowledged: MQTT 5 gets 0x97, a 3.1.1 connection is
//!   closed.
//! - Who publishes to a durable topic is recorded for the audit log, in one piece with the message ([`contract::audit`]).
//! - Durable messages are given to addressees, which are relays and the cloud, by their subscription to exactly the
//!   topic at QoS 1 or 2, and removed by their acknowledgement. Others only watch, and get what comes while they do.
//! - A client id belongs to one identity at a time, and has none of `/ + # $`.
//! - Not supported, and said so in CONNACK or SUBACK: shared subscriptions, topic aliases, subscription identifiers.
//!   No-local and retain-as-published are ignored. A durable message loses its MQTT 5 properties.
//! - Sessions and retained messages live in memory: a restart of the broker forgets them.

pub mod access;
mod audit;
mod client;
mod codec;
pub mod config;
mod connect;
mod connection;
mod deliver;
mod durable;
pub mod error;
pub mod health;
pub mod metrics;
mod pace;
mod publish;
mod quota;
mod retained;
mod router;
mod server;
mod sessions;
mod shared;
mod subscribe;
mod topics;
mod watchdog;
mod wire;

pub use access::{Admission, Authenticator, FileAuthenticator};
pub use config::{BrokerConfig, Limits, TlsConfig};
pub use error::BrokerError;
pub use metrics::Metrics;
pub use server::{Broker, run};
