//! HTTP and MQTT as the client commands use them, and where their credential comes from.

pub mod api;
pub mod mqtt;

use std::path::PathBuf;

use crate::args::Context;
use crate::exit::Failure;

/// Reads the token: `TINYMLAAS_TOKEN`, else `--token-file`, else `admin-token` in the data folder.
pub fn token(context: &Context) -> Result<String, Failure> {
    if let Ok(token) = std::env::var("TINYMLAAS_TOKEN") {
        return Ok(token.trim().to_owned());
    }
    let path: PathBuf = context.token_file.clone().unwrap_or_else(|| context.data_dir.join("admin-token"));
    match std::fs::read_to_string(&path) {
        Ok(token) => Ok(token.trim().to_owned()),
        Err(error) => Err(Failure::Unauthorized(format!(
            "no token: {} cannot be read ({error}); run from the folder where 'tinymlaas up' was started, or give \
             --token-file or TINYMLAAS_TOKEN",
            path.display()
        ))),
    }
}
