//! The board's folder: lock, serial number, boot count, `board.json`.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::BoardError;

/// Content of `board.json`: what a real board tells over USB.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct BoardIdentity {
    /// Board type, as in the relay's board files: `native`.
    pub board: String,
    /// Name of this board.
    pub name: String,
    /// Serial number, kept for the life of the folder.
    pub serial_number: String,
    /// Product name.
    pub product: String,
    /// Manufacturer.
    pub manufacturer: String,
    /// File name of the link to the terminal within the folder.
    pub port: String,
    /// Path of the terminal that the link points to while the board lives.
    pub terminal: String,
    /// Process id of the board.
    pub process: u32,
}

/// The folder, locked for this process.
#[derive(Debug)]
pub struct Folder {
    dir: PathBuf,
    _lock: File,
}

impl Folder {
    /// Makes the folder if need be and locks it.
    pub fn open(dir: &Path) -> Result<Self, BoardError> {
        let fail = |what, path: &Path| {
            let path = path.to_path_buf();
            move |source| BoardError::File { what, path, source }
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(fail("cannot create the board's folder", dir))?;
        let dir = dir.canonicalize().map_err(fail("cannot find the board's folder", dir))?;
        let path = dir.join("lock");
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(fail("cannot open", &path))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Folder { dir, _lock: lock }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(BoardError::InUse(dir)),
            Err(e) => Err(fail("cannot lock", &path)(e.into())),
        }
    }

    /// Path of a file in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Replaces a small file as a whole. Not synced: all of them can be made again.
    pub fn write(&self, name: &'static str, content: &[u8]) -> Result<(), BoardError> {
        let path = self.path(name);
        let new = self.path(&format!("{name}.new"));
        let written = (|| {
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            file.write_all(content)?;
            fs::rename(&new, &path)
        })();
        written.map_err(|source| BoardError::File { what: "cannot write", path, source })
    }

    /// The serial number, invented at the first call.
    pub fn serial_number(&self) -> Result<String, BoardError> {
        let path = self.path("serial-number");
        if let Ok(text) = fs::read_to_string(&path) {
            let text = text.trim();
            if !text.is_empty() && text.len() <= 64 && text.bytes().all(|b| b.is_ascii_alphanumeric()) {
                return Ok(text.to_owned());
            }
        }
        let mut random = [0; 6];
        File::open("/dev/urandom")
            .and_then(|mut file| file.read_exact(&mut random))
            .map_err(|source| BoardError::System { what: "cannot read /dev/urandom", source })?;
        let number: String = random.iter().map(|byte| format!("{byte:02X}")).collect();
        self.write("serial-number", number.as_bytes())?;
        Ok(number)
    }

    /// How often firmware was started so far.
    pub fn boot_count(&self) -> u32 {
        let text = fs::read_to_string(self.path("boot-count")).unwrap_or_default();
        text.trim().parse().unwrap_or(0)
    }

    /// Tells discovery who is here.
    pub fn publish(&self, identity: &BoardIdentity) -> Result<(), BoardError> {
        let json = serde_json::to_vec_pretty(identity)
            .map_err(|e| BoardError::System { what: "cannot write board.json", source: io::Error::other(e) })?;
        self.write("board.json", &json)
    }

    /// Replaces the link `name` by one to `target`, without a moment in which it is missing.
    pub fn link(&self, name: &'static str, target: &Path) -> Result<(), BoardError> {
        let path = self.path(name);
        let new = self.path(&format!("{name}.new"));
        let _ = fs::remove_file(&new); // left by a process that was killed right here
        std::os::unix::fs::symlink(target, &new)
            .and_then(|()| fs::rename(&new, &path))
            .map_err(|source| BoardError::File { what: "cannot link", path, source })
    }

    /// Takes the board away from discovery, at a clean exit.
    pub fn withdraw(&self) {
        for name in ["board.json", "tty"] {
            let _ = fs::remove_file(self.path(name)); // the lock tells the truth in any case
        }
    }
}
