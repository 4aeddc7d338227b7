//! `tinymlaas dashboard`: the pages alone, against a cloud elsewhere.

use std::net::SocketAddr;

use dashboard::{Dashboard, DashboardConfig};
use tokio::net::TcpListener;

use crate::args::{self, Context};
use crate::exit::Failure;
use crate::role;
use crate::up::Layout;

/// Runs until a signal.
pub fn run(context: &Context, args: args::Dashboard) -> Result<(), Failure> {
    let mut config = config(context, args.listen)?;
    config.api_url.clone_from(&context.api);
    role::run(2, async |stop| {
        let listener = TcpListener::bind(args.listen)
            .await
            .map_err(|error| Failure::Environment(format!("{} cannot be listened on: {error}", args.listen)))?;
        let dashboard = Dashboard::new(config);
        let serve = role::serve(listener, dashboard.router(), stop.clone());
        let (served, ()) = tokio::join!(serve, dashboard.run(stop.clone()));
        served
    })
}

/// The configuration of a dashboard that asks the API on `listen`.
pub fn config(context: &Context, listen: SocketAddr) -> Result<DashboardConfig, Failure> {
    let (broker_host, broker_port) = context.broker()?;
    let layout = Layout(&context.data_dir);
    // An address to listen on such as 0.0.0.0 is none to connect to.
    let host = if listen.ip().is_unspecified() { "127.0.0.1".to_owned() } else { listen.ip().to_string() };
    Ok(DashboardConfig {
        api_url: format!("http://{host}:{}", listen.port()),
        broker_host,
        broker_port,
        mqtt_user: "dashboard".to_owned(),
        mqtt_token_file: layout.dashboard_token(),
        data_hint: layout.admin_token().display().to_string(),
    })
}
