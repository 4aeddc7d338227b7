//! A board that somebody else has flashed and that prints what it finds, as the earlier system's sketches did.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::bench::{Bench, CHIP};
use crate::model::{Kind, make};

/// Prints a line of two scores every 50 ms or so, and now and then another one.
const SKETCH: &str = r#"
#include <avr/io.h>
#include <util/delay.h>

static void put(const char *text)
{
    for (; *text; text++) {
        while (!(UCSR0A & (1 << UDRE0))) {
        }
        UDR0 = *text;
    }
}

int main(void)
{
    UCSR0A = 1 << U2X0;
    UBRR0 = 207; /* 9600 bit/s at 16 MHz */
    UCSR0B = 1 << TXEN0;
    for (;;) {
        put("Person score: 60.54% No person score: 39.45%\r\n");
        put("camera: 12 fps\r\n");
        _delay_ms(50);
        put("Person score: 0.39%  No person score: 99.61%\r\n");
        _delay_ms(50);
    }
}
"#;

/// Compiles it with avr-gcc and writes it with avrdude, as its owner would.
fn flash(dir: &Path, tty: &Path) {
    std::fs::write(dir.join("sketch.c"), SKETCH).unwrap();
    let run = |command: &mut Command| {
        let output = command.current_dir(dir).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (done, said) = run(Command::new("avr-gcc").args([
        "-mmcu=atmega328p",
        "-DF_CPU=16000000UL",
        "-Os",
        "-o",
        "sketch.elf",
        "sketch.c",
    ]));
    assert!(done, "{said}");
    let (done, said) =
        run(Command::new("avr-objcopy").args(["-O", "ihex", "-R", ".eeprom", "sketch.elf", "sketch.hex"]));
    assert!(done, "{said}");
    let begin = Instant::now();
    loop {
        let (done, said) = run(Command::new("avrdude")
            .args(["-q", "-pm328p", "-carduino", "-b57600", "-D", "-Uflash:w:sketch.hex:i"])
            .arg(format!("-P{}", std::fs::canonicalize(tty).unwrap().display())));
        if done {
            return;
        }
        assert!(begin.elapsed() < Duration::from_secs(60), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_of_other_firmware_become_readings() {
    let missing = virtual_board::simulator::Arduino::Uno.missing();
    if !missing.is_empty() {
        eprintln!("SKIPPED lines_of_other_firmware_become_readings: apt install {}", missing.join(" "));
        return;
    }
    let _chip = CHIP.lock().await;
    let mut bench = Bench::new().await;
    bench.add_uno(1);
    let tty = bench.path("boards").join("board-1").join("tty");
    let begin = Instant::now();
    while !tty.exists() {
        assert!(begin.elapsed() < Duration::from_secs(60), "the chip does not start");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    flash(bench.dir.path(), &tty);
    bench.start_relay();
    let host = &bench.host;
    host.devices(1).await;
    let pattern = "Person score: {person}% No person score: {no person}%";
    let observe = json!({"source": "text", "pattern": pattern, "baud": 9600});
    host.send(json!({"id": "text", "verb": "observe", "device": "board-1", "observe": observe})).await;
    host.succeeds("text").await;
    host.more_readings("board-1", 4).await;
    let readings = host.readings("board-1");
    let found = |label: &str| readings.iter().find(|reading| reading["prediction"]["label"] == label).unwrap();
    let person = found("person");
    assert_eq!(person["output_names"], json!(["person", "no person"]));
    assert!((person["outputs"][0].as_f64().unwrap() - 0.6054).abs() < 1e-6, "{person}");
    assert_eq!(person["prediction"]["index"], 0);
    assert!(person.get("artifact").is_none() && person.get("latency_us").is_none(), "{person}");
    assert!((found("no person")["prediction"]["score"].as_f64().unwrap() - 0.9961).abs() < 1e-6);
    host.log_lines("board-1", "camera: 12 fps", 1).await;
    assert!(!host.log("board-1").iter().any(|line| line.contains("score")), "what was read is not logged besides");
    host.state("running", |state| state["devices"][0]["status"] == "running").await;

    // The next start of the relay goes on reading, and a model of ours takes the board over.
    bench.kill_relay();
    bench.start_relay();
    bench.host.more_readings("board-1", 2).await;
    bench.host.install("ours", "board-1", &make(30, Kind::Good, 100)).await;
    bench.host.succeeds("ours").await;
    let begin = Instant::now();
    while bench.host.readings("board-1").last().is_none_or(|reading| reading.get("artifact").is_none()) {
        assert!(begin.elapsed() < Duration::from_secs(60), "no reading of our firmware");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pattern_that_is_none_is_refused_by_name() {
    let mut bench = Bench::new().await;
    bench.start_relay();
    bench.host.state("subscribed", |_| true).await;
    for (number, (observe, word)) in [
        (json!({"source": "text"}), "observe.pattern"),
        (json!({"source": "text", "pattern": "no field"}), "field"),
        (json!({"source": "text", "pattern": "{a}", "baud": 1}), "observe.baud"),
        (json!({"source": "samples", "pattern": "{a}"}), "observe.pattern"),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("wrong-{number}");
        bench.host.send(json!({"id": id, "verb": "observe", "device": "board-1", "observe": observe})).await;
        let end = bench.host.end(&id).await;
        assert_eq!(end["state"], "rejected", "{end}");
        assert!(end["message"].as_str().unwrap().contains(word), "{end}");
    }
}
