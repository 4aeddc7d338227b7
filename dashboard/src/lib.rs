//! The askama pages, live over MQTT and server-sent events.
