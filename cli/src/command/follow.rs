//! Sends a command and follows its events to the end.

use std::io::IsTerminal;
use std::time::Duration;

use contract::command::Command;
use contract::event::{CommandReport, Event, EventBody};
use contract::limits::MAX_PACKET_BYTES;
use contract::{Code, RelayId, State, Topic, wire};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::Instant;

use crate::args::Context;
use crate::client::mqtt::{Incoming, Mqtt};
use crate::exit::Failure;
use crate::output;

/// How a command ended.
pub struct Outcome {
    /// The last report.
    pub last: CommandReport,
    /// From sending to the last report.
    pub took: Duration,
}

/// Publishes `command` and reads events until it ends or `patience` is over; `on_report` sees each report.
pub async fn follow(
    mqtt: &mut Mqtt,
    relay: &RelayId,
    command: &Command,
    patience: Duration,
    mut on_report: impl FnMut(&Event, &CommandReport),
) -> Result<Outcome, Failure> {
    let begin = Instant::now();
    let topic = Topic::Commands(relay.clone()).to_string();
    let payload = wire::encode(&topic, command).map_err(|error| Failure::Usage(error.to_string()))?;
    mqtt.publish(&topic, payload).await?;
    let mut answered = false;
    loop {
        // A relay that is there answers at once; one that is not gets the command when it is back.
        let limit = if answered { patience } else { patience.min(Duration::from_secs(15)) };
        let Some(left) = limit.checked_sub(begin.elapsed()) else {
            return Err(Failure::TimedOut(if answered {
                format!(
                    "command {} has not ended within {} s; it goes on (tinymlaas device show …)",
                    command.id,
                    limit.as_secs()
                )
            } else {
                format!(
                    "relay '{relay}' has not answered within {} s; command {} waits for it and runs when it is back",
                    limit.as_secs(),
                    command.id
                )
            }));
        };
        let Ok(next) = tokio::time::timeout(left, mqtt.next()).await else {
            continue;
        };
        let Incoming::Message { payload, .. } = next? else {
            continue;
        };
        // What cannot be read is not ours to complain about: other clients may publish nonsense.
        let Ok(event) = wire::decode::<Event>(&payload, MAX_PACKET_BYTES) else {
            continue;
        };
        if let EventBody::Command(report) = &event.body
            && report.command == command.id
        {
            answered = true;
            on_report(&event, report);
            // A `duplicate` answer ends only where the first one has ended.
            if report.state.is_terminal() {
                return Ok(Outcome { last: report.clone(), took: begin.elapsed() });
            }
        }
    }
}

/// Follows with a bar (or lines, or JSON) and turns the end into a result.
pub async fn follow_shown(context: &Context, relay: &RelayId, command: &Command) -> Result<CommandReport, Failure> {
    let mut mqtt = Mqtt::connect(context, &[Topic::Events(relay.clone()).to_string()]).await?;
    let patience = Duration::from_secs(u64::from(command.timeout_s.unwrap_or(600)) + 10);
    let bar = (!context.json && std::io::stderr().is_terminal()).then(|| {
        ProgressBar::new(1000).with_style(
            ProgressStyle::with_template("  {bar:32.cyan/black.bright} {percent:>3} %  {msg}")
                .unwrap_or_else(|_| ProgressStyle::default_bar()),
        )
    });
    let mut broken_output = None;
    let result = follow(&mut mqtt, relay, command, patience, |event, report| {
        if let Some(bar) = &bar {
            // Progress is 0 to 1 by contract; a cast saturates in any case.
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            bar.set_position((report.progress.clamp(0.0, 1.0) * 1000.0) as u64);
            bar.set_message(format!("{} {}", report.state, report.message));
        } else if context.json {
            broken_output = broken_output.take().or(output::json_line(event).err());
        } else {
            eprintln!("  {:10} {}", report.state.as_str(), report.message);
        }
    })
    .await;
    if let Some(bar) = &bar {
        bar.finish_and_clear();
    }
    if let Some(failure) = broken_output {
        return Err(failure);
    }
    let outcome = result?;
    let last = outcome.last;
    match last.state {
        State::Succeeded => {
            if !context.json {
                let device = last.device.as_ref().map_or_else(String::new, |d| format!(" {relay}/{d}"));
                let note = if last.message.is_empty() { String::new() } else { format!(": {}", last.message) };
                output::print(&format!("✓ {}{device} in {:.1} s{note}", last.verb, outcome.took.as_secs_f64()))?;
            }
            Ok(last)
        }
        State::TimedOut => Err(Failure::TimedOut(format!("{}: {}", last.code, last.message))),
        _ if last.code == Code::UNKNOWN_DEVICE || last.code == Code::UNKNOWN_MODEL => {
            Err(Failure::NotFound(format!("{}: {}", last.code, last.message)))
        }
        state => Err(Failure::Failed(format!("{} {state}: {}: {}", last.verb, last.code, last.message))),
    }
}
