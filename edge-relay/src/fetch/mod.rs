//! Getting artifacts: a signed manifest, then numbered blocks, checked before anything of them is used.

mod ask;
mod blocks;
mod manifest;
mod store;
mod unpack;

use contract::Code;
use contract::artifact::{Manifest, SignedManifest};
use contract::command::Payload;
use contract::lifecycle::State;
use contract::request::{ResponseBody, Want};

pub use ask::Asker;
pub use manifest::{Checked, check};
pub(crate) use store::evict;
pub use store::{Artifact, Store};

use crate::folder::check_room;
use crate::relay::Relay;
use crate::trust;
use crate::work::{Failure, Halt, Ticket};

/// Share of a command's progress that fetching takes.
pub const SHARE: f32 = 0.3;

/// Gets the artifact that a command is about, from the cache where it can be.
///
/// # Errors
/// Why it cannot be had or trusted.
pub async fn artifact(relay: &Relay, ticket: &Ticket, what: &Payload, board: &str) -> Result<Artifact, Halt> {
    if let Payload::Artifact(id) = what
        && let Some(artifact) = relay.store.load(&relay.trust.keys(), id)
    {
        ticket.set_artifact(id);
        return Ok(artifact);
    }
    ticket.advance(relay, State::Fetching, 0.0, "asking for the manifest").await?;
    let (signed, checked) = manifest(relay, ticket, what, board).await?;
    if let Payload::Artifact(id) = what
        && *id != checked.manifest.artifact
    {
        let message = format!("asked for {id}, the manifest is for {}", checked.manifest.artifact);
        return Err(Failure::new(Code::ARTIFACT_INVALID, message).into());
    }
    ticket.set_artifact(&checked.manifest.artifact);
    if ticket.manifest.as_ref() != Some(&signed) {
        relay.journal.pin(&ticket.command.id, &signed).await?;
    }
    let alone = relay.store.flights.alone(checked.manifest.artifact.hex()).await;
    if let Some(artifact) = relay.store.load(&relay.trust.keys(), &checked.manifest.artifact) {
        return Ok(artifact);
    }
    // Blocks, the tar in memory, the unpacked files.
    check_room(&relay.config.dir, 2 * checked.manifest.size, relay.config.bounds.reserve)?;
    blocks::fetch(relay, ticket, &checked.manifest).await?;
    relay.store.complete(relay, signed, checked.manifest, alone).await.map_err(Halt::from)
}

/// The manifest that the command is about: the one it is pinned to, or else what the cloud says now. Where its signature
/// is of a key that this relay does not know, the fleet's key may have changed: the cloud is asked for the newer ones.
async fn manifest(
    relay: &Relay,
    ticket: &Ticket,
    what: &Payload,
    board: &str,
) -> Result<(SignedManifest, Checked), Failure> {
    if let Some(pinned) = &ticket.manifest {
        if let Ok(checked) = check(&relay.trust.keys(), pinned) {
            return Ok((pinned.clone(), checked));
        }
        // Checked when it was pinned; its key was retired since. The same artifact has a new manifest.
        if let Ok(manifest) = serde_json::from_str::<Manifest>(&pinned.document) {
            return trusted(relay, &Payload::Artifact(manifest.artifact), board).await;
        }
    }
    trusted(relay, what, board).await
}

async fn trusted(relay: &Relay, what: &Payload, board: &str) -> Result<(SignedManifest, Checked), Failure> {
    let signed = ask_for_manifest(relay, what, board).await?;
    let checked = match check(&relay.trust.keys(), &signed) {
        Err(failure) if failure.code == Code::SIGNATURE_INVALID => match trust::refresh(relay).await {
            Ok(()) => check(&relay.trust.keys(), &signed),
            Err(_) => Err(failure),
        },
        checked => checked,
    }?;
    Ok((signed, checked))
}

async fn ask_for_manifest(relay: &Relay, what: &Payload, board: &str) -> Result<SignedManifest, Failure> {
    let want = match what {
        Payload::Artifact(artifact) => Want::ArtifactManifest { artifact: artifact.clone() },
        Payload::Model(model) => Want::ModelManifest { model: model.clone(), board: board.to_owned() },
    };
    match relay.asker.ask(relay, want).await? {
        ResponseBody::Manifest { manifest } => Ok(manifest),
        _ => Err(Failure::new(Code::ARTIFACT_INVALID, "the cloud answered something else than a manifest")),
    }
}
