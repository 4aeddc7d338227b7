//! `tinymlaas health`: a round trip through the broker and a question to the cloud.

use contract::api::Health;
use serde_json::json;
use tokio::time::Instant;

use crate::args::{Context, Part};
use crate::client::api::Api;
use crate::exit::Failure;
use crate::output;
use crate::role;

/// Asks both, or one, and says how long each took.
pub async fn run(context: &Context, part: Option<Part>) -> Result<(), Failure> {
    let mut said = serde_json::Map::new();
    if part != Some(Part::Cloud) {
        let broker_ms = role::broker::check(context).await?.as_secs_f64() * 1e3;
        said.insert("broker_ms".to_owned(), json!(broker_ms));
        if !context.json {
            output::print(&format!("broker  ok   {broker_ms:.1} ms"))?;
        }
    }
    let mut health = None;
    if part != Some(Part::Broker) {
        let begin = Instant::now();
        // Whether the cloud works is no secret: nobody needs a token to ask.
        let answer: Health = Api::with_token(&context.api, String::new())?.get("/health").await?;
        let cloud_ms = begin.elapsed().as_secs_f64() * 1e3;
        said.insert("cloud_ms".to_owned(), json!(cloud_ms));
        said.insert("cloud".to_owned(), json!(answer));
        if !context.json {
            output::print(&format!("cloud   {}   {cloud_ms:.1} ms, version {}", answer.status, answer.version))?;
        }
        health = Some(answer);
    }
    if context.json {
        output::json(&said)?;
    }
    match health {
        Some(health) if health.status != "ok" => {
            Err(Failure::Unreachable(format!("the cloud is not well: {}", health.status)))
        }
        _ => Ok(()),
    }
}
