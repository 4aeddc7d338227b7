//! The first start: identities, tokens and keys. Later starts find everything and change nothing.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use contract::access::Role;
use transport::authority::{self, Authority};

use crate::args::{Context, Up};
use crate::exit::Failure;

/// Where a data folder keeps what.
pub struct Layout<'a>(pub &'a Path);

impl Layout<'_> {
    /// The admin's token.
    pub fn admin_token(&self) -> PathBuf {
        self.0.join("admin-token")
    }
    /// All identities with the digests of their tokens.
    pub fn credentials(&self) -> PathBuf {
        self.0.join("credentials.json")
    }
    /// The broker's own folder.
    pub fn broker(&self) -> PathBuf {
        self.0.join("broker")
    }
    /// The cloud's own folder.
    pub fn cloud(&self) -> PathBuf {
        self.0.join("cloud")
    }
    /// The cloud's token for MQTT.
    pub fn cloud_token(&self) -> PathBuf {
        self.cloud().join("token")
    }
    /// The dashboard's own folder.
    pub fn dashboard(&self) -> PathBuf {
        self.0.join("dashboard")
    }
    /// The dashboard's token for MQTT.
    pub fn dashboard_token(&self) -> PathBuf {
        self.dashboard().join("token")
    }
    /// A relay's own folder.
    pub fn relay(&self, relay: &contract::RelayId) -> PathBuf {
        self.0.join("relay").join(relay.as_str())
    }
    /// Authority and certificates of TLS.
    pub fn tls(&self) -> PathBuf {
        self.0.join("tls")
    }
    /// The virtual boards.
    pub fn boards(&self) -> PathBuf {
        self.0.join("boards")
    }
}

/// Makes what a cloud needs before it starts for the first time. Returns whether the admin's token is new.
fn prepare_cloud(context: &Context) -> Result<bool, Failure> {
    let layout = Layout(&context.data_dir);
    for folder in [layout.cloud(), layout.dashboard()] {
        make(&folder)?;
    }
    let first = identity(&layout, "admin", Role::Admin, &layout.admin_token())?;
    identity(&layout, "cloud", Role::Cloud, &layout.cloud_token())?;
    identity(&layout, "dashboard", Role::Viewer, &layout.dashboard_token())?;
    Ok(first)
}

/// The same where nobody is known yet, for parts that start without `up`; later it leaves alone what people did.
pub fn prepare_first(context: &Context) -> Result<(), Failure> {
    let layout = Layout(&context.data_dir);
    if !layout.credentials().exists() && prepare_cloud(context)? {
        eprintln!("The admin's token is in {}.", layout.admin_token().display());
    }
    Ok(())
}

/// What a start has found or made.
#[derive(Debug, Clone, Copy)]
pub struct Prepared {
    /// The admin's token is new.
    pub first: bool,
    /// The relay of this machine has lost its credential: an admin has taken it away, and gives it back.
    pub revoked: bool,
}

/// Makes what is missing.
pub fn prepare(context: &Context, up: &Up) -> Result<Prepared, Failure> {
    let layout = Layout(&context.data_dir);
    let relay = layout.relay(&up.relay);
    for folder in [layout.broker(), relay.clone(), layout.boards()] {
        make(&folder)?;
    }
    let (name, token) = (format!("relay-{}", up.relay), relay.join("token"));
    // Asked before anybody is made, who would make a lost file look like one that knows others.
    let revoked = cloud::credentials::was_taken_away(&layout.credentials(), &name, &token).map_err(failed)?;
    let first = prepare_cloud(context)?;
    if !revoked {
        identity(&layout, &name, Role::Relay(up.relay.clone()), &token)?;
    }
    let keys = cloud::signing::ensure_keys(&layout.cloud()).map_err(failed)?;
    let trusted = relay.join("trusted.pub");
    // A relay that trusts one of them finds the newest by itself, and has artifacts that the older one has signed.
    let knows =
        std::fs::read_to_string(&trusted).is_ok_and(|text| text.lines().any(|line| keys.iter().any(|k| k == line)));
    if let (false, Some(newest)) = (knows, keys.first()) {
        cloud::credentials::write_private(&trusted, format!("{newest}\n").as_bytes()).map_err(failed)?;
    }
    if up.tls {
        certify(context, up)?;
    }
    Ok(Prepared { first, revoked })
}

/// Makes the authority and the server's certificate, or a new one where that is due.
pub fn certify(context: &Context, up: &Up) -> Result<(), Failure> {
    let folder = Layout(&context.data_dir).tls();
    make(&folder)?;
    let authority = Authority::open(&folder).map_err(failed)?;
    authority.ensure_server(&[authority::own_names(), up.tls_names.clone()].concat()).map_err(failed)?;
    Ok(())
}

fn make(folder: &Path) -> Result<(), Failure> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)
}

fn identity(layout: &Layout<'_>, name: &str, role: Role, token_file: &Path) -> Result<bool, Failure> {
    cloud::credentials::ensure_token(&layout.credentials(), name, role, token_file).map_err(failed)
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::Environment(format!("the first start did not complete: {error}"))
}
