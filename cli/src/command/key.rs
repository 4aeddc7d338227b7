//! `tinymlaas key …`: the keys that sign what relays install.

use contract::keys::{KeyView, KeysView};
use reqwest::Method;

use super::people::said;
use crate::args::{Context, KeyVerb};
use crate::client::api::Api;
use crate::exit::Failure;
use crate::output;

/// One verb about keys.
pub async fn run(context: &Context, verb: KeyVerb) -> Result<(), Failure> {
    let api = Api::new(context)?;
    match verb {
        KeyVerb::List => list(context, &api).await,
        KeyVerb::Rotate => {
            let key: KeyView = api.send(api.request(Method::POST, "/keys/rotate")).await?;
            if context.json {
                return output::json(&key);
            }
            let version = key.version;
            said(
                context,
                &format!(
                    "key {} signs from now on (list {version}). Relays that are connected follow at once, others when \
                     they connect next; 'tinymlaas key list' shows who has.",
                    key.key_id
                ),
            )
        }
    }
}

async fn list(context: &Context, api: &Api) -> Result<(), Failure> {
    let view: KeysView = api.get("/keys").await?;
    if context.json {
        return output::json(&view);
    }
    let keys: Vec<Vec<String>> = view
        .keys
        .iter()
        .map(|key| {
            let retired = key.retired_at.map_or_else(|| "in use".to_owned(), |at| format!("retired {at}"));
            vec![key.version.to_string(), key.key_id.clone(), key.since.to_string(), retired]
        })
        .collect();
    output::table(&["LIST", "KEY", "SINCE", ""], &keys, "No key yet.")?;
    let newest = view.keys.last().map_or(0, |key| key.version);
    let behind: Vec<Vec<String>> = view
        .relays
        .iter()
        .filter(|relay| relay.version < newest)
        .map(|relay| {
            let status = if relay.online { "connected" } else { "not connected" };
            vec![relay.relay.to_string(), relay.version.to_string(), status.to_owned()]
        })
        .collect();
    if newest > 1 {
        output::print("")?;
        output::table(&["BEHIND", "LIST", ""], &behind, "Every relay follows the newest list.")?;
    }
    Ok(())
}
