//! `tinymlaas relay run`: one relay on this machine.

use edge_relay::RelayConfig;

use crate::args::{self, Context};
use crate::exit::Failure;
use crate::role;
use crate::up::{Layout, Supervisor, check_virtual_boards, start_boards};

/// Runs until a signal.
pub fn run(context: &Context, args: args::Relay) -> Result<(), Failure> {
    let (host, port) = context.broker()?;
    let layout = Layout(&context.data_dir);
    let mut config = RelayConfig::new(args.name.clone(), layout.relay(&args.name));
    config.broker_host = host;
    config.broker_port = port;
    config.boards_dir = Some(args.boards.clone().unwrap_or_else(|| layout.boards()));
    config.builds = args.builds;
    check_virtual_boards(args.virtual_boards, &args.board)?;
    role::run(2, async |stop| {
        let mut supervisor = Supervisor::new(&context.data_dir)?;
        start_boards(context, &mut supervisor, args.virtual_boards, &args.board, 0);
        let ran = edge_relay::run(config, stop).await.map_err(|error| Failure::Environment(error.to_string()));
        supervisor.stop().await;
        ran
    })
}
