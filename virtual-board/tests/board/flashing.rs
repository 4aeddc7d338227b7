//! Flashing and running firmware.

use std::time::{Duration, Instant};

use firmware::bootloader::{Mode, Request};
use firmware::message::{HostMessage, NakCode, ResetMode};
use firmware::session::{DriveError, Link, SessionError};
use sha2::{Digest, Sha256};

use crate::support::{Board, Host, LossyPort, image};

fn refused(result: Result<impl std::fmt::Debug, DriveError>) -> NakCode {
    match result {
        Err(DriveError::Session(SessionError::Refused { code, .. })) => code,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_empty_board_is_a_bootloader_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let board = Board::start(dir.path(), &[]);
    let mut host = board.open();
    assert_eq!(refused(host.ask(HostMessage::Hello)), NakCode::WrongMode);
    assert_eq!(refused(host.ask(HostMessage::Bootloader(Request::Run))), NakCode::Empty);
    assert_eq!(refused(host.ask(HostMessage::Bootloader(Request::Commit))), NakCode::NotBegun);
    let info = host.boot_info();
    assert_eq!((info.mode, info.flash_size, info.flash_sha256), (Mode::Bootloader, 0, None));
    assert_eq!((info.board.as_str(), info.flash_capacity), ("native", 2 * 1024 * 1024));
    assert_eq!(info.serial_number.len(), 12);
}

#[test]
fn firmware_is_flashed_runs_a_model_and_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let board = Board::start(dir.path(), &[]);
    let mut host = board.open();
    let one = image("sha256:one");
    assert_eq!(host.flash(one.clone()).unwrap().written, one.len());
    let info = host.hello();
    assert_eq!((info.artifact.as_str(), info.model.as_str(), info.boot_count), ("sha256:one", "stub", 1));
    assert_eq!(info.core, firmware::sources::CORE_VERSION);

    let input: Vec<u8> = (0..64).collect();
    for number in 1..=3 {
        let outcome = host.infer(input.clone(), Duration::from_secs(2)).unwrap();
        let expected: Vec<u8> = (0..10).map(|i| (0..64u8).filter(|j| j % 10 == i).fold(0, u8::wrapping_add)).collect();
        assert_eq!((outcome.device_seq, outcome.output), (number, expected));
    }

    // The same image again is not written again.
    assert_eq!(host.flash(one).unwrap().written, 0);
    let two = image("sha256:two");
    host.flash(two.clone()).unwrap();
    assert_eq!(host.hello().artifact, "sha256:two");
    assert_eq!(std::fs::read(dir.path().join("flash.bin")).unwrap(), two);

    host.ask(HostMessage::Identify).unwrap();
    assert!(host.lines.iter().any(|line| line.contains("identify")), "{:?}", host.lines);

    host.ask(HostMessage::Reset(ResetMode::Bootloader)).unwrap();
    assert_eq!(host.boot_info().mode, Mode::Bootloader);
    assert!(board.firmware_processes().is_empty());
    host.ask(HostMessage::Bootloader(Request::Erase)).unwrap();
    assert_eq!(host.boot_info().flash_size, 0);
    assert_eq!(refused(host.ask(HostMessage::Bootloader(Request::Run))), NakCode::Empty);
}

#[test]
fn an_image_that_does_not_fit_is_refused_by_both_sides() {
    let dir = tempfile::tempdir().unwrap();
    let board = Board::start(dir.path(), &["--flash", "1000"]);
    let mut host = board.open();
    match host.flash(vec![7; 1001]) {
        Err(DriveError::Session(SessionError::TooBig { size: 1001, capacity: 1000 })) => {}
        other => panic!("{other:?}"),
    }
    let begin = Request::Begin { size: 1001, sha256: [0; 32] };
    assert_eq!(refused(host.ask(HostMessage::Bootloader(begin))), NakCode::TooBig);
}

#[test]
fn bad_requests_are_named_and_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let board = Board::start(dir.path(), &[]);
    let mut host = board.open();
    host.flash(image("sha256:one")).unwrap();
    let mut ask = |request| refused(host.ask(HostMessage::Bootloader(request)));
    // The firmware runs: nothing can be flashed.
    let begin = Request::Begin { size: 10, sha256: [1; 32] };
    assert_eq!(ask(begin.clone()), NakCode::WrongMode);

    host.ask(HostMessage::Reset(ResetMode::Bootloader)).unwrap();
    let mut ask = |request| host.ask(HostMessage::Bootloader(request));
    assert_eq!(refused(ask(Request::Data { offset: 0, data: vec![1] })), NakCode::NotBegun);
    ask(begin).unwrap();
    assert_eq!(refused(ask(Request::Data { offset: 1, data: vec![1] })), NakCode::OutOfOrder);
    assert_eq!(refused(ask(Request::Data { offset: 5, data: vec![1; 6] })), NakCode::OutOfRange);
    assert_eq!(refused(ask(Request::Data { offset: u32::MAX, data: vec![1; 6] })), NakCode::OutOfRange);
    ask(Request::Data { offset: 0, data: vec![1; 6] }).unwrap();
    ask(Request::Data { offset: 0, data: vec![1; 6] }).unwrap(); // a repetition is no error
    assert_eq!(refused(ask(Request::Commit)), NakCode::BadDigest);
    // Complete, but not what was announced.
    ask(Request::Begin { size: 2, sha256: Sha256::digest([1, 2]).into() }).unwrap();
    ask(Request::Data { offset: 0, data: vec![1, 3] }).unwrap();
    assert_eq!(refused(ask(Request::Commit)), NakCode::BadDigest);
    ask(Request::Run).unwrap();
    assert_eq!(host.hello().artifact, "sha256:one");
}

#[test]
fn a_repeated_commit_is_acknowledged_again() {
    let dir = tempfile::tempdir().unwrap();
    let board = Board::start(dir.path(), &[]);
    let mut host = board.open();
    let mut ask = |request| host.ask(HostMessage::Bootloader(request));
    let sha256 = Sha256::digest([1, 2, 3]).into();
    ask(Request::Begin { size: 3, sha256 }).unwrap();
    ask(Request::Data { offset: 0, data: vec![1, 2, 3] }).unwrap();
    ask(Request::Commit).unwrap();
    ask(Request::Commit).unwrap();
    ask(Request::Begin { size: 3, sha256 }).unwrap();
    assert_eq!(refused(ask(Request::Commit)), NakCode::BadDigest);
    assert_eq!(refused(ask(Request::Commit)), NakCode::NotBegun);
    assert_eq!(host.boot_info().flash_sha256, Some(sha256));
    assert_eq!(std::fs::read(dir.path().join("flash.bin")).unwrap(), [1, 2, 3]);
}

#[test]
fn a_bad_cable_delays_a_flash_and_does_not_spoil_it() {
    let dir = tempfile::tempdir().unwrap();
    let board = Board::start(dir.path(), &[]);
    let one = image("sha256:one");
    let port = LossyPort { port: board.open().port, every: 3_001, passed: 0, damaged: 0 };
    let mut host = Host { port, link: Link::default(), lines: vec![] };
    host.flash(one.clone()).unwrap();
    assert!(host.port.damaged >= 5, "{}", host.port.damaged);
    assert_eq!(std::fs::read(dir.path().join("flash.bin")).unwrap(), one);
    host.port.every = usize::MAX;
    assert_eq!(host.hello().artifact, "sha256:one");
}

#[test]
fn a_forsaken_bootloader_starts_the_firmware_again() {
    let dir = tempfile::tempdir().unwrap();
    let board = Board::start(dir.path(), &[]);
    let mut host = board.open();
    host.flash(image("sha256:one")).unwrap();
    let start = Instant::now();
    host.ask(HostMessage::Reset(ResetMode::Bootloader)).unwrap();
    assert_eq!(refused(host.ask(HostMessage::Hello)), NakCode::WrongMode);
    while host.ask(HostMessage::Hello).is_err() {
        assert!(start.elapsed() < Duration::from_secs(10));
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(start.elapsed() >= Duration::from_secs(5), "{:?}", start.elapsed());
}

/// An image of two bytes, half of it sent.
fn half_sent(host: &mut Host<serialport::TTYPort>) {
    host.ask(HostMessage::Reset(ResetMode::Bootloader)).unwrap();
    let begin = Request::Begin { size: 2, sha256: Sha256::digest([1, 2]).into() };
    host.ask(HostMessage::Bootloader(begin)).unwrap();
    host.ask(HostMessage::Bootloader(Request::Data { offset: 0, data: vec![1] })).unwrap();
}

fn second_half() -> HostMessage {
    HostMessage::Bootloader(Request::Data { offset: 1, data: vec![2] })
}

#[test]
fn a_late_copy_of_reset_takes_nothing_away() {
    let dir = tempfile::tempdir().unwrap();
    let board = Board::start(dir.path(), &[]);
    let mut host = board.open();
    host.flash(image("sha256:one")).unwrap();
    half_sent(&mut host);
    host.ask(HostMessage::Reset(ResetMode::Bootloader)).unwrap();
    host.ask(second_half()).unwrap();
    host.ask(HostMessage::Bootloader(Request::Commit)).unwrap();
    assert_eq!(std::fs::read(dir.path().join("flash.bin")).unwrap(), [1, 2]);
}

#[test]
fn a_board_that_stood_still_reads_what_was_sent_before_it_gives_up() {
    let dir = tempfile::tempdir().unwrap();
    let board = Board::start(dir.path(), &[]);
    let mut host = board.open();
    host.flash(image("sha256:one")).unwrap();
    half_sent(&mut host);
    let process = rustix::process::Pid::from_child(&board.child);
    rustix::process::kill_process(process, rustix::process::Signal::STOP).unwrap();
    std::io::Write::write_all(&mut host.port, &second_half().encode(77).unwrap()).unwrap();
    // Longer than the bootloader waits.
    std::thread::sleep(Duration::from_millis(5_500));
    rustix::process::kill_process(process, rustix::process::Signal::CONT).unwrap();
    host.ask(HostMessage::Bootloader(Request::Commit)).unwrap();
    assert_eq!(std::fs::read(dir.path().join("flash.bin")).unwrap(), [1, 2]);
}

#[test]
fn the_bootloader_does_not_give_up_in_the_middle_of_a_frame() {
    let dir = tempfile::tempdir().unwrap();
    let board = Board::start(dir.path(), &[]);
    let mut host = board.open();
    host.flash(image("sha256:one")).unwrap();
    // The bootloader has heard its last request after this moment, and gives up 5 s later.
    let since = Instant::now();
    half_sent(&mut host);
    let frame = second_half().encode(77).unwrap();
    let pieces = frame.split_at(frame.len() / 2);
    for (piece, from, to) in [(pieces.0, 4_500, 4_900), (pieces.1, 5_300, 5_450)] {
        std::thread::sleep(Duration::from_millis(from).saturating_sub(since.elapsed()));
        std::io::Write::write_all(&mut host.port, piece).unwrap();
        if since.elapsed() > Duration::from_millis(to) {
            eprintln!(
                "SKIPPED the_bootloader_does_not_give_up_…: this machine is too busy to send a frame in two pieces"
            );
            return;
        }
    }
    host.ask(HostMessage::Bootloader(Request::Commit)).unwrap();
    assert_eq!(std::fs::read(dir.path().join("flash.bin")).unwrap(), [1, 2]);
}

#[test]
fn a_paced_line_takes_its_time() {
    let dir = tempfile::tempdir().unwrap();
    let board = Board::start(dir.path(), &["--baud", "115200"]);
    let mut host = board.open();
    let one = image("sha256:one");
    let start = Instant::now();
    host.flash(one.clone()).unwrap();
    let least = Duration::from_secs_f64(one.len() as f64 * 10.0 / 115_200.0);
    let took = start.elapsed();
    assert!(took >= least && took < least * 3, "{took:?} against {least:?} on the line");
}
