//! `tinymlaas up`: every role on this machine in one supervised process tree, and the demo on top.
//!
//! - [`check`]: what must be true of this machine before anything starts.
//! - [`bootstrap`]: folders, identities and keys of the first start.
//! - [`supervisor`]: children, restarted when they fail, stopped in order.
//! - [`demo`]: the main job, done through the same doors as everybody's.

mod bootstrap;
mod check;
mod demo;
mod supervisor;

use std::time::Duration;

use contract::RelayId;
use contract::api::{Health, RelayView};
use contract::state::DeviceStatus;
use tokio_util::sync::CancellationToken;

use crate::args::{Context, Demo, Up};
use crate::client::api::Api;
use crate::exit::Failure;
use crate::output::Step;
use crate::role;
use supervisor::Child;
pub use supervisor::Supervisor;

use bootstrap::Prepared;
pub use bootstrap::{Layout, prepare_first};
pub use check::virtual_boards as check_virtual_boards;

/// Starts everything, does the demo if asked, and stays until Ctrl-C.
pub fn run(context: &Context, up: Up) -> Result<(), Failure> {
    let mut context = context.clone();
    context.mqtt = format!("127.0.0.1:{}", up.mqtt_port);
    context.api = format!("http://127.0.0.1:{}", up.http_port);
    context.user = "admin".to_owned();
    context.token_file = Some(context.data_dir.join("admin-token"));
    // The supervisor only waits: one thread is enough.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Internal(format!("the runtime does not start: {error}")))?;
    runtime.block_on(async {
        let stop = role::shutdown_on_signal()?;
        start(&context, &up, &stop).await
    })
}

async fn start(context: &Context, up: &Up, stop: &CancellationToken) -> Result<(), Failure> {
    let _lock = check::machine(context, up).await?;
    let prepared = bootstrap::prepare(context, up)?;
    eprintln!("TinyMLaaS {}, data in {}", env!("CARGO_PKG_VERSION"), context.data_dir.display());
    let mut supervisor = Supervisor::new(&context.data_dir)?;
    let result = tokio::select! {
        result = run_all(context, up, &mut supervisor, prepared, stop) => result,
        () = stop.cancelled() => Ok(()),
    };
    eprintln!("\nStopping …");
    supervisor.stop().await;
    match &result {
        Ok(()) => eprintln!("Stopped. 'up' again goes on where it was."),
        Err(_) => eprintln!("Logs of all parts are in {}.", context.data_dir.join("logs").display()),
    }
    result
}

async fn run_all(
    context: &Context,
    up: &Up,
    supervisor: &mut Supervisor,
    prepared: Prepared,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    let step = Step::begin("broker", "starting");
    // Without an address: IPv6 where there is any, and IPv4 through it.
    let all = |port: u16| format!("{}:{port}", if has_ipv6() { "[::]" } else { "0.0.0.0" });
    let behind_tls = |role: &[&str], port: u16| {
        let mut args = arguments(context, role);
        if up.tls {
            args.extend(["--tls-listen".to_owned(), all(port)]);
        }
        args
    };
    let mut broker = Child::new("broker", behind_tls(&["broker", "--listen", &context.mqtt], up.mqtts_port));
    broker.health = Some(supervisor::Health::Broker { address: context.mqtt.clone(), context: context.clone() });
    supervisor.start(broker);
    wait("the broker", Some(supervisor), async || role::broker::check(context).await.is_ok()).await?;
    step.done(&format!("mqtt://{}", context.mqtt));

    let step = Step::begin("cloud", "starting");
    let http = format!("127.0.0.1:{}", up.http_port);
    supervisor.start(Child::new("cloud", behind_tls(&["cloud", "--listen", &http], up.https_port)));
    let api = Api::new(context)?;
    wait(
        "the cloud",
        Some(supervisor),
        async || matches!(api.get::<Health>("/health").await, Ok(h) if h.status == "ok"),
    )
    .await?;
    step.done(&context.api);

    let step = Step::begin("relay", &format!("{} with {} virtual boards ({})", up.relay, up.boards, up.board));
    if prepared.revoked {
        step.failed(&format!(
            "{relay} was revoked and is not started; 'tinymlaas relay invite {relay}' and 'tinymlaas relay enroll' on this \
             machine let it in again at the next start",
            relay = up.relay
        ));
    } else {
        relay(context, up, supervisor, &api, step).await?;
    }

    if prepared.first {
        let token = crate::client::token(context)?;
        let place = Layout(&context.data_dir).admin_token();
        eprintln!("\nAdmin token, shown once and kept in {}:\n  {token}", place.display());
    }
    if up.tls {
        let folder = Layout(&context.data_dir).tls();
        eprintln!(
            "\nTLS    mqtts and https on ports {} and {} of all addresses; whoever connects trusts {}",
            up.mqtts_port,
            up.https_port,
            folder.join("ca.crt").display()
        );
    }
    if up.demo && !prepared.revoked {
        eprintln!("\nThe main job, on real data:");
        demo::run(context, &up.relay, up.boards, &api).await?;
    }
    closing_words(context, up);
    tokio::select! {
        () = stop.cancelled() => {}
        () = renew(context, up), if up.tls => {}
    }
    Ok(())
}

/// What every role is started with.
fn arguments(context: &Context, role: &[&str]) -> Vec<String> {
    let mut args: Vec<String> = role.iter().map(|text| (*text).to_owned()).collect();
    let data = context.data_dir.display().to_string();
    args.extend(["--data-dir".to_owned(), data, "--mqtt".to_owned(), context.mqtt.clone()]);
    args.extend(["--api".to_owned(), context.api.clone()]);
    args
}

/// Starts virtual boards, `board-1` and on.
pub fn start_boards(context: &Context, supervisor: &mut Supervisor, count: u8, board: &str, baud: u32) {
    for number in 1..=count {
        let name = format!("board-{number}");
        let dir = context.data_dir.join("boards").join(&name).display().to_string();
        let baud = baud.to_string();
        let args =
            ["board", "--name", &name, "--dir", &dir, "--board", board, "--baud", &baud].map(str::to_owned).to_vec();
        supervisor.start(Child::new(&name, args));
    }
}

/// The demo alone, on a relay that somebody else has started.
pub fn run_demo(context: &Context, asked: &Demo) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Internal(format!("the runtime does not start: {error}")))?;
    runtime.block_on(async {
        let api = Api::new(context)?;
        let step = Step::begin("relay", &format!("{} with {}", asked.relay, boards(asked.boards)));
        wait("the relay", None, async || relay_is_ready(&api, &asked.relay, asked.boards).await).await?;
        step.done(&format!("{} with {}", asked.relay, boards(asked.boards)));
        demo::run(context, &asked.relay, asked.boards, &api).await
    })
}

/// Starts the relay of this machine with its virtual boards, and waits until all are there.
async fn relay(context: &Context, up: &Up, supervisor: &mut Supervisor, api: &Api, step: Step) -> Result<(), Failure> {
    start_boards(context, supervisor, up.boards, &up.board, up.baud);
    supervisor.start(Child::new("relay", arguments(context, &["relay", "run", "--name", up.relay.as_str()])));
    wait("the relay", Some(supervisor), async || relay_is_ready(api, &up.relay, up.boards).await).await?;
    step.done(&format!("{} with {}", up.relay, boards(up.boards)));
    Ok(())
}

/// Replaces the server's certificate before it ends; broker and cloud read it again by themselves.
async fn renew(context: &Context, up: &Up) {
    const LOOK: Duration = Duration::from_secs(12 * 3600);
    loop {
        tokio::time::sleep(LOOK).await;
        if let Err(failure) = bootstrap::certify(context, up) {
            eprintln!("  ! {failure}");
        }
    }
}

fn has_ipv6() -> bool {
    std::net::TcpListener::bind((std::net::Ipv6Addr::UNSPECIFIED, 0)).is_ok()
}

fn boards(count: u8) -> String {
    match count {
        0 => "no virtual board".to_owned(),
        1 => "1 virtual board: board-1".to_owned(),
        n => format!("{n} virtual boards: board-1 to board-{n}"),
    }
}

/// Whether the relay is connected and all its virtual boards are there and at rest.
async fn relay_is_ready(api: &Api, relay: &RelayId, boards: u8) -> bool {
    let Ok(relay) = api.get::<RelayView>(&format!("/relays/{relay}")).await else {
        return false;
    };
    relay.online
        && relay.state.is_some_and(|state| {
            (1..=boards).all(|number| {
                let name = format!("board-{number}");
                state.devices.iter().any(|d| d.device.as_str() == name && d.status != DeviceStatus::Lost)
            })
        })
}

/// Waits until `ready` says yes; a part that keeps failing ends the wait with its last words.
async fn wait(what: &str, supervisor: Option<&Supervisor>, ready: impl AsyncFn() -> bool) -> Result<(), Failure> {
    const PATIENCE: Duration = Duration::from_secs(120);
    let begin = tokio::time::Instant::now();
    while !ready().await {
        if let Some(trouble) = supervisor.and_then(Supervisor::trouble) {
            return Err(Failure::Environment(format!("{what} does not start: {trouble}")));
        }
        if begin.elapsed() > PATIENCE {
            return Err(Failure::Environment(format!(
                "{what} did not get ready within {} s; its log says why (logs/ in the data folder)",
                PATIENCE.as_secs()
            )));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// What to open and what to type next.
fn closing_words(context: &Context, up: &Up) {
    // Under `cargo run` the binary is not on the PATH yet.
    let program = if std::env::var_os("CARGO").is_some() { "cargo run --" } else { "tinymlaas" };
    let data = context.data_dir.display();
    let mut options = String::new();
    if context.data_dir != std::path::Path::new("./data") {
        options.push_str(&format!(" --data-dir {data}"));
    }
    if up.mqtt_port != 1883 {
        options.push_str(&format!(" --mqtt {}", context.mqtt));
    }
    if up.http_port != 8080 {
        options.push_str(&format!(" --api {}", context.api));
    }
    let next = if up.demo { "watch" } else { "up --demo" };
    eprintln!("\nOpen   {}  (log in as admin; the token is in {data}/admin-token)", context.api);
    if up.demo {
        eprintln!("Type   {program} {next}{options}  in another terminal; Ctrl-C here stops everything");
    } else {
        eprintln!("Type   {program} {next}{options}  for a first model on a board; Ctrl-C here stops everything");
    }
}
