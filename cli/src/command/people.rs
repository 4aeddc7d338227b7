//! `tinymlaas user …`, `token …`, `group …`: who there is.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use contract::api::{
    Guest, IssuedInvitation, IssuedToken, NewInvitation, NewToken, PasswordChange, TokenView, UserChange, UserView,
};
use contract::{RelayId, Timestamp};
use reqwest::Method;

use super::secret;
use crate::args::{Context, GroupVerb, TokenVerb, UserVerb};
use crate::client::api::Api;
use crate::exit::Failure;
use crate::output;

/// One verb about users.
pub async fn users(context: &Context, verb: UserVerb) -> Result<(), Failure> {
    let api = Api::new(context)?;
    match verb {
        UserVerb::List => {
            let users: Vec<UserView> = api.get("/users").await?;
            if context.json {
                return output::json(&users);
            }
            let rows: Vec<Vec<String>> = users
                .iter()
                .map(|user| {
                    let status = if user.disabled { "disabled" } else { "" };
                    vec![user.name.clone(), user.role.clone(), groups(user.groups.as_ref()), status.to_owned()]
                })
                .collect();
            output::table(&["USER", "ROLE", "GROUPS", ""], &rows, "No user yet; the admin token works without one.")
        }
        UserVerb::Add { name, role, groups, password_file } => {
            let users: Vec<UserView> = api.get("/users").await?;
            if users.iter().any(|user| user.name == name) {
                return Err(Failure::Failed(format!("there is a user '{name}' already; see 'tinymlaas user change'")));
            }
            let password = secret::new_password(password_file.as_deref())?;
            let change = UserChange {
                role,
                groups: limit(&groups, false),
                disabled: false,
                password: Some(password.to_string()),
            };
            put(context, &api, &name, &change).await
        }
        UserVerb::Change { name, role, groups, all_relays, disable, enable, new_password, password_file } => {
            let users: Vec<UserView> = api.get("/users").await?;
            let Some(before) = users.into_iter().find(|user| user.name == name) else {
                return Err(Failure::NotFound(format!("there is no user '{name}'")));
            };
            let wants = new_password || password_file.is_some();
            let password = wants.then(|| secret::new_password(password_file.as_deref())).transpose()?;
            let change = UserChange {
                role: role.unwrap_or(before.role),
                groups: if groups.is_empty() && !all_relays { before.groups } else { limit(&groups, all_relays) },
                disabled: disable || before.disabled && !enable,
                password: password.map(|password| password.to_string()),
            };
            put(context, &api, &name, &change).await
        }
        UserVerb::Remove { name } => {
            api.done(api.request(Method::DELETE, &format!("/users/{name}"))).await?;
            said(context, &format!("user '{name}' is gone, with all tokens and sessions"))
        }
        UserVerb::Invite { name, role, groups, valid } => {
            let wanted = NewInvitation {
                guest: Guest::User,
                name,
                role: Some(role),
                groups: limit(&groups, false),
                valid_s: valid.map(|valid| valid.0),
            };
            let issued = invite(&api, &wanted).await?;
            let how = format!("{} chooses a password with it on the page /join", issued.view.name);
            show_invitation(context, &issued, &how)
        }
        UserVerb::Password => {
            let old = secret::ask("Present password: ")?;
            let new = secret::new_password(None)?;
            let change = PasswordChange { old: old.to_string(), new: new.to_string() };
            api.done(api.request(Method::PUT, "/me/password").json(&change)).await?;
            said(context, "your password is changed, and other sessions have ended")
        }
    }
}

async fn put(context: &Context, api: &Api, name: &str, change: &UserChange) -> Result<(), Failure> {
    let view: UserView = api.send(api.request(Method::PUT, &format!("/users/{name}")).json(change)).await?;
    if context.json {
        return output::json(&view);
    }
    output::print(&format!("user '{}' is {}, {}", view.name, view.role, groups(view.groups.as_ref())))
}

/// One verb about tokens.
pub async fn tokens(context: &Context, verb: TokenVerb) -> Result<(), Failure> {
    let api = Api::new(context)?;
    match verb {
        TokenVerb::List => {
            let tokens: Vec<TokenView> = api.get("/tokens").await?;
            if context.json {
                return output::json(&tokens);
            }
            let rows: Vec<Vec<String>> = tokens
                .iter()
                .map(|token| {
                    let reach = match &token.relay {
                        Some(relay) => format!("relay {relay}"),
                        None => groups(token.groups.as_ref()),
                    };
                    let owner = token.owner.clone().unwrap_or_else(|| "-".to_owned());
                    vec![token.name.clone(), token.role.clone(), reach, owner, until(token.expires_at)]
                })
                .collect();
            output::table(&["TOKEN", "ROLE", "FOR", "OWNER", "EXPIRES"], &rows, "No token.")
        }
        TokenVerb::Create { name, role, groups, valid, out } => {
            let wanted = NewToken { name, role, groups: limit(&groups, false), valid_s: valid.map(|valid| valid.0) };
            let issued: IssuedToken = api.send(api.request(Method::POST, "/tokens").json(&wanted)).await?;
            if let Some(file) = out {
                cloud::credentials::write_private(&file, format!("{}\n", issued.token).as_bytes()).map_err(|error| {
                    Failure::Environment(format!(
                        "the token was made and cannot be written to {}: {error}; revoke it ('tinymlaas token revoke {}')",
                        file.display(),
                        issued.view.name
                    ))
                })?;
                return said(context, &format!("token '{}' is in {}", issued.view.name, file.display()));
            }
            if context.json {
                return output::json(&issued);
            }
            eprintln!(
                "Token '{}' ({}, {}). It is shown this once; keep it in a file of its own:",
                issued.view.name,
                issued.view.role,
                until(issued.view.expires_at)
            );
            output::print(&issued.token)
        }
        TokenVerb::Revoke { name } => {
            api.done(api.request(Method::DELETE, &format!("/tokens/{name}"))).await?;
            said(context, &format!("token '{name}' is revoked; its connections end within a second or so"))
        }
    }
}

/// One verb about groups of relays.
pub async fn groups_of_relays(context: &Context, verb: GroupVerb) -> Result<(), Failure> {
    let api = Api::new(context)?;
    match verb {
        GroupVerb::List => {
            let all: BTreeMap<String, BTreeSet<RelayId>> = api.get("/groups").await?;
            if context.json {
                return output::json(&all);
            }
            let rows: Vec<Vec<String>> = all
                .iter()
                .map(|(name, relays)| {
                    vec![name.clone(), relays.iter().map(RelayId::as_str).collect::<Vec<_>>().join(", ")]
                })
                .collect();
            output::table(&["GROUP", "RELAYS"], &rows, "No group yet: everybody reaches all relays.")
        }
        GroupVerb::Set { name, relays } => {
            api.done(api.request(Method::PUT, &format!("/groups/{name}")).json(&relays)).await?;
            said(context, &format!("group '{name}' has {} relays", relays.len()))
        }
        GroupVerb::Remove { name } => {
            api.done(api.request(Method::DELETE, &format!("/groups/{name}"))).await?;
            said(context, &format!("group '{name}' is gone"))
        }
    }
}

/// Makes an invitation.
pub async fn invite(api: &Api, wanted: &NewInvitation) -> Result<IssuedInvitation, Failure> {
    api.send(api.request(Method::POST, "/invitations").json(wanted)).await
}

/// Shows a join token, for the only time.
pub fn show_invitation(context: &Context, issued: &IssuedInvitation, how: &str) -> Result<(), Failure> {
    if context.json {
        return output::json(issued);
    }
    eprintln!("A join token, good once until {}; {how}:", issued.view.expires_at);
    output::print(&issued.join)
}

/// One sentence where nobody wants JSON.
pub fn said(context: &Context, sentence: &str) -> Result<(), Failure> {
    if context.json { Ok(()) } else { output::print(sentence) }
}

fn limit(groups: &[String], all: bool) -> Option<BTreeSet<String>> {
    (!groups.is_empty() && !all).then(|| groups.iter().cloned().collect())
}

fn groups(groups: Option<&BTreeSet<String>>) -> String {
    match groups {
        None => "all relays".to_owned(),
        Some(groups) if groups.is_empty() => "no relay".to_owned(),
        Some(groups) => groups.iter().map(String::as_str).collect::<Vec<_>>().join(", "),
    }
}

fn until(end: Option<Timestamp>) -> String {
    end.map_or_else(|| "never".to_owned(), |end| end.to_string())
}

/// A secret file's content without the newline at its end.
pub fn read_secret(path: &Path) -> Result<zeroize::Zeroizing<String>, Failure> {
    let text = std::fs::read_to_string(path).map(zeroize::Zeroizing::new);
    let text = text.map_err(|error| Failure::Environment(format!("{} cannot be read: {error}", path.display())))?;
    Ok(zeroize::Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()))
}
