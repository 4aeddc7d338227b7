//! The askama pages, live over MQTT and server-sent events.
//!
//! # Layout
//!
//! - [`DashboardConfig`], [`Dashboard`]: what the binary starts.
//! - `api`: the HTTP API's client; the dashboard holds no data of its own and never opens the database.
//! - `session`: login, logout, the cookie and the check of a POST's origin.
//! - `pages`: one module and one template a page.
//! - `report`, [`arena`]: what pages say of a compile report, and its picture of memory over time.
//! - `feed` → `live`: MQTT messages, checked and filtered, as server-sent events.
//! - `assets`: style sheet, scripts and logo, embedded, under names that change with their content.
//!
//! Must not: touch the database, publish over MQTT, or load anything from another host.

use std::path::PathBuf;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

mod api;
pub mod arena;
mod assets;
mod error;
mod feed;
mod headers;
mod live;
mod pages;
mod picture;
mod report;
mod session;
mod view;

/// Where the dashboard finds the rest of the system.
#[derive(Debug, Clone)]
pub struct DashboardConfig {
    /// The HTTP API's origin, such as `http://127.0.0.1:8080`.
    pub api_url: String,
    /// The broker's host.
    pub broker_host: String,
    /// The broker's port.
    pub broker_port: u16,
    /// The identity that the feed connects with; a viewer is enough.
    pub mqtt_user: String,
    /// The file that holds this identity's token; read at every connect, so it may be written later or replaced.
    pub mqtt_token_file: PathBuf,
    /// Where people find the admin token, such as `data/admin-token`; shown on the login page.
    pub data_hint: String,
}

/// Everything that handlers share.
pub(crate) struct Shared {
    pub(crate) config: DashboardConfig,
    pub(crate) api: api::Api,
    pub(crate) feed: feed::Feed,
}

/// The dashboard: a router for its pages and a feed that makes them live.
#[derive(Clone)]
pub struct Dashboard {
    shared: Arc<Shared>,
}

impl Dashboard {
    /// A dashboard that is not connected to anything yet.
    pub fn new(config: DashboardConfig) -> Self {
        let api = api::Api::new(&config.api_url);
        Self { shared: Arc::new(Shared { config, api, feed: feed::Feed::new() }) }
    }

    /// Every page and asset; nothing under `/api/v1`, so it can be merged with the API's router. Its fallback is the
    /// page for addresses that do not exist.
    pub fn router(&self) -> axum::Router {
        pages::router(self.shared.clone())
    }

    /// Follows the fleet over MQTT until `shutdown`, reconnecting for ever. Pages work without it, but stand still.
    pub async fn run(&self, shutdown: CancellationToken) {
        self.shared.feed.run(&self.shared.config, shutdown).await;
    }
}
