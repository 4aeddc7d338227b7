//! A build's or a flash's folder; removed when the work is over, however it ends. What a killed relay leaves is removed
//! by [`super::process::sweep`].

use std::path::{Path, PathBuf};

/// A folder of its own under the folder for work.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// Makes it.
    ///
    /// # Errors
    /// The disk's.
    pub fn make(work: &Path) -> std::io::Result<Self> {
        let dir = work.join(uuid::Uuid::now_v7().simple().to_string());
        std::fs::create_dir_all(&dir)?;
        Ok(Self(dir))
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.0
    }

    /// Path of something in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(dir = %self.0.display(), %error, "cannot remove a folder for work");
        }
    }
}
