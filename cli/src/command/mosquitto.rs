//! `tinymlaas mosquitto`: who is known here, and what each may do, for a broker that asks nobody.

use std::path::Path;

use cloud::{credentials, mosquitto};
use contract::Timestamp;
use serde_json::json;

use crate::args::Context;
use crate::exit::Failure;
use crate::output;
use crate::up::{Layout, prepare_first};

/// Writes the files from those of this machine's cloud, running or not.
pub fn run(context: &Context, dir: &Path) -> Result<(), Failure> {
    let failed = |error: credentials::CredentialError| Failure::Environment(error.to_string());
    prepare_first(context)?;
    let file = credentials::load(&Layout(&context.data_dir).credentials()).map_err(failed)?;
    let written = mosquitto::write(dir, &file, Timestamp::now()).map_err(failed)?;
    if context.json {
        return output::json(&json!({"names": written.names, "left_out": written.left_out}));
    }
    output::print(&format!("passwd and acl for {} identities are in {}", written.names.len(), dir.display()))?;
    if !written.left_out.is_empty() {
        eprintln!(
            "Not among them, because their tokens were made before this was kept: {}.\nMake a token anew ('tinymlaas token \
             revoke', 'create'), enroll a relay again ('tinymlaas relay invite'); 'tinymlaas up' completes what it made \
             itself at its next start.",
            written.left_out.join(", ")
        );
    }
    eprintln!("A Mosquitto that runs takes them at SIGHUP; 'tinymlaas cloud --mosquitto DIR' does both by itself.");
    Ok(())
}
