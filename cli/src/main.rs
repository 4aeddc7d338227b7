//! The one binary `tinymlaas`.
//!
//! # Layout
//!
//! - [`args`]: what can be typed; [`exit`]: what comes back as exit code.
//! - [`role`]: long-running parts (`broker`, `cloud`, `relay`, `dashboard`, `board`), one file each.
//! - [`up`]: all roles in one process tree, supervised, and the demo on top.
//! - [`reach`]: TLS to broker and cloud, for everything that connects.
//! - [`client`]: HTTP and MQTT as the client commands use them.
//! - [`command`]: the client commands, one file per noun or verb.
//! - [`output`]: tables, sizes, colours; [`report`]: what the model compiler found out, as text.
//!
//! No logic of its own lives here: each role is a library, and each client command is one or two calls.

mod args;
mod client;
mod command;
mod exit;
mod output;
mod reach;
mod report;
mod role;
mod up;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Args, Verb};
use crate::exit::Failure;
use crate::reach::Reach;
use crate::up::Layout;

fn main() -> ExitCode {
    let args = Args::parse();
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.print();
            failure.code()
        }
    }
}

fn run(args: Args) -> Result<(), Failure> {
    let mut context = args.context;
    let own = match &args.verb {
        Verb::Relay { verb: args::RelayVerb::Run(relay) } => Some(Layout(&context.data_dir).relay(&relay.name)),
        _ => None,
    };
    let reach = Reach::open(&mut context, own.as_deref())?;
    dispatch(&context, args.verb).map_err(|failure| reach.explain(failure))
}

fn dispatch(context: &args::Context, verb: Verb) -> Result<(), Failure> {
    match verb {
        Verb::Up(up) => up::run(context, up),
        Verb::Demo(demo) => up::run_demo(context, &demo),
        Verb::Broker(role) => role::broker::run(context, role),
        Verb::Cloud(role) => role::cloud::run(context, role),
        Verb::Relay { verb: args::RelayVerb::Run(role) } => role::relay::run(context, role),
        Verb::Dashboard(role) => role::dashboard::run(context, role),
        Verb::Board(role) => role::board::run(role),
        client => command::run(context, client),
    }
}
