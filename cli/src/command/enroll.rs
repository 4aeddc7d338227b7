//! `tinymlaas relay enroll`: from a join token to a relay's own credential.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use cloud::credentials::{hash_token, new_token, write_private};
use cloud::mosquitto;
use contract::RelayId;
use contract::api::{Join, JoinToken, Joined};
use reqwest::Method;
use sha2::{Digest as _, Sha256};
use transport::request::ClientFiles;

use super::people::{read_secret, said};
use super::relay::invite_relay;
use super::secret;
use crate::args::{Context, Enroll, Lifetime};
use crate::client::api::Api;
use crate::exit::Failure;
use crate::output;
use crate::up::Layout;

/// Joins. What is on disk at any moment can be gone on from: a second try with the same join token sends the same token.
pub async fn run(context: &Context, asked: Enroll) -> Result<(), Failure> {
    if let Some(relay) = &asked.invite
        && Layout(&context.data_dir).relay(relay).join("token").exists()
    {
        return said(context, &format!("relay '{relay}' is enrolled already"));
    }
    let text = match (asked.invite, asked.join, asked.join_file) {
        // Taken at once, by this process.
        (Some(relay), ..) => zeroize::Zeroizing::new(invite_relay(context, &relay, Lifetime(600)).await?.join),
        (_, Some(join), _) if join != "-" => zeroize::Zeroizing::new(join),
        (_, _, Some(file)) => read_secret(&file)?,
        _ => secret::ask("Join token: ")?,
    };
    let join = JoinToken::parse(&text).ok_or_else(|| {
        Failure::Usage("this is no join token; 'tinymlaas relay invite NAME' makes one, as one long line".to_owned())
    })?;
    let relay: RelayId = join.name.parse().map_err(|error| Failure::Usage(format!("{error}")))?;
    let folder = Layout(&context.data_dir).relay(&relay);
    DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(|error| cannot("make", &folder, &error))?;
    // Made and kept before it is told to anybody: an answer that is lost can be asked for again.
    let next = folder.join("token.next");
    if !next.exists() {
        let token = new_token().map_err(|error| Failure::Environment(error.to_string()))?;
        write_private(&next, format!("{token}\n").as_bytes()).map_err(|error| cannot("write", &next, &error))?;
    }
    let token = read_secret(&next)?;
    let certificates = ClientFiles::new(&folder);
    let csr = certificates.signing_request().map_err(|error| Failure::Environment(error.to_string()))?;
    let wanted = Join {
        join: join.to_string(),
        token_sha256: Some(hash_token(&token)),
        token_pbkdf2: Some(mosquitto::hash_token(&token).map_err(|error| Failure::Environment(error.to_string()))?),
        password: None,
        csr: Some(csr),
    };
    let api = Api::with_token(&context.api, String::new())?;
    let joined: Joined = api.send(api.request(Method::POST, "/join").json(&wanted)).await?;
    let key = pinned(&joined, &join.key).ok_or_else(|| {
        Failure::Failed(
            "whoever answered does not have the signing key that this join token names: it is not the cloud that \
             invited this relay, and nothing was kept of its answer"
                .to_owned(),
        )
    })?;
    let trusted = folder.join("trusted.pub");
    write_private(&trusted, format!("{key}\n").as_bytes()).map_err(|error| cannot("write", &trusted, &error))?;
    if let Some(certificate) = &joined.certificate {
        certificates.keep(certificate).map_err(|error| Failure::Environment(error.to_string()))?;
    }
    let own = folder.join("token");
    std::fs::rename(&next, &own).map_err(|error| cannot("write", &own, &error))?;
    if context.json {
        return output::json(&joined);
    }
    said(
        context,
        &format!(
            "relay '{relay}' is enrolled; start it with 'tinymlaas relay run --name {relay} --data-dir {}'",
            context.data_dir.display()
        ),
    )
}

/// The key of the answer that the join token names.
fn pinned(joined: &Joined, fingerprint: &str) -> Option<String> {
    let is_it = |key: &&String| {
        STANDARD
            .decode(key.as_str())
            .is_ok_and(|bytes| URL_SAFE_NO_PAD.encode(&Sha256::digest(&bytes)[..16]) == fingerprint)
    };
    joined.trusted.iter().find(is_it).cloned()
}

fn cannot(action: &str, path: &Path, error: &std::io::Error) -> Failure {
    Failure::Environment(format!("cannot {action} {}: {error}", path.display()))
}
