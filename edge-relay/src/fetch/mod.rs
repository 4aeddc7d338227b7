//! Getting artifacts: a signed manifest, then numbered blocks, checked before anything of them is used.

mod ask;
mod blocks;
mod manifest;
mod store;
mod unpack;

use contract::artifact::SignedManifest;
use contract::command::Payload;
use contract::lifecycle::State;
use contract::request::{ResponseBody, Want};

pub use ask::Asker;
pub use manifest::{Checked, check};
pub(crate) use store::evict;
pub use store::{Artifact, Store};

use crate::folder::check_room;
use crate::relay::Relay;
use crate::work::{Failure, Halt, Ticket};

/// Share of a command's progress that fetching takes.
pub const SHARE: f32 = 0.3;

/// Gets the artifact that a command is about, from the cache where it can be.
///
/// # Errors
/// Why it cannot be had or trusted.
pub async fn artifact(relay: &Relay, ticket: &Ticket, what: &Payload, board: &str) -> Result<Artifact, Halt> {
    if let Payload::Artifact(id) = what
        && let Some(artifact) = relay.store.load(&relay.trusted, id)
    {
        ticket.set_artifact(id);
        return Ok(artifact);
    }
    ticket.advance(relay, State::Fetching, 0.0, "asking for the manifest").await?;
    let signed = match &ticket.manifest {
        Some(signed) => signed.clone(),
        None => ask_for_manifest(relay, what, board).await?,
    };
    let checked = check(&relay.trusted, &signed)?;
    if let Payload::Artifact(id) = what
        && *id != checked.manifest.artifact
    {
        let message = format!("asked for {id}, the manifest is for {}", checked.manifest.artifact);
        return Err(Failure::new(contract::Code::ARTIFACT_INVALID, message).into());
    }
    ticket.set_artifact(&checked.manifest.artifact);
    if ticket.manifest.is_none() {
        relay.journal.pin(&ticket.command.id, &signed).await?;
    }
    let alone = relay.store.flights.alone(checked.manifest.artifact.hex()).await;
    if let Some(artifact) = relay.store.load(&relay.trusted, &checked.manifest.artifact) {
        return Ok(artifact);
    }
    // Blocks, the tar in memory, the unpacked files.
    check_room(&relay.config.dir, 2 * checked.manifest.size, relay.config.bounds.reserve)?;
    blocks::fetch(relay, ticket, &checked.manifest).await?;
    relay.store.complete(relay, signed, checked.manifest, alone).await.map_err(Halt::from)
}

async fn ask_for_manifest(relay: &Relay, what: &Payload, board: &str) -> Result<SignedManifest, Failure> {
    let want = match what {
        Payload::Artifact(artifact) => Want::ArtifactManifest { artifact: artifact.clone() },
        Payload::Model(model) => Want::ModelManifest { model: model.clone(), board: board.to_owned() },
    };
    match relay.asker.ask(relay, want).await? {
        ResponseBody::Manifest { manifest } => Ok(manifest),
        _ => Err(Failure::new(contract::Code::ARTIFACT_INVALID, "the cloud answered something else than a manifest")),
    }
}
