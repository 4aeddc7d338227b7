//! The client commands: each asks the API or speaks MQTT, and prints.

mod audit;
mod cancel;
mod compile;
mod dataset;
mod device;
mod enroll;
mod follow;
mod health;
mod install;
mod key;
mod logs;
mod model;
mod mosquitto;
mod people;
mod relay;
mod secret;
mod watch;

use crate::args::{Context, Verb};
use crate::exit::Failure;

pub use follow::follow;

/// Runs a client command to its end.
pub fn run(context: &Context, verb: Verb) -> Result<(), Failure> {
    let verb = match verb {
        Verb::Compile(asked) => return compile::run(context, &asked),
        Verb::Mosquitto { dir } => return mosquitto::run(context, &dir),
        verb => verb,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Internal(format!("the runtime does not start: {error}")))?;
    runtime.block_on(async {
        match verb {
            Verb::Relay { verb } => relay::run(context, verb).await,
            Verb::Device { verb } => device::run(context, verb).await,
            Verb::User { verb } => people::users(context, verb).await,
            Verb::Token { verb } => people::tokens(context, verb).await,
            Verb::Key { verb } => key::run(context, verb).await,
            Verb::Group { verb } => people::groups_of_relays(context, verb).await,
            Verb::Audit(asked) => audit::run(context, asked).await,
            Verb::Model { verb } => model::run(context, verb).await,
            Verb::Dataset { verb } => dataset::run(context, verb).await,
            Verb::Install(install) => install::run(context, install).await,
            Verb::Cancel(cancel) => cancel::run(context, cancel).await,
            Verb::Watch(watch) => watch::run(context, watch).await,
            Verb::Logs(logs) => logs::run(context, logs).await,
            Verb::Health { part } => health::run(context, part).await,
            Verb::Compile(_)
            | Verb::Mosquitto { .. }
            | Verb::Up(_)
            | Verb::Demo(_)
            | Verb::Broker(_)
            | Verb::Cloud(_)
            | Verb::Dashboard(_)
            | Verb::Board(_) => Err(Failure::Internal("a role is no client command".to_owned())),
        }
    })
}
