//! Start and stop: puts the parts together and waits for the first that ends.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use contract::presence::Status;
use rumqttc::AsyncClient;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::boards::Boards;
use crate::build::Builder;
use crate::config::RelayConfig;
use crate::counters::Counters;
use crate::device::worker::Worker;
use crate::device::{Registry, Slot, discover};
use crate::error::RelayError;
use crate::fetch::{Asker, Store};
use crate::folder::Folder;
use crate::journal::Journal;
use crate::mqtt::{self, Incoming, Link, Poller};
use crate::outbox::{Collector, Item, Outbox, Pump};
use crate::relay::{Relay, Tickets};
use crate::trust::{self, Trust};
use crate::work::resume;
use crate::{inbox, state};

/// Messages that may wait for the MQTT client.
const CLIENT_QUEUE: usize = 16;
/// How long saying goodbye may take.
const GOODBYE: Duration = Duration::from_secs(1);

/// What the parts take from the start besides the shared relay.
struct Ends {
    poller: Poller,
    incoming: mpsc::Receiver<Incoming>,
    items: mpsc::Receiver<Item>,
    workers: mpsc::UnboundedReceiver<Arc<Slot>>,
    fatal: mpsc::UnboundedReceiver<RelayError>,
}

/// Runs a relay until `shutdown` is cancelled.
///
/// Everything that was accepted or written before is taken up again, so whoever runs a relay simply starts it anew
/// after any error and after any kill.
///
/// # Errors
/// [`RelayError`]: a folder that cannot be used, a missing credential, a journal that fails.
pub async fn run(config: RelayConfig, shutdown: CancellationToken) -> Result<(), RelayError> {
    let folder = Folder::open(&config.dir)?;
    let (relay, ends) = assemble(config, &folder, shutdown.clone()).await?;
    for row in relay.journal.devices().await? {
        relay.devices.add(Arc::new(Slot::new(row)));
    }
    resume::run(&relay).await?;
    // Those of the journal; whatever is found later gets its worker there.
    for slot in relay.devices.all() {
        relay.start_worker(slot);
    }

    let mut tasks: JoinSet<Result<(), RelayError>> = JoinSet::new();
    tasks.spawn(ends.poller.run());
    tasks.spawn(inbox::run(relay.clone(), ends.incoming));
    tasks.spawn(state::run(relay.clone()));
    tasks.spawn(discover::run(relay.clone()));
    tasks.spawn(trust::run(relay.clone()));
    let (journal, signal) = (relay.journal.clone(), relay.outbox.signal().clone());
    let (name, counters) = (relay.config.relay.clone(), relay.counters.clone());
    let collector = Collector {
        relay: name.clone(),
        items: ends.items,
        journal: journal.clone(),
        bounds: relay.config.bounds.clone(),
        counters: counters.clone(),
        signal: signal.clone(),
    };
    tasks.spawn(collector.run());
    tasks.spawn(Pump { relay: name, journal, link: relay.link.clone(), signal, counters }.run());

    tracing::info!(relay = %relay.config.relay, dir = %folder.dir().display(), "relay started");
    let result = supervise(&relay, &mut tasks, ends.workers, ends.fatal).await;
    shutdown.cancel();
    for slot in relay.devices.all() {
        slot.disturb();
    }
    if result.is_ok() {
        let _ = tokio::time::timeout(GOODBYE, goodbye(&relay)).await;
    }
    tasks.shutdown().await;
    relay.builder.stop().await;
    if let Some(counters) = relay.counters.changed() {
        relay.journal.keep_counters(&counters).await?;
    }
    tracing::info!(relay = %relay.config.relay, "relay stopped");
    result
}

async fn assemble(
    config: RelayConfig,
    folder: &Folder,
    shutdown: CancellationToken,
) -> Result<(Arc<Relay>, Ends), RelayError> {
    let (token, trust) = (folder.token()?, Trust::open(folder.dir())?);
    let journal = Arc::new(Journal::open(&folder.path("relay.db")).await?);
    let counters = Arc::new(Counters::new(journal.counters().await?));
    let (client, event_loop) = AsyncClient::new(mqtt::options(&config, &token), CLIENT_QUEUE);
    let (up, connection) = watch::channel(None);
    let (inbox, incoming) = mpsc::channel(mqtt::INBOX);
    let (outbox, items) = Outbox::new(counters.clone());
    let (workers, started) = mpsc::unbounded_channel();
    let (fatal, failed) = mpsc::unbounded_channel();
    let builds = folder.path("builds");
    let builder = Builder::new(&builds, config.bounds.builds, config.timeouts.build, config.builds)
        .map_err(|source| RelayError::File { what: "cannot use the folder", path: builds, source })?;
    builder.sweep().await;
    let poller =
        Poller { event_loop, config: config.clone(), journal: journal.clone(), counters: counters.clone(), up, inbox };
    let relay = Relay {
        trust,
        devices: Registry::starting_at(journal.state_version().await?),
        store: Store::new(folder.dir(), config.bounds.artifacts),
        config: RelayConfig { dir: folder.dir().to_owned(), ..config },
        journal,
        counters,
        link: Link::new(client, connection),
        outbox,
        boards: Boards::with_folder(&folder.path("boards")),
        tickets: Tickets::default(),
        asker: Asker::default(),
        builder,
        toolchains: Mutex::default(),
        rescan: Notify::new(),
        scanned: watch::channel(0).0,
        rebirth: Notify::new(),
        workers,
        fatal,
        shutdown,
        started: std::time::Instant::now(),
    };
    Ok((Arc::new(relay), Ends { poller, incoming, items, workers: started, fatal: failed }))
}

/// Starts workers as devices appear, until the relay is to stop or something fails.
async fn supervise(
    relay: &Arc<Relay>,
    tasks: &mut JoinSet<Result<(), RelayError>>,
    mut workers: mpsc::UnboundedReceiver<Arc<Slot>>,
    mut fatal: mpsc::UnboundedReceiver<RelayError>,
) -> Result<(), RelayError> {
    loop {
        tokio::select! {
            biased;
            () = relay.shutdown.cancelled() => return Ok(()),
            Some(error) = fatal.recv() => return Err(error),
            Some(slot) = workers.recv() => {
                let worker = Worker::new(relay.clone(), slot);
                tasks.spawn(async move {
                    worker.run().await;
                    Ok(())
                });
            }
            Some(ended) = tasks.join_next() => match ended {
                // A worker that saw the shutdown first.
                Ok(Ok(())) if relay.shutdown.is_cancelled() => {}
                Ok(Ok(())) => return Err(RelayError::Part("task")),
                Ok(Err(error)) => return Err(error),
                Err(error) => {
                    tracing::error!(%error, "a part of the relay panicked");
                    return Err(RelayError::Part("task"));
                }
            },
        }
    }
}

/// Says that the relay stops, so that hosts need not wait for the broker to notice.
async fn goodbye(relay: &Relay) {
    if let Some(connection) = relay.link.connection() {
        state::publish_presence(relay, connection.epoch, Status::Offline, Some("stopped")).await;
        relay.link.disconnect().await;
        // The client sends in its own task; its connection ends when it has.
        let mut up = relay.link.follow();
        while up.borrow_and_update().is_some() && up.changed().await.is_ok() {}
    }
}
