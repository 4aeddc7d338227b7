//! The sketch with a camera, as a process of the host: Arduino's API and the camera's library are stand-ins
//! (`tests/arduino`), all of the firmware is real.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use firmware::frame::{Decoder, Item};
use firmware::message::{BoardMessage, HostMessage, ResultPart};
use tempfile::TempDir;

use crate::process::Process;

const SANITIZERS: [&str; 4] = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"];

/// Compiles the sketch with a model whose output is its input: one byte for each pixel, raw value minus 128.
fn compile(height: u32, width: u32) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let sketch = firmware::sources::port("arduino").unwrap().sources().filter(|(name, _)| *name != "main.c");
    let stubs = [
        ("model.c", include_str!("../stub/model.c")),
        ("model.h", include_str!("../stub/model.h")),
        ("Arduino.h", include_str!("../arduino/Arduino.h")),
        ("Arduino_OV767X.h", include_str!("../arduino/Arduino_OV767X.h")),
        ("host.cpp", include_str!("../arduino/host.cpp")),
    ];
    let sources: Vec<_> = sketch.chain(stubs).collect();
    for (name, text) in &sources {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    let bytes = height * width;
    let macros = [
        "TML_BOARD=\"nano33ble-ov7675\"".to_owned(),
        "TML_BAUD=115200".to_owned(),
        "TML_OV7675=1".to_owned(),
        "TML_SENSOR_MUL=(65536l)".to_owned(),
        "TML_SENSOR_ADD=(-8355840l)".to_owned(),
        format!("TML_PICTURE_HEIGHT={height}"),
        format!("TML_PICTURE_WIDTH={width}"),
        format!("TML_INPUT_BYTES={bytes}"),
        format!("TML_OUTPUT_BYTES={bytes}"),
    ];
    let run = |compiler: &str, arguments: &[&str]| {
        let mut command = Command::new(compiler);
        command.current_dir(dir.path()).args(SANITIZERS).args(["-Wall", "-Wextra", "-I."]);
        let output = command.args(macros.iter().map(|one| format!("-D{one}"))).args(arguments).output().unwrap();
        let messages = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && messages.is_empty(), "{messages}");
    };
    for (name, _) in sources.iter().filter(|(name, _)| name.ends_with(".c")) {
        run("cc", &["-std=c99", "-c", name]);
    }
    let mut link = vec!["-std=gnu++14", "board_arduino.cpp", "host.cpp", "-o", "firmware"];
    let objects: Vec<String> = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".o"))
        .collect();
    link.extend(objects.iter().map(String::as_str));
    run("c++", &link);
    let path = dir.path().join("firmware");
    (dir, path)
}

/// The line from the board: what came together with the end of an answer belongs to the next.
#[derive(Default)]
struct Heard {
    decoder: Decoder,
    items: VecDeque<Item>,
}

/// The next whole answer with this sequence number: its number and all of its output.
fn answer(process: &mut Process, heard: &mut Heard, seq: u8, bytes: usize) -> (u32, Vec<u8>) {
    let mut buffer = [0; 4096];
    let mut output = Vec::new();
    let start = Instant::now();
    loop {
        assert!(start.elapsed() < Duration::from_secs(60), "no answer, only {} bytes of it", output.len());
        while let Some(item) = heard.items.pop_front() {
            let Item::Frame(frame) = item else { continue };
            let BoardMessage::Result(ResultPart { device_seq, offset, data, .. }) =
                BoardMessage::parse(&frame).unwrap()
            else {
                continue;
            };
            if frame.seq != seq {
                continue;
            }
            assert_eq!(usize::from(offset), output.len());
            output.extend(data);
            if output.len() == bytes {
                return (device_seq, output);
            }
        }
        let got = match process.read(&mut buffer) {
            Ok(0) => panic!("the firmware ended"),
            Ok(got) => got,
            Err(error) if error.kind() == ErrorKind::TimedOut => continue,
            Err(error) => panic!("{error}"),
        };
        heard.items.extend(heard.decoder.push(&buffer[..got]));
    }
}

/// The part of picture `frame` that a model of this size is to see, pixel by pixel as near as there is one.
fn seen(frame: u32, height: u32, width: u32) -> Vec<u8> {
    // The largest part of the model's proportions, from the middle.
    let (part_height, part_width) =
        if 120 * width <= 160 * height { (120, 120 * width / height) } else { (160 * height / width, 160) };
    let pixel = |row: u32, column: u32| {
        let y = (120 - part_height) / 2 + row * part_height / height;
        let x = (160 - part_width) / 2 + column * part_width / width;
        let raw = (3 * x + 5 * y + 7 * frame) as u8;
        raw.wrapping_sub(128)
    };
    (0..height).flat_map(|row| (0..width).map(move |column| pixel(row, column))).collect()
}

#[test]
fn a_camera_feeds_the_model_with_its_middle() {
    // Square as person_detect's, all of the picture, broader and taller than it.
    for (height, width) in [(96, 96), (120, 160), (24, 64), (90, 30)] {
        let (dir, path) = compile(height, width);
        let mut process = Process::run(Command::new(path), dir);
        let mut heard = Heard::default();
        // Unasked, one answer for each picture, and no picture twice.
        for frame in 0..3 {
            let (number, picture) = answer(&mut process, &mut heard, 0, (height * width) as usize);
            assert_eq!(number, frame + 1);
            assert!(picture == seen(frame, height, width), "{height} by {width}, picture {frame}");
        }
        process.finish();
    }
}

#[test]
fn without_a_camera_a_board_still_answers_its_host() {
    let (dir, path) = compile(24, 16);
    let mut command = Command::new(path);
    command.env("NO_CAMERA", "1");
    let mut process = Process::run(command, dir);
    let vector: Vec<u8> = (0..24 * 16).map(|value| value as u8).collect();
    process.write_all(&HostMessage::Input { offset: 0, data: vector.clone() }.encode(1).unwrap()).unwrap();
    process.write_all(&HostMessage::Invoke.encode(2).unwrap()).unwrap();
    // The first answer is to the vector: the absent camera has given none.
    assert_eq!(answer(&mut process, &mut Heard::default(), 2, vector.len()), (1, vector));
    process.finish();
}
