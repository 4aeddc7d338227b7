//! A Cortex-M4 with real parts: arm-none-eabi-gcc builds, QEMU runs the image.

use crate::bench::{Bench, CHIP};
use crate::model::{Kind, make};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_is_built_flashed_verified_and_observed_on_a_cortex_m4() {
    let missing = virtual_board::Machine::CortexM4.missing();
    if !missing.is_empty() {
        eprintln!("SKIPPED a_model_is_built_…_on_a_cortex_m4: apt install {}", missing.join(" "));
        return;
    }
    let _chip = CHIP.lock().await;
    let mut bench = Bench::new().await;
    bench.add_cortex_m4(1);
    bench.start_relay();
    let host = &bench.host;
    host.devices(1).await;
    let good = make(9, Kind::Good, 600);
    host.install("i1", "board-1", &good).await;
    let end = host.succeeds("i1").await;
    eprintln!("on a Cortex-M4: {}", end["detail"]);
    assert_eq!(host.states("i1"), ["accepted", "fetching", "building", "flashing", "verifying", "succeeded"]);
    host.more_readings("board-1", 3).await;
    for (id, kind) in [("wrong", Kind::Wrong), ("crashing", Kind::Crashing)] {
        host.install(id, "board-1", &make(82, kind, 100)).await;
        assert_eq!(host.end(id).await["code"], "rolled_back", "{id}");
        host.state("the good one again", |s| s["devices"][0]["firmware"]["artifact"] == good.id.as_str()).await;
    }
    let mut large = make(11, Kind::Good, 100);
    large.manifest.arena_bytes = 300_000;
    host.install("large", "board-1", &large).await;
    assert_eq!(host.end("large").await["code"], "does_not_fit");
    host.more_readings("board-1", 1).await;
    host.assert_gap_free();
}
