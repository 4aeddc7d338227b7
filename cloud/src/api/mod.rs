//! The HTTP API of [`contract::api`].

use axum::Router;

/// Everything under `/api/v1`.
pub fn router() -> Router {
    Router::new()
}
