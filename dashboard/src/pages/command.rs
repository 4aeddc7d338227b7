//! `/commands/{relay}/{id}`: what became of one command, and the steps bar that device pages show too.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;
use contract::api::CommandView;
use contract::event::{CommandReport, EventBody};
use contract::ids::{ArtifactId, CommandId, RelayId};
use contract::log::LogLines;
use contract::{State as CommandState, Timestamp};

use super::{html, id, oldest_first};
use crate::Shared;
use crate::error::PageError;
use crate::session::SessionToken;
use crate::view::{Chip, Frame, state_chip};

/// One step of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) name: &'static str,
    /// `done`, `now`, `bad`, `todo`, `skipped`.
    pub(crate) tone: &'static str,
    pub(crate) icon: &'static str,
    /// How long it took, in milliseconds.
    pub(crate) duration_ms: Option<u64>,
}

/// One line of a command's history.
pub(crate) struct Row {
    pub(crate) at: Timestamp,
    pub(crate) report: CommandReport,
    pub(crate) chip: Chip,
    /// How long the reported state lasted, in milliseconds, once it has ended.
    pub(crate) took_ms: Option<u64>,
}

/// A command with its steps.
#[derive(Debug, Clone)]
pub(crate) struct Progress {
    pub(crate) command: CommandView,
    pub(crate) steps: Vec<Step>,
    /// Whole percent.
    pub(crate) percent: u32,
}

impl Progress {
    pub(crate) fn of(command: CommandView) -> Self {
        let steps = steps(&command);
        // Clamped to 0..=100 first.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let percent = (command.progress.clamp(0.0, 1.0) * 100.0).round() as u32;
        let percent = if command.state == Some(CommandState::Succeeded) { 100 } else { percent };
        Self { command, steps, percent }
    }

    /// Whether it still works.
    pub(crate) fn is_open(&self) -> bool {
        !self.command.state.is_some_and(CommandState::is_terminal)
    }

    /// Its reports, oldest first.
    pub(crate) fn history(&self) -> Vec<Row> {
        let reports = reports(&self.command);
        let row = |(index, (at, report)): (usize, &(Timestamp, &CommandReport))| {
            let next = reports.get(index + 1).map(|(_, next)| next);
            let ended = next.filter(|next| next.state != report.state);
            let mut chip = state_chip(&report.state);
            if next.is_some() && !report.state.is_terminal() {
                (chip.tone, chip.icon) = ("good", "check");
            }
            Row { at: *at, report: (*report).clone(), chip, took_ms: ended.and_then(|next| next.duration_ms) }
        };
        reports.iter().enumerate().map(row).collect()
    }
}

/// The reports of a command with their times, oldest first.
fn reports(command: &CommandView) -> Vec<(Timestamp, &CommandReport)> {
    command
        .events
        .iter()
        .filter_map(|event| match &event.body {
            EventBody::Command(body) => Some((event.head.at, body)),
            _ => None,
        })
        .collect()
}

/// The states that a verb passes on its way to success.
fn expected_states(verb: &str) -> &'static [CommandState] {
    use CommandState::{Accepted, Building, Fetching, Flashing, Succeeded, Verifying};
    match verb {
        "install" => &[Accepted, Fetching, Building, Flashing, Verifying, Succeeded],
        "build" => &[Accepted, Fetching, Building, Succeeded],
        "erase" => &[Accepted, Flashing, Succeeded],
        "self_test" | "evaluate" => &[Accepted, Verifying, Succeeded],
        _ => &[Accepted, Succeeded],
    }
}

fn steps(command: &CommandView) -> Vec<Step> {
    let reports: Vec<&CommandReport> = reports(command).into_iter().map(|(_, report)| report).collect();
    let passed = |state: CommandState| reports.iter().any(|report| report.state == state);
    // A duration belongs to the state that the report ended: the one reported before it.
    let duration = |state: CommandState| {
        let ended = reports.windows(2).filter(|pair| pair[0].state == state && pair[1].state != state);
        let times: Vec<u64> = ended.filter_map(|pair| pair[1].duration_ms).collect();
        (!times.is_empty()).then(|| times.iter().sum())
    };
    let ending = command.state.filter(|state| state.is_terminal() && *state != CommandState::Succeeded);
    let succeeded = command.state == Some(CommandState::Succeeded);
    let expected = expected_states(&command.verb);
    let shown = CommandState::ALL.into_iter().filter(|state| {
        expected.contains(state) && (ending.is_none() || (*state != CommandState::Succeeded && passed(*state)))
            || (!state.is_terminal() && passed(*state))
            || Some(*state) == ending
    });
    shown
        .map(|state| {
            let (tone, icon) = if Some(state) == ending {
                ("bad", "cross")
            } else if succeeded && (passed(state) || state == CommandState::Succeeded) {
                ("done", "check")
            } else if command.state == Some(state) {
                ("now", "work")
            } else if passed(state) {
                ("done", "check")
            } else if succeeded || command.state.is_some_and(|now| now > state) {
                ("skipped", "skip")
            } else {
                ("todo", "ring")
            };
            Step { name: words(state), tone, icon, duration_ms: duration(state) }
        })
        .collect()
}

const fn words(state: CommandState) -> &'static str {
    match state {
        CommandState::TimedOut => "timed out",
        other => other.as_str(),
    }
}

#[derive(Template)]
#[template(path = "command.html")]
struct CommandPage {
    frame: Frame,
    progress: Progress,
    command: CommandView,
    /// Oldest first.
    logs: Vec<LogLines>,
}

impl CommandPage {
    /// The artifact that it was about, once that was known.
    fn artifact(&self) -> Option<ArtifactId> {
        reports(&self.command).iter().rev().find_map(|(_, report)| report.artifact.clone())
    }
}

/// `GET /commands/{relay}/{id}`.
pub(crate) async fn page(
    State(shared): State<Arc<Shared>>,
    SessionToken(token): SessionToken,
    Path((relay, command)): Path<(String, String)>,
) -> Result<Response, PageError> {
    let (relay, command): (RelayId, CommandId) = (id(&relay)?, id(&command)?);
    let api = shared.api.as_visitor(&token);
    let (me, command) = tokio::try_join!(api.me(), api.command(&relay, &command))?;
    let logs = match &command.device {
        Some(device) => api.command_logs(&relay, device, &command.command, 200).await?,
        None => Vec::new(),
    };
    html(&CommandPage {
        frame: Frame::of(me),
        progress: Progress::of(command.clone()),
        command,
        logs: oldest_first(logs),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn command(verb: &str, states: &[(&str, Option<u64>)]) -> CommandView {
        let events: Vec<serde_json::Value> = states
            .iter()
            .enumerate()
            .map(|(index, (state, duration))| {
                serde_json::json!({
                    "relay": "bench", "journal": "j", "epoch": 1, "seq": index + 1, "floor": 1,
                    "at": "2026-01-31T12:00:00Z", "type": "command", "command": "c", "verb": verb,
                    "state": state, "code": "ok", "duration_ms": duration,
                })
            })
            .collect();
        serde_json::from_value(serde_json::json!({
            "relay": "bench", "command": "c", "verb": verb, "device": "board-1",
            "state": states.last().map(|(state, _)| *state), "code": "ok", "message": "", "progress": 0.5,
            "created_at": "2026-01-31T12:00:00Z", "updated_at": "2026-01-31T12:00:00Z", "events": events,
        }))
        .unwrap()
    }

    fn shown(command: &CommandView) -> String {
        steps(command).iter().map(|step| format!("{} {}", step.name, step.tone)).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn a_running_install_shows_what_is_done_and_what_comes() {
        let install = command("install", &[("accepted", None), ("fetching", Some(2)), ("building", Some(30))]);
        assert_eq!(
            shown(&install),
            "accepted done, fetching done, building now, flashing todo, verifying todo, succeeded todo"
        );
        assert_eq!(steps(&install)[1].duration_ms, Some(30), "the report of 'building' ends 'fetching'");
    }

    #[test]
    fn a_cached_build_is_skipped() {
        let states =
            [("accepted", None), ("fetching", None), ("flashing", None), ("verifying", None), ("succeeded", None)];
        let shown = shown(&command("install", &states));
        assert!(shown.contains("building skipped, flashing done"), "{shown}");
        assert!(shown.ends_with("succeeded done"), "{shown}");
    }

    #[test]
    fn a_failure_ends_the_bar() {
        let failed = command("install", &[("accepted", None), ("fetching", None), ("failed", None)]);
        assert_eq!(shown(&failed), "accepted done, fetching done, failed bad");
        assert_eq!(shown(&command("restart", &[("rejected", None)])), "rejected bad");
        assert_eq!(shown(&command("restart", &[])), "accepted todo, succeeded todo");
    }
}
