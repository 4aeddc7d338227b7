//! What a cloud needs to know to start.

use std::path::PathBuf;
use std::time::Duration;

/// Where the cloud keeps its things and whom it talks to.
#[derive(Debug, Clone)]
pub struct CloudConfig {
    /// Its folder, such as `data/cloud`; made with mode 0700 where absent.
    pub dir: PathBuf,
    /// The identities that may use the API, shared with the broker, such as `data/credentials.json`.
    pub credentials: PathBuf,
    /// Folder of the local authority, which certifies relays that enroll; where it has none (`ca.key`), they get no
    /// certificate.
    pub authority: Option<PathBuf>,
    /// Folder in which the files of a plain Mosquitto are kept right, where the broker is one.
    pub mosquitto: Option<PathBuf>,
    /// Host of the MQTT broker.
    pub broker_host: String,
    /// Port of the MQTT broker.
    pub broker_port: u16,
    /// User name at the broker.
    pub mqtt_user: String,
    /// File with the token for the broker, mode 0600.
    pub mqtt_token_file: PathBuf,
    /// Client id at the broker; its session outlives a restart of the cloud, so it must be unique and stay the same.
    pub client_id: String,
    /// Most readings kept, newest first.
    pub keep_readings: u64,
    /// Most log batches kept, newest first.
    pub keep_logs: u64,
    /// Most events kept, newest first.
    pub keep_events: u64,
    /// How long a session of the dashboard lasts.
    pub session_lifetime: Duration,
    /// How long an online relay may stay silent about a command before the command is published again.
    pub republish_after: Duration,
}

impl CloudConfig {
    /// The defaults of one machine: `dir` holds everything, the broker is on 127.0.0.1:1883.
    pub fn new(dir: impl Into<PathBuf>, credentials: impl Into<PathBuf>, mqtt_token_file: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            credentials: credentials.into(),
            authority: None,
            mosquitto: None,
            broker_host: "127.0.0.1".into(),
            broker_port: 1883,
            mqtt_user: "cloud".into(),
            mqtt_token_file: mqtt_token_file.into(),
            client_id: "cloud".into(),
            keep_readings: 1_000_000,
            keep_logs: 200_000,
            keep_events: 1_000_000,
            session_lifetime: Duration::from_secs(12 * 3600),
            republish_after: Duration::from_secs(5),
        }
    }
}
