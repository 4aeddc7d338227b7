//! `/people`: users, tokens, groups and invitations; for those who are no admin their own tokens and password.

use std::collections::BTreeSet;
use std::sync::Arc;

use askama::Template;
use axum::Form;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use contract::RelayId;
use contract::api::{Guest, InvitationView, NewInvitation, NewToken, PasswordChange, TokenView, UserChange, UserView};
use reqwest::Method;
use serde::Deserialize;

use super::html;
use crate::Shared;
use crate::api::{ApiFailure, Pass, path_segment};
use crate::error::PageError;
use crate::session::SessionToken;
use crate::view::Frame;

#[derive(Template)]
#[template(path = "people.html")]
struct PeoplePage {
    frame: Frame,
    is_user: bool,
    users: Vec<UserView>,
    tokens: Vec<TokenView>,
    invitations: Vec<InvitationView>,
    groups: Vec<(String, String)>,
    secret: Option<Secret>,
    problem: Option<String>,
}

impl PeoplePage {
    fn reach(groups: Option<&BTreeSet<String>>) -> String {
        match groups {
            None => "all".to_owned(),
            Some(groups) if groups.is_empty() => "none".to_owned(),
            Some(groups) => groups.iter().map(String::as_str).collect::<Vec<_>>().join(", "),
        }
    }
}

/// What is shown once.
struct Secret {
    title: String,
    how: &'static str,
    text: String,
}

/// The fields of all forms of the page; each has those that it needs.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct PeopleForm {
    action: String,
    name: String,
    role: String,
    groups: String,
    relays: String,
    days: String,
    guest: String,
    id: String,
    disabled: String,
    old: String,
    new: String,
}

/// `GET /people`.
pub(crate) async fn page(
    State(shared): State<Arc<Shared>>,
    SessionToken(token): SessionToken,
) -> Result<Response, PageError> {
    show(&shared, &token, None, None).await
}

/// `POST /people`: does what a form says. What is shown once is in the answer itself, and never in an address.
pub(crate) async fn change(
    State(shared): State<Arc<Shared>>,
    SessionToken(token): SessionToken,
    Form(form): Form<PeopleForm>,
) -> Result<Response, PageError> {
    match work(&shared, &token, &form).await {
        Ok(None) => Ok(Redirect::to("/people").into_response()),
        Ok(secret) => show(&shared, &token, secret, None).await,
        Err(PageError::Api(ApiFailure::Refused(status, error))) if status.is_client_error() && status != 401 => {
            let page = show(&shared, &token, None, Some(error.message)).await?;
            Ok((status, page).into_response())
        }
        Err(error) => Err(error),
    }
}

async fn work(shared: &Shared, token: &Pass, form: &PeopleForm) -> Result<Option<Secret>, PageError> {
    let api = shared.api.as_visitor(token);
    let name = form.name.trim();
    let at = |noun: &str| format!("/{noun}/{}", path_segment(name));
    match form.action.as_str() {
        "create_token" => {
            let valid_s = match form.days.trim() {
                "" => None,
                days => Some(days.parse::<u32>().ok().and_then(|days| days.checked_mul(86_400)).ok_or_else(|| {
                    PageError::Form { message: "The days until it ends are a whole number.".to_owned() }
                })?),
            };
            let wanted =
                NewToken { name: name.to_owned(), role: form.role.clone(), groups: listed(&form.groups), valid_s };
            let issued = api.create_token(&wanted).await?;
            return Ok(Some(Secret {
                title: format!("The token '{}'", issued.view.name),
                how: "Keep it in a file that only its user can read.",
                text: issued.token,
            }));
        }
        "invite" => {
            let guest = if form.guest == "relay" { Guest::Relay } else { Guest::User };
            let is_user = guest == Guest::User;
            let wanted = NewInvitation {
                guest,
                name: name.to_owned(),
                role: is_user.then(|| form.role.clone()),
                groups: listed(&form.groups).filter(|_| is_user),
                valid_s: None,
            };
            let issued = api.invite(&wanted).await?;
            return Ok(Some(Secret {
                title: format!("An invitation for {}", issued.view.name),
                how: if is_user {
                    "Give it to the person, who chooses a password with it at /join within an hour."
                } else {
                    "On the relay's machine, 'tinymlaas relay enroll' takes it within an hour."
                },
                text: issued.join,
            }));
        }
        "revoke_token" => api.done(Method::DELETE, &at("tokens"), &()).await?,
        "remove_user" => api.done(Method::DELETE, &at("users"), &()).await?,
        "remove_group" => api.done(Method::DELETE, &at("groups"), &()).await?,
        "withdraw" => {
            let id: i64 = form.id.parse().map_err(|_| PageError::NoSuchPage)?;
            api.done(Method::DELETE, &format!("/invitations/{id}"), &()).await?;
        }
        "set_user" => {
            let change = UserChange {
                role: form.role.clone(),
                groups: listed(&form.groups),
                disabled: form.disabled == "yes",
                password: None,
            };
            api.done(Method::PUT, &at("users"), &change).await?;
        }
        "set_group" => {
            let relays: Result<BTreeSet<RelayId>, _> =
                listed(&form.relays).unwrap_or_default().iter().map(|relay| relay.parse()).collect();
            let relays =
                relays.map_err(|error: contract::ids::InvalidId| PageError::Form { message: error.to_string() })?;
            api.done(Method::PUT, &at("groups"), &relays).await?;
        }
        "password" => {
            let change = PasswordChange { old: form.old.clone(), new: form.new.clone() };
            api.done(Method::PUT, "/me/password", &change).await.map_err(|failure| match failure {
                // A wrong present password is no ended session.
                ApiFailure::Refused(_, error) => PageError::Form { message: error.message },
                other => other.into(),
            })?;
        }
        other => return Err(PageError::Form { message: format!("There is no form '{other}'.") }),
    }
    Ok(None)
}

/// Names with commas between them; nothing is no limit.
fn listed(text: &str) -> Option<BTreeSet<String>> {
    let names: BTreeSet<String> =
        text.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect();
    (!names.is_empty()).then_some(names)
}

async fn show(
    shared: &Shared,
    token: &Pass,
    secret: Option<Secret>,
    problem: Option<String>,
) -> Result<Response, PageError> {
    let api = shared.api.as_visitor(token);
    let (me, tokens) = tokio::try_join!(api.me(), api.tokens())?;
    let is_user = me.user;
    let frame = Frame::of(me);
    let (users, invitations, groups) = if frame.is_admin {
        let (users, invitations, groups) = tokio::try_join!(api.users(), api.invitations(), api.groups())?;
        let groups = groups
            .into_iter()
            .map(|(name, relays)| (name, relays.iter().map(RelayId::as_str).collect::<Vec<_>>().join(", ")));
        (users, invitations, groups.collect())
    } else {
        (Vec::new(), Vec::new(), Vec::new())
    };
    html(&PeoplePage { frame, is_user, users, tokens, invitations, groups, secret, problem })
}
