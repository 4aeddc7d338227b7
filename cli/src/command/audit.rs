//! `tinymlaas audit`: who did what.

use std::io::Write as _;

use contract::api::AuditView;
use reqwest::Method;

use crate::args::{Audit, Context};
use crate::client::api::Api;
use crate::exit::Failure;
use crate::output;

/// Lists lines of the audit log, or exports them all.
pub async fn run(context: &Context, asked: Audit) -> Result<(), Failure> {
    let api = Api::new(context)?;
    let mut query: Vec<(&str, String)> = Vec::new();
    for (name, value) in [
        ("actor", asked.actor),
        ("action", asked.action),
        ("target", asked.target),
        ("result", asked.result),
        ("since", asked.since),
        ("until", asked.until),
    ] {
        query.extend(value.map(|value| (name, value)));
    }
    if let Some(format) = asked.export {
        query.push(("format", format));
        let bytes = api.bytes(api.request(Method::GET, "/audit/export").query(&query)).await?;
        return std::io::stdout()
            .write_all(&bytes)
            .map_err(|error| Failure::Environment(format!("standard output: {error}")));
    }
    query.push(("limit", asked.limit.to_string()));
    let lines: Vec<AuditView> = api.send(api.request(Method::GET, "/audit").query(&query)).await?;
    if context.json {
        return output::json(&lines);
    }
    let rows: Vec<Vec<String>> = lines
        .iter()
        .map(|line| {
            let who = if line.actor.is_empty() { "?".to_owned() } else { line.actor.clone() };
            let from = match &line.address {
                Some(address) => format!("{} {address}", line.source),
                None => line.source.clone(),
            };
            vec![line.at.to_string(), who, from, line.action.clone(), line.target.clone(), line.result.clone()]
        })
        .collect();
    output::table(&["TIME", "WHO", "FROM", "ACTION", "TARGET", "RESULT"], &rows, "Nothing of that kind.")
}
