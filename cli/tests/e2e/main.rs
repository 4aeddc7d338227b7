//! End to end: the real binary, real processes, a real broker, database, compiler, serial line and browser.
//!
//! - `fleet`: starts `tinymlaas up` on free ports with its own data folder, and reads like prose.
//! - `main_job`: from a model to live predictions; a second start; a clean stop.
//! - `page`: every line of topics.md, as it stands.
//! - `client`: the command line's own commands, their JSON and exit codes.
//! - `compile`: the model compiler on files.
//! - `crash`: kill -9 of any part at any step.
//! - `hostile`: garbage everywhere.
//! - `network`: over TLS, as from another machine.
//! - `audit`: who sent what is on record, whoever is killed.
//! - `people`: users, tokens, invitations, the audit log.
//! - `keys`: the signing key is replaced.
//! - `other_brokers`: the whole system on Mosquitto and on RabbitMQ.
//! - `containers`: the roles from their images, by the compose file.
//! - `machine`: ports in use, unwritable folders, no compiler.
//! - `browser`: the dashboard in Chromium.

#![allow(clippy::unwrap_used, missing_docs)]

mod audit;
mod boards;
mod browser;
mod client;
mod compile;
mod containers;
mod crash;
#[path = "../../../edge-relay/tests/all/engine.rs"]
mod engine;
mod fleet;
mod hostile;
mod keys;
mod machine;
mod main_job;
mod network;
mod other_brokers;
mod page;
mod people;
#[path = "../../../edge-relay/tests/all/process.rs"]
mod process;
#[path = "../../../cloud/tests/all/rabbitmq_server.rs"]
mod rabbitmq_server;
