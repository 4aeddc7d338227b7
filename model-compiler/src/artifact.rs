//! The artifact of a compiled model: one deterministic tar, named by its digest.
//!
//! The same model, data and options give the same bytes on every machine: names
//! sorted, times and owners zero, mode 0644.

use contract::artifact::{ModelMeta, Sample, file};
use contract::ids::ArtifactId;
use sha2::{Digest, Sha256};

use crate::report::count;

/// A finished artifact.
#[derive(Debug, Clone, PartialEq)]
pub struct Artifact {
    /// `sha256:` and the hex digest of `tar`.
    pub id: ArtifactId,
    /// The files that `contract::artifact::file` names.
    pub tar: Vec<u8>,
    /// What `meta.json` holds.
    pub meta: ModelMeta,
}

/// What goes into an artifact.
#[derive(Debug, Clone)]
pub struct Contents<'a> {
    /// Generated C.
    pub model_c: &'a str,
    /// Its header.
    pub model_h: &'a str,
    /// Metadata; `golden_count` and `sample_count` are set by [`build`].
    pub meta: ModelMeta,
    /// Inputs with the outputs of the reference interpreter.
    pub golden: &'a [(Vec<i8>, Vec<i8>)],
    /// Held-out inputs with where they come from.
    pub samples: &'a [(Vec<i8>, Sample)],
}

/// Packs an artifact.
///
/// # Errors
/// Only if writing a tar into memory or JSON of plain data fails.
pub fn build(contents: Contents<'_>) -> Result<Artifact, std::io::Error> {
    let mut meta = contents.meta;
    meta.golden_count = count(contents.golden.len());
    meta.sample_count = count(contents.samples.len());
    let golden: Vec<u8> = contents
        .golden
        .iter()
        .flat_map(|(input, output)| input.iter().chain(output))
        .map(|value| value.cast_unsigned())
        .collect();
    let samples: Vec<u8> =
        contents.samples.iter().flat_map(|(input, _)| input).map(|value| value.cast_unsigned()).collect();
    let index: Vec<&Sample> = contents.samples.iter().map(|(_, sample)| sample).collect();
    let mut files = [
        (file::MODEL_C, contents.model_c.as_bytes().to_vec()),
        (file::MODEL_H, contents.model_h.as_bytes().to_vec()),
        (file::META, serde_json::to_vec_pretty(&meta)?),
        (file::GOLDEN, golden),
        (file::SAMPLES, samples),
        (file::SAMPLES_INDEX, serde_json::to_vec(&index)?),
    ];
    files.sort_by_key(|(name, _)| *name);
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in &files {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        builder.append_data(&mut header, name, bytes.as_slice())?;
    }
    let tar = builder.into_inner()?;
    let id = ArtifactId::from_digest(&Sha256::digest(&tar).into());
    Ok(Artifact { id, tar, meta })
}
