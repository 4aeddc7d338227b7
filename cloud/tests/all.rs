//! The cloud with a real broker (Mosquitto), a real database and real HTTP. The relay is scripted: what is tested here
//! is what the cloud does with messages that come twice, late, in the wrong order or not at all.
#![allow(clippy::unwrap_used)]

#[path = "all/broker.rs"]
mod broker;
#[path = "all/foreign.rs"]
mod foreign;
#[path = "all/rabbitmq_server.rs"]
mod rabbitmq_server;
#[path = "all/relay.rs"]
mod relay;
#[path = "../../broker/tests/support/table.rs"]
mod table;
#[path = "all/world.rs"]
mod world;

#[path = "all/access.rs"]
mod access;
#[path = "all/brokers.rs"]
mod brokers;
#[path = "all/commands.rs"]
mod commands;
#[path = "all/crash.rs"]
mod crash;
#[path = "all/hostile.rs"]
mod hostile;
#[path = "all/models.rs"]
mod models;
#[path = "all/people.rs"]
mod people;
#[path = "all/plain_mosquitto.rs"]
mod plain_mosquitto;
#[path = "all/presence.rs"]
mod presence;
#[path = "all/rabbitmq.rs"]
mod rabbitmq;
#[path = "all/streams.rs"]
mod streams;
#[path = "all/uploads.rs"]
mod uploads;
