//! `tinymlaas logs`: history first, then live.

use contract::limits::MAX_PACKET_BYTES;
use contract::log::LogLines;
use contract::{Topic, wire};

use crate::args::{Context, Logs};
use crate::client::api::Api;
use crate::client::mqtt::{Incoming, Mqtt};
use crate::exit::Failure;
use crate::output;

/// Prints the log of a device.
pub async fn run(context: &Context, logs: Logs) -> Result<(), Failure> {
    let api = Api::new(context)?;
    let view = api.find_device(&logs.device).await?;
    let (relay, device) = (view.relay, view.state.device);
    // Subscribed before the history is read, so that nothing falls between the two.
    let mut live = match logs.follow {
        true => Some(Mqtt::connect(context, &[Topic::Logs(relay.clone(), device.clone()).to_string()]).await?),
        false => None,
    };
    let command = logs.command.as_ref();
    let request = api
        .request(reqwest::Method::GET, &format!("/relays/{relay}/devices/{device}/logs"))
        .query(&[("limit", logs.limit.to_string())])
        .query(&command.map(|id| ("command", id.to_string())).into_iter().collect::<Vec<_>>());
    let mut history: Vec<LogLines> = api.send(request).await?;
    history.reverse();
    let mut last = None;
    for batch in &history {
        print(context, batch)?;
        last = Some((batch.head.journal.clone(), batch.head.seq));
    }
    while let Some(mqtt) = &mut live {
        let Incoming::Message { payload, .. } = mqtt.next().await? else {
            continue;
        };
        let Ok(batch) = wire::decode::<LogLines>(&payload, MAX_PACKET_BYTES) else {
            continue;
        };
        let known =
            last.as_ref().is_some_and(|(journal, seq)| *journal == batch.head.journal && batch.head.seq <= *seq);
        if !known && (command.is_none() || batch.command.as_ref() == command) {
            print(context, &batch)?;
        }
    }
    Ok(())
}

fn print(context: &Context, batch: &LogLines) -> Result<(), Failure> {
    if context.json {
        return output::json_line(batch);
    }
    let phase = format!("{:?}", batch.phase).to_lowercase();
    batch.lines.iter().try_for_each(|line| output::print(&format!("{}  {phase:7} {}", line.at, line.text)))
}
