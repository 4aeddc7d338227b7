//! Artifacts: their manifests and blocks, for relays that ask over MQTT and people who ask over HTTP.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use contract::artifact::SignedManifest;
use contract::limits::{BLOCK_BYTES, MAX_PACKET_BYTES};
use contract::request::{Request, Response, ResponseBody, Want};
use contract::settings::Settings;
use contract::wire::decode;
use contract::{ArtifactId, Code, ModelRef, RelayId, Topic};
use sea_orm::EntityTrait;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::failure::Failure;
use super::files::{self, Kind};
use super::{compile, models};
use crate::db::entity::artifacts;
use crate::mqtt::Publisher;
use crate::shared::Shared;

/// Requests that are answered at the same time; a compilation that is waited for is one of them.
const SIDE_BY_SIDE: usize = 64;
/// How long a request may take, a compilation included. Relays ask again earlier.
const PATIENCE: Duration = Duration::from_secs(600);
/// Longest id of a request that is repeated in the answer, in bytes.
const MAX_REQUEST_ID: usize = 128;

/// Answers requests until `shutdown`.
pub async fn run(
    shared: Arc<Shared>,
    publisher: Publisher,
    mut requests: mpsc::Receiver<(RelayId, Vec<u8>)>,
    shutdown: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(SIDE_BY_SIDE));
    loop {
        let (relay, payload) = tokio::select! {
            request = requests.recv() => match request {
                Some(request) => request,
                None => return,
            },
            () = shutdown.cancelled() => return,
        };
        let request = match read(&relay, &payload) {
            Ok(request) => request,
            Err(reason) => {
                shared.counters.add("malformed_requests", 1);
                tracing::debug!(%relay, %reason, "dropped a request");
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            let message = "the cloud answers too many requests already; ask again in a few seconds";
            let body = ResponseBody::Error { code: Code::UNAVAILABLE, message: message.into() };
            publisher.publish(&Topic::Responses(relay), &Response { request: request.request, body }).await;
            continue;
        };
        let (shared, publisher) = (Arc::clone(&shared), publisher.clone());
        tokio::spawn(async move {
            let answer = tokio::time::timeout(PATIENCE, answer(&shared, &request.want)).await;
            let body = answer.unwrap_or_else(|_| {
                let message = "it took too long; ask again";
                Err(Failure::refuse(Code::UNAVAILABLE, message))
            });
            let body = body.unwrap_or_else(|failure| {
                let (code, message, _) = failure.into_answer();
                ResponseBody::Error { code, message }
            });
            publisher.publish(&Topic::Responses(relay), &Response { request: request.request, body }).await;
            drop(place);
        });
    }
}

fn read(relay: &RelayId, payload: &[u8]) -> Result<Request, String> {
    let request: Request = decode(payload, MAX_PACKET_BYTES).map_err(|malformed| malformed.message)?;
    if request.relay != *relay {
        return Err(format!("it came on a topic of '{relay}' and claims to be from '{}'", request.relay));
    }
    if request.request.len() > MAX_REQUEST_ID {
        return Err(format!("'request' has more than {MAX_REQUEST_ID} bytes"));
    }
    Ok(request)
}

async fn answer(shared: &Shared, want: &Want) -> Result<ResponseBody, Failure> {
    match want {
        Want::ArtifactManifest { artifact } => {
            Ok(ResponseBody::Manifest { manifest: manifest(shared, artifact).await? })
        }
        Want::ModelManifest { model, board } => {
            Ok(ResponseBody::Manifest { manifest: model_manifest(shared, model, board).await? })
        }
        Want::Block { artifact, index } => block(shared, artifact, *index).await,
        Want::Keys { since } => Ok(ResponseBody::Keys { lists: shared.signer.lists(*since) }),
    }
}

/// The signed manifest of an artifact; where several versions of a model came out as the same artifact, the newest's.
///
/// # Errors
/// `artifact_not_found`.
pub async fn manifest(shared: &Shared, artifact: &ArtifactId) -> Result<SignedManifest, Failure> {
    let row = artifacts::Entity::find_by_id(artifact.as_str()).one(shared.db.read()).await?;
    let row = row.ok_or_else(|| not_found(artifact))?;
    compile::signed_today(shared, row.manifest.as_deref())
        .ok_or_else(|| Failure::Internal(format!("the manifest of {artifact} is damaged")))
}

async fn model_manifest(shared: &Shared, model: &ModelRef, board: &str) -> Result<SignedManifest, Failure> {
    let row = compile::compile(shared, model, &Settings::default()).await?;
    let view = models::view(row.clone())?;
    let report = view.report.iter().flat_map(|report| &report.boards).find(|report| report.board == board);
    if let Some(report) = report.filter(|report| !report.fits) {
        let message = format!("{} on {board}: {}", view.model, report.verdict);
        return Err(Failure::refuse(Code::DOES_NOT_FIT, message));
    }
    compile::manifest(shared, &row)
}

async fn block(shared: &Shared, artifact: &ArtifactId, index: u32) -> Result<ResponseBody, Failure> {
    let known = artifacts::Entity::find_by_id(artifact.as_str()).one(shared.db.read()).await?;
    let size = known.ok_or_else(|| not_found(artifact))?.size.cast_unsigned();
    let offset = u64::from(index) * BLOCK_BYTES as u64;
    if offset >= size {
        let blocks = size.div_ceil(BLOCK_BYTES as u64);
        let message = format!("there is no block {index}; the artifact has {blocks} blocks, counted from 0");
        return Err(Failure::field(Code::INVALID_FIELD, "index", message));
    }
    let path = Kind::Artifact.path(&shared.config.dir, artifact.hex());
    let bytes = tokio::task::spawn_blocking(move || files::read_block(&path, offset, BLOCK_BYTES)).await??;
    let sha256 = files::digest(&bytes);
    Ok(ResponseBody::Block { artifact: artifact.clone(), index, data: STANDARD.encode(bytes), sha256 })
}

fn not_found(artifact: &ArtifactId) -> Failure {
    Failure::field(Code::ARTIFACT_NOT_FOUND, "artifact", format!("the cloud has no artifact {artifact}"))
}
