//! Messages to and from the bootloader, by which firmware is replaced.
//! An image is staged, checked against its digest and only then swapped in.

use crate::frame::{Frame, MAX_PAYLOAD};
use crate::message::{ParseError, kind};
use crate::tlv;

/// Most image bytes that one BL_DATA carries.
pub const MAX_DATA: usize = MAX_PAYLOAD - 4;

/// Host to bootloader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Asks for [`Info`]; answered in every mode.
    Hello,
    /// Announces an image; forgets what was staged before.
    Begin {
        /// Size of the image in bytes.
        size: u32,
        /// SHA-256 of the image.
        sha256: [u8; 32],
    },
    /// A piece of the image, in order; a piece that is already there may come again.
    Data {
        /// Where the piece belongs, in bytes.
        offset: u32,
        /// The piece, at most [`MAX_DATA`] bytes.
        data: Vec<u8>,
    },
    /// Checks the digest and swaps the image in.
    Commit,
    /// Removes the firmware.
    Erase,
    /// Leaves the bootloader and starts the firmware.
    Run,
}

/// What the board is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// The firmware runs.
    App,
    /// The bootloader waits for requests.
    #[default]
    Bootloader,
    /// The firmware has died and will be started again.
    Crashed,
}

/// State of bootloader and flash.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Info {
    /// Version of the serial protocol.
    pub protocol: u8,
    /// What the board is doing.
    pub mode: Mode,
    /// Board name, for instance `native`.
    pub board: String,
    /// Serial number of the board.
    pub serial_number: String,
    /// Largest image in bytes.
    pub flash_capacity: u32,
    /// Size of the firmware in flash in bytes; 0 if there is none.
    pub flash_size: u32,
    /// SHA-256 of the firmware in flash.
    pub flash_sha256: Option<[u8; 32]>,
    /// How often the firmware has died by itself since it was flashed or the board started.
    pub crash_count: u32,
    /// How it died last, for instance `signal 11`.
    pub last_exit: String,
    /// How often firmware was started on this board.
    pub boot_count: u32,
    /// Longest payload that the bootloader takes, in bytes.
    pub max_payload: u16,
}

impl Request {
    /// The frame's type.
    pub fn kind(&self) -> u8 {
        match self {
            Request::Hello => kind::BL_HELLO,
            Request::Begin { .. } => kind::BL_BEGIN,
            Request::Data { .. } => kind::BL_DATA,
            Request::Commit => kind::BL_COMMIT,
            Request::Erase => kind::BL_ERASE,
            Request::Run => kind::BL_RUN,
        }
    }

    pub(crate) fn payload(&self) -> Vec<u8> {
        match self {
            Request::Begin { size, sha256 } => [&size.to_le_bytes()[..], sha256].concat(),
            Request::Data { offset, data } => [&offset.to_le_bytes()[..], data].concat(),
            Request::Hello | Request::Commit | Request::Erase | Request::Run => Vec::new(),
        }
    }

    pub(crate) fn parse(frame: &Frame) -> Result<Self, ParseError> {
        let payload = &frame.payload[..];
        let length = |what, expected| ParseError::Length { what, expected, got: payload.len() };
        Ok(match frame.kind {
            kind::BL_HELLO => Request::Hello,
            kind::BL_BEGIN => {
                let wrong = length("BL_BEGIN", "36 bytes");
                let (size, digest) = payload.split_first_chunk().ok_or(wrong.clone())?;
                Request::Begin { size: u32::from_le_bytes(*size), sha256: digest.try_into().map_err(|_| wrong)? }
            }
            kind::BL_DATA => {
                let (offset, data) =
                    payload.split_first_chunk().ok_or(length("BL_DATA", "4 bytes of offset and data"))?;
                Request::Data { offset: u32::from_le_bytes(*offset), data: data.to_vec() }
            }
            kind::BL_COMMIT => Request::Commit,
            kind::BL_ERASE => Request::Erase,
            kind::BL_RUN => Request::Run,
            other => return Err(ParseError::UnknownType(other)),
        })
    }
}

impl Info {
    pub(crate) fn payload(&self) -> Vec<u8> {
        let mut payload = Vec::new();
        let mut put = |tag, value: &[u8]| tlv::put(&mut payload, tag, value);
        let mode = match self.mode {
            Mode::App => 0,
            Mode::Bootloader => 1,
            Mode::Crashed => 2,
        };
        put(1, &[self.protocol]);
        put(2, &[mode]);
        put(3, self.board.as_bytes());
        put(4, self.serial_number.as_bytes());
        put(5, &self.flash_capacity.to_le_bytes());
        put(6, &self.flash_size.to_le_bytes());
        if let Some(digest) = &self.flash_sha256 {
            put(7, digest);
        }
        put(8, &self.crash_count.to_le_bytes());
        put(9, self.last_exit.as_bytes());
        put(10, &self.boot_count.to_le_bytes());
        put(11, &self.max_payload.to_le_bytes());
        payload
    }

    pub(crate) fn parse(payload: &[u8]) -> Result<Self, ParseError> {
        let mut info = Info::default();
        tlv::read("BL_INFO", payload, |tag, value| {
            let number = |what| tlv::number(what, value);
            match tag {
                1 => info.protocol = number("BL_INFO protocol")?.min(255) as u8,
                2 => {
                    info.mode = match number("BL_INFO mode")? {
                        0 => Mode::App,
                        1 => Mode::Bootloader,
                        2 => Mode::Crashed,
                        value => return Err(ParseError::Value { what: "BL_INFO mode", value }),
                    }
                }
                3 => info.board = tlv::text(value),
                4 => info.serial_number = tlv::text(value),
                5 => info.flash_capacity = number("BL_INFO flash_capacity")?,
                6 => info.flash_size = number("BL_INFO flash_size")?,
                7 => {
                    let wrong =
                        ParseError::Length { what: "BL_INFO flash_sha256", expected: "32 bytes", got: value.len() };
                    info.flash_sha256 = Some(value.try_into().map_err(|_| wrong)?);
                }
                8 => info.crash_count = number("BL_INFO crash_count")?,
                9 => info.last_exit = tlv::text(value),
                10 => info.boot_count = number("BL_INFO boot_count")?,
                11 => info.max_payload = number("BL_INFO max_payload")?.min(MAX_PAYLOAD as u32) as u16,
                _ => {}
            }
            Ok(())
        })?;
        if info.protocol == 0 {
            return Err(ParseError::Missing { what: "BL_INFO", field: "protocol" });
        }
        if info.max_payload < 8 {
            return Err(ParseError::Value { what: "BL_INFO max_payload", value: u32::from(info.max_payload) });
        }
        Ok(info)
    }
}
