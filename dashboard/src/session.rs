//! Who is visiting: login, logout, the session cookie, and the check that a POST comes from our own pages.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use askama::Template;
use axum::Form;
use axum::extract::{ConnectInfo, FromRequestParts, Query, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Redirect, Response};
use contract::Timestamp;
use contract::api::{Join, Login};
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::Shared;
use crate::api::{ApiFailure, Pass, path_segment};
use crate::error::PageError;
use crate::view::Frame;

const COOKIE: &str = "tinymlaas_session";
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The visitor's session; a request without one is answered with a visit to the login page.
pub(crate) struct SessionToken(pub(crate) Pass);

/// Where the visitor is, if the server says so.
pub(crate) struct From(pub(crate) Option<IpAddr>);

impl<S: Send + Sync> FromRequestParts<S> for From {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        Ok(Self(parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip())))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for SessionToken {
    type Rejection = PageError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, PageError> {
        let Ok(From(address)) = From::from_request_parts(parts, state).await;
        let token = Zeroizing::new(cookie(&parts.headers).ok_or(PageError::LoginNeeded)?.to_owned());
        Ok(Self(Pass { token, address }))
    }
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, token)| *name == COOKIE && !token.is_empty())
        .map(|(_, token)| token)
}

/// Sends visitors without a session to the login page, and refuses a POST that another site made the browser send.
pub(crate) async fn guard(request: Request, next: Next) -> Response {
    let (method, uri) = (request.method().clone(), request.uri().clone());
    if method != Method::GET && method != Method::HEAD && !is_own_origin(request.headers()) {
        return PageError::ForeignOrigin.into_response();
    }
    let script = request.headers().get(header::ACCEPT).is_some_and(|accept| accept != "*/*" && !accepts_html(accept));
    let response = next.run(request).await;
    if response.status() == StatusCode::UNAUTHORIZED && !matches!(uri.path(), "/login" | "/join") && !script {
        return to_login(&method, &uri);
    }
    response
}

fn accepts_html(accept: &HeaderValue) -> bool {
    accept.to_str().is_ok_and(|accept| accept.contains("text/html"))
}

fn to_login(method: &Method, uri: &Uri) -> Response {
    let wanted = uri.path_and_query().map_or("/", |wanted| wanted.as_str());
    if method == Method::GET && wanted != "/" {
        return Redirect::to(&format!("/login?next={}", path_segment(wanted))).into_response();
    }
    Redirect::to("/login").into_response()
}

/// The cookie is `SameSite=Lax`, so a foreign POST arrives without it; this is the second lock. Browsers tell the
/// relation of the sites on safe origins, and the origin itself always.
fn is_own_origin(headers: &HeaderMap) -> bool {
    if let Some(site) = headers.get(SEC_FETCH_SITE) {
        return site == "same-origin";
    }
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    match (text(header::ORIGIN), text(header::HOST)) {
        (Some(origin), Some(host)) => origin.split_once("://").is_some_and(|(_, authority)| authority == host),
        _ => false,
    }
}

/// What the login page wants to know of its address.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Wanted {
    #[serde(default)]
    next: String,
}

/// The filled-in login form.
#[derive(Deserialize)]
pub(crate) struct LoginForm {
    #[serde(default)]
    name: String,
    #[serde(default)]
    token: Zeroizing<String>,
    #[serde(default)]
    next: String,
}

#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage<'a> {
    frame: Frame,
    name: &'a str,
    next: &'a str,
    data_hint: &'a str,
    problem: Option<String>,
}

/// Only a path of this site; anything else could send a visitor away after the login.
fn own_path(next: &str) -> &str {
    let own = next.starts_with('/')
        && !next.starts_with("//")
        && !next.starts_with("/login")
        && !next.contains(|c: char| c == '\\' || c.is_control());
    if own { next } else { "/" }
}

/// `GET /login`.
pub(crate) async fn login_page(
    State(shared): State<Arc<Shared>>,
    Query(wanted): Query<Wanted>,
) -> Result<Response, PageError> {
    let page = LoginPage {
        frame: Frame::outside(),
        name: "admin",
        next: own_path(&wanted.next),
        data_hint: &shared.config.data_hint,
        problem: None,
    };
    Ok(Html(page.render()?).into_response())
}

/// `POST /login`.
pub(crate) async fn login(
    State(shared): State<Arc<Shared>>,
    From(address): From,
    headers: HeaderMap,
    Form(form): Form<LoginForm>,
) -> Result<Response, PageError> {
    let (name, token) = (form.name.trim().to_owned(), form.token.trim().to_owned());
    let next = own_path(&form.next);
    let (status, problem) = match shared.api.login(&Login { name: name.clone(), token }, address).await {
        Ok(session) => {
            let mut response = Redirect::to(next).into_response();
            set_cookie(&mut response, &headers, &session.token, seconds_until(session.expires_at))?;
            return Ok(response);
        }
        Err(ApiFailure::Refused(status, error)) if status.is_client_error() => {
            let problem = if status == StatusCode::UNAUTHORIZED || status == StatusCode::FORBIDDEN {
                "This name and this password or token do not belong together. Copy a token whole and without quotes."
                    .to_owned()
            } else {
                error.message
            };
            (status, problem)
        }
        Err(failure) => return Err(failure.into()),
    };
    let page = LoginPage {
        frame: Frame::outside(),
        name: &name,
        next,
        data_hint: &shared.config.data_hint,
        problem: Some(problem),
    };
    Ok((status, Html(page.render()?)).into_response())
}

#[derive(Template)]
#[template(path = "join.html")]
struct JoinPage<'a> {
    frame: Frame,
    /// Whom the last try made; then there is nothing to fill in.
    welcome: Option<&'a str>,
    problem: Option<String>,
}

/// The filled-in form of an invitation.
#[derive(Deserialize)]
pub(crate) struct JoinForm {
    #[serde(default)]
    join: Zeroizing<String>,
    #[serde(default)]
    password: Zeroizing<String>,
    #[serde(default)]
    again: Zeroizing<String>,
}

/// `GET /join`. The join token is typed or pasted, never in an address.
pub(crate) async fn join_page() -> Result<Response, PageError> {
    Ok(Html(JoinPage { frame: Frame::outside(), welcome: None, problem: None }.render()?).into_response())
}

/// `POST /join`: a join token becomes a user.
pub(crate) async fn join(
    State(shared): State<Arc<Shared>>,
    From(address): From,
    Form(form): Form<JoinForm>,
) -> Result<Response, PageError> {
    let wrong = |status: StatusCode, problem: String| {
        let page = JoinPage { frame: Frame::outside(), welcome: None, problem: Some(problem) };
        Ok((status, Html(page.render()?)).into_response())
    };
    if form.password != form.again {
        return wrong(StatusCode::UNPROCESSABLE_ENTITY, "The two passwords are not the same.".to_owned());
    }
    let join = Join {
        join: form.join.trim().to_owned(),
        token_sha256: None,
        token_pbkdf2: None,
        password: Some((*form.password).clone()),
        csr: None,
    };
    match shared.api.join(&join, address).await {
        Ok(joined) => {
            let page = JoinPage { frame: Frame::outside(), welcome: Some(&joined.name), problem: None };
            Ok(Html(page.render()?).into_response())
        }
        Err(ApiFailure::Refused(status, error)) if status.is_client_error() => wrong(status, error.message),
        Err(failure) => Err(failure.into()),
    }
}

/// `POST /logout`.
pub(crate) async fn logout(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    SessionToken(token): SessionToken,
) -> Result<Response, PageError> {
    if let Err(failure) = shared.api.as_visitor(&token).logout().await {
        // The cookie goes away in any case; the session ends by itself later.
        tracing::warn!(error = %failure, "the API did not end a session");
    }
    let mut response = Redirect::to("/login").into_response();
    set_cookie(&mut response, &headers, "", 0)?;
    Ok(response)
}

fn seconds_until(moment: Timestamp) -> u64 {
    moment.millis_since(Timestamp::now()) / 1000
}

fn set_cookie(response: &mut Response, request: &HeaderMap, token: &str, max_age_s: u64) -> Result<(), PageError> {
    // Over plain HTTP a 'Secure' cookie would be lost; a TLS proxy says that it is one.
    let secure = if request.get(FORWARDED_PROTO).is_some_and(|proto| proto == "https") { "; Secure" } else { "" };
    let line = format!("{COOKIE}={token}; Path=/; HttpOnly; SameSite=Lax; Max-Age={max_age_s}{secure}");
    let unreadable = |_| ApiFailure::Unreadable("the session token does not fit into a cookie".into());
    let value = HeaderValue::try_from(line).map_err(unreadable)?;
    response.headers_mut().append(header::SET_COOKIE, value);
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap()))
            .collect()
    }

    #[test]
    fn the_cookie_is_found_among_others() {
        assert_eq!(cookie(&headers(&[("cookie", "a=b; tinymlaas_session=abc; c=d")])), Some("abc"));
        assert_eq!(cookie(&headers(&[("cookie", "tinymlaas_session=; x=y")])), None);
        assert_eq!(cookie(&headers(&[("cookie", "xtinymlaas_session=abc")])), None);
    }

    #[test]
    fn only_our_own_pages_may_post() {
        let host = ("host", "127.0.0.1:8080");
        assert!(is_own_origin(&headers(&[host, ("origin", "http://127.0.0.1:8080")])));
        assert!(!is_own_origin(&headers(&[host, ("origin", "http://evil.example")])));
        assert!(!is_own_origin(&headers(&[host, ("origin", "null")])));
        assert!(!is_own_origin(&headers(&[host])));
        assert!(is_own_origin(&headers(&[("sec-fetch-site", "same-origin")])));
        assert!(!is_own_origin(&headers(&[
            host,
            ("origin", "http://127.0.0.1:8080"),
            ("sec-fetch-site", "same-site")
        ])));
    }

    #[test]
    fn a_login_leads_nowhere_else() {
        assert_eq!(own_path("/models?x=1"), "/models?x=1");
        for foreign in ["", "http://evil.example", "//evil.example", "/\\evil.example", "/login?next=/", "x"] {
            assert_eq!(own_path(foreign), "/", "{foreign}");
        }
    }
}
