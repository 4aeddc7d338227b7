//! Who there is: users, tokens, groups of relays, invitations. The database is the truth; the credential file is what the
//! broker and the API read of it, and is written before anybody is told that something has changed.
//!
//! - `password`: hashing and checking.
//! - `file`: the credential file from the database, and back what was added to it while the cloud was away.
//! - `users`, `tokens`, `groups`, `invitations`: one noun each.

mod file;
pub mod groups;
pub mod invitations;
pub mod password;
pub mod tokens;
pub mod users;

use std::collections::BTreeSet;

use contract::Code;
use contract::access::Role;
use sea_orm::{DatabaseTransaction, EntityTrait};

use crate::services::Failure;
use crate::shared::Shared;

/// A change that is under way: one at a time, committed together with the credential file.
pub struct Change<'a> {
    shared: &'a Shared,
    _turn: tokio::sync::MutexGuard<'a, ()>,
    /// The transaction that it is in.
    pub txn: DatabaseTransaction,
}

impl<'a> Change<'a> {
    /// Begins a change.
    ///
    /// # Errors
    /// As the database reports them.
    pub async fn begin(shared: &'a Shared) -> Result<Self, Failure> {
        let turn = shared.roster.lock().await;
        let txn = shared.db.begin().await?;
        Ok(Self { shared, _turn: turn, txn })
    }

    /// Makes it hold: first in the database, then in the credential file. When this returns, the broker accepts what is
    /// new and no more what is gone.
    ///
    /// # Errors
    /// As database and file system report them. Where only the file failed, it is written later.
    pub async fn commit(self) -> Result<(), Failure> {
        self.txn.commit().await?;
        file::write(self.shared).await
    }
}

/// Takes in what was added to the credential file while the cloud was away, and writes the file.
///
/// # Errors
/// As database and file system report them.
pub async fn open(shared: &Shared) -> Result<(), Failure> {
    let _turn = shared.roster.lock().await;
    file::write(shared).await
}

/// The names in a column of the database; `None` means all relays.
fn names(column: Option<&str>) -> Option<BTreeSet<String>> {
    // What cannot be read is no group: that limits, and never widens.
    column.map(|text| serde_json::from_str(text).unwrap_or_default())
}

fn column(groups: Option<&BTreeSet<String>>) -> Option<String> {
    // A list of text: serialization to memory cannot fail.
    groups.map(|groups| serde_json::to_string(groups).unwrap_or_default())
}

/// A role of people by its name.
fn person(role: &str) -> Result<Role, Failure> {
    Role::of_person(role).ok_or_else(|| {
        let shown: String = role.chars().take(32).flat_map(char::escape_default).collect();
        Failure::field(Code::INVALID_FIELD, "role", format!("'{shown}' is no role; use admin, operator or viewer"))
    })
}

/// How much a role of people may do; the others are not compared.
const fn rank(role: &Role) -> u8 {
    match role {
        Role::Admin => 3,
        Role::Operator => 2,
        Role::Viewer => 1,
        Role::Cloud | Role::Relay(_) => 0,
    }
}

/// Refuses groups that do not exist, and groups for an admin, who is never limited.
async fn check_groups(
    txn: &DatabaseTransaction,
    role: &Role,
    wanted: Option<&BTreeSet<String>>,
) -> Result<(), Failure> {
    let Some(wanted) = wanted else { return Ok(()) };
    if *role == Role::Admin {
        let message = "an admin is not limited to groups; make it an operator or a viewer";
        return Err(Failure::field(Code::INVALID_FIELD, "groups", message));
    }
    for group in wanted {
        if crate::db::entity::groups::Entity::find_by_id(group.as_str()).one(txn).await?.is_none() {
            let shown: String = group.chars().take(64).flat_map(char::escape_default).collect();
            let message = format!("there is no group '{shown}'; make it first ('tinymlaas group set')");
            return Err(Failure::field(Code::INVALID_FIELD, "groups", message));
        }
    }
    Ok(())
}
