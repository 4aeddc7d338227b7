//! `POST /commands`: a filled-in form becomes a command.

use std::sync::Arc;

use axum::Form;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use contract::command::{Action, Command, Observe, Payload, Source};
use contract::ids::{CommandId, DeviceId, ModelRef, RelayId};
use serde::Deserialize;

use crate::Shared;
use crate::api::path_segment;
use crate::error::PageError;
use crate::session::SessionToken;

/// The fields of all forms that send commands; each form has those that its verb needs.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct CommandForm {
    verb: String,
    relay: String,
    device: String,
    /// `relay/device`, instead of both.
    target: String,
    model: String,
    board: String,
    /// `on` or `off`.
    observing: String,
    source: String,
    interval_ms: String,
    pattern: String,
    baud: String,
    /// The command to cancel.
    command: String,
}

fn field<T: std::str::FromStr>(name: &str, text: &str) -> Result<T, PageError>
where
    T::Err: std::fmt::Display,
{
    text.trim().parse().map_err(|error| PageError::Form { message: format!("The field '{name}': {error}.") })
}

fn observe(form: &CommandForm) -> Result<Observe, PageError> {
    let default = Observe::default();
    let enabled = match form.observing.as_str() {
        "on" | "" => true,
        "off" => false,
        other => return Err(PageError::Form { message: format!("'{other}' is neither 'on' nor 'off'.") }),
    };
    let source = match form.source.as_str() {
        "samples" | "" => Source::Samples,
        "serial" => Source::Serial,
        "text" => Source::Text,
        other => return Err(PageError::Form { message: format!("There is no source '{other}'.") }),
    };
    let interval_ms = if form.interval_ms.is_empty() {
        default.interval_ms
    } else {
        field("interval in milliseconds", &form.interval_ms)?
    };
    let (mut pattern, mut baud) = (None, None);
    if source == Source::Text {
        pattern = Some(field("pattern", &form.pattern)?);
        baud = (!form.baud.trim().is_empty()).then(|| field("baud", &form.baud)).transpose()?;
    }
    Ok(Observe { enabled, source, interval_ms, pattern, baud })
}

fn action(form: &CommandForm, device: &str) -> Result<Action, PageError> {
    let device = || field::<DeviceId>("device", device);
    Ok(match form.verb.as_str() {
        "install" => Action::Install {
            device: device()?,
            what: Payload::Model(field::<ModelRef>("model", &form.model)?),
            observe: None,
        },
        "erase" => Action::Erase { device: device()? },
        "restart" => Action::Restart { device: device()? },
        "identify" => Action::Identify { device: device()? },
        "self_test" => Action::SelfTest { device: device()? },
        "evaluate" => Action::Evaluate { device: device()? },
        "observe" => Action::Observe { device: device()?, observe: observe(form)? },
        "set_board" => Action::SetBoard { device: device()?, board: field("board type", &form.board)? },
        "rescan" => Action::Rescan,
        "diagnose" => Action::Diagnose,
        "cancel" => Action::Cancel { command: field::<CommandId>("command", &form.command)? },
        other => return Err(PageError::Form { message: format!("This page sends no '{other}'.") }),
    })
}

/// `POST /commands`. Answers with the page that shows the command's progress.
pub(crate) async fn send(
    State(shared): State<Arc<Shared>>,
    SessionToken(token): SessionToken,
    Form(form): Form<CommandForm>,
) -> Result<Response, PageError> {
    let (relay, device) = form.target.split_once('/').unwrap_or((&form.relay, &form.device));
    let relay: RelayId = field("relay", relay)?;
    let command = Command::new(action(&form, device)?);
    let sent = shared.api.as_visitor(&token).send_command(&relay, &command.to_json()).await?;
    // Who cancels wants to see what becomes of the cancelled command.
    let shown = match &command.action {
        Action::Cancel { command } => command,
        _ => &sent.command,
    };
    let shown = path_segment(shown.as_str());
    let place = if device.is_empty() {
        format!("/commands/{relay}/{shown}")
    } else {
        format!("/relays/{relay}/devices/{}?command={shown}#progress", path_segment(device))
    };
    Ok(Redirect::to(&place).into_response())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_form_says_which_field_is_wrong() {
        let form = CommandForm { verb: "observe".into(), interval_ms: "soon".into(), ..CommandForm::default() };
        let message = action(&form, "board-1").unwrap_err().to_string();
        assert!(message.contains("interval in milliseconds"), "{message}");
        let form = CommandForm { verb: "install".into(), model: "Digits!".into(), ..CommandForm::default() };
        let message = action(&form, "board-1").unwrap_err().to_string();
        assert!(message.contains("'model'") && message.contains("lower-case"), "{message}");
        let form = CommandForm { verb: "explode".into(), ..CommandForm::default() };
        assert!(action(&form, "board-1").is_err());
    }

    #[test]
    fn observing_can_be_switched_off() {
        let form = CommandForm { verb: "observe".into(), observing: "off".into(), ..CommandForm::default() };
        let Action::Observe { observe, .. } = action(&form, "board-1").unwrap() else { panic!("no observe") };
        assert!(!observe.enabled);
    }
}
