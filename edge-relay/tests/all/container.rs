//! Toolchains in containers: a real engine, an image built from our Dockerfile, an Uno in simavr.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::bench::{Bench, CHIP};
use crate::engine::Engine;
use crate::model::{Kind, make};

const IMAGE: &str = "tinymlaas/avr-gcc";
const ARM: &str = "tinymlaas/arm-none-eabi-gcc";

/// The same image with programs before the real ones that tell what a container may do, and that wait where a model
/// with number 200 or more is built.
const SPY: &str = r#"FROM tinymlaas/avr-gcc
USER root
RUN printf '%s\n' '#!/bin/sh' \
  'echo "spy user $(id -u):$(id -g)"' \
  'sed -n "s/^\(CapEff\|CapBnd\|NoNewPrivs\):[[:space:]]*/spy \1 /p" /proc/self/status' \
  'echo "spy network $(ls /sys/class/net | tr "\n" " ")"' \
  'for place in src/x ./x /x /etc/x /usr/x /root/x /var/x; do (echo > $place) 2>/dev/null && echo "spy wrote $place"; done' \
  'echo "spy memory $(cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max)"' \
  'echo "spy processes $(cat /sys/fs/cgroup/pids/pids.max 2>/dev/null || cat /sys/fs/cgroup/pids.max)"' \
  'echo "spy devices $(ls /dev | tr "\n" " ")"' \
  'if grep -q "tml_model_id.*0000c[89a]" src/model.c 2>/dev/null; then' \
  '  touch out/waiting; until [ -e out/go ]; do sleep 0.1; done' \
  'fi' \
  'exec /usr/bin/avr-gcc "$@"' > /usr/local/bin/avr-gcc \
 && printf '%s\n' '#!/bin/sh' 'echo "spy flash devices $(ls /dev | tr "\n" " ")"' 'exec /usr/bin/avrdude "$@"' \
    > /usr/local/bin/avrdude \
 && chmod 755 /usr/local/bin/avr-gcc /usr/local/bin/avrdude
USER build
"#;

/// The folder of the build that waits, and is not the one `before`.
async fn waiting(bench: &Bench, before: Option<&Path>) -> PathBuf {
    let work = bench.path("relay/builds/work");
    for _ in 0..2400 {
        let folders = std::fs::read_dir(&work).into_iter().flatten().flatten().map(|entry| entry.path().join("out"));
        if let Some(out) = folders.into_iter().find(|out| Some(out.as_path()) != before && out.join("waiting").exists())
        {
            return out;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("no build waits");
}

fn toolchain<'a>(state: &'a Value, name: &str) -> &'a Value {
    let toolchains = state["toolchains"].as_array().unwrap();
    toolchains.iter().find(|toolchain| toolchain["name"] == name).unwrap()
}

/// The value of a line of the spy's.
fn spied(bench: &Bench, what: &str) -> Vec<String> {
    let start = format!("spy {what} ");
    let log = bench.host.log("board-1");
    log.iter().filter_map(|line| line.strip_prefix(&start)).map(|value| value.trim().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn builds_and_flashes_run_in_containers() {
    const NAME: &str = "builds_and_flashes_run_in_containers";
    let missing = virtual_board::simulator::Arduino::Uno.missing();
    if !missing.is_empty() {
        return eprintln!("SKIPPED {NAME}: apt install {}", missing.join(" "));
    }
    let prepared = tokio::task::spawn_blocking(|| {
        let engine = Engine::start()?;
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docker/toolchains/avr");
        engine.build(IMAGE, &folder)?;
        engine.forget(ARM);
        Ok::<_, String>(engine)
    });
    let mut engine = match prepared.await.unwrap() {
        Ok(engine) => engine,
        Err(why) => return eprintln!("SKIPPED {NAME}: {why}"),
    };
    let _chip = CHIP.lock().await;
    let mut bench = Bench::new().await;
    bench.set("TINYMLAAS_BUILDS", "container");
    bench.set("DOCKER_HOST", engine.host());
    bench.add_uno(1);
    bench.start_relay();
    bench.host.devices(1).await;

    // The image as its Dockerfile makes it.
    let good = make(9, Kind::Good, 600);
    bench.host.install("plain", "board-1", &good).await;
    let end = bench.host.succeeds("plain").await;
    eprintln!("in containers: {}", end["detail"]);
    assert_eq!(end["detail"]["self_test"]["vectors"], 12);
    assert!(end["detail"]["build"]["flash_bytes"].as_u64() > Some(1000), "{end}");
    let log = bench.host.log("board-1").join("\n");
    assert!(log.contains(&format!("container {IMAGE}")) && log.contains("bytes of flash verified"), "{log}");
    let state = bench.host.state("toolchains", |s| s["toolchains"].as_array().is_some_and(|all| !all.is_empty())).await;
    assert!(toolchain(&state, "avr-gcc")["version"].as_str().unwrap().contains("sha256:"), "{state}");
    // One that is not there is named with what makes it, and the others are kept.
    let lost = toolchain(&state, "arm-none-eabi-gcc")["problem"].as_str().unwrap().to_owned();
    assert!(lost.contains("docker build -t tinymlaas/arm-none-eabi-gcc docker/toolchains/arm"), "{lost}");
    assert!(toolchain(&state, "cc")["problem"].is_null(), "{state}");

    // Another image is another toolchain: the same model is built again.
    let spy = bench.path("spy");
    std::fs::create_dir(&spy).unwrap();
    std::fs::write(spy.join("Dockerfile"), SPY).unwrap();
    engine.build(IMAGE, &spy).unwrap();
    bench.host.install("spied", "board-1", &good).await;
    bench.host.succeeds("spied").await;
    let user = rustix::process::geteuid().as_raw();
    assert!(spied(&bench, "user")[0].starts_with(&format!("{user}:")), "{:?}", spied(&bench, "user"));
    for set in ["CapEff", "CapBnd"] {
        assert!(
            spied(&bench, set).iter().all(|set| set.bytes().all(|digit| digit == b'0')),
            "{:?}",
            spied(&bench, set)
        );
        assert!(!spied(&bench, set).is_empty());
    }
    assert_eq!(spied(&bench, "NoNewPrivs")[0], "1");
    let network = spied(&bench, "network");
    assert!(network[0].split(' ').all(|card| !card.starts_with("eth") && !card.starts_with("en")), "{network:?}");
    assert_eq!(spied(&bench, "wrote"), Vec::<String>::new());
    assert_eq!(spied(&bench, "memory")[0], (1u64 << 30).to_string());
    assert_eq!(spied(&bench, "processes")[0], "128");
    assert!(!spied(&bench, "devices")[0].contains("ttyBoard"));
    assert!(spied(&bench, "flash devices")[0].contains("ttyBoard"));

    // What the compiler says is the device's log.
    bench.host.install("broken", "board-1", &make(12, Kind::Broken, 100)).await;
    let end = bench.host.end("broken").await;
    assert_eq!(end["code"], "build_failed", "{end}");
    bench.host.log_lines("board-1", "error: ", 1).await;

    // The relay is killed in a build: its next start removes the container and goes on.
    let held = make(200, Kind::Good, 100);
    bench.host.install("relay-killed", "board-1", &held).await;
    let before = waiting(&bench, None).await;
    let left = engine.containers();
    assert_eq!(left.len(), 1);
    bench.kill_relay();
    assert_eq!(engine.containers(), left, "it outlives the relay");
    bench.start_relay();
    let out = waiting(&bench, Some(&before)).await;
    let now = engine.containers();
    assert!(now.len() == 1 && now != left, "{left:?} {now:?}");
    std::fs::write(out.join("go"), "").unwrap();
    bench.host.succeeds("relay-killed").await;

    // The engine dies in a build and comes back: it is built again.
    bench.host.install("engine-killed", "board-1", &make(201, Kind::Good, 100)).await;
    let out = waiting(&bench, None).await;
    engine.kill();
    bench.host.log_lines("board-1", "the container engine was lost", 1).await;
    engine.again().unwrap();
    bench.host.log_lines("board-1", "the container engine is back", 1).await;
    std::fs::write(out.join("go"), "").unwrap();
    bench.host.succeeds("engine-killed").await;
    let mut left = engine.containers();
    for _ in 0..1200 {
        if left.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        left = engine.containers();
    }
    assert_eq!(left, Vec::<String>::new());

    // The relay is stopped in a build: nothing of it runs on, and the next start goes on with it.
    bench.host.install("held", "board-1", &make(202, Kind::Good, 100)).await;
    let before = waiting(&bench, None).await;
    assert!(bench.relay.take().unwrap().terminate().success());
    assert_eq!(engine.containers(), Vec::<String>::new());
    bench.set("RELAY_BUILD_S", "30");
    bench.start_relay();
    waiting(&bench, Some(&before)).await;

    // The engine dies and stays away: the command ends, the board keeps what it has, and the relay says what it lost.
    engine.kill();
    let end = bench.host.end("held").await;
    assert_eq!((&end["state"], &end["code"]), (&json!("failed"), &json!("unavailable")), "{end}");
    bench.host.send(json!({"id": "d", "verb": "diagnose"})).await;
    let end = bench.host.succeeds("d").await;
    let problem = toolchain(&end["detail"], "avr-gcc")["problem"].as_str().unwrap().to_owned();
    assert!(problem.contains("no container engine"), "{problem}");
    assert!(toolchain(&end["detail"], "cc")["problem"].is_null(), "{end}");
    bench.host.install("none", "board-1", &make(13, Kind::Good, 100)).await;
    assert_eq!(bench.host.end("none").await["code"], "toolchain_missing");
    bench.host.more_readings("board-1", 2).await;
    bench.host.assert_gap_free();
    engine.again().unwrap(); // so that it can clear away what it left
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn firmware_of_a_cortex_m4_is_built_in_a_container() {
    const NAME: &str = "firmware_of_a_cortex_m4_is_built_in_a_container";
    let missing = virtual_board::Machine::CortexM4.missing();
    if !missing.is_empty() {
        return eprintln!("SKIPPED {NAME}: apt install {}", missing.join(" "));
    }
    let prepared = tokio::task::spawn_blocking(|| {
        let engine = Engine::start()?;
        engine.build(ARM, &Path::new(env!("CARGO_MANIFEST_DIR")).join("../docker/toolchains/arm"))?;
        Ok::<_, String>(engine)
    });
    let engine = match prepared.await.unwrap() {
        Ok(engine) => engine,
        Err(why) => return eprintln!("SKIPPED {NAME}: {why}"),
    };
    let _chip = CHIP.lock().await;
    let mut bench = Bench::new().await;
    bench.set("TINYMLAAS_BUILDS", "container");
    bench.set("DOCKER_HOST", engine.host());
    bench.add_cortex_m4(1);
    bench.start_relay();
    bench.host.devices(1).await;
    bench.host.install("i", "board-1", &make(14, Kind::Good, 600)).await;
    let end = bench.host.succeeds("i").await;
    eprintln!("in a container: {}", end["detail"]);
    assert_eq!(end["detail"]["self_test"]["vectors"], 12);
    bench.host.log_lines("board-1", &format!("container {ARM}"), 1).await;
    assert_eq!(engine.containers(), Vec::<String>::new());
}
