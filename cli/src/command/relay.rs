//! `tinymlaas relay …`.

use contract::RelayId;
use contract::api::{Guest, IssuedInvitation, NewInvitation, RelayView};
use contract::command::{Action, Command};

use reqwest::Method;

use super::follow::follow_shown;
use super::people::{invite, said, show_invitation};
use crate::args::{Context, Lifetime, RelayVerb};
use crate::client::api::Api;
use crate::exit::Failure;
use crate::output;

/// One verb about relays.
pub async fn run(context: &Context, verb: RelayVerb) -> Result<(), Failure> {
    match verb {
        RelayVerb::List => list(context).await,
        RelayVerb::Show { relay } => {
            let view: RelayView = Api::new(context)?.get(&format!("/relays/{relay}")).await?;
            if context.json { output::json(&view) } else { show(&view) }
        }
        RelayVerb::Diagnose { relay } => {
            let last = follow_shown(context, &relay, &Command::new(Action::Diagnose)).await?;
            match last.detail {
                Some(detail) if !context.json => output::json(&detail),
                _ => Ok(()),
            }
        }
        RelayVerb::Rescan { relay } => follow_shown(context, &relay, &Command::new(Action::Rescan)).await.map(drop),
        RelayVerb::Invite { relay, valid } => {
            let issued = invite_relay(context, &relay, valid).await?;
            show_invitation(context, &issued, "on the relay's machine, 'tinymlaas relay enroll' takes it")
        }
        RelayVerb::Enroll(asked) => super::enroll::run(context, asked).await,
        RelayVerb::Revoke { relay } => {
            let api = Api::new(context)?;
            api.done(api.request(Method::POST, &format!("/relays/{relay}/revoke"))).await?;
            said(context, &format!("relay '{relay}' is let in no more; its connection ends within a second or so"))
        }
        RelayVerb::Run(_) => Err(Failure::Internal("a role is no client command".to_owned())),
    }
}

/// A join token for that relay.
pub async fn invite_relay(context: &Context, relay: &RelayId, valid: Lifetime) -> Result<IssuedInvitation, Failure> {
    let wanted = NewInvitation {
        guest: Guest::Relay,
        name: relay.to_string(),
        role: None,
        groups: None,
        valid_s: Some(valid.0),
    };
    invite(&Api::new(context)?, &wanted).await
}

async fn list(context: &Context) -> Result<(), Failure> {
    let relays: Vec<RelayView> = Api::new(context)?.get("/relays").await?;
    if context.json {
        return output::json(&relays);
    }
    let rows: Vec<Vec<String>> = relays
        .iter()
        .map(|view| {
            let (devices, host, agent) = match &view.state {
                Some(state) => (
                    state.devices.len().to_string(),
                    format!("{} ({} {})", state.host.hostname, state.host.os, state.host.arch),
                    state.agent.clone(),
                ),
                None => ("?".to_owned(), "?".to_owned(), "?".to_owned()),
            };
            vec![view.relay.to_string(), online(view.online), devices, host, agent, output::ago(view.last_seen)]
        })
        .collect();
    output::table(
        &["RELAY", "STATUS", "DEVICES", "HOST", "VERSION", "LAST SEEN"],
        &rows,
        "No relay yet. 'tinymlaas up' brings one with two virtual boards.",
    )
}

fn show(view: &RelayView) -> Result<(), Failure> {
    output::print(&format!("{}  {}  epoch {}", view.relay, online(view.online), view.epoch))?;
    let Some(state) = &view.state else {
        return output::print("It has not reported its state yet.");
    };
    output::print(&format!(
        "host     {} ({} {}), agent {}",
        state.host.hostname, state.host.os, state.host.arch, state.agent
    ))?;
    for toolchain in &state.toolchains {
        let problem = toolchain.problem.as_ref().map_or_else(String::new, |p| format!("  PROBLEM: {p}"));
        output::print(&format!("toolchain {} {}{problem}", toolchain.name, toolchain.version))?;
    }
    for (name, count) in &state.counters {
        output::print(&format!("counter  {name} = {count}"))?;
    }
    let rows: Vec<Vec<String>> =
        state.devices.iter().map(|d| super::device::row(&view.relay, view.online, d)).collect();
    output::table(super::device::HEADINGS, &rows, "It has no devices.")
}

/// The word for a connection's state.
pub fn online(yes: bool) -> String {
    if yes { "online" } else { "offline" }.to_owned()
}
