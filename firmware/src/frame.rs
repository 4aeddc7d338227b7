//! Frames: COBS with a CRC, zero delimited, in a byte stream that may also carry plain text.
//!
//! A frame on the wire is `00 COBS(type seq payload crc-lo crc-hi) 00`. Every type has its top
//! bit set, so the second byte after a delimiter tells ASCII text from a frame at once.
//! COBS: Cheshire and Baker, "Consistent Overhead Byte Stuffing", IEEE/ACM ToN 7(2), 1999.
//! CRC: CRC-16/MCRF4XX (CCITT polynomial, reflected, start 0xFFFF), the one that avr-libc's
//! `_crc_ccitt_update` computes; sent low byte first, the CRC over a whole frame is 0.

/// Longest payload of a frame in bytes. A board may accept less and says so in `INFO`.
pub const MAX_PAYLOAD: usize = 512;

/// Type, sequence number and CRC around the payload.
const OVERHEAD: usize = 4;

/// Longest COBS-encoded frame without its delimiters, in bytes.
pub const MAX_ENCODED: usize = MAX_PAYLOAD + OVERHEAD + (MAX_PAYLOAD + OVERHEAD) / 254 + 1;

/// Longest text line kept whole; a longer one is cut into several.
const MAX_LINE: usize = 1024;

/// One intact frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Message type, always `0x80..=0xFF`.
    pub kind: u8,
    /// Sequence number: an answer repeats that of its request; 0 is unsolicited.
    pub seq: u8,
    /// Payload, at most [`MAX_PAYLOAD`] bytes.
    pub payload: Vec<u8>,
}

/// Why bytes are not a frame, or a payload cannot become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The payload does not fit into a frame.
    #[error("payload of {0} bytes: a frame carries at most {MAX_PAYLOAD}; split it by offset")]
    TooLong(usize),
    /// The type has no top bit.
    #[error("frame type {0:#04x} is not in 0x80..=0xff")]
    BadType(u8),
    /// Shorter than type, sequence number and CRC.
    #[error("{0} bytes between delimiters: too short for a frame")]
    TooShort(usize),
    /// The COBS encoding is broken.
    #[error("broken COBS encoding")]
    BadCobs,
    /// The checksum is wrong.
    #[error("wrong CRC")]
    BadCrc,
}

/// CRC-16/MCRF4XX of `bytes`.
pub fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0xFFFF, |crc, &byte| {
        let mut data = byte ^ (crc as u8);
        data ^= data << 4;
        (((u16::from(data) << 8) | (crc >> 8)) ^ u16::from(data >> 4)) ^ (u16::from(data) << 3)
    })
}

/// Encodes one frame with its delimiters, ready to be written to the port.
///
/// # Errors
/// [`FrameError::TooLong`] above [`MAX_PAYLOAD`], [`FrameError::BadType`] below `0x80`.
pub fn encode(kind: u8, seq: u8, payload: &[u8]) -> Result<Vec<u8>, FrameError> {
    if payload.len() > MAX_PAYLOAD {
        return Err(FrameError::TooLong(payload.len()));
    }
    if kind < 0x80 {
        return Err(FrameError::BadType(kind));
    }
    let mut raw = Vec::with_capacity(payload.len() + OVERHEAD);
    raw.extend_from_slice(&[kind, seq]);
    raw.extend_from_slice(payload);
    raw.extend_from_slice(&crc16(&raw).to_le_bytes());
    let mut wire = Vec::with_capacity(raw.len() + 6);
    wire.push(0);
    cobs_encode(&raw, &mut wire);
    wire.push(0);
    Ok(wire)
}

/// Decodes what stood between two delimiters (exclusive).
///
/// # Errors
/// Anything but one intact frame.
pub fn decode(chunk: &[u8]) -> Result<Frame, FrameError> {
    if chunk.len() > MAX_ENCODED {
        return Err(FrameError::TooLong(chunk.len()));
    }
    let raw = cobs_decode(chunk)?;
    if raw.len() < OVERHEAD {
        return Err(FrameError::TooShort(raw.len()));
    }
    if crc16(&raw) != 0 {
        return Err(FrameError::BadCrc);
    }
    if raw[0] < 0x80 {
        return Err(FrameError::BadType(raw[0]));
    }
    let payload = raw[2..raw.len() - 2].to_vec();
    if payload.len() > MAX_PAYLOAD {
        return Err(FrameError::TooLong(payload.len()));
    }
    Ok(Frame { kind: raw[0], seq: raw[1], payload })
}

fn cobs_encode(raw: &[u8], wire: &mut Vec<u8>) {
    let mut rest = raw;
    loop {
        let run = rest.iter().take(254).position(|&b| b == 0).unwrap_or(rest.len().min(254));
        wire.push(run as u8 + 1);
        wire.extend_from_slice(&rest[..run]);
        rest = &rest[run..];
        // A full run of 254 stands for itself; a shorter one for itself and the zero after it.
        if run < 254 {
            match rest.split_first() {
                Some((_, after)) => rest = after,
                None => return,
            }
        } else if rest.is_empty() {
            return;
        }
    }
}

fn cobs_decode(chunk: &[u8]) -> Result<Vec<u8>, FrameError> {
    let mut raw = Vec::with_capacity(chunk.len());
    let mut rest = chunk;
    while let Some((&code, after)) = rest.split_first() {
        let run = usize::from(code).checked_sub(1).ok_or(FrameError::BadCobs)?;
        if run > after.len() || after[..run].contains(&0) {
            return Err(FrameError::BadCobs);
        }
        raw.extend_from_slice(&after[..run]);
        rest = &after[run..];
        if code != 0xFF && !rest.is_empty() {
            raw.push(0);
        }
    }
    Ok(raw)
}

/// What the decoder found in the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// An intact frame.
    Frame(Frame),
    /// A line of plain text without its line end; control characters are removed.
    Text(String),
    /// Bytes that are neither; `error` says what is wrong if they looked like a frame.
    Noise {
        /// How many bytes were thrown away.
        bytes: usize,
        /// Why they are no frame.
        error: FrameError,
    },
}

/// What a decoder has seen so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Intact frames.
    pub frames: u64,
    /// Lines of text.
    pub lines: u64,
    /// Pieces of noise: bad CRC, bad encoding, truncated, oversize.
    pub errors: u64,
    /// Bytes in those pieces.
    pub error_bytes: u64,
}

/// Streaming decoder. Memory is bounded by the longest frame and line, whatever comes in.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    in_frame: bool,
    stats: Stats,
}

impl Decoder {
    /// A decoder that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// What was seen so far.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// Forgets the half-received piece, for instance after the port was opened again.
    pub fn reset(&mut self) {
        self.buffer.clear();
        self.in_frame = false;
    }

    /// Takes the next bytes from the port and returns what they complete, in order.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Item> {
        let mut items = Vec::new();
        for &byte in bytes {
            if byte == 0 {
                self.delimiter(&mut items);
            } else if self.in_frame {
                self.buffer.push(byte);
                // No type is below 0x80: this is text that follows a lost delimiter.
                let text = self.buffer.len() == 2 && byte < 0x80;
                if text || self.buffer.len() > MAX_ENCODED {
                    self.in_frame = false;
                    let error = FrameError::TooLong(self.buffer.len());
                    let held = std::mem::take(&mut self.buffer);
                    if text { self.text(&held, &mut items) } else { self.reject(&held, error, &mut items) }
                }
            } else {
                self.text(&[byte], &mut items);
            }
        }
        items
    }

    /// Hands out a line that has no end yet. Call when the port was silent for a while.
    pub fn flush(&mut self) -> Option<Item> {
        if self.in_frame || self.buffer.is_empty() {
            return None;
        }
        let line = std::mem::take(&mut self.buffer);
        let mut items = Vec::new();
        self.line(&line, &mut items);
        items.pop()
    }

    fn delimiter(&mut self, items: &mut Vec<Item>) {
        let held = std::mem::take(&mut self.buffer);
        if !self.in_frame {
            if !held.is_empty() {
                self.line(&held, items);
            }
            self.in_frame = true;
        } else if !held.is_empty() {
            match decode(&held) {
                Ok(frame) => {
                    self.stats.frames += 1;
                    self.in_frame = false;
                    items.push(Item::Frame(frame));
                }
                // This delimiter may well be the start of the next frame: stay in it.
                Err(error) => self.reject(&held, error, items),
            }
        }
    }

    fn text(&mut self, bytes: &[u8], items: &mut Vec<Item>) {
        for &byte in bytes {
            if byte == b'\n' || self.buffer.len() >= MAX_LINE {
                let line = std::mem::take(&mut self.buffer);
                self.line(&line, items);
            }
            if byte != b'\n' {
                self.buffer.push(byte);
            }
        }
    }

    /// Bytes that were held as a frame and are none: text if they read like text, else noise.
    fn reject(&mut self, held: &[u8], error: FrameError, items: &mut Vec<Item>) {
        if readable(held) {
            for line in held.split(|&b| b == b'\n') {
                self.line(line, items);
            }
        } else {
            self.noise(held.len(), error, items);
        }
    }

    fn line(&mut self, bytes: &[u8], items: &mut Vec<Item>) {
        let line = bytes.strip_suffix(b"\r").unwrap_or(bytes);
        if line.is_empty() {
            return;
        }
        if !readable(line) {
            return self.noise(line.len(), FrameError::BadCobs, items);
        }
        let clean: String = String::from_utf8_lossy(line).chars().filter(|c| *c == '\t' || !c.is_control()).collect();
        self.stats.lines += 1;
        items.push(Item::Text(clean));
    }

    fn noise(&mut self, bytes: usize, error: FrameError, items: &mut Vec<Item>) {
        self.stats.errors += 1;
        self.stats.error_bytes += bytes as u64;
        items.push(Item::Noise { bytes, error });
    }
}

/// Whether at least three quarters of the characters are printable: a flipped bit in a log
/// line shall not hide the line, and line noise shall not fill the log.
fn readable(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let total = text.chars().count();
    let bad = text
        .chars()
        .filter(|&c| c == '\u{FFFD}' || (c.is_control() && !matches!(c, '\t' | '\r' | '\n' | '\u{1b}')))
        .count();
    total > 0 && bad * 4 <= total
}
