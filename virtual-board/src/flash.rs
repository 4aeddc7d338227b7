//! Flash memory: an image is staged in `staged.bin`, checked, and renamed to `flash.bin`.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::PathBuf;

use firmware::message::NakCode;
use sha2::{Digest, Sha256};

use crate::identity::Folder;

/// The board's flash.
#[derive(Debug)]
pub struct Flash {
    path: PathBuf,
    staged_path: PathBuf,
    dir: PathBuf,
    capacity: u32,
    content: Option<Content>,
    staged: Option<Staged>,
    /// The last request was a commit that succeeded: its repetition succeeds, too.
    committed: bool,
}

/// What is in flash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    /// Size in bytes.
    pub size: u32,
    /// SHA-256 of it.
    pub sha256: [u8; 32],
}

#[derive(Debug)]
struct Staged {
    file: File,
    announced: Content,
    received: u32,
}

impl Flash {
    /// The flash in `folder`. Throws away what was staged when the board was killed.
    pub fn open(folder: &Folder, capacity: u32) -> Self {
        let path = folder.path("flash.bin");
        let staged_path = folder.path("staged.bin");
        let _ = fs::remove_file(&staged_path); // mostly there is none
        let content = match fs::read(&path) {
            Ok(bytes) if !bytes.is_empty() => Some(content_of(&bytes)),
            Ok(_) => None,
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "cannot read the flash: it counts as empty");
                None
            }
        };
        Flash { path, staged_path, dir: folder.path(""), capacity, content, staged: None, committed: false }
    }

    /// What is in flash, `None` if it is empty.
    pub fn content(&self) -> Option<Content> {
        self.content
    }

    /// The executable.
    pub fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// Size of the flash in bytes.
    pub fn capacity(&self) -> u32 {
        self.capacity
    }

    /// Announces an image; what was staged before is gone.
    pub fn begin(&mut self, size: u32, sha256: [u8; 32]) -> Result<(), NakCode> {
        self.staged = None;
        self.committed = false;
        if size > self.capacity {
            return Err(NakCode::TooBig);
        }
        if size == 0 {
            return Err(NakCode::BadPayload);
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o700)
            .open(&self.staged_path)
            .map_err(|e| failed("open the staged image", &e))?;
        self.staged = Some(Staged { file, announced: Content { size, sha256 }, received: 0 });
        Ok(())
    }

    /// Takes a piece. One that is already there may come again.
    pub fn data(&mut self, offset: u32, data: &[u8]) -> Result<(), NakCode> {
        let staged = self.staged.as_mut().ok_or(NakCode::NotBegun)?;
        let end = u32::try_from(data.len()).ok().and_then(|len| offset.checked_add(len));
        let end = end.filter(|end| *end <= staged.announced.size).ok_or(NakCode::OutOfRange)?;
        if offset > staged.received {
            return Err(NakCode::OutOfOrder);
        }
        staged.file.write_all_at(data, u64::from(offset)).map_err(|e| failed("write the staged image", &e))?;
        staged.received = staged.received.max(end);
        Ok(())
    }

    /// Checks the staged image and swaps it in. Before the rename the old image is there,
    /// after it the new one; both are whole on the disk.
    pub fn commit(&mut self) -> Result<(), NakCode> {
        let Some(staged) = self.staged.take() else {
            return if self.committed { Ok(()) } else { Err(NakCode::NotBegun) };
        };
        let bytes = fs::read(&self.staged_path).map_err(|e| failed("read the staged image", &e))?;
        if staged.received != staged.announced.size || content_of(&bytes) != staged.announced {
            return Err(NakCode::BadDigest);
        }
        (|| {
            staged.file.set_permissions(fs::Permissions::from_mode(0o700))?;
            staged.file.sync_all()?;
            drop(staged.file); // an executable that is open for writing cannot be started
            fs::rename(&self.staged_path, &self.path)?;
            File::open(&self.dir)?.sync_all()
        })()
        .map_err(|e| failed("swap the image in", &e))?;
        self.content = Some(staged.announced);
        self.committed = true;
        Ok(())
    }

    /// Forgets what is staged: the bootloader is left.
    pub fn forget_staged(&mut self) {
        if self.staged.take().is_some()
            && let Err(error) = fs::remove_file(&self.staged_path)
        {
            tracing::warn!(%error, "cannot remove the staged image");
        }
    }

    /// Removes the firmware and what is staged.
    pub fn erase(&mut self) -> Result<(), NakCode> {
        self.staged = None;
        self.committed = false;
        for path in [&self.staged_path, &self.path] {
            match fs::remove_file(path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed("erase", &e)),
                _ => {}
            }
        }
        self.content = None;
        File::open(&self.dir).and_then(|dir| dir.sync_all()).map_err(|e| failed("sync the erased flash", &e))
    }
}

fn content_of(bytes: &[u8]) -> Content {
    Content { size: u32::try_from(bytes.len()).unwrap_or(u32::MAX), sha256: Sha256::digest(bytes).into() }
}

fn failed(what: &str, error: &io::Error) -> NakCode {
    tracing::error!(%error, "cannot {what}");
    NakCode::FlashFailed
}
