//! `tinymlaas broker`: the embedded broker alone, and the question whether it works.

use std::time::Duration;

use broker::{Broker, BrokerConfig};
use contract::Topic;

use crate::args::{self, Context};
use crate::client::mqtt::{Incoming, Mqtt};
use crate::exit::Failure;
use crate::role;

/// Runs until a signal; ends with a failure when the router is dead, so that a supervisor starts it again.
pub fn run(context: &Context, args: args::Broker) -> Result<(), Failure> {
    let config = BrokerConfig::new(args.listen, &context.data_dir);
    role::run(2, async |stop| {
        let broker = Broker::bind(config).await.map_err(|error| Failure::Environment(error.to_string()))?;
        broker.serve(stop.cancelled_owned()).await.map_err(|error| Failure::Environment(error.to_string()))
    })
}

/// One message there and back: that a broker accepts connections does not mean that it works.
pub async fn check(context: &Context) -> Result<(), Failure> {
    let topic = Topic::Health(context.user.clone()).to_string();
    let round_trip = async {
        let mut mqtt = Mqtt::connect(context, std::slice::from_ref(&topic)).await?;
        mqtt.publish(&topic, b"health".to_vec()).await?;
        while !matches!(mqtt.next().await?, Incoming::Message { .. }) {}
        Ok(())
    };
    tokio::time::timeout(Duration::from_secs(5), round_trip)
        .await
        .unwrap_or_else(|_| Err(Failure::TimedOut("the broker does not answer".to_owned())))
}
