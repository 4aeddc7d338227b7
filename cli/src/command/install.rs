//! `tinymlaas install`.

use contract::command::{Action, Command, Observe, Payload};

use super::follow::follow_shown;
use crate::args::{Context, Install};
use crate::client::api::Api;
use crate::client::mqtt::{Incoming, Mqtt};
use crate::exit::Failure;
use crate::output;

/// Sends the command and follows it.
pub async fn run(context: &Context, install: Install) -> Result<(), Failure> {
    let device = Api::new(context)?.find_device(&install.device).await?;
    let what = if install.model.starts_with("sha256:") {
        Payload::Artifact(install.model.parse().map_err(|error| Failure::Usage(format!("{error}")))?)
    } else {
        Payload::Model(install.model.parse().map_err(|error| Failure::Usage(format!("{error}")))?)
    };
    let observe = Observe { interval_ms: install.interval_ms, ..Observe::default() };
    let mut command =
        Command::new(Action::Install { device: device.state.device.clone(), what, observe: Some(observe) });
    command.timeout_s = Some(install.timeout);
    if let Some(id) = install.id {
        command.id = id;
    }
    if install.no_wait {
        return send_only(context, &device.relay, &command).await;
    }
    follow_shown(context, &device.relay, &command).await.map(drop)
}

/// Publishes and ends as soon as the broker has it.
async fn send_only(context: &Context, relay: &contract::RelayId, command: &Command) -> Result<(), Failure> {
    let mut mqtt = Mqtt::connect(context, &[]).await?;
    let topic = contract::Topic::Commands(relay.clone()).to_string();
    let payload = contract::wire::encode(&topic, command).map_err(|error| Failure::Usage(error.to_string()))?;
    mqtt.publish(&topic, payload).await?;
    while !matches!(mqtt.next().await?, Incoming::Published) {}
    if context.json { output::json(command) } else { output::print(&format!("sent: {}", command.id)) }
}
