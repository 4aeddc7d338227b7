//! Typed messages: what is encoded is what is parsed, and what is broken is named.

use firmware::bootloader::{self, Mode, Request};
use firmware::frame::{Decoder, Frame, Item};
use firmware::message::{BoardMessage, HostMessage, Info, NakCode, ParseError, ResetMode, ResultPart};
use proptest::prelude::*;

fn one(wire: &[u8]) -> Frame {
    match &Decoder::new().push(wire)[..] {
        [Item::Frame(frame)] => frame.clone(),
        other => panic!("{other:?}"),
    }
}

fn nak() -> impl Strategy<Value = NakCode> {
    any::<u8>().prop_map(NakCode::from_code)
}

fn text(longest: usize) -> impl Strategy<Value = String> {
    proptest::string::string_regex(&format!("[ -~\u{e9}]{{0,{longest}}}")).unwrap()
}

fn host_message() -> impl Strategy<Value = HostMessage> {
    let request = prop_oneof![
        Just(Request::Hello),
        (any::<u32>(), any::<[u8; 32]>()).prop_map(|(size, sha256)| Request::Begin { size, sha256 }),
        (any::<u32>(), prop::collection::vec(any::<u8>(), 0..=bootloader::MAX_DATA))
            .prop_map(|(offset, data)| Request::Data { offset, data }),
        Just(Request::Commit),
        Just(Request::Erase),
        Just(Request::Run),
    ];
    prop_oneof![
        Just(HostMessage::Hello),
        (any::<u16>(), prop::collection::vec(any::<u8>(), 0..=510))
            .prop_map(|(offset, data)| HostMessage::Input { offset, data }),
        Just(HostMessage::Invoke),
        Just(HostMessage::Identify),
        Just(HostMessage::Reset(ResetMode::App)),
        Just(HostMessage::Reset(ResetMode::Bootloader)),
        request.prop_map(HostMessage::Bootloader),
    ]
}

fn board_message() -> impl Strategy<Value = BoardMessage> {
    let info = (text(80), text(40), any::<[u32; 6]>(), 8u16..=512).prop_map(|(artifact, model, n, max_payload)| Info {
        protocol: 1,
        artifact,
        model_id: "0123456789abcdef".into(),
        model,
        board: "native".into(),
        core: "0.1.0".into(),
        input_bytes: n[0],
        output_bytes: n[1],
        arena_bytes: n[2],
        max_payload,
        boot_count: n[3],
        uptime_ms: n[4],
        invocations: n[5],
        rx_errors: n[0],
        stack_left: n[1],
    });
    let boot = (any::<Option<[u8; 32]>>(), text(60), any::<[u32; 4]>(), 0..3u8).prop_map(
        |(flash_sha256, last_exit, n, mode)| bootloader::Info {
            protocol: 1,
            mode: [Mode::App, Mode::Bootloader, Mode::Crashed][usize::from(mode)],
            board: "native".into(),
            serial_number: "A1".into(),
            flash_capacity: n[0],
            flash_size: n[1],
            flash_sha256,
            crash_count: n[2],
            last_exit,
            boot_count: n[3],
            max_payload: 512,
        },
    );
    let result = (any::<u32>(), any::<u32>(), any::<u16>(), prop::collection::vec(any::<u8>(), 0..=502))
        .prop_map(|(device_seq, latency_us, offset, data)| ResultPart { device_seq, latency_us, offset, data });
    prop_oneof![
        info.prop_map(BoardMessage::Info),
        Just(BoardMessage::Ack),
        nak().prop_map(BoardMessage::Nak),
        result.prop_map(BoardMessage::Result),
        text(100).prop_map(BoardMessage::Log),
        boot.prop_map(BoardMessage::Bootloader),
    ]
}

proptest! {
    #[test]
    fn host_messages_roundtrip(message in host_message(), seq in any::<u8>()) {
        let frame = one(&message.encode(seq).unwrap());
        prop_assert_eq!(frame.seq, seq);
        prop_assert_eq!(HostMessage::parse(&frame), Ok(message));
    }

    #[test]
    fn board_messages_roundtrip(message in board_message(), seq in any::<u8>()) {
        let frame = one(&message.encode(seq).unwrap());
        prop_assert_eq!(frame.seq, seq);
        prop_assert_eq!(BoardMessage::parse(&frame), Ok(message));
    }

    #[test]
    fn any_payload_parses_or_is_refused(kind in 0x80u8.., seq in any::<u8>(), payload in prop::collection::vec(any::<u8>(), 0..512)) {
        let frame = Frame { kind, seq, payload };
        let _ = HostMessage::parse(&frame);
        let _ = BoardMessage::parse(&frame);
    }
}

#[test]
fn errors_name_the_message_and_the_limit() {
    let parse = |kind, payload: &[u8]| BoardMessage::parse(&Frame { kind, seq: 1, payload: payload.to_vec() });
    let error = |kind, payload: &[u8]| parse(kind, payload).unwrap_err().to_string();
    assert_eq!(error(0xC4, &[1, 2]), "RESULT: payload must have 10 bytes and data, got 2 bytes");
    assert_eq!(error(0xC1, &[1, 9, 1]), "INFO: ends inside a field");
    assert_eq!(error(0xC1, &[]), "INFO: field 'protocol' is missing");
    assert_eq!(parse(0xF0, &[]), Err(ParseError::UnknownType(0xF0)));
    // Newer boards may say more.
    let newer = [&[1, 1, 1, 10, 2, 64, 0, 200, 3, 9, 9, 9][..]].concat();
    assert!(matches!(parse(0xC1, &newer), Ok(BoardMessage::Info(info)) if info.max_payload == 64));
}

#[test]
fn refusals_have_stable_codes() {
    // These numbers are in PROTOCOL.md and in tml_core.c.
    assert_eq!(NakCode::UnknownType.code(), 1);
    assert_eq!(NakCode::NoInput.code(), 6);
    assert_eq!(NakCode::NotBegun.code(), 13);
    for code in 0..=255 {
        assert_eq!(NakCode::from_code(code).code(), code);
    }
}
