//! Manifests of artifacts.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use contract::ArtifactId;
use contract::artifact::SignedManifest;

use super::extract::Path;
use super::refusal::Refusal;
use crate::services::{Failure, artifacts};
use crate::shared::Shared;

/// `GET /artifacts/{artifact}/manifest`
pub async fn manifest(
    State(shared): State<Arc<Shared>>,
    Path(artifact): Path<String>,
) -> Result<Json<SignedManifest>, Refusal> {
    let artifact = ArtifactId::new(artifact).map_err(Failure::from)?;
    Ok(Json(artifacts::manifest(&shared, &artifact).await?))
}
