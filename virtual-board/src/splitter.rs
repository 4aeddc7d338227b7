//! Divides what the host sends: requests to the chip, and everything else for the firmware.

use firmware::frame::{self, Frame, MAX_ENCODED};
use firmware::message::kind;

/// A part of the host's stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Part {
    /// A frame for the chip itself: RESET or a bootloader request.
    Chip(Frame),
    /// A frame for the firmware, with its bytes as they came.
    App(Frame, Vec<u8>),
    /// Bytes that are no frame. The firmware gets them all the same, as on a real line.
    Noise(Vec<u8>),
}

/// Streaming divider; holds at most one frame.
#[derive(Debug, Default)]
pub struct Splitter {
    held: Vec<u8>,
    overlong: bool,
}

impl Splitter {
    /// Takes the next bytes and returns what they complete.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Part> {
        let mut parts = Vec::new();
        for &byte in bytes {
            if byte != 0 {
                self.held.push(byte);
                if self.held.len() > MAX_ENCODED {
                    self.overlong = true;
                    parts.push(Part::Noise(std::mem::take(&mut self.held)));
                }
            } else if self.overlong {
                self.overlong = false;
                let mut raw = std::mem::take(&mut self.held);
                raw.push(0);
                parts.push(Part::Noise(raw));
            } else if !self.held.is_empty() {
                let held = std::mem::take(&mut self.held);
                let raw = || [&[0][..], &held, &[0]].concat();
                parts.push(match frame::decode(&held) {
                    Ok(frame) if for_chip(frame.kind) => Part::Chip(frame),
                    Ok(frame) => Part::App(frame, raw()),
                    Err(_) => Part::Noise(raw()),
                });
            }
        }
        parts
    }

    /// Whether the beginning of what may be a frame is here and its end is not.
    pub fn is_in_frame(&self) -> bool {
        !self.held.is_empty() && !self.overlong
    }
}

fn for_chip(frame_kind: u8) -> bool {
    frame_kind == kind::RESET || (0xA0..0xC0).contains(&frame_kind)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use firmware::message::{HostMessage, ResetMode};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn chip_frames_are_taken_out_and_the_rest_passes(noise in prop::collection::vec(any::<u8>(), 0..2000), cut in 1usize..64) {
            let reset = HostMessage::Reset(ResetMode::App).encode(7).unwrap();
            let hello = HostMessage::Hello.encode(8).unwrap();
            // A delimiter ends whatever the noise left open.
            let stream = [&noise[..], &[0], &reset, &noise, &[0], &hello].concat();
            let mut splitter = Splitter::default();
            let parts: Vec<Part> = stream.chunks(cut).flat_map(|c| splitter.push(c)).collect();
            let resets = parts.iter().filter(|p| matches!(p, Part::Chip(f) if f.kind == kind::RESET)).count();
            prop_assert_eq!(resets, 1);
            let forwarded: Vec<u8> = parts.into_iter().flat_map(|p| match p {
                Part::App(_, raw) | Part::Noise(raw) => raw,
                Part::Chip(_) => vec![],
            }).collect();
            // Nothing is lost but delimiters.
            let solid = |bytes: &[u8]| bytes.iter().copied().filter(|b| *b != 0).collect::<Vec<u8>>();
            prop_assert_eq!(solid(&forwarded), solid(&[&noise[..], &noise, &hello].concat()));
            prop_assert!(forwarded.ends_with(&hello));
        }
    }
}
