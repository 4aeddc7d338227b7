//! Frames in a stream with text and noise.

use firmware::frame::{Decoder, Frame, FrameError, Item, MAX_ENCODED, MAX_PAYLOAD, crc16, decode, encode};
use proptest::prelude::*;

fn frames(items: Vec<Item>) -> Vec<Frame> {
    items.into_iter().filter_map(|i| if let Item::Frame(f) = i { Some(f) } else { None }).collect()
}

fn any_frame() -> impl Strategy<Value = Frame> {
    // Many zeros and 0xFF: they are what COBS is about.
    let byte = prop_oneof![Just(0u8), Just(0xFF), any::<u8>()];
    (0x80u8.., any::<u8>(), prop::collection::vec(byte, 0..=MAX_PAYLOAD)).prop_map(|(kind, seq, payload)| Frame {
        kind,
        seq,
        payload,
    })
}

fn wire(frame: &Frame) -> Vec<u8> {
    encode(frame.kind, frame.seq, &frame.payload).unwrap()
}

#[test]
fn crc_has_the_catalogued_check_value() {
    assert_eq!(crc16(b"123456789"), 0x6F91);
}

#[test]
fn a_frame_on_the_wire_is_what_the_protocol_says() {
    let raw = [0x81u8, 5];
    let crc = crc16(&raw).to_le_bytes();
    assert_eq!(encode(0x81, 5, &[]).unwrap(), [&[0, 5][..], &raw, &crc, &[0]].concat());
}

#[test]
fn limits_are_named() {
    assert_eq!(encode(0x81, 1, &[0; MAX_PAYLOAD + 1]), Err(FrameError::TooLong(MAX_PAYLOAD + 1)));
    assert_eq!(encode(0x41, 1, &[]), Err(FrameError::BadType(0x41)));
    let longest = encode(0x81, 1, &[1; MAX_PAYLOAD]).unwrap();
    assert!(longest.len() <= MAX_ENCODED + 2);
    assert_eq!(decode(&[]), Err(FrameError::TooShort(0)));
    assert_eq!(decode(&[9, 1]), Err(FrameError::BadCobs));
}

#[test]
fn text_between_frames_comes_at_once_and_whole() {
    let mut decoder = Decoder::new();
    let hello = encode(0x81, 1, b"x").unwrap();
    let mut items = decoder.push(b"Person score: 60.54%\r\nhalf a ");
    items.extend(decoder.push(b"line\n"));
    items.extend(decoder.push(&hello));
    items.extend(decoder.push("gr\u{fc}\u{df}e \u{1b}[31mrot\n".as_bytes()));
    items.extend(decoder.push(&hello));
    items.extend(decoder.push(b"prompt> "));
    items.extend(decoder.flush());
    let lines: Vec<String> =
        items.iter().filter_map(|i| if let Item::Text(t) = i { Some(t.clone()) } else { None }).collect();
    // No escape sequence reaches a terminal.
    assert_eq!(lines, ["Person score: 60.54%", "half a line", "gr\u{fc}\u{df}e [31mrot", "prompt> "]);
    assert_eq!(frames(items).len(), 2);
    assert_eq!(decoder.stats().errors, 0);
}

#[test]
fn text_after_a_lost_delimiter_is_still_text() {
    let mut decoder = Decoder::new();
    let mut items = decoder.push(&[0]);
    items.extend(decoder.push(b"only text from here\nmore\n"));
    assert_eq!(items, [Item::Text("only text from here".into()), Item::Text("more".into())]);
}

#[test]
fn memory_stays_bounded() {
    let mut decoder = Decoder::new();
    let texts = decoder.push(&vec![b'a'; 100_000]);
    assert!(texts.len() > 90);
    let mut decoder = Decoder::new();
    decoder.push(&[0]);
    let noise = decoder.push(&vec![0xF3; 100_000]);
    assert!(noise.iter().all(|i| matches!(i, Item::Noise { .. })), "{noise:?}");
    assert_eq!(decoder.stats().frames, 0);
    assert!(decoder.stats().errors > 0);
}

proptest! {
    #[test]
    fn any_frame_survives_the_wire(frame in any_frame()) {
        let wire = wire(&frame);
        prop_assert!(wire.len() <= MAX_ENCODED + 2);
        prop_assert!(!wire[1..wire.len() - 1].contains(&0));
        prop_assert_eq!(frames(Decoder::new().push(&wire)), vec![frame]);
    }

    #[test]
    fn frames_survive_noise_between_them(
        pieces in prop::collection::vec((any_frame(), prop::collection::vec(any::<u8>(), 0..800)), 1..4),
        cut in 1usize..97,
    ) {
        let mut stream = vec![];
        for (frame, noise) in &pieces {
            stream.extend(noise);
            // After noise one frame may be lost to a delimiter that the noise swallowed;
            // a retry is what hosts do.
            stream.extend(wire(frame));
            stream.extend(wire(frame));
        }
        let mut decoder = Decoder::new();
        let found: Vec<Frame> = stream.chunks(cut).flat_map(|chunk| frames(decoder.push(chunk))).collect();
        for (frame, _) in &pieces {
            prop_assert!(found.contains(frame), "lost {frame:?}");
        }
        prop_assert_eq!(decoder.stats().frames, found.len() as u64);
    }

    #[test]
    fn arbitrary_bytes_never_panic(noise in prop::collection::vec(any::<u8>(), 0..2000), cut in 1usize..700) {
        let mut decoder = Decoder::new();
        for chunk in noise.chunks(cut) {
            decoder.push(chunk);
        }
        decoder.flush();
        let _ = decode(&noise);
    }

    #[test]
    fn one_flipped_bit_is_noticed(frame in any_frame(), place in any::<prop::sample::Index>(), bit in 0u8..8) {
        let mut wire = wire(&frame);
        let inner = wire.len() - 2;
        wire[1 + place.index(inner)] ^= 1 << bit;
        prop_assert!(!frames(Decoder::new().push(&wire)).contains(&frame));
    }
}
