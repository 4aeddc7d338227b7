//! The relay's own folder: lock, credential, sub-folders.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use contract::Code;
use rustix::fs::{FlockOperation, flock};
use zeroize::Zeroizing;

use crate::error::RelayError;
use crate::work::Failure;

/// The folder, locked as long as this lives.
#[derive(Debug)]
pub struct Folder {
    dir: PathBuf,
    _lock: File,
}

impl Folder {
    /// Makes the folder with its sub-folders (0700) if need be, and locks it.
    ///
    /// # Errors
    /// [`RelayError::InUse`] or [`RelayError::File`].
    pub fn open(dir: &Path) -> Result<Self, RelayError> {
        for dir in [dir.to_owned(), dir.join("blocks"), dir.join("artifacts"), dir.join("builds")] {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(&dir);
            made.map_err(|source| RelayError::File { what: "cannot create the folder", path: dir, source })?;
        }
        let dir = dir.canonicalize().map_err(|source| RelayError::File {
            what: "cannot find the folder",
            path: dir.to_owned(),
            source,
        })?;
        let path = dir.join("lock");
        let failed = |source| RelayError::File { what: "cannot lock", path: path.clone(), source };
        let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        let lock = lock.map_err(failed)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { dir, _lock: lock }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(RelayError::InUse(dir)),
            Err(error) => Err(failed(error.into())),
        }
    }

    /// The folder itself.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Path of something in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The relay's secret for the broker.
    ///
    /// # Errors
    /// [`RelayError::Missing`] before enrolment.
    pub fn token(&self) -> Result<Zeroizing<String>, RelayError> {
        let path = self.path("token");
        match fs::read_to_string(&path).map(Zeroizing::new) {
            Ok(text) if !text.trim().is_empty() => Ok(Zeroizing::new(text.trim().to_owned())),
            Ok(_) => Err(RelayError::Content { path, problem: "the token is empty; enrol this relay again".into() }),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Err(RelayError::Missing {
                path,
                help: "it holds this relay's secret; 'tinymlaas up' makes it, or copy it from where the relay was enrolled",
            }),
            Err(source) => Err(RelayError::File { what: "cannot read", path, source }),
        }
    }
}

/// Whether `need` bytes can be written in `dir` and leave `reserve` free. A disk that is filled to the last byte would
/// stop the journal, and with it the relay.
pub(crate) fn check_room(dir: &Path, need: u64, reserve: u64) -> Result<(), Failure> {
    // Where the system cannot tell, the write itself has to.
    let Ok(stat) = rustix::fs::statvfs(dir) else { return Ok(()) };
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    if free >= reserve.saturating_add(need) {
        return Ok(());
    }
    let mega = |bytes: u64| bytes.div_ceil(1024 * 1024);
    let message = format!(
        "the relay's disk has {} MB left; {} MB are needed, and {} MB are kept for the journal: make room in {} and try \
         again",
        free / (1024 * 1024),
        mega(need),
        mega(reserve),
        dir.display()
    );
    Err(Failure::new(Code::STORAGE_FULL, message))
}

/// Writes a file as a whole: before the rename the old one is there, after it the new one, synced.
pub(crate) fn replace_file(path: &Path, content: &[u8]) -> io::Result<()> {
    use std::io::Write as _;
    let new = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&new, path)
}

/// Makes renames within `dir` durable.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
