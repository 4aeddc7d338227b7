//! The embedded MQTT broker behind a guard: identities, access rules, limits, durability, health.
