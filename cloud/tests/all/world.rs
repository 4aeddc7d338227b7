//! A cloud with everything around it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cloud::{Cloud, CloudConfig, credentials};
use contract::RelayId;
use contract::access::Role;
use reqwest::{Method, StatusCode};
use serde_json::Value;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::broker::Broker;
use crate::relay::Relay;

/// Tokens by name.
pub struct Tokens {
    pub admin: String,
    pub operator: String,
    pub viewer: String,
    pub cloud: String,
    pub bench: String,
}

/// Broker and folder, without a cloud.
pub struct World {
    pub broker: Broker,
    pub tokens: Tokens,
    pub dir: TempDir,
}

pub fn start_log() {
    let filter = std::env::var("RUST_LOG").unwrap_or_else(|_| "off".into());
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
}

impl World {
    pub fn new() -> Self {
        start_log();
        let dir = tempfile::Builder::new().prefix("cloud-test-").tempdir().unwrap();
        let file = dir.path().join("credentials.json");
        let add = |name: &str, role| credentials::add(&file, name, role).unwrap();
        let tokens = Tokens {
            admin: add("admin", Role::Admin),
            operator: add("olga", Role::Operator),
            viewer: add("victor", Role::Viewer),
            cloud: add("cloud", Role::Cloud),
            bench: add("bench", Role::Relay(RelayId::new("bench").unwrap())),
        };
        credentials::write_private(&dir.path().join("cloud-token"), tokens.cloud.as_bytes()).unwrap();
        let users = [
            ("admin", tokens.admin.as_str()),
            ("cloud", tokens.cloud.as_str()),
            ("bench", tokens.bench.as_str()),
            ("other", tokens.bench.as_str()),
        ];
        let broker = Broker::start(dir.path(), &users);
        Self { broker, tokens, dir }
    }

    pub fn config(&self) -> CloudConfig {
        config(self.dir.path(), self.broker.port)
    }

    pub async fn cloud(&self) -> Running {
        Running::start(self.config(), &self.tokens).await
    }

    pub fn relay(&self) -> Relay {
        Relay::new("bench", "journal-1", self.broker.port, &self.tokens.bench)
    }
}

pub fn config(dir: &Path, broker_port: u16) -> CloudConfig {
    let mut config = CloudConfig::new(dir.join("cloud"), dir.join("credentials.json"), dir.join("cloud-token"));
    config.broker_port = broker_port;
    config.republish_after = Duration::from_secs(1);
    config
}

/// Serves a cloud until `stop`.
pub async fn serve(cloud: Cloud, stop: CancellationToken) -> (SocketAddr, JoinHandle<()>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = cloud.api().into_make_service_with_connect_info::<SocketAddr>();
    let task = tokio::spawn(async move {
        let end = stop.clone();
        let http = axum::serve(listener, service).with_graceful_shutdown(async move { end.cancelled().await });
        let (http, services) = tokio::join!(http, cloud.run(stop));
        http.unwrap();
        services.unwrap();
    });
    (address, task)
}

/// A running cloud and its API.
pub struct Running {
    pub api: Api,
    pub routes: Vec<cloud::api::Route>,
    pub public_key: String,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    pub async fn start(config: CloudConfig, tokens: &Tokens) -> Self {
        let cloud = Cloud::open(config).await.unwrap();
        let (routes, public_key) = (cloud.routes(), cloud.public_key());
        let stop = CancellationToken::new();
        let (address, task) = serve(cloud, stop.clone()).await;
        let api = Api::new(address, &tokens.admin);
        api.until("/health", |health| health["status"] == "ok").await;
        Self { api, routes, public_key, stop, task }
    }

    pub async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(Duration::from_secs(60), self.task).await.expect("the cloud does not stop").unwrap();
    }
}

/// The HTTP API as one identity.
#[derive(Clone)]
pub struct Api {
    client: reqwest::Client,
    base: String,
    token: String,
}

impl Api {
    pub fn new(address: SocketAddr, token: &str) -> Self {
        Self { client: reqwest::Client::new(), base: format!("http://{address}/api/v1"), token: token.to_owned() }
    }

    /// Where it is.
    pub fn base(&self) -> &str {
        &self.base
    }

    pub fn with(&self, token: &str) -> Self {
        Self { token: token.to_owned(), ..self.clone() }
    }

    /// The whole address of a path.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// Status and JSON body (null where there is none).
    pub async fn call(&self, method: &str, path: &str, body: Vec<u8>) -> (StatusCode, Value) {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = self.client.request(method, format!("{}{path}", self.base)).body(body);
        if !self.token.is_empty() {
            request = request.bearer_auth(&self.token);
        }
        let response = request.send().await.unwrap();
        let status = response.status();
        assert!(response.headers().contains_key("x-request-id"), "{path}");
        let json = response.headers().get("content-type").is_some_and(|kind| kind == "application/json");
        let text = response.bytes().await.unwrap();
        if status.is_success() && !json {
            return (status, Value::String(String::from_utf8(text.to_vec()).unwrap()));
        }
        if text.is_empty() {
            return (status, Value::Null);
        }
        (status, serde_json::from_slice(&text).unwrap_or_else(|_| panic!("{path}: no JSON: {text:?}")))
    }

    /// The same with a JSON body.
    pub async fn send(&self, method: &str, path: &str, body: Value) -> (StatusCode, Value) {
        self.call(method, path, body.to_string().into_bytes()).await
    }

    pub async fn get(&self, path: &str) -> Value {
        let (status, body) = self.call("GET", path, Vec::new()).await;
        assert_eq!(status, StatusCode::OK, "{path}: {body}");
        body
    }

    /// Asks until the answer satisfies `done`.
    pub async fn until(&self, path: &str, done: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            let (_, body) = self.call("GET", path, Vec::new()).await;
            if done(&body) {
                return body;
            }
            assert!(Instant::now() < end, "{path} stays {body}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

pub fn digits(name: &str) -> Vec<u8> {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "..", "models", "digits", name].iter().collect();
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
