//! Join tokens: one becomes a user or the credential of a relay, once.

use contract::access::{Credential, Role};
use contract::api::{Guest, InvitationView, IssuedInvitation, Join, JoinToken, Joined, NewInvitation};
use contract::{Code, RelayId, Timestamp, ids};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, DatabaseTransaction, EntityTrait, IntoActiveModel, QueryFilter, QueryOrder, Set,
};
use serde_json::json;
use transport::authority::Authority;

use super::tokens::Row;
use super::{Change, check_groups, column, names, password, person};
use crate::audit::{self, Actor, Deed};
use crate::credentials::{hash_token, new_token};
use crate::db::entity::{invitations, tokens, users};
use crate::services::Failure;
use crate::shared::Shared;

/// How long an invitation is accepted where nobody says, in seconds.
const VALID_S: u32 = 3600;
/// The longest, in seconds (30 days).
const MAX_VALID_S: u32 = 30 * 86_400;

/// The user name with which a relay connects.
pub fn user_of(relay: &RelayId) -> String {
    format!("relay-{relay}")
}

/// Those that can still be used.
///
/// # Errors
/// As the database reports them.
pub async fn list(shared: &Shared) -> Result<Vec<InvitationView>, Failure> {
    let rows = invitations::Entity::find()
        .filter(invitations::Column::UsedAt.is_null())
        .filter(invitations::Column::ExpiresAt.gt(Timestamp::now().as_micros()))
        .order_by_desc(invitations::Column::Id)
        .all(shared.db.read())
        .await?;
    Ok(rows.into_iter().map(view).collect())
}

/// Invites a user or a relay.
///
/// # Errors
/// `invalid_field`, `conflict` where there is a user of that name.
pub async fn create(shared: &Shared, actor: &Actor, wanted: &NewInvitation) -> Result<IssuedInvitation, Failure> {
    let valid_s = wanted.valid_s.unwrap_or(VALID_S);
    if !(1..=MAX_VALID_S).contains(&valid_s) {
        let message = format!("'valid_s' is 1 to {MAX_VALID_S} seconds");
        return Err(Failure::field(Code::INVALID_FIELD, "valid_s", message));
    }
    let role = match wanted.guest {
        Guest::Relay => {
            RelayId::new(wanted.name.as_str())?;
            None
        }
        Guest::User => {
            ids::check_plain_name("user name", &wanted.name)?;
            Some(person(wanted.role.as_deref().unwrap_or("viewer"))?)
        }
    };
    let secret = new_token().map_err(|error| Failure::Internal(error.to_string()))?;
    let work = Change::begin(shared).await?;
    if let Some(role) = &role {
        check_groups(&work.txn, role, wanted.groups.as_ref()).await?;
        refuse_known(&work.txn, &wanted.name).await?;
    }
    let row = invitations::ActiveModel {
        secret_sha256: Set(hash_token(&secret)),
        guest: Set(wanted.guest.as_str().to_owned()),
        name: Set(wanted.name.clone()),
        role: Set(role.map(|role| role.as_str().to_owned())),
        groups: Set(column(wanted.groups.as_ref().filter(|_| wanted.guest == Guest::User))),
        created_by: Set(actor.name.clone()),
        created_at: Set(Timestamp::now().as_micros()),
        expires_at: Set(Timestamp::now().plus_seconds(valid_s.into()).as_micros()),
        used_at: Set(None),
        used_for: Set(None),
        ..Default::default()
    };
    let row = row.insert(&work.txn).await?;
    let detail = json!({"role": row.role, "groups": wanted.groups, "valid_s": valid_s});
    let action = format!("{}.invite", wanted.guest.as_str());
    audit::record(&work.txn, actor, Deed::done(&action, &wanted.name).with(detail)).await?;
    work.commit().await?;
    let join = JoinToken { name: wanted.name.clone(), key: shared.signer.fingerprint(), secret }.to_string();
    Ok(IssuedInvitation { join, view: view(row) })
}

async fn refuse_known(txn: &DatabaseTransaction, name: &str) -> Result<(), Failure> {
    match users::Entity::find_by_id(name).one(txn).await? {
        Some(_) => Err(Failure::field(Code::CONFLICT, "name", format!("there is a user '{name}' already"))),
        None => Ok(()),
    }
}

/// Withdraws an invitation.
///
/// # Errors
/// `not_found`.
pub async fn withdraw(shared: &Shared, actor: &Actor, id: i64) -> Result<(), Failure> {
    let work = Change::begin(shared).await?;
    let open = invitations::Entity::find_by_id(id).filter(invitations::Column::UsedAt.is_null());
    let Some(row) = open.one(&work.txn).await? else {
        return Err(Failure::field(Code::NOT_FOUND, "id", format!("there is no open invitation {id}")));
    };
    let (action, name) = (format!("{}.uninvite", row.guest), row.name.clone());
    let mut row = row.into_active_model();
    row.used_at = Set(Some(Timestamp::now().as_micros()));
    row.update(&work.txn).await?;
    audit::record(&work.txn, actor, Deed::done(&action, &name)).await?;
    work.commit().await
}

/// Uses an invitation. When this returns, the broker accepts the relay's token.
///
/// # Errors
/// `unauthorized` for a token that is unknown, used, withdrawn or expired: which of them is not said.
pub async fn join(shared: &Shared, stranger: &Actor, join: &Join) -> Result<Joined, Failure> {
    let refused = || {
        let message = "this join token is not valid: it may be used, withdrawn or expired; ask for a new one";
        Failure::field(Code::UNAUTHORIZED, "join", message)
    };
    let token = JoinToken::parse(&join.join).ok_or_else(refused)?;
    let digest = hash_token(&token.secret);
    let open = invitations::Entity::find().filter(invitations::Column::SecretSha256.eq(digest));
    let row = open.one(shared.db.read()).await?.ok_or_else(refused)?;
    if row.name != token.name {
        return Err(refused());
    }
    match row.guest.as_str() {
        "relay" => {
            let relay = RelayId::new(row.name.as_str())?;
            let wanted = join.token_sha256.as_deref().unwrap_or("").to_ascii_lowercase();
            if wanted.len() != 64 || !wanted.bytes().all(|c| c.is_ascii_hexdigit()) {
                let message = "a relay sends the SHA-256 of the token that it made, as 64 hex digits";
                return Err(Failure::field(Code::MISSING_FIELD, "token_sha256", message));
            }
            if join.token_pbkdf2.as_deref().is_some_and(|hash| !Credential::is_mosquitto_hash(hash)) {
                let message =
                    "'token_pbkdf2' is what Mosquitto keeps of the token: $7$ROUNDS$SALT$HASH, at most 1000 rounds";
                return Err(Failure::field(Code::INVALID_FIELD, "token_pbkdf2", message));
            }
            let certificate = certify(shared, &relay, join.csr.as_deref())?;
            let proof = Proof { sha256: &wanted, pbkdf2: join.token_pbkdf2.clone() };
            let joined = enroll(shared, stranger, row.id, &relay, proof, &refused).await?;
            Ok(Joined { certificate, ..joined })
        }
        _ => {
            let Some(chosen) = join.password.as_deref() else {
                return Err(Failure::field(Code::MISSING_FIELD, "password", "choose a password"));
            };
            // Hashed before the turn is taken: it takes long.
            if row.used_at.is_some() || row.expires_at <= Timestamp::now().as_micros() {
                return Err(refused());
            }
            password::check(&row.name, chosen)?;
            let hash = password::hash(shared, chosen).await?;
            welcome(shared, stranger, row.id, hash, &refused).await
        }
    }
}

/// A client certificate, where there is an authority and the relay asks. It is worth nothing before the relay is
/// enrolled: the broker looks at the token as well.
fn certify(shared: &Shared, relay: &RelayId, csr: Option<&str>) -> Result<Option<String>, Failure> {
    let folder = shared.config.authority.as_deref().filter(|folder| folder.join("ca.key").exists());
    let (Some(folder), Some(csr)) = (folder, csr) else { return Ok(None) };
    let authority = Authority::open(folder).map_err(|error| Failure::Internal(error.to_string()))?;
    let signed = authority.sign_client(csr, &user_of(relay));
    signed.map(Some).map_err(|error| Failure::field(Code::INVALID_FIELD, "csr", error.to_string()))
}

/// Takes an invitation that is open now; nobody else can take it meanwhile.
async fn take(
    txn: &DatabaseTransaction,
    id: i64,
    used_for: Option<&str>,
    refused: &impl Fn() -> Failure,
) -> Result<invitations::Model, Failure> {
    let row = invitations::Entity::find_by_id(id).one(txn).await?.ok_or_else(refused)?;
    let now = Timestamp::now().as_micros();
    if row.used_at.is_some() || row.expires_at <= now {
        return Err(refused());
    }
    let mut row = row.into_active_model();
    row.used_at = Set(Some(now));
    row.used_for = Set(used_for.map(str::to_owned));
    Ok(row.update(txn).await?)
}

/// What a relay says of the token that it made.
struct Proof<'a> {
    sha256: &'a str,
    pbkdf2: Option<String>,
}

async fn enroll(
    shared: &Shared,
    stranger: &Actor,
    id: i64,
    relay: &RelayId,
    proof: Proof<'_>,
    refused: &impl Fn() -> Failure,
) -> Result<Joined, Failure> {
    let (name, digest) = (user_of(relay), proof.sha256);
    let joined =
        Joined { name: name.clone(), relay: Some(relay.clone()), trusted: shared.signer.known(), certificate: None };
    let work = Change::begin(shared).await?;
    let before = invitations::Entity::find_by_id(id).one(&work.txn).await?.ok_or_else(refused)?;
    let open = before.expires_at > Timestamp::now().as_micros();
    if open && before.used_at.is_some() && before.used_for.as_deref() == Some(digest) {
        // The answer was lost: the same request gets it again, and nothing is done. A revoked token stays revoked.
        work.commit().await?;
        return Ok(joined);
    }
    let row = take(&work.txn, id, Some(digest), refused).await?;
    if tokens::Entity::find_by_id(digest).one(&work.txn).await?.is_some() {
        let message = "this token was used before; the relay has to make a new one";
        return Err(Failure::field(Code::CONFLICT, "token_sha256", message));
    }
    super::tokens::revoke_named(&work.txn, &name).await?;
    let role = Role::Relay(relay.clone());
    let token =
        Row { name: &name, role: &role, groups: None, owner: None, expires_at: None, token_pbkdf2: proof.pbkdf2 };
    super::tokens::insert(&work.txn, digest, token).await?;
    let actor = stranger.known_as(&name, role.as_str());
    let deed = Deed::done("relay.enroll", relay.as_str()).with(json!({"invited_by": row.created_by}));
    audit::record(&work.txn, &actor, deed).await?;
    work.commit().await?;
    Ok(joined)
}

async fn welcome(
    shared: &Shared,
    stranger: &Actor,
    id: i64,
    hash: String,
    refused: &impl Fn() -> Failure,
) -> Result<Joined, Failure> {
    let work = Change::begin(shared).await?;
    let row = take(&work.txn, id, None, refused).await?;
    refuse_known(&work.txn, &row.name).await?;
    let role = row.role.clone().unwrap_or_else(|| "viewer".to_owned());
    super::users::insert(&work.txn, &row.name, &role, row.groups, false, hash).await?;
    let actor = stranger.known_as(&row.name, &role);
    let deed = Deed::done("user.join", &row.name).with(json!({"invited_by": row.created_by}));
    audit::record(&work.txn, &actor, deed).await?;
    work.commit().await?;
    Ok(Joined { name: row.name, relay: None, trusted: Vec::new(), certificate: None })
}

fn view(row: invitations::Model) -> InvitationView {
    InvitationView {
        id: row.id,
        guest: if row.guest == "relay" { Guest::Relay } else { Guest::User },
        groups: names(row.groups.as_deref()),
        name: row.name,
        role: row.role,
        created_by: row.created_by,
        expires_at: Timestamp::from_micros(row.expires_at),
    }
}
