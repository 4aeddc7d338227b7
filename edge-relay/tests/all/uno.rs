//! An Arduino Uno with real parts: avr-gcc builds, avrdude flashes over the bootloader, simavr is the chip.

use serde_json::json;

use crate::bench::{Bench, CHIP};
use crate::model::{Kind, make};

/// Says so and returns true where the packages are missing.
fn skipped(test: &str) -> bool {
    let missing = virtual_board::simulator::Arduino::Uno.missing();
    if !missing.is_empty() {
        eprintln!("SKIPPED {test}: apt install {}", missing.join(" "));
    }
    !missing.is_empty()
}

async fn bench() -> Bench {
    let mut bench = Bench::new().await;
    bench.add_uno(1);
    bench.start_relay();
    bench.host.devices(1).await;
    bench
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_is_built_flashed_verified_and_observed_on_an_uno() {
    if skipped("a_model_is_built_flashed_verified_and_observed_on_an_uno") {
        return;
    }
    let _chip = CHIP.lock().await;
    let bench = bench().await;
    let host = &bench.host;
    let model = make(9, Kind::Good, 600);
    host.install("i1", "board-1", &model).await;
    let end = host.succeeds("i1").await;
    assert_eq!(end["detail"]["self_test"]["vectors"], 12);
    assert_eq!(host.states("i1"), ["accepted", "fetching", "building", "flashing", "verifying", "succeeded"]);
    let (flash, ram) = (&end["detail"]["build"]["flash_bytes"], &end["detail"]["build"]["ram_bytes"]);
    eprintln!("on an Uno: {flash} bytes of flash, {ram} of RAM; {}", end["detail"]);
    let log = host.log("board-1").join("\n");
    assert!(log.contains("bytes of flash verified"), "{log}");
    host.more_readings("board-1", 3).await;

    // The same core is not compiled again for another model.
    let other = make(10, Kind::Good, 100);
    host.install("i2", "board-1", &other).await;
    let end = host.succeeds("i2").await;
    assert_eq!(end["detail"]["build"]["core"], "kept");
    let state = host.state("verified", |s| s["devices"][0]["firmware"]["artifact"] == other.id.as_str()).await;
    assert_eq!(state["devices"][0]["board"], "uno");

    host.send(json!({"id": "r", "verb": "restart", "device": "board-1"})).await;
    host.succeeds("r").await;
    host.send(json!({"id": "e", "verb": "erase", "device": "board-1"})).await;
    host.succeeds("e").await;
    host.send(json!({"id": "n", "verb": "identify", "device": "board-1"})).await;
    assert_eq!(host.end("n").await["code"], "no_firmware");
    host.assert_gap_free();
}

/// Kills the board as soon as avrdude writes, as pulling its plug would.
async fn unplug_while_it_is_written(bench: &mut Bench, id: &str) {
    bench.host.event("flashing", |e| e["command"] == id && e["state"] == "flashing").await;
    bench.host.log_lines("board-1", "avrdude: writing", 2).await;
    bench.boards.pop().unwrap().kill();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_cut_in_the_middle_of_a_flash_is_mended() {
    if skipped("what_is_cut_in_the_middle_of_a_flash_is_mended") {
        return;
    }
    let _chip = CHIP.lock().await;
    let mut bench = bench().await;
    let good = make(20, Kind::Good, 100);
    bench.host.install("good", "board-1", &good).await;
    bench.host.succeeds("good").await;

    // Unplugged: the command fails, and the last good firmware goes back as soon as the board is back.
    let other = make(21, Kind::Good, 800);
    bench.host.install("cut", "board-1", &other).await;
    unplug_while_it_is_written(&mut bench, "cut").await;
    let end = bench.host.end("cut").await;
    assert_eq!((&end["state"], &end["code"]), (&json!("failed"), &json!("device_lost")), "{end}");
    bench.add_uno(1);
    bench.host.log_lines("board-1", "half written", 1).await;
    let mended = |s: &serde_json::Value| {
        let device = &s["devices"][0];
        device["status"] == "running" && device["firmware"]["artifact"] == good.id.as_str()
    };
    bench.host.state("mended", mended).await;
    bench.host.send(json!({"id": "t", "verb": "self_test", "device": "board-1"})).await;
    bench.host.succeeds("t").await;

    // The relay is killed: its next start goes on with the command.
    bench.host.install("killed", "board-1", &make(22, Kind::Good, 900)).await;
    bench.host.event("flashing", |e| e["command"] == "killed" && e["state"] == "flashing").await;
    tokio::time::sleep(std::time::Duration::from_millis(700)).await; // avrdude is writing, or about to
    bench.kill_relay();
    bench.start_relay();
    bench.host.succeeds("killed").await;

    // Firmware that fails its self-test is rolled back.
    bench.host.install("wrong", "board-1", &make(23, Kind::Wrong, 100)).await;
    assert_eq!(bench.host.end("wrong").await["code"], "rolled_back");

    // A model that needs more than there is never reaches the board: 1900 bytes of constants in RAM.
    bench.host.install("large", "board-1", &make(24, Kind::Good, 1900)).await;
    let end = bench.host.end("large").await;
    assert_eq!(end["code"], "does_not_fit", "{end}");
    assert!(!bench.host.states("large").contains(&"flashing".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_stops_leaves_no_programmer_behind_and_goes_on_later() {
    if skipped("a_relay_that_stops_leaves_no_programmer_behind_and_goes_on_later") {
        return;
    }
    let _chip = CHIP.lock().await;
    let mut bench = Bench::new().await;
    // One that hangs the first time, with a child that hangs too.
    let hang = bench.path("hang");
    let flag = hang.display().to_string();
    bench.program(
        "avrdude",
        &format!("if [ -e {flag} ]; then rm {flag}; sh -c ': {flag}; sleep 300; :'; fi; exec \"$REAL\" \"$@\""),
    );
    bench.add_uno(1);
    bench.start_relay();
    bench.host.devices(1).await;
    std::fs::write(&hang, "").unwrap();
    let model = make(30, Kind::Good, 100);
    bench.host.install("i", "board-1", &model).await;
    bench.host.reaches("i", "flashing").await;
    while hang.exists() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(bench.relay.take().unwrap().terminate().success());
    let left = std::process::Command::new("pgrep").args(["-f", &flag]).output().unwrap();
    assert!(left.stdout.is_empty(), "{}", String::from_utf8_lossy(&left.stdout));
    bench.start_relay();
    bench.host.succeeds("i").await;
    bench.host.more_readings("board-1", 1).await;
    bench.host.assert_gap_free();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unplugged_while_it_is_observed_and_while_its_firmware_is_built() {
    if skipped("unplugged_while_it_is_observed_and_while_its_firmware_is_built") {
        return;
    }
    let _chip = CHIP.lock().await;
    let mut bench = Bench::new().await;
    bench.set("RELAY_DEVICE_S", "3");
    // The build of the second model waits for us.
    let (waits, go) = (bench.path("waits"), bench.path("go"));
    bench.program(
        "avr-gcc",
        &format!(
            "if grep -q 'id\\[\\] = \"0000000000000033' src/model.c 2>/dev/null; then touch {}; \
             until [ -e {} ]; do sleep 0.1; done; fi; exec \"$REAL\" \"$@\"",
            waits.display(),
            go.display()
        ),
    );
    bench.add_uno(1);
    bench.start_relay();
    bench.host.devices(1).await;
    let good = make(0x32, Kind::Good, 100);
    bench.host.install("good", "board-1", &good).await;
    bench.host.succeeds("good").await;
    bench.host.more_readings("board-1", 2).await;

    bench.boards.pop().unwrap().kill();
    bench.host.state("lost", |s| s["devices"][0]["status"] == "lost").await;
    bench.add_uno(1);
    bench.host.more_readings("board-1", 2).await;

    bench.host.install("held", "board-1", &make(0x33, Kind::Good, 100)).await;
    while !waits.exists() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    bench.boards.pop().unwrap().kill();
    std::fs::write(&go, "").unwrap();
    let end = bench.host.end("held").await;
    assert_eq!((&end["state"], &end["code"]), (&json!("failed"), &json!("device_lost")), "{end}");
    assert!(!bench.host.states("held").contains(&"flashing".to_owned()), "{:?}", bench.host.states("held"));
    // It was never written, so it goes on with what it has.
    bench.add_uno(1);
    bench.host.more_readings("board-1", 2).await;
    let runs = |s: &serde_json::Value| s["devices"][0]["firmware"]["artifact"] == good.id.as_str();
    bench.host.state("the good one", runs).await;
    bench.host.assert_gap_free();
}

/// A folder with every program of this machine but one.
fn without(bench: &Bench, missing: &str) -> String {
    let folder = bench.path("programs");
    std::fs::create_dir(&folder).unwrap();
    for dir in std::env::split_paths(&std::env::var("PATH").unwrap()) {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            if entry.file_name() != missing {
                // The first one of a name is the one that is found.
                let _ = std::os::unix::fs::symlink(entry.path(), folder.join(entry.file_name()));
            }
        }
    }
    folder.display().to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_board_that_nothing_could_write_to_goes_on_as_before() {
    if skipped("a_board_that_nothing_could_write_to_goes_on_as_before") {
        return;
    }
    let _chip = CHIP.lock().await;
    let mut bench = bench().await;
    let host = bench.host.clone();
    host.install("first", "board-1", &make(14, Kind::Good, 100)).await;
    host.succeeds("first").await;
    bench.kill_relay();
    bench.set("PATH", without(&bench, "avrdude"));
    bench.set("TINYMLAAS_BUILDS", "local");
    bench.start_relay();
    host.more_readings("board-1", 2).await;
    host.install("second", "board-1", &make(15, Kind::Good, 100)).await;
    let end = host.end("second").await;
    assert_eq!((&end["state"], &end["code"]), (&json!("failed"), &json!("toolchain_missing")), "{end}");
    host.more_readings("board-1", 2).await;
    // A start that took the board for half written would flash the first model once more.
    bench.kill_relay();
    bench.set("PATH", std::env::var("PATH").unwrap());
    bench.start_relay();
    host.more_readings("board-1", 2).await;
    let flashes = host.log("board-1").iter().filter(|line| line.contains(" bytes at ")).count();
    assert_eq!(flashes, 2, "{:?}", host.log("board-1"));
}
