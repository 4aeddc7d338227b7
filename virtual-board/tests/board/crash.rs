//! Cuts, crashes and kills. Whatever happens, the firmware in flash is the old or the new one,
//! bit for bit, and it answers.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use firmware::bootloader::Mode;
use firmware::message::{HostMessage, ResetMode};
use firmware::session::{DriveError, Link, SessionError};

use crate::support::{Board, CutPort, Host, image, open_patiently, wait_for};

const OLD: &str = "sha256:old";
const NEW: &str = "sha256:new";

/// What is in flash, and what answers, are both the old or both the new.
fn consistent(board: &Board, host: &mut Host<impl std::io::Read + std::io::Write>) -> String {
    let artifact = host.hello().artifact;
    assert!([OLD, NEW].contains(&artifact.as_str()), "{artifact}");
    assert!(std::fs::read(board.dir.join("flash.bin")).unwrap() == image(&artifact), "flash is not {artifact}");
    artifact
}

/// Bytes that a host writes to flash NEW over OLD.
fn bytes_of_a_flash() -> usize {
    let dir = tempfile::tempdir().unwrap();
    let board = Board::start(dir.path(), &[]);
    board.open().flash(image(OLD)).unwrap();
    let port = CutPort { port: board.open().port, left: usize::MAX, at_cut: None, written: 0 };
    let mut host = Host { port, link: Link::default(), lines: vec![] };
    host.flash(image(NEW)).unwrap();
    host.port.written
}

/// Where and how many µs later to cut. RESET, BL_HELLO and BL_BEGIN are at the start, BL_COMMIT
/// and BL_RUN at the end; both are 7 bytes long.
fn cuts(total: usize) -> Vec<(usize, u64)> {
    let mut cuts: Vec<(usize, u64)> =
        [0, 3, 8, 15, 20, 40, 58, 60, 700, total / 3, total / 2, total - 30, total - 16, total - 3]
            .map(|at| (at, 0))
            .to_vec();
    cuts.extend([0, 50, 100, 200, 300, 500, 800, 1300, 2000, 5000].map(|late| (total - 7, late)));
    cuts
}

#[test]
fn the_board_is_killed_while_it_is_flashed() {
    let total = bytes_of_a_flash();
    let mut seen = std::collections::BTreeSet::new();
    for (cut, late) in cuts(total) {
        let dir = tempfile::tempdir().unwrap();
        let mut board = Board::start(dir.path(), &[]);
        board.open().flash(image(OLD)).unwrap();
        let port = board.open().port;
        let kill = || {
            std::thread::sleep(Duration::from_micros(late));
            board.kill();
        };
        let port = CutPort { port, left: cut, at_cut: Some(Box::new(kill)), written: 0 };
        let mut host = Host { port, link: Link::default(), lines: vec![] };
        assert!(matches!(host.flash(image(NEW)), Err(DriveError::Port(_))), "cut at {cut}, {late} µs");
        drop(host);
        let again = Board::start(dir.path(), &[]);
        assert!(!dir.path().join("staged.bin").exists());
        let mut host = again.open();
        let artifact = consistent(&again, &mut host);
        if cut == total - 7 {
            eprintln!("killed {late} µs after BL_COMMIT: {artifact}");
        }
        seen.insert(artifact);
        // And it can be flashed, as if nothing had been.
        host.flash(image(NEW)).unwrap();
        assert_eq!(consistent(&again, &mut host), NEW);
    }
    assert!(seen.contains(OLD), "no cut came before the commit: {seen:?}");
}

#[test]
fn the_host_goes_away_while_it_flashes() {
    let total = bytes_of_a_flash();
    let dir = tempfile::tempdir().unwrap();
    let board = Board::start(dir.path(), &[]);
    for cut in [20, 60, 700, total / 2, total - 12] {
        board.open().flash(image(OLD)).unwrap();
        let port = CutPort { port: board.open().port, left: cut, at_cut: None, written: 0 };
        let mut host = Host { port, link: Link::default(), lines: vec![] };
        assert!(matches!(host.flash(image(NEW)), Err(DriveError::Port(_))), "cut at {cut}");
        drop(host);
        // The bootloader gives up after its time-out, or sooner by a reset.
        let mut host = board.open();
        host.ask(HostMessage::Reset(ResetMode::App)).unwrap();
        consistent(&board, &mut host);
    }
}

/// Not a test of its own: the process that the next test kills. libtest offers no other way to
/// have a second program in a test binary.
#[test]
fn flasher_process() {
    let Some(tty) = std::env::var_os("TML_TEST_TTY") else { return };
    let image = std::fs::read(std::env::var_os("TML_TEST_IMAGE").unwrap()).unwrap();
    open_patiently(Path::new(&tty)).flash(image).unwrap();
}

#[test]
fn the_flashing_process_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    // 19 KB in about 1.6 s.
    let board = Board::start(dir.path(), &["--baud", "115200"]);
    board.open().flash(image(OLD)).unwrap();
    let new = dir.path().join("new-image");
    std::fs::write(&new, image(NEW)).unwrap();
    for after in [100, 700, 1300] {
        let mut flasher = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crash::flasher_process"])
            .env("TML_TEST_TTY", board.tty())
            .env("TML_TEST_IMAGE", &new)
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let staged = dir.path().join("staged.bin");
        wait_for("the flashing to begin", || staged.exists());
        std::thread::sleep(Duration::from_millis(after));
        flasher.kill().unwrap();
        flasher.wait().unwrap();
        assert!(staged.exists(), "it had finished before it was killed");
        let mut host = board.open();
        host.ask(HostMessage::Reset(ResetMode::App)).unwrap();
        assert_eq!(consistent(&board, &mut host), OLD);
        assert!(!staged.exists());
        drop(host);
    }
}

#[test]
fn firmware_that_crashes_is_started_again_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let board = Board::start(dir.path(), &[]);
    let mut host = board.open();
    host.flash(image(OLD)).unwrap();
    let mut input = vec![0; 64];
    (input[0], input[1]) = (127, 2);
    // The input is sent anew after each crash, until the session gives up.
    match host.infer(input, Duration::from_millis(300)) {
        Err(DriveError::Session(SessionError::Refused { .. } | SessionError::NoAnswer { .. })) => {}
        other => panic!("{other:?}"),
    }
    let info = host.boot_info();
    assert!(info.crash_count >= 1, "{info:?}");
    assert_eq!(info.last_exit, "signal 6");
    assert!(host.hello().boot_count >= 2);
    assert_eq!(host.infer(vec![1; 64], Duration::from_secs(1)).unwrap().output.len(), 10);
}

#[test]
fn a_model_that_never_returns_ends_by_reset_and_with_its_board() {
    let dir = tempfile::tempdir().unwrap();
    let mut board = Board::start(dir.path(), &[]);
    let mut host = board.open();
    host.flash(image(OLD)).unwrap();
    let mut input = vec![0; 64];
    (input[0], input[1]) = (127, 3);
    assert!(host.infer(input.clone(), Duration::from_millis(100)).is_err());
    host.ask(HostMessage::Reset(ResetMode::App)).unwrap();
    assert_eq!(host.hello().artifact, OLD);

    assert!(host.infer(input, Duration::from_millis(100)).is_err());
    assert_eq!(board.firmware_processes().len(), 1);
    board.kill();
    wait_for("the firmware to go with its board", || board.firmware_processes().is_empty());
}

#[test]
fn an_image_that_is_no_firmware_does_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    let board = Board::start(dir.path(), &[]);
    let mut host = board.open();
    host.flash(b"#!/bin/sh\ntouch harm\n".repeat(100)).unwrap();
    let info = host.boot_info();
    assert_eq!(info.mode, Mode::Crashed);
    assert!(info.last_exit.contains("not an executable"), "{}", info.last_exit);
    host.flash(image(NEW)).unwrap();
    assert_eq!(host.hello().artifact, NEW);
    assert_eq!(host.boot_info().crash_count, 0);
}

#[test]
fn firmware_that_survived_its_board_is_ended_by_the_next_one() {
    let dir = tempfile::tempdir().unwrap();
    // An executable that does not care for its parent: any long-running program will do.
    let flash = dir.path().join("flash.bin");
    std::fs::copy("/bin/sleep", &flash).unwrap();
    let mut survivor = Command::new(&flash).arg("600").spawn().unwrap();
    let board = Board::start(dir.path(), &[]);
    assert!(!survivor.wait().unwrap().success());
    let mut host = board.open();
    wait_for("the new one to end for want of arguments", || host.boot_info().crash_count > 0);
}
