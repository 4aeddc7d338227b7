//! A bad cable: bytes are lost, changed and added in both directions. Sessions get through,
//! and never with a wrong result.

use std::io::{self, Read, Write};
use std::time::Duration;

use firmware::message::{BoardMessage, HostMessage};
use firmware::session::{Ask, DriveError, Inference, Link, SessionError, drive};

use crate::process::{Process, SANITIZED, expected};

/// Damages about one byte in `one_in`.
struct BadCable {
    process: Process,
    one_in: u64,
    state: u64,
    damages: u32,
}

impl BadCable {
    fn random(&mut self) -> u64 {
        // SplitMix64 (Steele et al., 2014): any generator does, a fixed seed makes it repeatable.
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn damage(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = vec![];
        for &byte in bytes {
            let random = self.random();
            if !random.is_multiple_of(self.one_in) {
                out.push(byte);
                continue;
            }
            self.damages += 1;
            match (random >> 32) % 4 {
                0 => {}
                1 => out.push(byte ^ (1 << ((random >> 40) % 8))),
                2 => out.extend([byte, (random >> 40) as u8]),
                _ => out.push(0),
            }
        }
        out
    }
}

impl Read for BadCable {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let half = buffer.len() / 2;
        let got = self.process.read(&mut buffer[..half])?;
        if got == 0 {
            return Ok(0);
        }
        let damaged = self.damage(&buffer[..got]);
        if damaged.is_empty() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        buffer[..damaged.len()].copy_from_slice(&damaged);
        Ok(damaged.len())
    }
}

impl Write for BadCable {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let damaged = self.damage(bytes);
        self.process.write_all(&damaged)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.process.flush()
    }
}

#[test]
fn results_are_right_or_missing_but_never_wrong() {
    let process = Process::start(&SANITIZED);
    let mut cable = BadCable { process, one_in: 300, state: 42, damages: 0 };
    let mut link = Link::default();
    let mut hello = Ask::new(HostMessage::Hello, Duration::from_millis(40), 20);
    let Ok(BoardMessage::Info(info)) = drive(&mut cable, &mut link, &mut hello, &mut |_| true) else {
        panic!("no INFO");
    };
    let (mut right, mut last) = (0, 0);
    for round in 0..50u32 {
        let data: Vec<u8> = (0..64).map(|i| (round * 7 + i) as u8 & 0x3F).collect();
        let mut session = Inference::new(&info, data.clone(), Duration::from_millis(40)).unwrap();
        match drive(&mut cable, &mut link, &mut session, &mut |_| true) {
            Ok(outcome) => {
                assert_eq!(outcome.output, expected(&data, 10), "round {round}");
                // A repeated request never runs the model twice for one result.
                assert!(outcome.device_seq > last && outcome.device_seq <= round + 1);
                last = outcome.device_seq;
                right += 1;
            }
            Err(DriveError::Session(SessionError::NoAnswer { .. })) => {}
            Err(error) => panic!("round {round}: {error}"),
        }
    }
    assert!(cable.damages > 8, "{}", cable.damages);
    assert!(right >= 48, "only {right} of 50 got through");
    cable.process.finish();
}
