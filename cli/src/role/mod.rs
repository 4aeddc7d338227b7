//! The long-running parts, one file each: flags and files in, a library's `run` out.

pub mod board;
pub mod broker;
pub mod cloud;
pub mod dashboard;
pub mod relay;

use std::future::Future;
use std::io::{IsTerminal as _, Read as _};
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;
use transport::http::Door;
use transport::server::Server;

use crate::args::{self, Context};
use crate::exit::Failure;

/// Set by the supervisor: stop when standard input closes.
pub const LIFELINE: &str = "TINYMLAAS_LIFELINE";

/// Runs a role on its own runtime with logging to stderr (`RUST_LOG` chooses how much).
pub fn run<F: Future<Output = Result<(), Failure>>>(
    threads: usize,
    role: impl FnOnce(CancellationToken) -> F,
) -> Result<(), Failure> {
    start_logging();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()
        .map_err(|error| Failure::Internal(format!("the runtime does not start: {error}")))?;
    runtime.block_on(async { role(shutdown_on_signal()?).await })
}

/// Logs to stderr, in colour where that is a terminal.
pub fn start_logging() {
    // rumqttd reports each client that says goodbye as an error; what is one, the broker's own watchdog reports.
    let quiet = "info,sqlx=warn,sea_orm_migration=warn,rumqttd=off";
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(quiet));
    // A second subscriber is refused, which only happens in tests of this binary: then the first one stays.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .try_init();
}

/// A token that SIGINT, SIGTERM or the end of the lifeline cancels.
pub fn shutdown_on_signal() -> Result<CancellationToken, Failure> {
    let token = CancellationToken::new();
    let unavailable = |error: std::io::Error| Failure::Internal(format!("signals cannot be received: {error}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(unavailable)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(unavailable)?;
    let cancel = token.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        cancel.cancel();
    });
    if std::env::var_os(LIFELINE).is_some() {
        let cancel = token.clone();
        // A thread of its own: a blocking read in the runtime would hold up its end.
        std::thread::spawn(move || {
            let mut nothing = [0; 16];
            while matches!(std::io::stdin().read(&mut nothing), Ok(n) if n > 0) {}
            cancel.cancel();
        });
    }
    Ok(token)
}

/// Listens for HTTP, and for HTTPS where `tls` says so.
pub async fn doors(context: &Context, listen: SocketAddr, tls: &args::Tls) -> Result<Vec<Door>, Failure> {
    let mut doors = vec![Door { listener: bind(listen).await?, tls: None }];
    if let Some((listen, files)) = tls.door(context) {
        let server = Server::open(files).map_err(|error| Failure::Environment(error.to_string()))?;
        doors.push(Door { listener: bind(listen).await?, tls: Some(Arc::new(server)) });
    }
    Ok(doors)
}

async fn bind(listen: SocketAddr) -> Result<TcpListener, Failure> {
    let failed = |error| Failure::Environment(format!("{listen} cannot be listened on: {error}"));
    TcpListener::bind(listen).await.map_err(failed)
}
