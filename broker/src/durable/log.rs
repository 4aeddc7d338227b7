//! The file of the durable store: an append-only log of records, each with its length and a digest.
//! A tail torn by a crash is cut off at the next start; a log that is mostly dead is written anew.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::Message;

const FILE: &str = "durable.log";
const NEW_FILE: &str = "durable.log.new";
const LOCK_FILE: &str = "lock";

/// Length (u32) and digest (first 8 bytes of SHA-256) before each body.
const HEADER: usize = 12;
/// Kind, id, milliseconds, QoS, topic length.
const PUT_HEADER: usize = 1 + 8 + 8 + 1 + 2;
const PUT: u8 = 1;
const DONE: u8 = 2;
/// No body is longer: a packet is at most 256 KiB.
const LONGEST: usize = 1024 * 1024;
/// A smaller file is never compacted.
const SMALL: u64 = 4 * 1024 * 1024;

/// One entry of the log.
pub(super) enum Record<'a> {
    /// A message has come.
    Put(&'a Message),
    /// The message with this id is no longer needed.
    Done(u64),
}

/// The open log; the lock file keeps a second broker out of the folder.
pub(super) struct Log {
    folder: PathBuf,
    file: File,
    length: u64,
    buffer: Vec<u8>,
    _lock: File,
}

impl Log {
    /// Opens the log, repairs its tail and returns the messages that are not done, oldest first.
    pub(super) fn open(folder: &Path) -> io::Result<(Self, Vec<Message>)> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let lock = options().open(folder.join(LOCK_FILE))?;
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| io::Error::new(io::ErrorKind::AddrInUse, "another broker uses this folder"))?;
        let mut file = options().open(folder.join(FILE))?;
        let mut content = Vec::new();
        file.read_to_end(&mut content)?;
        let (messages, good) = replay(&content);
        if good < content.len() {
            let lost = content.len() - good;
            tracing::warn!(bytes = lost, "the durable log had a torn tail; it was cut off");
            file.set_len(good as u64)?;
            file.sync_data()?;
        }
        // The folder entry of a file just made must survive too.
        File::open(folder)?.sync_all()?;
        let mut log = Self {
            folder: folder.to_owned(),
            file: append(&folder.join(FILE))?,
            length: good as u64,
            buffer: Vec::new(),
            _lock: lock,
        };
        let live: u64 = messages.values().map(|message| message.size() as u64).sum();
        if log.wants_compaction(live) {
            log.compact(messages.values())?;
        }
        Ok((log, messages.into_values().collect()))
    }

    /// Adds a record to what the next commit writes.
    pub(super) fn push(&mut self, record: &Record<'_>) {
        encode(&mut self.buffer, record);
    }

    /// Writes what was pushed; with `sync` it is on disk afterwards. After an error nothing of it counts.
    pub(super) fn commit(&mut self, sync: bool) -> io::Result<()> {
        let buffer = std::mem::take(&mut self.buffer);
        let mut result = self.file.write_all(&buffer);
        if sync && result.is_ok() {
            result = self.file.sync_data();
        }
        match result {
            Ok(()) => {
                self.length += buffer.len() as u64;
                Ok(())
            }
            Err(error) => {
                // Half a record in the middle would hide all that follows.
                self.file.set_len(self.length)?;
                Err(error)
            }
        }
    }

    /// Whether most of the file is dead, given the bytes that live messages need.
    pub(super) fn wants_compaction(&self, live: u64) -> bool {
        self.length > SMALL && live * 2 < self.length
    }

    /// Writes `messages` to a new file and puts it in place of the old.
    pub(super) fn compact<'a>(&mut self, messages: impl Iterator<Item = &'a Message>) -> io::Result<()> {
        let path = self.folder.join(NEW_FILE);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = options().open(&path)?;
        let mut buffer = Vec::new();
        for message in messages {
            encode(&mut buffer, &Record::Put(message));
        }
        file.write_all(&buffer)?;
        file.sync_all()?;
        std::fs::rename(&path, self.folder.join(FILE))?;
        File::open(&self.folder)?.sync_all()?;
        self.file = append(&self.folder.join(FILE))?;
        self.length = buffer.len() as u64;
        Ok(())
    }
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    options
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).open(path)
}

fn encode(out: &mut Vec<u8>, record: &Record<'_>) {
    let start = out.len();
    out.extend([0; HEADER]);
    match record {
        Record::Put(message) => {
            out.push(PUT);
            out.extend(message.id.to_le_bytes());
            out.extend(message.at.to_le_bytes());
            out.push(message.qos);
            // Topics come out of MQTT strings, whose length has 16 bits.
            out.extend((message.topic.len() as u16).to_le_bytes());
            out.extend(message.topic.as_bytes());
            out.extend(&message.payload);
        }
        Record::Done(id) => {
            out.push(DONE);
            out.extend(id.to_le_bytes());
        }
    }
    let length = (out.len() - start - HEADER) as u32;
    let digest = Sha256::digest(&out[start + HEADER..]);
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    out[start + 4..start + HEADER].copy_from_slice(&digest[..8]);
}

/// Reads a log: the messages not done, by id, and how many bytes of it are sound.
fn replay(content: &[u8]) -> (BTreeMap<u64, Message>, usize) {
    let mut messages = BTreeMap::new();
    let mut position = 0;
    while let Some((body, end)) = next_body(content, position) {
        match decode(body) {
            Some(Entry::Put(message)) => {
                messages.insert(message.id, message);
            }
            Some(Entry::Done(id)) => {
                messages.remove(&id);
            }
            None => break,
        }
        position = end;
    }
    (messages, position)
}

fn next_body(content: &[u8], position: usize) -> Option<(&[u8], usize)> {
    let header = content.get(position..position + HEADER)?;
    let length = u32::from_le_bytes(header[..4].try_into().ok()?) as usize;
    if length > LONGEST {
        return None;
    }
    let end = position + HEADER + length;
    let body = content.get(position + HEADER..end)?;
    (Sha256::digest(body)[..8] == header[4..]).then_some((body, end))
}

enum Entry {
    Put(Message),
    Done(u64),
}

fn decode(body: &[u8]) -> Option<Entry> {
    let number = |at: usize| Some(u64::from_le_bytes(body.get(at..at + 8)?.try_into().ok()?));
    match *body.first()? {
        PUT => {
            let qos = *body.get(17)?;
            let topic_length = u16::from_le_bytes(body.get(18..PUT_HEADER)?.try_into().ok()?);
            let topic_end = PUT_HEADER + usize::from(topic_length);
            let topic = std::str::from_utf8(body.get(PUT_HEADER..topic_end)?).ok()?;
            Some(Entry::Put(Message {
                id: number(1)?,
                at: number(9)?,
                qos,
                topic: Arc::from(topic),
                payload: Bytes::copy_from_slice(&body[topic_end..]),
            }))
        }
        DONE => Some(Entry::Done(number(1)?)),
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn message(id: u64, payload: &[u8]) -> Message {
        Message { id, at: 1, qos: 1, topic: "a/b".into(), payload: Bytes::copy_from_slice(payload) }
    }

    fn write(log: &mut Log, ids: std::ops::Range<u64>, payload: &[u8]) {
        for id in ids {
            log.push(&Record::Put(&message(id, payload)));
        }
        log.commit(true).unwrap();
    }

    #[test]
    fn what_was_committed_comes_back_and_what_is_done_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let (mut log, found) = Log::open(folder.path()).unwrap();
        assert!(found.is_empty());
        write(&mut log, 1..4, b"x");
        log.push(&Record::Done(2));
        log.commit(false).unwrap();
        drop(log);
        let (_log, found) = Log::open(folder.path()).unwrap();
        let ids: Vec<_> = found.iter().map(|message| message.id).collect();
        assert_eq!(ids, [1, 3]);
        assert_eq!(found[0].payload, "x");
    }

    #[test]
    fn every_torn_tail_leaves_the_records_before_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        let (mut log, _) = Log::open(folder.path()).unwrap();
        write(&mut log, 1..2, b"first");
        let first = log.length as usize;
        write(&mut log, 2..3, b"second");
        drop(log);
        let whole = std::fs::read(&path).unwrap();
        for cut in first..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let (mut log, found) = Log::open(folder.path()).unwrap();
            assert_eq!(found.len(), 1, "cut at {cut}");
            // What is written after the repair is found again.
            write(&mut log, 9..10, b"third");
            drop(log);
            assert_eq!(Log::open(folder.path()).unwrap().1.len(), 2, "cut at {cut}");
        }
        let mut flipped = whole.clone();
        flipped[first + HEADER + 3] ^= 1;
        std::fs::write(&path, &flipped).unwrap();
        assert_eq!(Log::open(folder.path()).unwrap().1.len(), 1);
    }

    #[test]
    fn a_mostly_dead_log_shrinks() {
        let folder = tempfile::tempdir().unwrap();
        let (mut log, _) = Log::open(folder.path()).unwrap();
        write(&mut log, 1..100, &[7; 64 * 1024]);
        let live = message(50, b"alive");
        assert!(log.wants_compaction(live.size() as u64));
        log.compact([live].iter()).unwrap();
        assert!(log.length < 200);
        write(&mut log, 100..101, b"later");
        drop(log);
        let (_log, found) = Log::open(folder.path()).unwrap();
        let ids: Vec<_> = found.iter().map(|message| message.id).collect();
        assert_eq!(ids, [50, 100]);
    }

    #[test]
    fn a_second_broker_is_kept_out() {
        let folder = tempfile::tempdir().unwrap();
        let _log = Log::open(folder.path()).unwrap();
        assert!(Log::open(folder.path()).is_err());
    }
}
