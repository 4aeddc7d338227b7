//! Registry, artifacts, models, telemetry and the HTTP API.
