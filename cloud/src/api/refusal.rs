//! What everybody gets who gets no 2xx: a status and an [`ApiError`].

use axum::Json;
use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use contract::Code;
use contract::api::ApiError;

use crate::services::Failure;

/// A status and why.
#[derive(Debug)]
pub struct Refusal {
    status: StatusCode,
    error: ApiError,
}

impl Refusal {
    /// A refusal.
    pub fn new(status: StatusCode, code: Code, message: impl Into<String>) -> Self {
        Self { status, error: ApiError { code, message: message.into(), field: None } }
    }
}

/// The status that goes with a code.
fn status(code: &Code) -> StatusCode {
    match code.as_str() {
        "unauthorized" => StatusCode::UNAUTHORIZED,
        "forbidden" => StatusCode::FORBIDDEN,
        "not_found" | "unknown_model" | "unknown_device" | "unknown_command" | "artifact_not_found" => {
            StatusCode::NOT_FOUND
        }
        "conflict" => StatusCode::CONFLICT,
        "too_large" => StatusCode::PAYLOAD_TOO_LARGE,
        "unsupported_model" | "invalid_model" | "invalid_dataset" | "does_not_fit" => StatusCode::UNPROCESSABLE_ENTITY,
        "rate_limited" => StatusCode::TOO_MANY_REQUESTS,
        "unavailable" => StatusCode::SERVICE_UNAVAILABLE,
        "internal" => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::BAD_REQUEST,
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        let (code, message, field) = failure.into_answer();
        Self { status: status(&code), error: ApiError { code, message, field } }
    }
}

impl From<PathRejection> for Refusal {
    fn from(rejection: PathRejection) -> Self {
        Self::new(StatusCode::BAD_REQUEST, Code::INVALID_FIELD, rejection.body_text())
    }
}

impl From<QueryRejection> for Refusal {
    fn from(rejection: QueryRejection) -> Self {
        Self::new(StatusCode::BAD_REQUEST, Code::INVALID_FIELD, rejection.body_text())
    }
}

impl From<BytesRejection> for Refusal {
    fn from(rejection: BytesRejection) -> Self {
        if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            let message =
                "the body is over this path's limit: 32 MiB for data sets, 64 MiB for models, 64 KiB otherwise";
            return Self::new(StatusCode::PAYLOAD_TOO_LARGE, Code::TOO_LARGE, message);
        }
        Self::new(rejection.status(), Code::MALFORMED, rejection.body_text())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let code = self.error.code.clone();
        let mut response = (self.status, Json(self.error)).into_response();
        // For the audit log.
        response.extensions_mut().insert(code);
        response
    }
}

/// For paths that are not routes.
pub async fn no_such_path(uri: Uri) -> Refusal {
    let path: String = uri.path().chars().take(100).collect();
    Refusal::new(StatusCode::NOT_FOUND, Code::NOT_FOUND, format!("there is no path {}{path}", contract::api::PREFIX))
}

/// For methods that a path does not have.
pub async fn no_such_method(method: Method, uri: Uri) -> Refusal {
    let path: String = uri.path().chars().take(100).collect();
    let message = format!("{}{path} cannot be asked with {method}", contract::api::PREFIX);
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, Code::NOT_SUPPORTED, message)
}
