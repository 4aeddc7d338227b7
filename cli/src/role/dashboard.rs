//! `tinymlaas dashboard`: the pages alone, against a cloud elsewhere.

use std::net::SocketAddr;

use dashboard::{Dashboard, DashboardConfig};

use crate::args::{self, Context};
use crate::exit::Failure;
use crate::role;
use crate::up::Layout;

/// Runs until a signal.
pub fn run(context: &Context, args: args::Dashboard) -> Result<(), Failure> {
    let mut config = config(context, args.listen)?;
    config.api_url.clone_from(&context.api);
    role::run(2, async |stop| {
        let doors = role::doors(context, args.listen, &args.tls).await?;
        let dashboard = Dashboard::new(config);
        let serve = transport::http::serve(doors, dashboard.router(), stop.clone());
        tokio::join!(serve, dashboard.run(stop.clone()));
        Ok(())
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
