//! What the tests stand on: a real broker, a real browser, and a stand-in for the cloud's API.

#![allow(clippy::unwrap_used, dead_code)]

pub mod broker;
pub mod browser;
pub mod fleet;
pub mod stub_api;

use std::net::SocketAddr;
use std::time::Duration;

use dashboard::{Dashboard, DashboardConfig};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use self::broker::Broker;
use self::stub_api::StubApi;

/// A dashboard with everything around it.
pub struct System {
    pub broker: Broker,
    pub api: StubApi,
    pub address: SocketAddr,
    pub shutdown: CancellationToken,
    _folder: TempDir,
}

impl System {
    /// Starts all of it; `None`, said loudly, where mosquitto is not installed.
    pub async fn start(test: &str) -> Option<System> {
        let folder = tempfile::Builder::new().prefix("dashboard-").tempdir().unwrap();
        let Some(broker) = Broker::start(folder.path()) else {
            eprintln!("SKIPPED {test}: /usr/sbin/mosquitto is not installed");
            return None;
        };
        let api = StubApi::start().await;
        let token_file = folder.path().join("dashboard-token");
        std::fs::write(&token_file, "any\n").unwrap();
        let dashboard = Dashboard::new(DashboardConfig {
            api_url: format!("http://{}", api.address),
            broker_host: "127.0.0.1".into(),
            broker_port: broker.port,
            mqtt_user: "dashboard".into(),
            mqtt_token_file: token_file,
            data_hint: "data/admin-token".into(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let router = dashboard.router();
        let stop = shutdown.clone();
        tokio::spawn(async move {
            axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await.unwrap();
        });
        let stop = shutdown.clone();
        tokio::spawn(async move { dashboard.run(stop).await });
        Some(System { broker, api, address, shutdown, _folder: folder })
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// A client that follows no redirects and sends no cookies of its own.
    pub fn client(&self) -> reqwest::Client {
        let no_redirects = reqwest::redirect::Policy::none();
        reqwest::Client::builder().no_proxy().redirect(no_redirects).timeout(Duration::from_secs(20)).build().unwrap()
    }

    /// A page as a logged-in visitor gets it: status and body.
    pub async fn page(&self, path: &str) -> (u16, String) {
        let request = self.client().get(self.url(path)).header("cookie", stub_api::COOKIE);
        let response = request.header("accept", "text/html").send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    /// Posts a form as the page's own form would.
    pub async fn post(&self, path: &str, form: &[(&str, &str)]) -> reqwest::Response {
        let request = self.client().post(self.url(path)).header("origin", self.url("")).form(form);
        request.header("cookie", stub_api::COOKIE).header("accept", "text/html").send().await.unwrap()
    }
}

impl Drop for System {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}
