//! Tests of the broker with real clients: rumqttc, mosquitto's tools and raw sockets. One binary, one module a topic.

#![allow(clippy::unwrap_used, missing_docs)]

mod cases;
mod support;
