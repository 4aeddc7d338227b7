//! One relay as a process of its own: `relay NAME DIR BROKER_PORT BOARDS_DIR`. The tests kill it at every step.

use contract::ids::RelayId;
use edge_relay::RelayConfig;
use tokio_util::sync::CancellationToken;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, dir, port, boards] = arguments.as_slice() else {
        return Err("usage: relay NAME DIR BROKER_PORT BOARDS_DIR".into());
    };
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    let mut config = RelayConfig::new(RelayId::new(name.as_str())?, dir);
    config.broker_port = port.parse()?;
    config.boards_dir = Some(boards.into());
    if let Ok(builds) = std::env::var("TINYMLAAS_BUILDS") {
        config.builds = builds.parse()?;
    }
    let seconds = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    if let Some(limit) = seconds("RELAY_BUILD_S") {
        config.timeouts.build = std::time::Duration::from_secs(limit);
    }
    if let Some(limit) = seconds("RELAY_FETCH_S") {
        config.timeouts.fetch = std::time::Duration::from_secs(limit);
    }
    if let Some(limit) = seconds("RELAY_DEVICE_S") {
        config.timeouts.device = std::time::Duration::from_secs(limit);
    }
    let shutdown = CancellationToken::new();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let stop = shutdown.clone();
        tokio::spawn(async move {
            let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
            terminate.recv().await;
            stop.cancel();
            Ok::<(), std::io::Error>(())
        });
        edge_relay::run(config, shutdown).await
    })?;
    Ok(())
}
