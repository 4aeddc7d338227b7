//! Rust talks to the compiled C, which runs under the address and undefined-behaviour
//! sanitizers: right requests, wrong ones, noise.

use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use firmware::frame::{Decoder, Item, crc16, encode};
use firmware::message::{BoardMessage, HostMessage, Info, NakCode, ResetMode, kind};
use firmware::session::{Ask, DriveError, Event, Inference, Link, SessionError, drive};

use crate::process::{Build, Process, SANITIZED, expected};

/// Writes raw bytes and returns the answers with the sequence number `seq`.
fn raw(process: &mut Process, bytes: &[u8], seq: u8) -> Vec<BoardMessage> {
    process.write_all(bytes).unwrap();
    let mut decoder = Decoder::new();
    let mut answers = vec![];
    let mut buffer = [0; 4096];
    let start = Instant::now();
    let mut silent = 0;
    // Long enough for an answer; then as long as there is more.
    while start.elapsed() < Duration::from_secs(5) && silent < if answers.is_empty() { 15 } else { 3 } {
        match process.read(&mut buffer) {
            Ok(got) => {
                silent = 0;
                for item in decoder.push(&buffer[..got]) {
                    if let Item::Frame(frame) = item
                        && frame.seq == seq
                    {
                        answers.push(BoardMessage::parse(&frame).unwrap());
                    }
                }
            }
            Err(e) if e.kind() == ErrorKind::TimedOut => silent += 1,
            Err(e) => panic!("{e}"),
        }
    }
    answers
}

fn ask(process: &mut Process, message: HostMessage, seq: u8) -> BoardMessage {
    let mut answers = raw(process, &message.encode(seq).unwrap(), seq);
    assert_eq!(answers.len(), 1, "{answers:?}");
    answers.remove(0)
}

fn info(process: &mut Process) -> Info {
    match ask(process, HostMessage::Hello, 200) {
        BoardMessage::Info(info) => info,
        other => panic!("{other:?}"),
    }
}

fn input(offset: u16, data: &[u8]) -> HostMessage {
    HostMessage::Input { offset, data: data.to_vec() }
}

const fn nak(code: NakCode) -> BoardMessage {
    BoardMessage::Nak(code)
}

#[test]
fn a_board_introduces_itself_and_answers() {
    let mut process = Process::start(&SANITIZED);
    let boot = raw(&mut process, &[], 0);
    let BoardMessage::Info(first) = &boot[0] else { panic!("{boot:?}") };
    let expected_info = Info {
        protocol: 1,
        artifact: "sha256:test".into(),
        model_id: "0123456789abcdef".into(),
        model: "stub".into(),
        board: "native".into(),
        core: firmware::sources::CORE_VERSION.into(),
        input_bytes: 64,
        output_bytes: 10,
        arena_bytes: 74,
        max_payload: 512,
        ..first.clone()
    };
    assert_eq!(*first, expected_info);
    assert_eq!((first.boot_count, first.invocations, first.rx_errors), (0, 0, 0));

    let data: Vec<u8> = (100..164).collect();
    assert_eq!(ask(&mut process, input(0, &data), 1), BoardMessage::Ack);
    let first = ask(&mut process, HostMessage::Invoke, 2);
    let BoardMessage::Result(part) = &first else { panic!("{first:?}") };
    assert_eq!((part.device_seq, part.offset, &part.data), (1, 0, &expected(&data, 10)));
    assert!(part.latency_us < 1_000_000);
    // The same request again is the same answer again, not another run.
    assert_eq!(ask(&mut process, HostMessage::Invoke, 2), first);
    assert_eq!(info(&mut process).invocations, 1);
    // After HELLO numbers begin anew; the input has been used up.
    assert_eq!(ask(&mut process, HostMessage::Invoke, 2), nak(NakCode::NoInput));
    assert_eq!(ask(&mut process, HostMessage::Identify, 3), BoardMessage::Ack);
    process.finish();
}

#[test]
fn wrong_requests_are_refused_by_name() {
    let mut process = Process::start(&SANITIZED);
    assert_eq!(ask(&mut process, HostMessage::Invoke, 1), nak(NakCode::NoInput));
    assert_eq!(ask(&mut process, input(1, &[0; 3]), 2), nak(NakCode::OutOfOrder));
    assert_eq!(ask(&mut process, input(0, &[0; 65]), 3), nak(NakCode::OutOfRange));
    assert_eq!(ask(&mut process, input(65535, &[0; 500]), 4), nak(NakCode::OutOfRange));
    assert_eq!(ask(&mut process, input(0, &[0; 63]), 5), BoardMessage::Ack);
    assert_eq!(ask(&mut process, HostMessage::Invoke, 6), nak(NakCode::NoInput));
    assert_eq!(ask(&mut process, input(63, &[0; 1]), 7), BoardMessage::Ack);
    assert!(matches!(ask(&mut process, HostMessage::Invoke, 8), BoardMessage::Result(_)));
    let mut frame = |kind, payload: &[u8], seq| raw(&mut process, &encode(kind, seq, payload).unwrap(), seq);
    assert_eq!(frame(kind::INPUT, &[1], 9), [nak(NakCode::BadPayload)]);
    assert_eq!(frame(kind::RESET, &[7], 10), [nak(NakCode::BadPayload)]);
    assert_eq!(frame(0x9F, &[], 11), [nak(NakCode::UnknownType)]);
    assert_eq!(frame(kind::BL_HELLO, &[], 12), [nak(NakCode::WrongMode)]);
    // A model that fails says so, and the repetition says it again.
    let mut bad = vec![0; 64];
    (bad[0], bad[1]) = (127, 1);
    assert_eq!(ask(&mut process, input(0, &bad), 13), BoardMessage::Ack);
    assert_eq!(ask(&mut process, HostMessage::Invoke, 14), nak(NakCode::ModelFailed));
    assert_eq!(ask(&mut process, HostMessage::Invoke, 14), nak(NakCode::ModelFailed));
    assert_eq!(info(&mut process).invocations, 2);
    assert_eq!(ask(&mut process, HostMessage::Reset(ResetMode::App), 15), BoardMessage::Ack);
    process.finish();
}

#[test]
fn broken_frames_are_counted_and_not_answered() {
    let mut process = Process::start(&SANITIZED);
    let hello = HostMessage::Hello.encode(1).unwrap();
    let mut flipped = hello.clone();
    flipped[3] ^= 0x10;
    let truncated = &hello[..hello.len() - 2];
    let short_crc = [0, 3, 0x81, 1, 0];
    for (count, broken) in [&flipped[..], &[truncated, &[0]].concat(), &short_crc, &[0, 200, 1, 0]].iter().enumerate() {
        assert_eq!(raw(&mut process, broken, 1), [], "{broken:?}");
        assert_eq!(info(&mut process).rx_errors, count as u32 + 1);
    }
    process.finish();
}

/// Encodes without the codec's limit.
fn overlong(count: usize) -> Vec<u8> {
    let mut body = vec![kind::INPUT, 77];
    body.extend(std::iter::repeat_n(1, count));
    body.extend(crc16(&body).to_le_bytes());
    let mut wire = vec![0];
    for block in body.chunks(254) {
        wire.push(block.len() as u8 + 1);
        wire.extend(block);
    }
    wire.push(0);
    wire
}

#[test]
fn what_is_too_long_is_refused_if_intact_and_ignored_if_absurd() {
    let small = Build { flags: &[SANITIZED.flags, &["-DTML_MAX_PAYLOAD=64"]].concat(), ..SANITIZED };
    let mut process = Process::start(&small);
    assert_eq!(info(&mut process).max_payload, 64);
    let long = input(0, &[1; 63]).encode(9).unwrap();
    assert_eq!(raw(&mut process, &long, 9), [nak(NakCode::TooLong)]);
    for count in [513, 5000, 70_000] {
        assert_eq!(raw(&mut process, &overlong(count), 77), [], "{count}");
    }
    assert_eq!(info(&mut process).rx_errors, 3);
    process.finish();
}

#[test]
fn noise_never_stops_the_board() {
    let mut process = Process::start(&SANITIZED);
    let mut state = 7u64;
    for round in 0..300u64 {
        let noise: Vec<u8> = (0..(round * 13) % 900)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                // A third zeros: many short pieces between delimiters.
                let byte = (state >> 56) as u8;
                if byte < 85 { 0 } else { byte }
            })
            .collect();
        process.write_all(&noise).unwrap();
    }
    // Two delimiters end whatever the noise left open.
    process.write_all(&[0, 0]).unwrap();
    let info = info(&mut process);
    assert!(info.rx_errors > 1000, "{}", info.rx_errors);
    process.finish();
}

#[test]
fn long_inputs_and_outputs_travel_in_pieces() {
    let flags =
        [SANITIZED.flags, &["-DTML_MAX_PAYLOAD=64", "-DTML_INPUT_BYTES=9216", "-DTML_OUTPUT_BYTES=640"]].concat();
    let mut process = Process::start(&Build { flags: &flags, ..SANITIZED });
    let info = info(&mut process);
    let mut link = Link::default();
    for seed in 0..3u8 {
        let data: Vec<u8> = (0..9216u32).map(|i| (i as u8).wrapping_mul(31) ^ seed).collect();
        let mut session = Inference::new(&info, data.clone(), Duration::from_secs(2)).unwrap();
        let mut progress = 0.0;
        let outcome = drive(&mut process, &mut link, &mut session, &mut |event| {
            if let Event::Progress(now) = event {
                assert!(now >= progress);
                progress = now;
            }
            true
        });
        let outcome = outcome.unwrap();
        assert_eq!(outcome.device_seq, u32::from(seed) + 1);
        assert_eq!(outcome.output, expected(&data, 640));
        assert!(progress > 0.9);
    }
    process.finish();
}

#[test]
fn sessions_end_by_themselves() {
    let mut process = Process::start(&SANITIZED);
    let info = info(&mut process);
    assert_eq!(
        Inference::new(&info, vec![0; 63], Duration::from_secs(1)).unwrap_err().to_string(),
        "the input has 63 bytes, allowed are exactly 64"
    );
    let mut hang = vec![0; 64];
    (hang[0], hang[1]) = (127, 3);
    let mut session = Inference::new(&info, hang, Duration::from_millis(50)).unwrap();
    let mut link = Link::default();
    match drive(&mut process, &mut link, &mut session, &mut |_| true) {
        Err(DriveError::Session(SessionError::NoAnswer { what: "INVOKE", tries: 4 })) => {}
        other => panic!("{other:?}"),
    }
    let mut session = Ask::new(HostMessage::Hello, Duration::from_secs(60), 1);
    let mut ticks = 0;
    let cancelled = drive(&mut process, &mut link, &mut session, &mut |event| {
        ticks += usize::from(event == Event::Tick);
        ticks < 3
    });
    assert!(matches!(cancelled, Err(DriveError::Cancelled)));
}
