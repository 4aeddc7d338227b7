//! Compiled parts of the firmware that no model changes, by everything that decides about them.

use std::path::{Path, PathBuf};

use crate::fetch::evict;
use crate::folder::{replace_file, sync_dir};

/// Room for them in bytes; one takes a few kilobytes.
const BOUND: u64 = 8 * 1024 * 1024;

/// A folder with one folder for each.
#[derive(Debug, Clone)]
pub struct Objects(PathBuf);

impl Objects {
    /// Kept in `dir`.
    ///
    /// # Errors
    /// The disk's.
    pub fn new(dir: PathBuf) -> std::io::Result<Self> {
        std::fs::create_dir_all(&dir)?;
        Ok(Self(dir))
    }

    /// Copies the one with this key to `to`; false if there is none.
    ///
    /// # Errors
    /// The disk's, when the copy is written.
    pub fn take(&self, key: &str, to: &Path) -> std::io::Result<bool> {
        let Ok(bytes) = std::fs::read(self.0.join(key).join("core.o")) else { return Ok(false) };
        // The time of the folder tells when it was needed last.
        let _ = std::fs::File::open(self.0.join(key)).and_then(|dir| dir.set_modified(std::time::SystemTime::now()));
        std::fs::write(to, bytes)?;
        Ok(true)
    }

    /// Keeps the file `from`. Two that do it at the same time keep the same.
    ///
    /// # Errors
    /// The disk's.
    pub fn keep(&self, key: &str, from: &Path) -> std::io::Result<()> {
        let dir = self.0.join(key);
        std::fs::create_dir_all(&dir)?;
        replace_file(&dir.join("core.o"), &std::fs::read(from)?)?;
        sync_dir(&dir)?;
        evict(&self.0, BOUND, &[key]);
        Ok(())
    }
}
