//! Boards whose bootloader shows itself as a USB drive and takes a file in UF2 form: Raspberry Pi Pico and others.
//!
//! The drive is found by its `INFO_UF2.TXT`. It cannot be told apart from the drive of another board of the same kind, so
//! one board at a time is flashed, and two drives at once are refused.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use firmware::message::{BoardMessage, HostMessage, ResetMode};
use firmware::session::{Ask, Event, FlashReport};

use super::tool::Tool;
use super::{Programmer, tool};
use crate::boards::{BoardType, Upload};
use crate::build::Folder;
use crate::counters::lock;
use crate::device::line::Ear;
use crate::serial::port::{Fault, SerialLine};
use crate::serial::talk::Condition;

/// File by which a drive says what it is.
const INFO: &str = "INFO_UF2.TXT";
const IMAGE: &str = "firmware.uf2";
/// How long a drive may take to appear; desktops take seconds to mount it.
const APPEAR: Duration = Duration::from_secs(20);
/// How long the board may take to be gone from the drive, and to be back at its port.
const RETURN: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(200);

/// Sizes and constants of a UF2 block, from the format's specification.
const BLOCK: usize = 512;
const PAYLOAD: usize = 256;
const MAGIC: [u32; 2] = [0x0A32_4655, 0x9E5D_5157];
const MAGIC_END: u32 = 0x0AB1_6F30;
const HAS_FAMILY: u32 = 0x2000;

/// Two boards that are flashed at once would get each other's drives.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A UF2 bootloader.
#[derive(Debug, Clone)]
pub struct Uf2 {
    upload: Upload,
    work: PathBuf,
}

impl Uf2 {
    /// For a board whose file says `Board-ID`, family and address.
    pub fn new(board: &BoardType, work: &Path) -> Self {
        Self { upload: board.upload.clone(), work: work.to_owned() }
    }

    /// The image as the bootloader takes it.
    fn file(&self, image: &[u8]) -> Result<Vec<u8>, Fault> {
        let hexadecimal = |field: &str, text: &str| {
            let digits = text.trim().trim_start_matches("0x");
            u32::from_str_radix(digits, 16).map_err(|_| {
                Fault::Tool(format!(
                    "'upload.{field}' in the board's file has to be a hexadecimal number, not '{text}'"
                ))
            })
        };
        match choose(image) {
            Some((name, bytes)) if name.ends_with(".uf2") => Ok(bytes),
            found => {
                let bytes = found.map_or_else(|| image.to_vec(), |(_, bytes)| bytes);
                let family = hexadecimal("family", &self.upload.family)?;
                Ok(convert(&bytes, hexadecimal("address", &self.upload.address)?, family))
            }
        }
    }

    /// The drive of a board that waits in its bootloader.
    fn drive(&self) -> Result<Option<PathBuf>, Fault> {
        find(&mounted(), &self.upload.part)
    }

    /// Brings the board into its bootloader: by a frame where our firmware runs, else by opening its port at 1200 bit/s.
    fn enter(line: &mut SerialLine, ear: &mut Ear) -> Result<(), Fault> {
        let reset = HostMessage::Reset(ResetMode::Bootloader);
        if let Err(fault) = line.run(&mut Ask::new(reset, Duration::from_millis(300), 2), &mut |event| ear.hear(event))
        {
            ear.note(&format!("no firmware of ours took the board into its bootloader ({fault})"));
        }
        if line.is_current() { line.touch() } else { Ok(()) }
    }

    fn wait_for_drive(&self, ear: &mut Ear) -> Result<PathBuf, Fault> {
        let since = Instant::now();
        let (mut tried, device) = (false, Path::new("/dev/disk/by-label").join(&self.upload.part));
        loop {
            if let Some(drive) = self.drive()? {
                return Ok(drive);
            }
            if since.elapsed() > APPEAR {
                break;
            }
            // Without a desktop nobody mounts it by itself.
            if !tried && since.elapsed() > APPEAR / 4 && device.exists() {
                tried = true;
                self.mount(&device, ear);
            }
            std::thread::sleep(LOOK);
        }
        let part = &self.upload.part;
        Err(Fault::Tool(if device.exists() {
            format!(
                "the drive '{part}' is there and not mounted: mount it ('udisksctl mount -b {}', from Debian's udisks2)",
                device.display()
            )
        } else {
            format!(
                "no drive '{part}' appeared: hold the board's BOOTSEL button while you plug it in, and install again"
            )
        }))
    }

    fn mount(&self, device: &Path, ear: &mut Ear) {
        let Ok(folder) = Folder::make(&self.work) else { return };
        let (limit, help) = (Duration::from_secs(10), "");
        let tool = Tool { program: "udisksctl", folder: &folder, limit, help, environment: Vec::new() };
        let arguments = ["mount", "--no-user-interaction", "-b", &device.display().to_string()].map(str::to_owned);
        match tool::run(&tool, &arguments, &|| true, &mut |_| {}) {
            Ok(ended) => ear.note(ended.last()),
            Err(fault) => ear.note(&format!("cannot mount the board's drive: {fault}")),
        }
    }
}

/// What of a toolchain's output is flashed, where that is a tar: the UF2 file, else the plain image.
fn choose(image: &[u8]) -> Option<(String, Vec<u8>)> {
    let mut found = None;
    let mut tar = tar::Archive::new(image);
    for entry in tar.entries().ok()? {
        let mut entry = entry.ok()?;
        let name = entry.path().ok()?.display().to_string();
        if name.ends_with(".uf2") || (name.ends_with(".bin") && found.is_none()) {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).ok()?;
            let done = name.ends_with(".uf2");
            found = Some((name, bytes));
            if done {
                break;
            }
        }
    }
    found
}

/// An image for flash from `address` on as UF2: blocks of 512 bytes, each with 256 bytes and where they belong.
pub fn convert(image: &[u8], address: u32, family: u32) -> Vec<u8> {
    let count = u32::try_from(image.len().div_ceil(PAYLOAD)).unwrap_or(u32::MAX);
    let mut file = Vec::with_capacity(image.len() * 2 + BLOCK);
    for (number, piece) in (0..count).zip(image.chunks(PAYLOAD)) {
        // A payload is 256 bytes long, which is a u32.
        let at = address.wrapping_add(number * PAYLOAD as u32);
        for word in [MAGIC[0], MAGIC[1], HAS_FAMILY, at, PAYLOAD as u32, number, count, family] {
            file.extend(word.to_le_bytes());
        }
        file.extend(piece);
        file.resize(BLOCK * (number as usize + 1) - 4, 0);
        file.extend(MAGIC_END.to_le_bytes());
    }
    file
}

/// Where file systems are mounted.
fn mounted() -> Vec<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    mounts.lines().filter_map(|line| line.split(' ').nth(1)).map(unescape).collect()
}

/// A path as the kernel lists it: blanks and the like are octal numbers after a backslash.
fn unescape(text: &str) -> PathBuf {
    use std::os::unix::ffi::OsStringExt as _;
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let number = (*first == b'\\').then(|| after.get(..3)).flatten();
        let number = number.and_then(|digits| std::str::from_utf8(digits).ok());
        match number.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[3..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    std::ffi::OsString::from_vec(bytes).into()
}

/// The one of these folders that is the drive of a board with this `Board-ID`.
fn find(folders: &[PathBuf], id: &str) -> Result<Option<PathBuf>, Fault> {
    let is = |folder: &&PathBuf| {
        let info = std::fs::read_to_string(folder.join(INFO)).unwrap_or_default();
        info.lines().any(|line| line.strip_prefix("Board-ID:").is_some_and(|own| own.trim() == id))
    };
    let mut found = folders.iter().filter(is);
    match (found.next(), found.next()) {
        (Some(one), Some(other)) => Err(Fault::Tool(format!(
            "two boards wait in their bootloaders, at {} and {}, and cannot be told apart: unplug one",
            one.display(),
            other.display()
        ))),
        (one, _) => Ok(one.cloned()),
    }
}

/// Writes the file and waits until the board has taken it, which it shows by taking its drive away.
fn deliver(drive: &Path, bytes: &[u8], patience: Duration) -> Result<(), Fault> {
    let is_there = || drive.join(INFO).exists();
    let failed = |error: &std::io::Error| {
        let shown = drive.display();
        match error.kind() {
            _ if !is_there() => Fault::Lost(format!("its drive {shown} went while it was written ({error})")),
            std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
                Fault::Denied(format!("its drive {shown} ({error})"))
            }
            _ => Fault::Tool(format!("cannot write to the board's drive {shown}: {error}")),
        }
    };
    let mut file = std::fs::File::create(drive.join(IMAGE)).map_err(|error| failed(&error))?;
    file.write_all(bytes).map_err(|error| failed(&error))?;
    // The board starts as soon as it has the last block, and does not wait for the end of this.
    if let Err(error) = file.sync_all()
        && is_there()
    {
        return Err(failed(&error));
    }
    drop(file);
    let end = Instant::now() + patience;
    while is_there() {
        if Instant::now() >= end {
            return Err(Fault::Tool(format!(
                "the board took the file and stays in its bootloader at {}: is it the board that its type says?",
                drive.display()
            )));
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}

impl Programmer for Uf2 {
    fn flash(&self, line: &mut SerialLine, image: Vec<u8>, ear: &mut Ear) -> Result<FlashReport, Fault> {
        let file = self.file(&image)?;
        let _alone = lock(&ONE_AT_A_TIME);
        let drive = match self.drive()? {
            Some(drive) => drive,
            None => {
                Self::enter(line, ear)?;
                self.wait_for_drive(ear)?
            }
        };
        line.close();
        // Whether to go on is no question here: half a firmware is worse than none.
        let _ = ear.hear(Event::Progress(0.2));
        ear.note(&format!("writing {} bytes of UF2 to {}", file.len(), drive.display()));
        deliver(&drive, &file, RETURN)?;
        let _ = ear.hear(Event::Progress(0.9));
        let end = Instant::now() + RETURN;
        while !line.is_current() && Instant::now() < end {
            std::thread::sleep(LOOK);
        }
        Ok(FlashReport { written: image.len(), restarts: 0 })
    }

    fn erase(&self, _: &mut SerialLine, _: &mut Ear) -> Result<(), Fault> {
        Err(Fault::Tool("a UF2 bootloader cannot erase a board; install another model".to_owned()))
    }

    fn can_erase(&self) -> bool {
        false
    }

    fn reset(&self, line: &mut SerialLine, ear: &mut Ear) -> Result<(), Fault> {
        let reset = HostMessage::Reset(ResetMode::App);
        line.run(&mut Ask::new(reset, Duration::from_secs(1), 5), &mut |event| ear.hear(event))?;
        Ok(())
    }

    /// Its USB comes up with its firmware.
    fn hello(&self, line: &mut SerialLine, ear: &mut Ear) -> Result<BoardMessage, Fault> {
        line.run(&mut Ask::new(HostMessage::Hello, Duration::from_millis(500), 20), &mut |event| ear.hear(event))
    }

    fn unanswered(&self, _: &mut SerialLine, _: &mut Ear) -> Result<Condition, Fault> {
        Ok(Condition::Foreign)
    }

    fn is_atomic(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const RP2040: u32 = 0xE48B_FF56;

    fn drive(id: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let info = format!("UF2 Bootloader v3.0\r\nModel: Raspberry Pi RP2\r\nBoard-ID: {id}\r\n");
        std::fs::write(dir.path().join(INFO), info).unwrap();
        dir
    }

    fn word(block: &[u8], at: usize) -> u32 {
        u32::from_le_bytes(block[at..at + 4].try_into().unwrap())
    }

    #[test]
    fn an_image_becomes_blocks_that_know_their_place() {
        let image: Vec<u8> = (0..600u32).map(|i| (i % 251) as u8).collect();
        let file = convert(&image, 0x1000_0000, RP2040);
        assert_eq!(file.len(), 3 * BLOCK);
        let mut back = Vec::new();
        for (number, block) in file.chunks(BLOCK).enumerate() {
            assert_eq!((word(block, 0), word(block, 4), word(block, 508)), (MAGIC[0], MAGIC[1], MAGIC_END));
            assert_eq!((word(block, 8), word(block, 28)), (HAS_FAMILY, RP2040));
            assert_eq!(word(block, 12) as usize, 0x1000_0000 + number * PAYLOAD);
            assert_eq!((word(block, 16), word(block, 20), word(block, 24)), (256, number as u32, 3));
            back.extend_from_slice(&block[32..32 + PAYLOAD]);
        }
        assert_eq!(back[..600], image);
        assert!(back[600..].iter().all(|byte| *byte == 0));
        assert!(convert(&[], 0, 0).is_empty());
    }

    #[test]
    fn the_boards_drive_is_found_by_its_id_and_two_are_refused() {
        let (one, other, two) = (drive("RPI-RP2"), drive("Seeed_XIAO"), drive("RPI-RP2"));
        let empty = tempfile::tempdir().unwrap();
        let paths = |dirs: &[&tempfile::TempDir]| dirs.iter().map(|dir| dir.path().to_owned()).collect::<Vec<_>>();
        let found = find(&paths(&[&empty, &other, &one]), "RPI-RP2").unwrap();
        assert_eq!(found.as_deref(), Some(one.path()));
        assert_eq!(find(&paths(&[&empty, &other]), "RPI-RP2").unwrap(), None);
        let refused = find(&paths(&[&one, &two]), "RPI-RP2").unwrap_err().to_string();
        assert!(refused.contains("unplug one"), "{refused}");
        assert_eq!(unescape(r"/media/a\040b\134c\9"), Path::new(r"/media/a b\c\9"));
    }

    #[test]
    fn what_a_drive_takes_is_whole_and_one_that_stays_is_named() {
        let dir = drive("RPI-RP2");
        let file = convert(&[7; 5000], 0x1000_0000, RP2040);
        let (path, length) = (dir.path().to_owned(), file.len() as u64);
        let board = std::thread::spawn(move || {
            while std::fs::metadata(path.join(IMAGE)).map_or(0, |meta| meta.len()) < length {
                std::thread::sleep(Duration::from_millis(5));
            }
            std::fs::remove_file(path.join(INFO)).unwrap();
            std::fs::read(path.join(IMAGE)).unwrap()
        });
        deliver(dir.path(), &file, Duration::from_secs(60)).unwrap();
        assert_eq!(board.join().unwrap(), file);

        let stays = drive("RPI-RP2");
        let fault = deliver(stays.path(), &file, Duration::ZERO).unwrap_err().to_string();
        assert!(fault.contains("stays in its bootloader"), "{fault}");
        let gone = tempfile::tempdir().unwrap().path().to_owned();
        assert!(matches!(deliver(&gone, &file, Duration::ZERO), Err(Fault::Lost(_))));
    }

    #[test]
    fn a_toolchains_own_uf2_file_is_preferred_to_a_conversion() {
        let tar = |files: &[(&str, &[u8])]| {
            let mut tar = tar::Builder::new(Vec::new());
            for (name, bytes) in files {
                let mut header = tar::Header::new_ustar();
                header.set_size(bytes.len() as u64);
                tar.append_data(&mut header, name, *bytes).unwrap();
            }
            tar.into_inner().unwrap()
        };
        let board = crate::boards::Boards::embedded().get("pico").unwrap().clone();
        let uf2 = Uf2::new(&board, Path::new("/nonexistent"));
        assert_eq!(uf2.file(&tar(&[("a.bin", b"plain"), ("a.uf2", b"ready")])).unwrap(), b"ready");
        let plain = convert(b"plain", 0x1000_0000, RP2040);
        assert_eq!(uf2.file(&tar(&[("a.bin", b"plain"), ("a.txt", b"")])).unwrap(), plain);
        assert_eq!(uf2.file(b"plain").unwrap(), plain);
    }
}
