//! A chip behind a debug probe: what `probe-rs` is asked for, what becomes of its answers, and firmware for nRF5 chips on
//! QEMU's micro:bit. QEMU has no debug probe, so `probe-rs.sh` stands in: it takes the arguments of version 0.32 and puts
//! the image where the simulated chip has its flash. What the real program says without a probe is asked for as well.

use serde_json::json;

use crate::bench::Bench;
use crate::bench::CHIP;
use crate::model::{Kind, make};

/// A program that does nothing: stack, the reset handler's address, `b .` there.
fn nothing() -> Vec<u8> {
    let words = [0x2000_4000u32, 0x41].map(u32::to_le_bytes).concat();
    [words, vec![0; 0x40 - 8], vec![0xFE, 0xE7]].concat()
}

fn missing(test: &str) -> bool {
    let missing = virtual_board::Machine::Microbit.missing();
    if !missing.is_empty() {
        eprintln!("SKIPPED {test}: apt install {}", missing.join(" "));
    }
    !missing.is_empty()
}

/// A bench with a micro:bit and the stand-in; what it was asked for is in the file that is returned.
async fn bench() -> (Bench, std::path::PathBuf) {
    let mut bench = Bench::new().await;
    let (folder, asked) = (bench.path("boards/board-1"), bench.path("asked"));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("flash.bin"), nothing()).unwrap();
    let settings =
        format!("BOARD={}\nASKED={}\nSAYS={}\n", folder.display(), asked.display(), bench.path("says").display());
    bench.script("probe-rs", &(settings + include_str!("probe-rs.sh")));
    bench.add_machine("microbit", 1);
    bench.start_relay();
    bench.host.devices(1).await;
    (bench, asked)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_is_built_flashed_verified_and_observed_on_a_microbit() {
    if missing("a_model_is_built_flashed_verified_and_observed_on_a_microbit") {
        return;
    }
    let _chip = CHIP.lock().await;
    let (bench, asked) = bench().await;
    let host = &bench.host;
    let good = make(60, Kind::Good, 2000);
    host.offer(&good);
    bench.mosquitto_pub(&json!({"id": "i1", "verb": "install", "device": "board-1", "artifact": good.id}));
    let end = host.succeeds("i1").await;
    eprintln!("on a micro:bit: {}", end["detail"]);
    assert_eq!(end["detail"]["self_test"]["vectors"], 12);
    assert_eq!(host.states("i1"), ["accepted", "fetching", "building", "flashing", "verifying", "succeeded"]);
    let asked_for = std::fs::read_to_string(&asked).unwrap();
    let common = "--non-interactive --chip nRF51822_xxAA --protocol swd";
    let download = format!(
        "download {common} --disable-progressbars --verify --binary-format bin --base-address 0x00000000 image.bin\n"
    );
    assert_eq!(asked_for, format!("{download}reset {common}\n"));
    host.log_lines("board-1", "stand-in: Finished", 1).await;
    host.more_readings("board-1", 3).await;
    host.install("wrong", "board-1", &make(61, Kind::Wrong, 100)).await;
    assert_eq!(host.end("wrong").await["code"], "rolled_back");
    host.state("the good one again", |s| s["devices"][0]["firmware"]["artifact"] == good.id.as_str()).await;
    host.send(json!({"id": "r", "verb": "restart", "device": "board-1"})).await;
    host.succeeds("r").await;
    host.send(json!({"id": "e", "verb": "erase", "device": "board-1"})).await;
    host.succeeds("e").await;
    assert!(std::fs::read_to_string(&asked).unwrap().ends_with(&format!("erase {common}\n")));
    host.assert_gap_free();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_probe_refuses_ends_the_command_with_the_way_out() {
    if missing("what_a_probe_refuses_ends_the_command_with_the_way_out") {
        return;
    }
    let _chip = CHIP.lock().await;
    let (bench, _) = bench().await;
    std::fs::write(bench.path("says"), "Error: Connecting to the chip was unsuccessful.\n\nCaused by:\n    An operation could not be performed because it lacked the permission to do so: erase_all\n").unwrap();
    bench.host.install("locked", "board-1", &make(62, Kind::Good, 100)).await;
    let end = bench.host.end("locked").await;
    assert_eq!((&end["state"], &end["code"]), (&json!("failed"), &json!("flash_failed")), "{end}");
    let message = end["message"].as_str().unwrap();
    assert!(message.contains("probe-rs erase --chip nRF51822_xxAA --allow-erase-all"), "{message}");
}

/// The program itself, where it is installed: its arguments are right as far as it reads them before it needs a probe.
#[test]
fn the_real_program_takes_these_arguments_and_finds_no_probe() {
    let said = match std::process::Command::new("probe-rs").arg("list").env_remove("RUST_BACKTRACE").output() {
        Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
        Err(error) => {
            eprintln!(
                "SKIPPED the_real_program_takes_these_arguments_…: probe-rs: {error} (cargo install probe-rs-tools --locked)"
            );
            return;
        }
    };
    if !said.contains("No debug probes were found") {
        eprintln!("SKIPPED the_real_program_takes_these_arguments_…: there is a debug probe, which is left alone");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("image.bin"), nothing()).unwrap();
    let common = ["--non-interactive", "--chip", "nRF51822_xxAA", "--protocol", "swd", "--probe", "0d28:0204:11"];
    let download = "--disable-progressbars --verify --binary-format bin --base-address 0x00000000 image.bin";
    for (verb, more) in [("download", download), ("reset", ""), ("erase", "")] {
        let mut command = std::process::Command::new("probe-rs");
        command.current_dir(folder.path()).arg(verb).args(common).args(more.split_whitespace());
        let output = command.env_remove("RUST_BACKTRACE").output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{verb}: {said}");
        assert!(said.contains("Error: No connected probes were found."), "{verb}: {said}");
    }
}
