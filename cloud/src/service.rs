//! The cloud as a whole: opened, asked for its API, run.

use std::sync::{Arc, OnceLock};

use axum::Router;
use tokio::sync::{Mutex, Notify, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::api;
use crate::api::login_limit::LoginLimit;
use crate::config::CloudConfig;
use crate::credentials::Credentials;
use crate::db::Db;
use crate::error::CloudError;
use crate::ingest::Ingest;
use crate::mosquitto;
use crate::mqtt::{self, Inbox};
use crate::roster;
use crate::services::counters::Counters;
use crate::services::files::Kind;
use crate::services::sync::Duties;
use crate::services::{artifacts, cloud_commands, outbox, retention, sync};
use crate::shared::Shared;
use crate::signing::{ManifestSigner, make_folder};

/// Name of the database's file in the cloud's folder.
const DATABASE: &str = "cloud.db";

/// Passwords that are hashed at the same time.
const HASHING: usize = 2;

/// Requests of relays that wait to be looked at.
const REQUESTS: usize = 1024;

/// An open cloud: database, keys and files are there; nothing runs yet.
#[derive(Debug)]
pub struct Cloud {
    shared: Arc<Shared>,
}

impl Cloud {
    /// Opens the database (migrating it), the signing key and the credential file.
    ///
    /// # Errors
    /// [`CloudError`] names the file and what to do.
    pub async fn open(config: CloudConfig) -> Result<Self, CloudError> {
        make_folder(&config.dir)?;
        for kind in Kind::ALL {
            make_folder(&config.dir.join(kind.folder()))?;
        }
        let path = config.dir.join(DATABASE);
        let signer = ManifestSigner::open(&config.dir)?;
        let credentials = Credentials::open(&config.credentials)?;
        let db = Db::open(&path).await?;
        let counters = Counters::load(&db).await.map_err(|source| CloudError::Database { path, source })?;
        let shared = Shared {
            config,
            db,
            counters: Arc::new(counters),
            credentials,
            roster: Mutex::new(()),
            hashing: Semaphore::new(HASHING),
            signer,
            publisher: OnceLock::new(),
            inbox: OnceLock::new(),
            compiling: Mutex::new(()),
            outbox: Notify::new(),
            logins: LoginLimit::default(),
            uploads: Semaphore::new(api::UPLOADS),
        };
        if let Err(failure) = roster::open(&shared).await {
            return Err(CloudError::Roster(failure.to_string()));
        }
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Everything under `/api/v1`. Serve it with `into_make_service_with_connect_info::<SocketAddr>()`, so that wrong
    /// logins are counted per address.
    pub fn api(&self) -> Router {
        api::router(Arc::clone(&self.shared))
    }

    /// Every route of the API with who may use it, for documentation and tests.
    pub fn routes(&self) -> Vec<api::Route> {
        api::list(&self.shared)
    }

    /// The key that signs manifests: the base64 of its 32 public bytes, as `trusted.pub` of a relay holds it.
    pub fn public_key(&self) -> String {
        self.shared.signer.public_key()
    }

    /// Runs the MQTT services until `shutdown` is cancelled, then stores what is underway.
    ///
    /// # Errors
    /// [`CloudError`] if they cannot start, or if one of them ends by itself.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), CloudError> {
        let shared = self.shared;
        let (inbox, signals) = Inbox::new();
        // Set once, as the publisher below: a cloud is run once.
        let _ = shared.inbox.set(inbox.clone());
        let (connection, publisher) = mqtt::connect(&shared.config, inbox, Arc::clone(&shared.counters))?;
        let _ = shared.publisher.set(publisher.clone());
        let duties = Arc::new(Duties::default());
        let (request_sender, requests) = mpsc::channel(REQUESTS);
        let (task_sender, tasks) = mpsc::unbounded_channel();
        let ingest =
            Ingest::new(Arc::clone(&shared), publisher.clone(), Arc::clone(&duties), request_sender, task_sender);
        let mut services = tokio::task::JoinSet::new();
        services.spawn(ingest.run(signals, shutdown.clone()));
        services.spawn(sync::run(duties, publisher.clone(), shutdown.clone()));
        services.spawn(artifacts::run(Arc::clone(&shared), publisher.clone(), requests, shutdown.clone()));
        services.spawn(outbox::run(Arc::clone(&shared), publisher, shutdown.clone()));
        services.spawn(cloud_commands::run(Arc::clone(&shared), tasks, shutdown.clone()));
        if let Some(folder) = shared.config.mosquitto.clone() {
            services.spawn(mosquitto::run(Arc::clone(&shared), folder, shutdown.clone()));
        }
        services.spawn(retention::run(Arc::clone(&shared), shutdown.clone()));
        // None of them ends before it is told to; one that does has panicked, and half a cloud is none.
        let first = services.join_next().await;
        let ended_early = !shutdown.is_cancelled();
        shutdown.cancel();
        while services.join_next().await.is_some() {}
        connection.close().await;
        if let Err(error) = shared.counters.store(&shared.db).await {
            tracing::error!(%error, "cannot store the counters");
        }
        shared.db.clone().close().await;
        if ended_early {
            let reason = match first {
                Some(Err(error)) => error.to_string(),
                _ => "it returned".to_owned(),
            };
            return Err(CloudError::Service(reason));
        }
        Ok(())
    }
}
