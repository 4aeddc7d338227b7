//! Boards as a relay has them: how long a build takes, how soon a plugged-in board is seen, how many boards are flashed a
//! minute. The relay, the boards, the broker and the compilers are processes; this one plays the cloud.
//!
//! `cargo xtask bench --dev boards` prints the tables and writes them to docs/boards-benchmark.md.

#![allow(clippy::unwrap_used, missing_docs)]
#![allow(dead_code)] // the tests' bench can do more than is wanted here

#[path = "../tests/all/bench.rs"]
mod bench;
#[path = "../tests/all/host.rs"]
mod host;
#[path = "../tests/all/model.rs"]
mod model;
#[path = "../tests/all/process.rs"]
mod process;

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use bench::Bench;
use edge_relay::boards::Boards;
use firmware::sources;
use model_compiler::dataset::{DatasetLimits, from_csv};
use model_compiler::{CompileOptions, compile};
use serde_json::json;

/// How often each build is made; the median counts.
const BUILDS: usize = 5;
/// How often a board is plugged in and out.
const PLUGS: usize = 30;
/// How long boards are flashed.
const FLASHING: Duration = Duration::from_secs(12);
/// The board whose toolchain is arduino-cli, with arduino-builder behind it.
const SKETCH: &str = "sketch";

fn main() {
    let mut missing = virtual_board::simulator::Arduino::Uno.missing();
    missing.extend(virtual_board::Machine::CortexM4.missing());
    if !Path::new("/usr/bin/arduino-builder").exists() {
        missing.push("arduino-builder");
    }
    if !missing.is_empty() {
        println!("cannot measure: apt install {}", missing.join(" "));
        return;
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut text = format!(
        "# Boards: builds, plugs and flashes\n\nWritten by `cargo xtask bench --dev boards` on a machine with {cores} cores. The relay \
         is a process without optimization; what is measured are compilers, serial lines and simulators.\n"
    );
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        text += &builds().await;
        text += &plugs().await;
        text += "\n## Flashes a minute\n\nA relay with that many boards: each gets two images by turns, both in the build cache, in \
                 rounds of an `install` for every board, and passes its self-test of 12 vectors after each. Shares are of all cores' \
                 time, all processes of the test included.\n\n\
                 | boards | line | installs a minute | one install, median | cores busy |\n|---|---|---|---|---|\n";
        for (count, kind, baud) in [(20, Kind::Native, 0), (20, Kind::Native, 115_200), (1, Kind::Uno, 0), (4, Kind::Uno, 0)] {
            text += &flashes(count, kind, baud).await;
        }
    });
    text += "\nNative boards without a pace take what the cores give; at 115,200 bit/s an install is mostly the line's time. On an Uno \
             it is mostly waiting for the bootloader, before avrdude writes and again before the self-test, because opening the \
             port resets the board: more of them cost hardly more time, until their simulators have no core left.\n";
    println!("{text}");
    std::fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/boards-benchmark.md"), text).unwrap();
}

fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of[of.len() / 2]
}

/// The demo's digits, as the cloud compiles them.
fn digits() -> model::Model {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/digits");
    let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
    let dataset = from_csv(&read("digits.csv"), &DatasetLimits::default()).unwrap();
    let mut options = CompileOptions::new("digits");
    options.input_scale = 0.0625;
    let packed = compile(&read("digits.onnx"), &dataset, &options, &mut |_| {}).unwrap().artifact;
    let mut model = model::from_tar(packed.tar, 0);
    model.manifest.arena_bytes = packed.meta.arena_bytes;
    model.manifest.weights_bytes = packed.meta.weights_bytes;
    model
}

/// Forgets what was built: everything, or images only.
fn forget(bench: &Bench, everything: bool) {
    for folder in if everything { &["cache", "objects"][..] } else { &["cache"] } {
        let folder = bench.path("relay/builds").join(folder);
        for entry in std::fs::read_dir(folder).unwrap() {
            std::fs::remove_dir_all(entry.unwrap().path()).unwrap();
        }
    }
}

/// Seconds from the command `build` to its end.
async fn build(bench: &Bench, board: &str, model: &model::Model) -> f64 {
    bench.host.offer(model);
    let id = uuid::Uuid::new_v4().to_string();
    let since = Instant::now();
    bench.host.send(json!({"id": id, "verb": "build", "board": board, "artifact": model.id})).await;
    bench.host.succeeds(&id).await;
    since.elapsed().as_secs_f64()
}

/// Seconds that a program takes; it has to succeed.
fn timed(command: &mut Command) -> f64 {
    let since = Instant::now();
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    since.elapsed().as_secs_f64()
}

async fn builds() -> String {
    let model = digits();
    let mut bench = Bench::new().await;
    let kept = bench.path("kept");
    // Keeps the sketch that the relay has made.
    let stand_in = bench.path("arduino-cli.sh");
    std::fs::write(&stand_in, include_str!("../tests/all/arduino-cli.sh")).unwrap();
    let keep = format!(
        "for last; do :; done; if [ \"$1\" = compile ]; then rm -rf {0}; cp -r \"$last\" {0}; fi; exec sh {1} \"$@\"",
        kept.display(),
        stand_in.display()
    );
    bench.script("arduino-cli", &keep);
    let board = json!({
        "board": SKETCH, "title": "An Uno with Arduino's core", "toolchain": "arduino-cli", "target": "arduino:avr:uno",
        "firmware": "arduino", "flash_bytes": 32256, "ram_bytes": 2048, "stack_bytes": 100, "baud": 115_200,
        "programmer": "arduino-cli", "reset": "dtr", "usb": [],
    });
    std::fs::create_dir_all(bench.path("relay/boards")).unwrap();
    std::fs::write(bench.path("relay/boards/sketch.json"), board.to_string()).unwrap();
    bench.start_relay();
    bench.host.presence("online").await;

    let mut relay = Vec::new();
    for board in ["uno", "cortex-m4", SKETCH] {
        build(&bench, board, &model).await; // files of the compiler are in memory from now on
        let (mut cold, mut core, mut warm) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..BUILDS {
            forget(&bench, true);
            cold.push(build(&bench, board, &model).await);
            warm.push(build(&bench, board, &model).await);
            forget(&bench, false);
            core.push(build(&bench, board, &model).await);
        }
        relay.push([median(cold), median(core), median(warm)]);
    }
    // The peers, on the same sources.
    let [mut cold, mut warm, mut avr, mut arm] = [const { Vec::new() }; 4];
    let sketch = bench.path("firmware");
    std::fs::rename(&kept, &sketch).unwrap();
    for _ in 0..BUILDS {
        let work = tempfile::tempdir().unwrap();
        cold.push(timed(&mut arduino_builder(&sketch, work.path())));
        warm.push(timed(&mut arduino_builder(&sketch, work.path())));
        avr.push(timed(&mut compiler("uno", "avr-gcc", "-Os", &model, work.path())));
        arm.push(timed(&mut compiler("cortex-m4", "arm-none-eabi-gcc", "-O2", &model, work.path())));
    }
    let (cold, warm) = (median(cold), median(warm));
    let mut text = format!(
        "\n## Builds\n\nThe demo's digits, median of {BUILDS} in seconds. The relay's times are from the command `build` over MQTT to its \
         end, journal and signature included: *cold* with empty caches, *core* with the part of the firmware that no model \
         changes kept from an earlier build, *cached* for an artifact that was built before. arduino-builder alone builds the \
         very sketch that the relay makes for a board of Arduino's core, cold in an empty folder, warm in the folder of the \
         build before; shares are of its cold and warm time.\n\n\
         | board | built by | cold | share | core | cached | share |\n|---|---|---|---|---|---|---|\n"
    );
    let boards = [
        ("uno", "relay, avr-gcc"),
        ("cortex-m4", "relay, arm-none-eabi-gcc"),
        ("uno", "relay, arduino-cli over arduino-builder"),
    ];
    for ((board, by), [first, core, again]) in boards.iter().zip(&relay) {
        let core = if by.contains("arduino") { "".to_owned() } else { format!("{core:.2}") };
        let _ = writeln!(
            text,
            "| {board} | {by} | {first:.2} | {:.2} | {core} | {again:.3} | {:.3} |",
            first / cold,
            again / warm
        );
    }
    let _ = writeln!(text, "| uno | arduino-builder alone | {cold:.2} | 1 | | {warm:.2} | 1 |");
    for (board, by, took) in
        [("uno", "avr-gcc alone, one call", avr), ("cortex-m4", "arm-none-eabi-gcc alone, one call", arm)]
    {
        let took = median(took);
        let _ = writeln!(text, "| {board} | {by} | {took:.2} | {:.2} | | | |", took / cold);
    }
    text
}

fn arduino_builder(sketch: &Path, work: &Path) -> Command {
    let mut command = Command::new("arduino-builder");
    command
        .args("-hardware /usr/share/arduino/hardware -hardware /usr/share/arduino-builder -tools /usr/bin".split(' '));
    command.args("-tools /usr/share/arduino -fqbn arduino:avr:uno".split(' '));
    command.args(["-prefs", "compiler.cpp.extra_flags=-DDECIMAL_DIG=17", "-build-path"]);
    command.arg(work).arg(sketch.join("firmware.ino"));
    command
}

/// The compiler alone, with everything in one call.
fn compiler(board: &str, program: &str, optimize: &str, model: &model::Model, work: &Path) -> Command {
    let board = Boards::embedded().get(board).unwrap().clone();
    let port = sources::port(&board.firmware).unwrap();
    let folder = work.join(&board.board);
    std::fs::create_dir(&folder).unwrap();
    tar::Archive::new(model.tar.as_slice()).unpack(&folder).unwrap();
    port.sources().for_each(|(name, text)| std::fs::write(folder.join(name), text).unwrap());
    let mut command = Command::new(program);
    command.current_dir(&folder).args([
        "-std=c99",
        optimize,
        "-ffunction-sections",
        "-fdata-sections",
        "-Wl,--gc-sections",
    ]);
    command
        .args(&board.flags)
        .arg(format!("-DTML_BOARD=\"{}\"", board.board))
        .arg(format!("-DTML_BAUD={}", board.baud));
    command.arg(sources::artifact_flag(model.id.as_str())).arg("model.c");
    command.args(port.sources().map(|(name, _)| name).filter(|name| name.ends_with(".c")));
    if let Some(script) = port.linker_script {
        command.args(["-nostartfiles", "--specs=nano.specs", "-T", script]);
        command.arg(format!("-Wl,--defsym=FLASH_BYTES={}", board.flash_bytes));
        command.arg(format!("-Wl,--defsym=RAM_BYTES={}", board.ram_bytes));
    }
    command.args(["-o", "firmware.elf"]);
    command
}

/// A random part of the relay's interval.
async fn jitter() {
    let random = uuid::Uuid::new_v4().as_bytes()[0];
    tokio::time::sleep(Duration::from_millis(u64::from(random) * 2)).await;
}

async fn plugs() -> String {
    let mut bench = Bench::new().await;
    bench.start_relay();
    bench.host.presence("online").await;
    let file = bench.path("boards/board-1/board.json");
    let (mut there, mut gone) = (Vec::new(), Vec::new());
    let status = |state: &serde_json::Value| state["devices"][0]["status"].as_str().map(str::to_owned);
    for _ in 0..PLUGS {
        // Not at the moment of the relay's last look, which has just seen the board go.
        jitter().await;
        bench.add_board(1, 0);
        bench.host.state("plugged in", |state| status(state).is_some_and(|now| now != "lost")).await;
        // The board has written this file as the last of what makes it visible.
        let seen = SystemTime::now();
        let since = std::fs::metadata(&file).unwrap().modified().unwrap();
        there.push(seen.duration_since(since).unwrap_or_default());
        jitter().await;
        let since = Instant::now();
        bench.boards.pop().unwrap().kill();
        bench.host.state("unplugged", |state| status(state).is_some_and(|now| now == "lost")).await;
        gone.push(since.elapsed());
    }
    let mut text = format!(
        "\n## Hot-plug\n\n{PLUGS} times a native board was plugged in and killed. From the appearance of its port, or its death, to \
         the relay's state on MQTT as a subscriber sees it, in milliseconds. The relay looks every 500 ms; ports of USB \
         adapters are listed at every look.\n\n| | fastest | median | 90 % | slowest |\n|---|---|---|---|---|\n"
    );
    for (what, mut times) in [("plugged in", there), ("unplugged", gone)] {
        times.sort();
        let at = |share: usize| times[(times.len() - 1) * share / 100].as_millis();
        let _ = writeln!(text, "| {what} | {} | {} | {} | {} |", at(0), at(50), at(90), at(100));
    }
    text
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Native,
    Uno,
}

/// Time of all cores since the machine's start: busy, and all.
fn processors() -> (f64, f64) {
    let text = std::fs::read_to_string("/proc/stat").unwrap();
    let times: Vec<f64> = text.lines().next().unwrap().split_whitespace().skip(1).map(|n| n.parse().unwrap()).collect();
    let all = times.iter().take(8).sum();
    (all - times[3] - times[4], all) // idle, and idle because of a disk
}

async fn flashes(count: usize, kind: Kind, baud: u32) -> String {
    let mut bench = Bench::new().await;
    for number in 1..=count {
        match kind {
            Kind::Native => bench.add_board(number, baud),
            Kind::Uno => bench.add_uno(number),
        }
    }
    bench.start_relay();
    bench.host.devices(count).await;
    let models = [model::make(1, model::Kind::Good, 600), model::make(2, model::Kind::Good, 600)];
    // Built, and once on every board, before the time counts.
    round(&bench, count, &models[1], "first").await;
    build(&bench, if kind == Kind::Uno { "uno" } else { "native" }, &models[0]).await;
    let (since, before) = (Instant::now(), processors());
    let mut times = Vec::new();
    let mut rounds = 0;
    while since.elapsed() < FLASHING {
        times.extend(round(&bench, count, &models[rounds % 2], &rounds.to_string()).await);
        rounds += 1;
    }
    let (took, after) = (since.elapsed(), processors());
    let installs = (rounds * count) as f64 * 60.0 / took.as_secs_f64();
    let busy = (after.0 - before.0) / (after.1 - before.1) * 100.0;
    let name = if kind == Kind::Uno { "simulated Uno" } else { "native" };
    let line = match (kind, baud) {
        (Kind::Uno, _) => "115,200 bit/s, avrdude".to_owned(),
        (_, 0) => "as fast as it goes".to_owned(),
        _ => "115,200 bit/s".to_owned(),
    };
    format!("| {count} × {name} | {line} | {installs:.0} | {:.2} s | {busy:.0} % |\n", median(times))
}

/// An install for every board; how long each took, in seconds.
async fn round(bench: &Bench, count: usize, model: &model::Model, name: &str) -> Vec<f64> {
    bench.host.offer(model);
    let id = |number: usize| format!("{name}-{number}");
    let since = Instant::now();
    for number in 1..=count {
        // Observing between the commands would be measured as well.
        let device = format!("board-{number}");
        let observe = json!({"enabled": false});
        let command =
            json!({"id": id(number), "verb": "install", "device": device, "artifact": model.id, "observe": observe});
        bench.host.send(command).await;
    }
    let mut times = Vec::new();
    for number in 1..=count {
        bench.host.succeeds(&id(number)).await;
        times.push(since.elapsed().as_secs_f64());
    }
    times
}
