//! `tinymlaas broker`: the embedded broker alone, and the question whether it works.

use std::time::Duration;

use broker::health::{self, HealthError};
use broker::{Broker, BrokerConfig, TlsConfig};

use crate::args::{self, Context};
use crate::client::{mqtt, token};
use crate::exit::Failure;
use crate::role;

const PATIENCE: Duration = Duration::from_secs(5);

/// Runs until a signal; ends with a failure when the router is dead, so that a supervisor starts it again.
pub fn run(context: &Context, args: args::Broker) -> Result<(), Failure> {
    let mut config = BrokerConfig::new(args.listen, &context.data_dir);
    config.tls = args.tls.door(context).map(|(listen, files)| TlsConfig {
        listen,
        files,
        require_certificates: args.require_certificates,
    });
    role::run(2, async |stop| {
        let broker = Broker::bind(config).await.map_err(|error| Failure::Environment(error.to_string()))?;
        broker.serve(stop.cancelled_owned()).await.map_err(|error| Failure::Environment(error.to_string()))
    })
}

/// One message there and back, and how long it took: that a broker accepts connections does not mean that it works.
pub async fn check(context: &Context) -> Result<Duration, Failure> {
    let (host, port) = context.broker()?;
    let unknown = || Failure::Unreachable(format!("the broker's host '{host}' has no address"));
    let address = tokio::net::lookup_host((host.as_str(), port)).await.map_err(|_| unknown())?.next();
    let token = token(context)?;
    health::check(address.ok_or_else(unknown)?, &context.user, &token, PATIENCE).await.map_err(|error| match error {
        HealthError::NotAllowed(_) => Failure::Unauthorized(error.to_string()),
        HealthError::Timeout(_) => Failure::TimedOut(format!("the broker at {host}:{port}: {error}")),
        HealthError::Connection(error) => mqtt::explain(&error, &format!("{host}:{port}")),
    })
}
