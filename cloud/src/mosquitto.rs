//! Files for a plain Mosquitto, which asks nobody: who there is (`passwd`) and who may do what (`acl`), from the
//! identities and [`contract::access`], and settings to start it with. It reads the first two at its start and again
//! when it gets SIGHUP.

use std::fs::{self, DirBuilder};
use std::io;
use std::num::NonZeroU32;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use contract::access::{Credential, CredentialFile};
use contract::limits::MAX_PACKET_BYTES;
use contract::{Timestamp, ids};
use ring::pbkdf2;
use rustix::process::{Pid, Signal};
use tokio_util::sync::CancellationToken;

use crate::credentials::{CredentialError, io_error, write_private};
use crate::shared::Shared;

/// Rounds of PBKDF2, as `mosquitto_passwd` makes them. A token has 256 random bits, which no number of rounds makes
/// harder to guess; and Mosquitto does them on the one thread that serves everybody. It is 101.
const ROUNDS: NonZeroU32 = NonZeroU32::MIN.saturating_add(100);

/// The user names are those of MQTT.
const PASSWD: &str = "passwd";
/// What each of them may do.
const ACL: &str = "acl";
/// Settings that include both.
const SETTINGS: &str = "mosquitto.conf";
/// Where these settings make Mosquitto leave its process id.
const PID: &str = "mosquitto.pid";

/// How often the cloud looks whether the files are still right.
const LOOK: Duration = Duration::from_secs(1);

/// A token in the form in which Mosquitto keeps passwords: PBKDF2-HMAC-SHA512 with a salt of its own.
///
/// # Errors
/// [`CredentialError::Random`].
pub fn hash_token(token: &str) -> Result<String, CredentialError> {
    let mut salt = [0_u8; 12];
    getrandom::fill(&mut salt).map_err(CredentialError::Random)?;
    let mut hash = [0_u8; 64];
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA512, ROUNDS, &salt, token.as_bytes(), &mut hash);
    Ok(format!("$7${ROUNDS}${}${}", STANDARD.encode(salt), STANDARD.encode(hash)))
}

/// What has been written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    /// Names that Mosquitto lets in.
    pub names: Vec<String>,
    /// Names of identities whose token nobody could turn into what Mosquitto wants: it was made before this was kept.
    pub left_out: Vec<String>,
}

/// Writes `passwd` and `acl` into `folder` (made with mode 0700 where absent), each atomically and with mode 0600, and
/// `mosquitto.conf` where there is none yet: that one is its owner's to change. Identities that have expired by `now` are
/// not among them.
///
/// # Errors
/// [`CredentialError`] names the file.
pub fn write(folder: &Path, file: &CredentialFile, now: Timestamp) -> Result<Written, CredentialError> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(io_error("make", folder))?;
    let folder = folder.canonicalize().map_err(io_error("find", folder))?;
    let mut written = Written::default();
    let mut passwd = String::new();
    let mut acl =
        "# Written by TinyMLaaS, again whenever somebody comes or goes: changes of yours are lost.\n".to_owned();
    for credential in &file.identities {
        if credential.expires_at.is_some_and(|end| end <= now) {
            continue;
        }
        let Some(hash) = usable(credential) else {
            written.left_out.push(credential.name.chars().take(64).flat_map(char::escape_default).collect());
            continue;
        };
        let name = &credential.name;
        passwd.push_str(&format!("{name}:{hash}\n"));
        acl.push_str(&format!("\nuser {name}\n"));
        let grants = file.identity(credential).grants();
        for (may, filters) in [("write", &grants.publish), ("read", &grants.subscribe)] {
            filters.iter().for_each(|filter| acl.push_str(&format!("topic {may} {filter}\n")));
        }
        written.names.push(name.clone());
    }
    // The rules first: whoever is new has them from the first moment on.
    for (name, content) in [(ACL, acl), (PASSWD, passwd)] {
        let path = folder.join(name);
        write_private(&path, content.as_bytes()).map_err(io_error("write", &path))?;
    }
    let path = folder.join(SETTINGS);
    if !path.try_exists().map_err(io_error("look for", &path))? {
        write_private(&path, settings(&folder).as_bytes()).map_err(io_error("write", &path))?;
    }
    Ok(written)
}

/// The line for `passwd`, where both its parts are fit to stand there.
fn usable(credential: &Credential) -> Option<&str> {
    ids::check_plain_name("identity", &credential.name).ok()?;
    credential.token_pbkdf2.as_deref().filter(|hash| Credential::is_mosquitto_hash(hash))
}

fn settings(folder: &Path) -> String {
    let folder = folder.display();
    // Mosquitto gives up root for a user of its own, who cannot read files of root.
    let user = if rustix::process::geteuid().is_root() { "user root\n" } else { "# user NAME\n" };
    format!(
        "\
# Mosquitto for TinyMLaaS, to be changed as you like: it was written once. {PASSWD} and {ACL} beside it are written again
# whenever somebody comes or goes; Mosquitto takes them at SIGHUP.
#   mosquitto -c {folder}/{SETTINGS}
#   kill -HUP $(cat {folder}/{PID})

# Whoever owns {PASSWD} and {ACL}, if root starts it.
{user}pid_file {folder}/{PID}

# On every listener: nobody without a token, and nothing beyond the rules.
allow_anonymous false
password_file {folder}/{PASSWD}
acl_file {folder}/{ACL}

# Sessions and what waits in them, so that commands reach a relay that was away. Up to ten seconds of it are lost when
# Mosquitto is killed: unlike the embedded broker it acknowledges before it writes.
persistence true
persistence_location {folder}/
autosave_interval 10
persistent_client_expiration 30d

max_packet_size {MAX_PACKET_BYTES}
max_inflight_messages 100
max_queued_messages 10000
max_queued_bytes 67108864
set_tcp_nodelay true
log_dest stderr

# This machine, without TLS.
listener 1883 127.0.0.1
max_connections 1000

# Others, with TLS. server.crt, server.key and ca.crt are what 'tinymlaas up --tls' makes, or your own. With the last two
# lines only those come in who also show a certificate of that authority, as relays have one from their enrolment.
# listener 8883
# max_connections 1000
# tls_version tlsv1.2
# certfile {folder}/server.crt
# keyfile {folder}/server.key
# cafile {folder}/ca.crt
# require_certificate true
"
    )
}

/// Keeps the files in `folder` right until `shutdown`: written within a second or so after somebody came, went or
/// expired, and Mosquitto told.
pub(crate) async fn run(shared: Arc<Shared>, folder: PathBuf, shutdown: CancellationToken) {
    let mut looks = tokio::time::interval(LOOK);
    let (mut known, mut failed) = (None, false);
    loop {
        tokio::select! {
            _ = looks.tick() => {}
            () = shutdown.cancelled() => return,
        }
        let now = Timestamp::now();
        let mut file = shared.credentials.file();
        file.identities.retain(|identity| identity.expires_at.is_none_or(|end| now < end));
        if known.as_ref() == Some(&file) {
            continue;
        }
        let (place, content) = (folder.clone(), file.clone());
        let done = tokio::task::spawn_blocking(move || {
            let written = write(&place, &content, now)?;
            tell(&place).map_err(io_error("tell Mosquitto of", &place))?;
            Ok::<_, CredentialError>(written)
        });
        match done.await {
            Ok(Ok(written)) => {
                if !written.left_out.is_empty() {
                    let names = written.left_out.join(", ");
                    tracing::warn!(
                        names,
                        "made before Mosquitto's form was kept: it lets these in when they are renewed"
                    );
                }
                (known, failed) = (Some(file), false);
            }
            // Said once; tried again, because a full disk does not stay full.
            Ok(Err(error)) if !failed => {
                tracing::error!(%error, "Mosquitto has the identities of before");
                failed = true;
            }
            Ok(Err(_)) => {}
            Err(error) => tracing::error!(%error, "writing for Mosquitto"),
        }
    }
}

/// Makes a running Mosquitto read the files again: the one that has left its process id in the folder.
fn tell(folder: &Path) -> io::Result<()> {
    let Ok(text) = fs::read_to_string(folder.join(PID)) else { return Ok(()) };
    let number = text.trim().parse::<u32>().ok().and_then(|number| i32::try_from(number).ok());
    let Some(pid) = number.and_then(Pid::from_raw) else { return Ok(()) };
    // It may have ended long ago, and its number be somebody else's.
    let name = fs::read_to_string(format!("/proc/{}/comm", pid.as_raw_nonzero())).unwrap_or_default();
    if name.trim() != "mosquitto" {
        return Ok(());
    }
    match rustix::process::kill_process(pid, Signal::HUP) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;
    use std::os::unix::fs::PermissionsExt as _;

    use contract::access::Role;

    use super::*;

    fn file() -> CredentialFile {
        let mut file = CredentialFile::default();
        file.groups.insert("hall".into(), BTreeSet::from(["bench".parse().unwrap()]));
        let known = |name: &str, role| {
            let mut credential = Credential::new(name, role, "");
            credential.token_pbkdf2 = Some(hash_token(name).unwrap());
            credential
        };
        let mut eve = known("eve", Role::Operator);
        eve.groups = Some(["hall".to_owned()].into());
        let mut gone = known("gone", Role::Admin);
        gone.expires_at = Some(Timestamp::now().plus_seconds(-1));
        let injected = known("x\ny:z", Role::Admin);
        let old = Credential::new("old", Role::Viewer, "");
        file.identities = vec![known("relay-a", Role::Relay("a".parse().unwrap())), eve, gone, injected, old];
        file
    }

    #[test]
    fn hashes_have_the_form_and_a_salt_of_their_own() {
        let (one, other) = (hash_token("t").unwrap(), hash_token("t").unwrap());
        assert!(Credential::is_mosquitto_hash(&one) && Credential::is_mosquitto_hash(&other));
        assert_ne!(one, other);
    }

    #[test]
    fn whoever_is_known_is_in_the_files_and_nobody_else() {
        let folder = tempfile::tempdir().unwrap();
        let written = write(folder.path(), &file(), Timestamp::now()).unwrap();
        assert_eq!(written.names, ["relay-a", "eve"]);
        assert_eq!(written.left_out, ["x\\ny:z", "old"]);
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
        let users: Vec<String> = read(PASSWD).lines().map(|line| line.split(':').next().unwrap().to_owned()).collect();
        assert_eq!(users, ["relay-a", "eve"]);
        let acl = read(ACL);
        assert!(acl.contains("user relay-a\ntopic write tinymlaas/v1/relays/a/devices/+/logs\n"), "{acl}");
        assert!(acl.contains("topic read tinymlaas/v1/relays/bench/presence\n"), "{acl}");
        assert!(!acl.contains("relays/+"), "nobody here is about all relays: {acl}");
        for name in [PASSWD, ACL, SETTINGS] {
            let mode = fs::metadata(folder.path().join(name)).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{name}");
        }
    }

    #[test]
    fn settings_are_written_once() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &file(), Timestamp::now()).unwrap();
        fs::write(folder.path().join(SETTINGS), "mine").unwrap();
        fs::write(folder.path().join(PASSWD), "mine").unwrap();
        write(folder.path(), &file(), Timestamp::now()).unwrap();
        assert_eq!(fs::read_to_string(folder.path().join(SETTINGS)).unwrap(), "mine");
        assert_ne!(fs::read_to_string(folder.path().join(PASSWD)).unwrap(), "mine");
    }

    #[test]
    fn a_stranger_s_process_is_not_signalled() {
        let folder = tempfile::tempdir().unwrap();
        // This test would end of it.
        fs::write(folder.path().join(PID), std::process::id().to_string()).unwrap();
        tell(folder.path()).unwrap();
        fs::write(folder.path().join(PID), "-1").unwrap();
        tell(folder.path()).unwrap();
    }
}
