//! Blocks: asked for by number, a few at a time, kept one by one so that a cut resumes.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use contract::Code;
use contract::artifact::Manifest;
use contract::ids::ArtifactId;
use contract::request::{ResponseBody, Want};
use futures_util::stream::{self, StreamExt as _};
use sha2::{Digest as _, Sha256};

use super::{Checked, SHARE};
use crate::folder::replace_file;
use crate::relay::Relay;
use crate::work::{Failure, Halt, Ticket};

/// Blocks asked for at the same time.
const WINDOW: usize = 4;
/// How often a block that arrives damaged is asked for again.
const TRIES: u32 = 4;

/// Gets every block that is not here yet.
pub async fn fetch(relay: &Relay, ticket: &Ticket, manifest: &Manifest) -> Result<(), Halt> {
    let dir = relay.store.blocks(&manifest.artifact);
    std::fs::create_dir_all(&dir).map_err(|e| Failure::storage("cannot keep the artifact's blocks", &e))?;
    let missing: Vec<u32> = (0..manifest.blocks).filter(|index| !is_here(&dir, manifest, *index)).collect();
    let mut here = manifest.blocks as usize - missing.len();
    if let Some(device) = ticket.device() {
        let text = format!("fetching {}: {here} of {} blocks are here", manifest.artifact, manifest.blocks);
        relay.outbox.line(device, Some(&ticket.command.id), contract::log::Phase::Fetch, &text);
    }
    let mut blocks = stream::iter(missing).map(|index| block(relay, manifest, index, &dir)).buffer_unordered(WINDOW);
    while let Some(done) = blocks.next().await {
        done?;
        here += 1;
        ticket.progress(relay, SHARE * here as f32 / manifest.blocks as f32).await?;
    }
    Ok(())
}

/// A block is written under another name and renamed, so a file of the right size is whole; the digest of the
/// artifact is checked in any case.
fn is_here(dir: &Path, manifest: &Manifest, index: u32) -> bool {
    let len = std::fs::metadata(dir.join(index.to_string())).map(|meta| meta.len()).ok();
    len == Some(Checked::block_len(manifest, index))
}

async fn block(relay: &Relay, manifest: &Manifest, index: u32, dir: &Path) -> Result<(), Failure> {
    let mut tries = 0;
    loop {
        let want = Want::Block { artifact: manifest.artifact.clone(), index };
        let answer = relay.asker.ask(relay, want).await?;
        match open(&manifest.artifact, index, Checked::block_len(manifest, index), answer) {
            Ok(bytes) => {
                let path = dir.join(index.to_string());
                let kept = tokio::task::spawn_blocking(move || replace_file(&path, &bytes)).await;
                return match kept {
                    Ok(Ok(())) => Ok(()),
                    Ok(Err(error)) => Err(Failure::storage("cannot keep a block", &error)),
                    Err(_) => Err(Failure::new(Code::INTERNAL, "keeping a block failed")),
                };
            }
            Err(problem) => {
                relay.counters.add("bad_blocks", 1);
                tries += 1;
                if tries >= TRIES {
                    let message = format!("block {index} arrived damaged {tries} times: {problem}");
                    return Err(Failure::new(Code::DIGEST_MISMATCH, message));
                }
            }
        }
    }
}

fn open(artifact: &ArtifactId, index: u32, len: u64, answer: ResponseBody) -> Result<Vec<u8>, String> {
    let ResponseBody::Block { artifact: of, index: number, data, sha256 } = answer else {
        return Err("the answer is no block".to_owned());
    };
    if of != *artifact || number != index {
        return Err(format!("the answer is block {number} of {of}"));
    }
    let bytes = STANDARD.decode(&data).map_err(|error| format!("it is no base64: {error}"))?;
    if bytes.len() as u64 != len {
        return Err(format!("it has {} bytes instead of {len}", bytes.len()));
    }
    let digest: [u8; 32] = Sha256::digest(&bytes).into();
    if ArtifactId::from_digest(&digest).hex() != sha256 {
        return Err("its digest is wrong".to_owned());
    }
    Ok(bytes)
}
