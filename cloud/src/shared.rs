//! What the services and the HTTP API share.

use std::sync::{Arc, OnceLock};

use contract::cloud_command::CloudEvent;
use contract::{RelayId, Timestamp, Topic};
use tokio::sync::{Mutex, Notify, Semaphore};

use crate::api::login_limit::LoginLimit;
use crate::config::CloudConfig;
use crate::credentials::Credentials;
use crate::db::Db;
use crate::mqtt::{Inbox, Publisher, Signal};
use crate::services::counters::Counters;
use crate::signing::ManifestSigner;

/// What the services and the HTTP API share.
#[derive(Debug)]
pub struct Shared {
    /// How the cloud was started.
    pub config: CloudConfig,
    /// The database.
    pub db: Db,
    /// Counters.
    pub counters: Arc<Counters>,
    /// Identities.
    pub credentials: Credentials,
    /// Held by whoever changes who there is.
    pub roster: Mutex<()>,
    /// Passwords that are hashed at the same time: each takes 19 MiB.
    pub hashing: Semaphore,
    /// Signs manifests.
    pub signer: ManifestSigner,
    /// The connection to the broker, once the services run.
    pub publisher: OnceLock<Publisher>,
    /// What ingest is told beside messages, once the services run.
    pub inbox: OnceLock<Inbox>,
    /// Held by whoever compiles: one model at a time.
    pub compiling: Mutex<()>,
    /// Wakes the task that publishes commands.
    pub outbox: Notify,
    /// Wrong logins.
    pub logins: LoginLimit,
    /// Uploads that are held in memory at the same time.
    pub uploads: Semaphore,
}

impl Shared {
    /// Whether the broker is there.
    pub fn mqtt_works(&self) -> bool {
        self.publisher.get().is_some_and(Publisher::is_connected)
    }

    /// Publishes an event of the cloud, if the broker is there: pages and scripts that watch reload; nobody depends on
    /// it.
    pub async fn announce(&self, event: &CloudEvent) {
        if let Some(publisher) = self.publisher.get() {
            publisher.publish(&Topic::CloudEvents, event).await;
        }
    }

    /// Makes a relay whose credential was taken away count as gone, unless it is heard of.
    pub fn doubt(&self, relay: Option<&str>) {
        let relay = relay.and_then(|relay| RelayId::new(relay).ok());
        if let (Some(inbox), Some(relay)) = (self.inbox.get(), relay) {
            // Fails only when the services stop.
            let _ = inbox.signal(Signal::Revoked(relay));
        }
    }

    /// Announces that a model, data set or artifact is new.
    pub async fn announce_change(&self, what: &str, name: &str) {
        let (what, name) = (what.to_owned(), name.to_owned());
        self.announce(&CloudEvent::Changed { at: Timestamp::now(), what, name }).await;
    }
}
