//! `tinymlaas cloud`: services, HTTP API and, unless told otherwise, the dashboard on the same port.

use cloud::{Cloud, CloudConfig};
use dashboard::Dashboard;

use super::dashboard::config as dashboard_config;
use crate::args::{self, Context};
use crate::exit::Failure;
use crate::role;
use crate::up::{Layout, prepare_first};

/// Runs until a signal.
pub fn run(context: &Context, args: args::Cloud) -> Result<(), Failure> {
    let (host, port) = context.broker()?;
    prepare_first(context)?;
    let layout = Layout(&context.data_dir);
    let mut config = CloudConfig::new(layout.cloud(), layout.credentials(), layout.cloud_token());
    config.authority = Some(layout.tls());
    config.mosquitto = args.mosquitto;
    config.broker_host = host;
    config.broker_port = port;
    role::run(2, async |stop| {
        let doors = role::doors(context, args.listen, &args.tls).await?;
        let cloud = Cloud::open(config).await.map_err(|error| Failure::Environment(error.to_string()))?;
        let mut router = cloud.api();
        let dashboard =
            (!args.no_dashboard).then(|| dashboard_config(context, args.listen)).transpose()?.map(Dashboard::new);
        if let Some(dashboard) = &dashboard {
            router = router.merge(dashboard.router());
        }
        let feed = async {
            if let Some(dashboard) = &dashboard {
                dashboard.run(stop.clone()).await;
            }
        };
        let serve = transport::http::serve(doors, router, stop.clone());
        let services = async {
            let result = cloud.run(stop.clone()).await.map_err(|error| Failure::Environment(error.to_string()));
            // Whatever ended the services ends the process: a cloud that only answers HTTP would look alive.
            stop.cancel();
            result
        };
        let ((), (), ran) = tokio::join!(feed, serve, services);
        ran
    })
}
