//! What a visitor sees when there is nothing else to show: what happened, and what to do.

use askama::Template;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};

use crate::api::ApiFailure;
use crate::view::Frame;

/// Why a page cannot be shown.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PageError {
    /// Nobody is logged in; the middleware of `session` turns this into a visit to the login page.
    #[error("nobody is logged in")]
    LoginNeeded,
    /// No page at this address.
    #[error("there is no page at this address")]
    NoSuchPage,
    /// A POST that did not come from our own pages.
    #[error("the request did not come from this dashboard's own pages")]
    ForeignOrigin,
    /// A form was filled in wrongly.
    #[error("{message}")]
    Form {
        /// What is wrong and the way out.
        message: String,
    },
    /// The API refused or did not answer.
    #[error(transparent)]
    Api(#[from] ApiFailure),
    /// A template failed.
    #[error("the page cannot be drawn: {0}")]
    Template(#[from] askama::Error),
}

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage {
    frame: Frame,
    status: u16,
    title: &'static str,
    message: String,
    hint: &'static str,
    /// Seconds after which the page asks again by itself.
    retry_s: Option<u32>,
}

impl PageError {
    fn page(self) -> (StatusCode, ErrorPage) {
        let message = self.to_string();
        let (status, title, hint, retry_s) = match self {
            PageError::LoginNeeded => (StatusCode::UNAUTHORIZED, "Log in first", "Open the login page.", None),
            PageError::NoSuchPage => (
                StatusCode::NOT_FOUND,
                "Nothing here",
                "The address may be mistyped, or what it named is gone. The overview lists what there is.",
                None,
            ),
            PageError::ForeignOrigin => (
                StatusCode::FORBIDDEN,
                "Not from here",
                "Open the dashboard in this browser and use the buttons there. Behind a proxy, let it pass the Host header on.",
                None,
            ),
            PageError::Form { .. } => {
                (StatusCode::UNPROCESSABLE_ENTITY, "That does not work", "Go back and change it.", None)
            }
            PageError::Api(ApiFailure::Refused(status, _)) => match status {
                StatusCode::NOT_FOUND => (
                    StatusCode::NOT_FOUND,
                    "Nothing here",
                    "The address may be mistyped, or what it named is gone. The overview lists what there is.",
                    None,
                ),
                StatusCode::FORBIDDEN => (
                    StatusCode::FORBIDDEN,
                    "Not allowed",
                    "Ask an admin for a token with the role 'operator', or log in with another one.",
                    None,
                ),
                status if status.is_client_error() => (status, "That does not work", "Go back and change it.", None),
                _ => (
                    StatusCode::BAD_GATEWAY,
                    "The cloud has a problem",
                    "Its log says more. This page tries again by itself.",
                    Some(5),
                ),
            },
            PageError::Api(ApiFailure::Away(_)) => (
                StatusCode::BAD_GATEWAY,
                "The cloud does not answer",
                "Boards and relays keep working without it. If it was not stopped on purpose, start it again with \
                 'tinymlaas up' or 'tinymlaas cloud'. This page tries again by itself.",
                Some(3),
            ),
            PageError::Api(ApiFailure::Unreadable(_)) => (
                StatusCode::BAD_GATEWAY,
                "The cloud speaks another version",
                "Run cloud and dashboard from the same release.",
                None,
            ),
            PageError::Template(_) => {
                (StatusCode::INTERNAL_SERVER_ERROR, "This page is broken", "That is a fault of ours.", None)
            }
        };
        (status, ErrorPage { frame: Frame::outside(), status: status.as_u16(), title, message, hint, retry_s })
    }
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        if let PageError::Api(ApiFailure::Refused(StatusCode::UNAUTHORIZED, _)) = self {
            return PageError::LoginNeeded.into_response();
        }
        if let PageError::Template(error) = &self {
            tracing::error!(%error, "a page could not be drawn");
        }
        let (status, page) = self.page();
        let retry = page.retry_s;
        match page.render() {
            Ok(html) => {
                let mut response = (status, Html(html)).into_response();
                if let Some(seconds) = retry {
                    response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
                }
                response
            }
            Err(error) => {
                tracing::error!(%error, "the error page could not be drawn");
                (StatusCode::INTERNAL_SERVER_ERROR, "This page is broken.").into_response()
            }
        }
    }
}
