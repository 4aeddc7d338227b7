//! Messages inside frames: what a host asks and what a board answers.
//! Layouts and semantics are in `PROTOCOL.md`. Numbers are little-endian.

use crate::bootloader;
use crate::frame::{self, Frame, FrameError};
use crate::tlv;

/// Frame types. Host to board below 0xC0, board to host from 0xC0.
pub mod kind {
    #![allow(missing_docs)] // the names are those of PROTOCOL.md
    pub const HELLO: u8 = 0x81;
    pub const INPUT: u8 = 0x82;
    pub const INVOKE: u8 = 0x83;
    pub const IDENTIFY: u8 = 0x84;
    pub const RESET: u8 = 0x85;
    pub const BL_HELLO: u8 = 0xA1;
    pub const BL_BEGIN: u8 = 0xA2;
    pub const BL_DATA: u8 = 0xA3;
    pub const BL_COMMIT: u8 = 0xA4;
    pub const BL_ERASE: u8 = 0xA5;
    pub const BL_RUN: u8 = 0xA6;
    pub const INFO: u8 = 0xC1;
    pub const ACK: u8 = 0xC2;
    pub const NAK: u8 = 0xC3;
    pub const RESULT: u8 = 0xC4;
    pub const LOG: u8 = 0xC5;
    pub const BL_INFO: u8 = 0xE1;
}

/// Largest input tensor in bytes (offsets are 16 bit).
pub const MAX_INPUT: usize = 65_535;

/// Why an intact frame is not a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// No message has this type in this direction.
    #[error("unknown message type {0:#04x}")]
    UnknownType(u8),
    /// The payload has the wrong length.
    #[error("{what}: payload must have {expected}, got {got} bytes")]
    Length {
        /// Message or field.
        what: &'static str,
        /// What would be right.
        expected: &'static str,
        /// Length found.
        got: usize,
    },
    /// A list of fields ends inside a field.
    #[error("{what}: ends inside a field")]
    Truncated {
        /// Message.
        what: &'static str,
    },
    /// A field that must be there is not.
    #[error("{what}: field '{field}' is missing")]
    Missing {
        /// Message.
        what: &'static str,
        /// Field.
        field: &'static str,
    },
    /// A field has a value that it cannot have.
    #[error("{what}: {value} is not allowed")]
    Value {
        /// Field.
        what: &'static str,
        /// Value found.
        value: u32,
    },
}

/// What a RESET leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetMode {
    /// Start the firmware again.
    App,
    /// Stop the firmware and wait for bootloader messages.
    Bootloader,
}

/// Host to board.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostMessage {
    /// Asks for [`Info`].
    Hello,
    /// A piece of the model's input tensor (int8); answered by ACK. Offset 0 begins a new input.
    Input {
        /// Where the piece belongs, in bytes.
        offset: u16,
        /// The piece.
        data: Vec<u8>,
    },
    /// Runs the model on the input; answered by RESULT. The same `seq` again repeats the answer.
    Invoke,
    /// Makes the board show itself (LED, log line); answered by ACK.
    Identify,
    /// Restarts the board; answered by ACK before it happens.
    Reset(ResetMode),
    /// A message to the bootloader.
    Bootloader(bootloader::Request),
}

/// Board to host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BoardMessage {
    /// What runs on the board. Also sent unasked (seq 0) when the firmware starts.
    Info(Info),
    /// The request was carried out.
    Ack,
    /// The request was refused.
    Nak(NakCode),
    /// A piece of the model's output.
    Result(ResultPart),
    /// A line for the log (seq 0).
    Log(String),
    /// State of the bootloader and the flash.
    Bootloader(bootloader::Info),
}

/// A piece of one inference's output. Outputs up to 502 bytes come in one piece.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResultPart {
    /// Number of the inference since the board started, from 1.
    pub device_seq: u32,
    /// Time that the model ran, in µs.
    pub latency_us: u32,
    /// Where the piece belongs in the output, in bytes.
    pub offset: u16,
    /// The piece (int8).
    pub data: Vec<u8>,
}

/// What runs on a board.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Info {
    /// Version of the serial protocol.
    pub protocol: u8,
    /// Artifact id (`sha256:…`) given at build time; empty if none was.
    pub artifact: String,
    /// Model id: 16 hexadecimal digits out of the generated C.
    pub model_id: String,
    /// Model name.
    pub model: String,
    /// Board name that the firmware was built for.
    pub board: String,
    /// Version of the firmware's core.
    pub core: String,
    /// Size of the input tensor in bytes.
    pub input_bytes: u32,
    /// Size of the output tensor in bytes.
    pub output_bytes: u32,
    /// Size of the model's static working memory in bytes.
    pub arena_bytes: u32,
    /// Longest payload that the board takes, in bytes.
    pub max_payload: u16,
    /// How often the board has started, as far as it can count.
    pub boot_count: u32,
    /// Time since the firmware started, in ms (wraps after 49 days).
    pub uptime_ms: u32,
    /// Inferences since the firmware started.
    pub invocations: u32,
    /// Broken frames that the firmware has ignored.
    pub rx_errors: u32,
    /// Bytes of RAM that the stack has never reached since the start; 0 if the board cannot tell.
    pub stack_left: u32,
}

/// Why a board refused a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[repr(u8)]
pub enum NakCode {
    /// The board does not know the message type.
    #[error("unknown message type")]
    UnknownType,
    /// The payload has the wrong length or a value that is not allowed.
    #[error("malformed payload")]
    BadPayload,
    /// The frame is longer than the board's buffer (INFO max_payload).
    #[error("frame longer than the board's buffer")]
    TooLong,
    /// Offset and length reach beyond the end of the input or image.
    #[error("beyond the end of the input or image")]
    OutOfRange,
    /// A piece before this one is missing.
    #[error("a piece before this one is missing")]
    OutOfOrder,
    /// INVOKE without a complete input.
    #[error("the input is not complete")]
    NoInput,
    /// The model reported an error.
    #[error("the model reported an error")]
    ModelFailed,
    /// Bootloader request to running firmware, or the other way round.
    #[error("not possible in the present mode (firmware or bootloader)")]
    WrongMode,
    /// The image is bigger than the flash.
    #[error("the image is bigger than the board's flash")]
    TooBig,
    /// The image received is not the one announced.
    #[error("the image's digest is wrong or it is incomplete")]
    BadDigest,
    /// The flash could not be read or written.
    #[error("the flash could not be read or written")]
    FlashFailed,
    /// There is no firmware to run.
    #[error("no firmware in flash")]
    Empty,
    /// BL_DATA or BL_COMMIT without BL_BEGIN.
    #[error("no flashing has begun")]
    NotBegun,
    /// A code that this version does not know.
    #[error("unknown refusal code {0}")]
    Other(u8),
}

impl NakCode {
    const KNOWN: [NakCode; 13] = [
        NakCode::UnknownType,
        NakCode::BadPayload,
        NakCode::TooLong,
        NakCode::OutOfRange,
        NakCode::OutOfOrder,
        NakCode::NoInput,
        NakCode::ModelFailed,
        NakCode::WrongMode,
        NakCode::TooBig,
        NakCode::BadDigest,
        NakCode::FlashFailed,
        NakCode::Empty,
        NakCode::NotBegun,
    ];

    /// The code on the wire.
    pub fn code(self) -> u8 {
        match self {
            NakCode::Other(code) => code,
            known => Self::KNOWN.iter().position(|k| *k == known).map_or(0, |i| i as u8 + 1),
        }
    }

    /// The refusal behind a code.
    pub fn from_code(code: u8) -> Self {
        let index = usize::from(code).checked_sub(1);
        index.and_then(|i| Self::KNOWN.get(i)).copied().unwrap_or(NakCode::Other(code))
    }
}

impl HostMessage {
    /// The frame's type.
    pub fn kind(&self) -> u8 {
        match self {
            HostMessage::Hello => kind::HELLO,
            HostMessage::Input { .. } => kind::INPUT,
            HostMessage::Invoke => kind::INVOKE,
            HostMessage::Identify => kind::IDENTIFY,
            HostMessage::Reset(_) => kind::RESET,
            HostMessage::Bootloader(request) => request.kind(),
        }
    }

    /// The message as bytes for the port.
    ///
    /// # Errors
    /// [`FrameError::TooLong`] if the data does not fit into a frame.
    pub fn encode(&self, seq: u8) -> Result<Vec<u8>, FrameError> {
        let payload = match self {
            HostMessage::Hello | HostMessage::Invoke | HostMessage::Identify => Vec::new(),
            HostMessage::Input { offset, data } => [&offset.to_le_bytes()[..], data].concat(),
            HostMessage::Reset(mode) => vec![u8::from(*mode == ResetMode::Bootloader)],
            HostMessage::Bootloader(request) => request.payload(),
        };
        frame::encode(self.kind(), seq, &payload)
    }

    /// Reads a message out of a frame, on the board's side.
    ///
    /// # Errors
    /// See [`ParseError`].
    pub fn parse(frame: &Frame) -> Result<Self, ParseError> {
        let payload = &frame.payload[..];
        Ok(match frame.kind {
            kind::HELLO => HostMessage::Hello,
            kind::INPUT => {
                let (offset, data) = payload.split_first_chunk().ok_or(ParseError::Length {
                    what: "INPUT",
                    expected: "2 bytes of offset and data",
                    got: payload.len(),
                })?;
                HostMessage::Input { offset: u16::from_le_bytes(*offset), data: data.to_vec() }
            }
            kind::INVOKE => HostMessage::Invoke,
            kind::IDENTIFY => HostMessage::Identify,
            kind::RESET => match payload {
                [0] => HostMessage::Reset(ResetMode::App),
                [1] => HostMessage::Reset(ResetMode::Bootloader),
                [other] => return Err(ParseError::Value { what: "RESET mode", value: u32::from(*other) }),
                _ => return Err(ParseError::Length { what: "RESET", expected: "1 byte", got: payload.len() }),
            },
            _ => HostMessage::Bootloader(bootloader::Request::parse(frame)?),
        })
    }
}

impl BoardMessage {
    /// The frame's type.
    pub fn kind(&self) -> u8 {
        match self {
            BoardMessage::Info(_) => kind::INFO,
            BoardMessage::Ack => kind::ACK,
            BoardMessage::Nak(_) => kind::NAK,
            BoardMessage::Result(_) => kind::RESULT,
            BoardMessage::Log(_) => kind::LOG,
            BoardMessage::Bootloader(_) => kind::BL_INFO,
        }
    }

    /// The message as bytes for the port.
    ///
    /// # Errors
    /// [`FrameError::TooLong`] if the data does not fit into a frame.
    pub fn encode(&self, seq: u8) -> Result<Vec<u8>, FrameError> {
        let payload = match self {
            BoardMessage::Info(info) => info.payload(),
            BoardMessage::Ack => Vec::new(),
            BoardMessage::Nak(code) => vec![code.code()],
            BoardMessage::Result(part) => [
                &part.device_seq.to_le_bytes()[..],
                &part.latency_us.to_le_bytes(),
                &part.offset.to_le_bytes(),
                &part.data,
            ]
            .concat(),
            BoardMessage::Log(text) => text.as_bytes().to_vec(),
            BoardMessage::Bootloader(info) => info.payload(),
        };
        frame::encode(self.kind(), seq, &payload)
    }

    /// Reads a message out of a frame, on the host's side.
    ///
    /// # Errors
    /// See [`ParseError`].
    pub fn parse(frame: &Frame) -> Result<Self, ParseError> {
        let payload = &frame.payload[..];
        let length = |what, expected| ParseError::Length { what, expected, got: payload.len() };
        Ok(match frame.kind {
            kind::INFO => BoardMessage::Info(Info::parse(payload)?),
            kind::ACK => BoardMessage::Ack,
            kind::NAK => match payload {
                [code] => BoardMessage::Nak(NakCode::from_code(*code)),
                _ => return Err(length("NAK", "1 byte")),
            },
            kind::RESULT => {
                let (head, data) = payload.split_first_chunk::<10>().ok_or(length("RESULT", "10 bytes and data"))?;
                let [a, b, c, d, e, f, g, h, i, j] = *head;
                BoardMessage::Result(ResultPart {
                    device_seq: u32::from_le_bytes([a, b, c, d]),
                    latency_us: u32::from_le_bytes([e, f, g, h]),
                    offset: u16::from_le_bytes([i, j]),
                    data: data.to_vec(),
                })
            }
            kind::LOG => BoardMessage::Log(tlv::text(payload)),
            kind::BL_INFO => BoardMessage::Bootloader(bootloader::Info::parse(payload)?),
            other => return Err(ParseError::UnknownType(other)),
        })
    }
}

impl Info {
    fn payload(&self) -> Vec<u8> {
        let mut payload = Vec::new();
        let mut put = |tag, value: &[u8]| tlv::put(&mut payload, tag, value);
        put(1, &[self.protocol]);
        put(2, self.artifact.as_bytes());
        put(3, self.model_id.as_bytes());
        put(4, self.model.as_bytes());
        put(5, self.board.as_bytes());
        put(6, self.core.as_bytes());
        put(7, &self.input_bytes.to_le_bytes());
        put(8, &self.output_bytes.to_le_bytes());
        put(9, &self.arena_bytes.to_le_bytes());
        put(10, &self.max_payload.to_le_bytes());
        put(11, &self.boot_count.to_le_bytes());
        put(12, &self.uptime_ms.to_le_bytes());
        put(13, &self.invocations.to_le_bytes());
        put(14, &self.rx_errors.to_le_bytes());
        put(15, &self.stack_left.to_le_bytes());
        payload
    }

    fn parse(payload: &[u8]) -> Result<Self, ParseError> {
        let mut info = Info::default();
        tlv::read("INFO", payload, |tag, value| {
            let number = |what| tlv::number(what, value);
            match tag {
                1 => info.protocol = number("INFO protocol")?.min(255) as u8,
                2 => info.artifact = tlv::text(value),
                3 => info.model_id = tlv::text(value),
                4 => info.model = tlv::text(value),
                5 => info.board = tlv::text(value),
                6 => info.core = tlv::text(value),
                7 => info.input_bytes = number("INFO input_bytes")?,
                8 => info.output_bytes = number("INFO output_bytes")?,
                9 => info.arena_bytes = number("INFO arena_bytes")?,
                10 => info.max_payload = number("INFO max_payload")?.min(frame::MAX_PAYLOAD as u32) as u16,
                11 => info.boot_count = number("INFO boot_count")?,
                12 => info.uptime_ms = number("INFO uptime_ms")?,
                13 => info.invocations = number("INFO invocations")?,
                14 => info.rx_errors = number("INFO rx_errors")?,
                15 => info.stack_left = number("INFO stack_left")?,
                _ => {}
            }
            Ok(())
        })?;
        if info.protocol == 0 {
            return Err(ParseError::Missing { what: "INFO", field: "protocol" });
        }
        if info.max_payload < 8 {
            return Err(ParseError::Value { what: "INFO max_payload", value: u32::from(info.max_payload) });
        }
        Ok(info)
    }
}
