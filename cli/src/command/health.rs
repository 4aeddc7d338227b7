//! `tinymlaas health`: a round trip through the broker and a question to the cloud.

use contract::api::Health;
use serde_json::json;
use tokio::time::Instant;

use crate::args::Context;
use crate::client::api::Api;
use crate::exit::Failure;
use crate::output;
use crate::role;

/// Asks both and says how long each took.
pub async fn run(context: &Context) -> Result<(), Failure> {
    let broker_ms = role::broker::check(context).await?.as_secs_f64() * 1e3;
    let begin = Instant::now();
    let health: Health = Api::new(context)?.get("/health").await?;
    let cloud_ms = begin.elapsed().as_secs_f64() * 1e3;
    if context.json {
        output::json(&json!({"broker_ms": broker_ms, "cloud_ms": cloud_ms, "cloud": health}))?;
    } else {
        output::print(&format!("broker  ok   {broker_ms:.1} ms"))?;
        output::print(&format!("cloud   {}   {cloud_ms:.1} ms, version {}", health.status, health.version))?;
    }
    if health.status == "ok" {
        Ok(())
    } else {
        Err(Failure::Unreachable(format!("the cloud is not well: {}", health.status)))
    }
}
