//! `relays/{relay}/requests` and `…/responses`: how a relay gets manifests, blocks and keys.

use serde::{Deserialize, Serialize};

use crate::artifact::SignedManifest;
use crate::code::Code;
use crate::ids::{ArtifactId, ModelRef, RelayId};
use crate::keys::SignedKeyList;

/// What a relay asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Chosen by the relay; the response repeats it.
    pub request: String,
    /// Who asks.
    pub relay: RelayId,
    /// What for.
    #[serde(flatten)]
    pub want: Want,
}

/// What a relay asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "want", rename_all = "snake_case")]
pub enum Want {
    /// The manifest of an artifact.
    ArtifactManifest {
        /// Which one.
        artifact: ArtifactId,
    },
    /// The manifest of the artifact of a model; the cloud compiles it first if need be.
    ModelManifest {
        /// Which model.
        model: ModelRef,
        /// The board type that it is for.
        board: String,
    },
    /// One block of an artifact.
    Block {
        /// Which artifact.
        artifact: ArtifactId,
        /// Number of the block, from 0; it begins at `index * block_bytes` of the manifest.
        index: u32,
    },
    /// The lists of signing keys that are newer than one.
    Keys {
        /// Version of the list that the relay follows; 0 where it only has the keys of its enrolment.
        since: u64,
    },
}

/// The cloud's answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Response {
    /// Which request this answers.
    pub request: String,
    /// The answer.
    #[serde(flatten)]
    pub body: ResponseBody,
}

/// The cloud's answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ResponseBody {
    /// A manifest with its signature.
    Manifest {
        /// The signed document.
        manifest: SignedManifest,
    },
    /// A block.
    Block {
        /// Of which artifact.
        artifact: ArtifactId,
        /// Which one, from 0.
        index: u32,
        /// Its bytes in base64.
        data: String,
        /// SHA-256 of its bytes, 64 hex digits.
        sha256: String,
    },
    /// Lists of signing keys, oldest first. It also comes without a request, with `request` empty, when the cloud has
    /// replaced its key.
    Keys {
        /// Signed lists, at most [`crate::keys::MAX_LISTS`].
        lists: Vec<SignedKeyList>,
    },
    /// The request cannot be answered.
    Error {
        /// Why, for machines.
        code: Code,
        /// Why, for people.
        message: String,
    },
}
