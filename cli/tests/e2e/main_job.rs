//! From a model to live predictions; a second start; a clean stop.

use std::time::{Duration, Instant};

use crate::fleet::{Fleet, signal};

#[test]
fn the_demo_does_the_main_job_and_a_second_start_goes_on() {
    let mut fleet = Fleet::start(&["--demo"]);
    for step in ["✓ broker", "✓ cloud", "✓ relay", "✓ import", "✓ compile", "✓ install", "✓ live", "Admin token"]
    {
        assert!(fleet.said(step), "no line '{step}' in\n{}", fleet.output.lock().unwrap());
    }

    let model = fleet.model("digits");
    let report = model.report.expect("the compiled model has a report");
    assert!(report.int8_accuracy.unwrap() >= 0.95, "int8 accuracy {:?}", report.int8_accuracy);
    assert!(report.evaluated >= 300, "evaluated on {} rows", report.evaluated);
    let uno = report.boards.iter().find(|b| b.board == "uno").expect("an estimate for the Arduino Uno");
    assert!(uno.fits, "{}", uno.verdict);

    for device in ["board-1", "board-2"] {
        let view = fleet.device(device);
        let firmware = view.state.firmware.expect("firmware");
        assert_eq!(Some(&firmware.artifact), model.artifact.as_ref());
        assert!(firmware.verified, "{device} passed its self-test");
        fleet.until(20, "five readings are stored", |fleet| fleet.device(device).readings >= 5);
        let readings = fleet.readings(device, 5);
        for reading in &readings {
            assert_eq!(reading.artifact.as_ref(), Some(&firmware.artifact));
            assert!(reading.expected.is_some() && reading.prediction.is_some(), "{reading:?}");
            let input = reading.input.as_ref().expect("the digit travels with its prediction");
            assert_eq!(input.shape.iter().product::<u32>(), 64);
        }
    }

    let before = fleet.device("board-1").readings;
    let children: Vec<u32> =
        ["broker", "cloud", "relay", "board"].iter().flat_map(|role| fleet.processes(role)).collect();
    assert_eq!(children.len(), 5, "broker, cloud, relay and two boards");
    let status = fleet.stop();
    assert!(status.success(), "Ctrl-C ends with {status}");
    for pid in children {
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "process {pid} outlived up");
    }

    fleet.up();
    assert!(fleet.said("board-1 runs digits@1 already"), "{}", fleet.output.lock().unwrap());
    assert!(!fleet.said("Admin token"), "the token is shown once");
    fleet.until(20, "readings go on", |fleet| fleet.device("board-1").readings > before);
    let models: Vec<contract::api::ModelView> = fleet.get("/models");
    assert_eq!(models.len(), 1, "nothing was imported twice");
}

#[test]
fn without_demo_it_starts_empty() {
    let fleet = Fleet::start(&[]);
    assert!(fleet.said("up --demo"), "{}", fleet.output.lock().unwrap());
    let models: Vec<contract::api::ModelView> = fleet.get("/models");
    assert!(models.is_empty());
    assert_eq!(fleet.relay().state.unwrap().devices.len(), 2);
    // Nothing that people may not see is readable by others.
    let mode = |path: &str| {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::metadata(fleet.dir.join(path)).unwrap().permissions().mode() & 0o777
    };
    for path in ["admin-token", "credentials.json", "cloud/token", "cloud/signing.key", "relay/demo/token"] {
        assert_eq!(mode(path), 0o600, "{path}");
    }
    assert_eq!(mode("."), 0o700);
}

#[test]
fn killing_up_leaves_no_orphans_and_the_next_start_works() {
    let mut fleet = Fleet::start(&["--demo"]);
    let before = fleet.device("board-1").readings;
    fleet.kill_up();
    let begin = Instant::now();
    while ["broker", "cloud", "relay", "board"].iter().any(|role| !fleet.processes(role).is_empty()) {
        assert!(begin.elapsed() < Duration::from_secs(10), "children outlive a killed up");
        std::thread::sleep(Duration::from_millis(50));
    }
    fleet.up();
    fleet.until(20, "readings go on", |fleet| fleet.device("board-1").readings > before);
    signal("-0", fleet.pid());
}
