//! What a relay is told at its start: names, folders, limits.

use std::path::PathBuf;
use std::time::Duration;

use contract::ids::RelayId;

/// Configuration of one relay. The fields without a counterpart in [`RelayConfig::new`] have defaults.
#[derive(Debug, Clone)]
pub struct RelayConfig {
    /// Its name; MQTT client id and user name are `relay-` and this name.
    pub relay: RelayId,
    /// Its own folder: `token`, `trusted.pub`, `relay.db`, `blocks/`, `artifacts/`, `builds/`.
    pub dir: PathBuf,
    /// Host name or address of the broker.
    pub broker_host: String,
    /// TCP port of the broker.
    pub broker_port: u16,
    /// Folder with one folder for each virtual board; `None`: only real serial ports.
    pub boards_dir: Option<PathBuf>,
    /// Where toolchains run.
    pub builds: Builds,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// How much of everything is kept.
    pub bounds: Bounds,
}

/// Where compilers and programs that flash boards run. The host's own compiler and arduino-cli never are in containers:
/// what the first builds runs on this machine, and the second fetches its cores itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Builds {
    /// On this machine if they are installed, else in a container if there are an engine and the image.
    #[default]
    Auto,
    /// On this machine only.
    Local,
    /// In a container only.
    Container,
}

impl std::str::FromStr for Builds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "local" => Ok(Self::Local),
            "container" => Ok(Self::Container),
            other => Err(format!("'{other}' is none of auto, local, container")),
        }
    }
}

/// How long things may take.
#[derive(Debug, Clone)]
pub struct Timeouts {
    /// A whole command without `timeout_s`.
    pub command: Duration,
    /// One build; then its processes are killed.
    pub build: Duration,
    /// Waiting for the first answer to a request before it is sent again; later waits grow.
    pub answer: Duration,
    /// Waiting for any answer to one request before giving up.
    pub fetch: Duration,
    /// Waiting for a device that is not connected when a command needs it.
    pub device: Duration,
    /// One inference on a board.
    pub inference: Duration,
    /// Time between two looks for devices.
    pub scan: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            command: Duration::from_secs(600),
            build: Duration::from_secs(120),
            answer: Duration::from_secs(3),
            fetch: Duration::from_secs(120),
            device: Duration::from_secs(10),
            inference: Duration::from_secs(10),
            scan: Duration::from_millis(500),
        }
    }
}

/// How much of everything is kept.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// Unconfirmed readings; older ones are dropped and counted.
    pub telemetry: u64,
    /// Unconfirmed log messages; older ones are dropped and counted.
    pub logs: u64,
    /// Unconfirmed events; at least 10,000.
    pub events: u64,
    /// Commands that may wait for one device.
    pub queue: usize,
    /// Ended commands that are remembered, so that a late repetition has no effect.
    pub history: u64,
    /// Size of the unpacked artifacts that no device needs, in bytes.
    pub artifacts: u64,
    /// Size of the built images that no device needs, in bytes.
    pub builds: u64,
    /// Room on the disk that fetching and building leave to the journal, in bytes.
    pub reserve: u64,
    /// How often a command is begun anew after a restart before it fails as `interrupted`.
    pub attempts: u32,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            telemetry: 50_000,
            logs: 20_000,
            events: 20_000,
            queue: 16,
            history: 10_000,
            artifacts: 256 * 1024 * 1024,
            builds: 256 * 1024 * 1024,
            reserve: 32 * 1024 * 1024,
            attempts: 3,
        }
    }
}

impl RelayConfig {
    /// A relay with its folder, on a broker on this machine.
    pub fn new(relay: RelayId, dir: impl Into<PathBuf>) -> Self {
        Self {
            relay,
            dir: dir.into(),
            broker_host: "127.0.0.1".to_owned(),
            broker_port: 1883,
            boards_dir: None,
            builds: Builds::default(),
            timeouts: Timeouts::default(),
            bounds: Bounds::default(),
        }
    }

    /// MQTT client id and user name.
    pub fn identity(&self) -> String {
        format!("relay-{}", self.relay)
    }
}
