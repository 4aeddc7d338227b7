//! Presence and state: retained documents for whoever comes late, published at each connect, at each change, and when
//! a host asks for a rebirth.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use contract::presence::Status;
use contract::state::{Host, RelayState};
use contract::stream::Stream;
use contract::timestamp::Timestamp;
use contract::topic::Topic;
use contract::wire;
use tokio::time::{Instant, sleep, sleep_until};

use crate::counters::lock;
use crate::error::{JournalError, RelayError};
use crate::mqtt::{self, Connection};
use crate::outbox;
use crate::relay::Relay;

/// Changes that follow each other this closely are published together.
const GATHER: Duration = Duration::from_millis(50);
/// How often counters are kept, bounds are enforced, and changed counters are published.
const HOUSEKEEPING: Duration = Duration::from_secs(10);
/// How often toolchains are looked for.
const PROBE: Duration = Duration::from_secs(60);

/// Publishes for ever.
///
/// # Errors
/// Only if the journal fails.
pub async fn run(relay: Arc<Relay>) -> Result<(), RelayError> {
    let mut up = relay.link.follow();
    let (mut housekeeping, mut probe) = (Instant::now() + HOUSEKEEPING, Instant::now());
    // The parts of the document that tell whether it changed.
    let mut last: Option<RelayState> = None;
    let mut born: Option<Connection> = None;
    loop {
        if Instant::now() >= probe {
            probe = Instant::now() + PROBE;
            let found = relay.builder.probe().await;
            *lock(&relay.toolchains) = found;
        }
        let connection = *up.borrow_and_update();
        if let Some(connection) = connection {
            // Compared with what was born, not with the last change seen: a connection may come up while this loop
            // is busy elsewhere.
            if born != Some(connection) {
                relay.link.subscribe(&subscriptions(&relay)).await;
                relay.trust.look.notify_one();
                birth(&relay, connection).await;
                born = Some(connection);
                last = None;
            }
            let state = document(&relay, connection).await?;
            if last.as_ref().is_none_or(|last| differs(last, &state)) {
                relay.journal.keep_state_version(state.version).await?;
                publish(&relay, &state).await;
                last = Some(state);
            }
        }
        tokio::select! {
            () = relay.devices.changed.notified() => sleep(GATHER).await,
            () = relay.rebirth.notified() => {
                if let Some(connection) = connection {
                    birth(&relay, connection).await;
                }
                last = None;
            }
            changed = up.changed() => {
                if changed.is_err() {
                    return Err(RelayError::Part("connection"));
                }
            }
            () = sleep_until(housekeeping) => {
                housekeeping = Instant::now() + HOUSEKEEPING;
                keep_house(&relay).await?;
            }
        }
    }
}

fn subscriptions(relay: &Relay) -> [Topic; 3] {
    let name = &relay.config.relay;
    [Topic::Commands(name.clone()), Topic::Responses(name.clone()), Topic::Sync(name.clone())]
}

async fn birth(relay: &Relay, connection: Connection) {
    publish_presence(relay, connection.epoch, Status::Online, None).await;
}

/// Publishes presence.
pub async fn publish_presence(relay: &Relay, epoch: u64, status: Status, reason: Option<&str>) {
    let presence = mqtt::presence(&relay.config.relay, relay.journal.id(), epoch, status, reason);
    let topic = Topic::Presence(relay.config.relay.clone()).to_string();
    if let Ok(payload) = wire::encode(&topic, &presence) {
        relay.link.publish(&topic, true, payload).await;
    }
}

async fn publish(relay: &Relay, state: &RelayState) {
    let topic = Topic::State(relay.config.relay.clone()).to_string();
    match wire::encode(&topic, state) {
        Ok(payload) => relay.link.publish(&topic, true, payload).await,
        Err(error) => tracing::error!(%error, "the state is not published: too many devices for one relay"),
    }
}

async fn document(relay: &Relay, connection: Connection) -> Result<RelayState, JournalError> {
    let mut outbox = BTreeMap::new();
    for stream in Stream::ALL {
        let (floor, next) = relay.journal.ends(stream).await?;
        outbox.insert(stream, next - floor);
    }
    Ok(RelayState {
        relay: relay.config.relay.clone(),
        journal: relay.journal.id().to_owned(),
        epoch: connection.epoch,
        version: relay.devices.version(),
        at: Timestamp::now(),
        agent: env!("CARGO_PKG_VERSION").to_owned(),
        host: host(),
        toolchains: lock(&relay.toolchains).clone(),
        devices: relay.devices.report(),
        key_list: relay.trust.version(),
        counters: relay.counters.all(),
        outbox,
    })
}

/// Whether a new document says anything new; how many messages wait does not.
fn differs(old: &RelayState, new: &RelayState) -> bool {
    let plain =
        |state: &RelayState| RelayState { at: Timestamp::from_micros(0), outbox: BTreeMap::new(), ..state.clone() };
    plain(old) != plain(new)
}

fn host() -> Host {
    let name =
        ["/proc/sys/kernel/hostname", "/etc/hostname"].iter().find_map(|path| std::fs::read_to_string(path).ok());
    Host {
        hostname: name.map_or_else(|| "unknown".to_owned(), |text| text.trim().to_owned()),
        os: std::env::consts::OS.to_owned(),
        arch: std::env::consts::ARCH.to_owned(),
    }
}

async fn keep_house(relay: &Relay) -> Result<(), JournalError> {
    let dropped = relay.journal.append(&[], |stream| outbox::bound(&relay.config.bounds, stream)).await?;
    for (stream, count) in dropped {
        relay.counters.add(&format!("dropped_{}", stream.as_str()), count);
    }
    if let Some(counters) = relay.counters.changed() {
        relay.journal.keep_counters(&counters).await?;
    }
    relay.journal.prune_commands(relay.config.bounds.history).await
}

/// Resident memory of this process in bytes, where the system tells.
pub fn resident_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1024)
}
