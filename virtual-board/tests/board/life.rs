//! Start, discovery, noise, end.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use virtual_board::BoardIdentity;

use crate::support::{Board, image, open, wait_for};

#[test]
fn discovery_files_come_and_go_with_the_board() {
    let dir = tempfile::tempdir().unwrap();
    let read =
        || -> BoardIdentity { serde_json::from_slice(&std::fs::read(dir.path().join("board.json")).unwrap()).unwrap() };
    let mut board = Board::start(dir.path(), &[]);
    let first = read();
    assert_eq!((first.board.as_str(), first.name.as_str()), ("native", "board-1"));
    assert_eq!(first.process, board.child.id());
    let target = std::fs::read_link(board.tty()).unwrap();
    assert_eq!(target.to_str(), Some(first.terminal.as_str()));
    board.kill();

    let mut board = Board::start(dir.path(), &[]);
    assert_eq!(read().serial_number, first.serial_number);
    drop(board.child.stdin.take());
    assert!(board.child.wait().unwrap().success());
    assert!(!dir.path().join("board.json").exists());
    assert!(std::fs::symlink_metadata(board.tty()).is_err());
}

#[test]
fn one_folder_is_one_board() {
    let dir = tempfile::tempdir().unwrap();
    let _board = Board::start(dir.path(), &[]);
    let second = Command::new(env!("CARGO_BIN_EXE_virtual-board"))
        .args(["--name", "b", "--dir"])
        .arg(dir.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(1));
    let message = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(message.contains("another process runs the board"), "{message}");
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let output = Command::new(env!("CARGO_BIN_EXE_virtual-board"))
        .args(["--name", "b", "--dir", "/proc/no/such"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(message.contains("cannot create the board's folder /proc/no/such"), "{message}");
}

#[test]
fn noise_on_the_line_does_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    let board = Board::start(dir.path(), &[]);
    let mut host = board.open();
    host.flash(image("sha256:one")).unwrap();
    let mut state = 1u32;
    for round in 0..200 {
        let noise: Vec<u8> = (0..(round * 7) % 700)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            })
            .collect();
        host.port.write_all(&noise).unwrap();
        if round % 20 == 0 {
            assert_eq!(host.hello().artifact, "sha256:one");
        }
    }
    assert!(host.hello().rx_errors > 50);
    assert_eq!(host.hello().boot_count, 1);
}

#[test]
fn hosts_come_and_go() {
    let dir = tempfile::tempdir().unwrap();
    let board = Board::start(dir.path(), &[]);
    board.open().flash(image("sha256:one")).unwrap();
    for _ in 0..30 {
        assert_eq!(board.open().hello().artifact, "sha256:one");
    }
    // A request whose answer nobody awaits: the next host does not see it.
    let mut host = board.open();
    host.port.write_all(&firmware::message::HostMessage::Identify.encode(9).unwrap()).unwrap();
    host.port.flush().unwrap();
    drop(host);
    std::thread::sleep(Duration::from_millis(100));
    let mut host = board.open();
    host.hello();
    assert_eq!(host.lines, Vec::<String>::new());
}

#[test]
fn a_terminal_locked_by_a_dead_host_is_replaced() {
    // Only root may open a locked terminal in spite of the lock, so a board of another user it
    // must be; without root the kill tests show the same.
    if !rustix::process::geteuid().is_root() || Command::new("setpriv").arg("--version").output().is_err() {
        eprintln!("SKIPPED a_terminal_locked_by_a_dead_host_is_replaced: needs root and setpriv");
        return;
    }
    let dir = tempfile::tempdir_in("/tmp").unwrap();
    std::os::unix::fs::chown(dir.path(), Some(65534), Some(65534)).unwrap();
    let bin = dir.path().join("virtual-board");
    std::fs::copy(env!("CARGO_BIN_EXE_virtual-board"), &bin).unwrap();
    let child = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&bin)
        .args(["--name", "b", "--dir"])
        .arg(dir.path())
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let board = Board { child, dir: dir.path().to_path_buf() };
    wait_for("board.json", || dir.path().join("board.json").exists());
    let before = std::fs::read_link(board.tty()).unwrap();
    let port = open(&board.tty()).unwrap();
    // A killed process does not lift its lock: neither does this file descriptor.
    let locked = std::fs::File::options().read(true).write(true).open(board.tty()).unwrap();
    drop(port);
    rustix::termios::ioctl_tiocexcl(&locked).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    drop(locked);
    wait_for("another terminal", || std::fs::read_link(board.tty()).is_ok_and(|now| now != before));
    let mut host = board.open();
    assert_eq!(host.boot_info().flash_size, 0);
}
