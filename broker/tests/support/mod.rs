//! A broker on a free port with known identities, and clients for it.

pub mod table;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use broker::{Broker, BrokerConfig, Metrics};
use contract::RelayId;
use contract::access::{Credential, CredentialFile, Role};
use rumqttc::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions, Packet, Publish, QoS};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub const PATIENCE: Duration = Duration::from_secs(60);
pub const COMMANDS: &str = "tinymlaas/v1/relays/bench/commands";
pub const PRESENCE: &str = "tinymlaas/v1/relays/bench/presence";
pub const EVENTS: &str = "tinymlaas/v1/relays/bench/events";

/// The token of an identity, for tests only.
pub fn token(name: &str) -> String {
    format!("token-of-{name}")
}

pub fn credential(name: &str, role: Role) -> Credential {
    let digest = Sha256::digest(token(name).as_bytes());
    Credential::new(name, role, digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

pub fn relay(name: &str) -> Role {
    Role::Relay(RelayId::new(name).unwrap())
}

pub fn everybody() -> Vec<Credential> {
    vec![
        credential("admin", Role::Admin),
        credential("operator", Role::Operator),
        credential("viewer", Role::Viewer),
        credential("cloud", Role::Cloud),
        credential("bench", relay("bench")),
        credential("other", relay("other")),
    ]
}

pub fn write_credentials(data_dir: &Path, identities: Vec<Credential>) {
    write_file(data_dir, &CredentialFile { identities, ..CredentialFile::default() });
}

pub fn write_file(data_dir: &Path, file: &CredentialFile) {
    let text = serde_json::to_vec(file).unwrap();
    let new = data_dir.join("credentials.new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, data_dir.join("credentials.json")).unwrap();
}

pub struct Running {
    pub addr: SocketAddr,
    pub tls_addr: Option<SocketAddr>,
    pub metrics: Arc<Metrics>,
    pub dir: TempDir,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<(), broker::BrokerError>>,
}

impl Running {
    pub async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut BrokerConfig)) -> Self {
        let dir = tempfile::Builder::new().prefix("broker-").tempdir().unwrap();
        write_credentials(dir.path(), everybody());
        Self::open(dir, change).await
    }

    pub async fn open(dir: TempDir, change: impl FnOnce(&mut BrokerConfig)) -> Self {
        let mut config = BrokerConfig::new("127.0.0.1:0".parse().unwrap(), dir.path());
        change(&mut config);
        let broker = Broker::bind(config).await.unwrap();
        let (stop, stopped) = oneshot::channel();
        Self {
            addr: broker.local_addr(),
            tls_addr: broker.tls_addr(),
            metrics: broker.metrics(),
            dir,
            stop: Some(stop),
            task: tokio::spawn(broker.serve(async {
                let _ = stopped.await;
            })),
        }
    }

    /// Stops it and gives the data folder back.
    pub async fn stop(mut self) -> TempDir {
        self.stop.take();
        tokio::time::timeout(PATIENCE, self.task).await.unwrap().unwrap().unwrap();
        self.dir
    }

    pub fn options(&self, user: &str, client: &str) -> MqttOptions {
        let mut options = MqttOptions::new(client, self.addr.ip().to_string(), self.addr.port());
        options.set_credentials(user, token(user));
        options.set_keep_alive(Duration::from_secs(30));
        options.set_max_packet_size(1024 * 1024, 1024 * 1024);
        options
    }

    pub async fn client(&self, user: &str, client: &str) -> Client {
        Client::connect(self.options(user, client)).await.unwrap()
    }
}

/// A client whose events are taken one by one.
pub struct Client {
    pub requests: AsyncClient,
    pub events: EventLoop,
    pub session_present: bool,
}

impl Client {
    pub async fn connect(options: MqttOptions) -> Result<Self, ConnectionError> {
        let (requests, mut events) = AsyncClient::new(options, 1000);
        events.network_options.set_tcp_nodelay(true);
        let session_present = loop {
            if let Event::Incoming(Packet::ConnAck(ack)) =
                tokio::time::timeout(PATIENCE, events.poll()).await.unwrap()?
            {
                break ack.session_present;
            }
        };
        Ok(Self { requests, events, session_present })
    }

    /// The next incoming packet.
    pub async fn packet(&mut self) -> Packet {
        self.try_packet().await.unwrap()
    }

    pub async fn try_packet(&mut self) -> Result<Packet, ConnectionError> {
        loop {
            let event = tokio::time::timeout(PATIENCE, self.events.poll()).await.expect("no packet came");
            if let Event::Incoming(packet) = event? {
                return Ok(packet);
            }
        }
    }

    pub async fn subscribe(&mut self, filter: &str, qos: QoS) -> Vec<rumqttc::SubscribeReasonCode> {
        self.requests.subscribe(filter, qos).await.unwrap();
        loop {
            if let Packet::SubAck(ack) = self.packet().await {
                return ack.return_codes;
            }
        }
    }

    /// Publishes at QoS 1 and waits for the acknowledgement.
    pub async fn publish(&mut self, topic: &str, payload: &str) {
        self.publish_with(topic, payload, QoS::AtLeastOnce, false).await;
    }

    pub async fn publish_with(&mut self, topic: &str, payload: &str, qos: QoS, retain: bool) {
        self.requests.publish(topic, qos, retain, payload).await.unwrap();
        loop {
            match self.packet().await {
                Packet::PubAck(_) | Packet::PubComp(_) => return,
                _ => {}
            }
        }
    }

    /// The next message.
    pub async fn message(&mut self) -> Publish {
        loop {
            if let Packet::Publish(publish) = self.packet().await {
                return publish;
            }
        }
    }

    /// The payload of the next message.
    pub async fn text(&mut self) -> String {
        String::from_utf8(self.message().await.payload.to_vec()).unwrap()
    }

    /// Whether no message comes for a while.
    pub async fn hears_nothing(&mut self) -> bool {
        tokio::time::timeout(Duration::from_millis(300), self.message()).await.is_err()
    }

    pub async fn leave(mut self) {
        self.requests.disconnect().await.unwrap();
        while self.events.poll().await.is_ok() {}
    }
}
