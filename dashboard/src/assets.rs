//! Style sheet, scripts and pictures: embedded, and served under names that change with their content, so that a
//! browser may keep them for ever.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

struct Asset {
    /// Its name in pages and templates.
    name: &'static str,
    media_type: &'static str,
    content: &'static str,
    /// `stem.HASH.extension`.
    hashed: String,
}

macro_rules! assets {
    ($($name:literal: $media_type:literal),* $(,)?) => {
        static ASSETS: LazyLock<Vec<Asset>> = LazyLock::new(|| {
            vec![$(Asset {
                name: $name,
                media_type: $media_type,
                content: include_str!(concat!("../assets/", $name)),
                hashed: hashed_name($name, include_str!(concat!("../assets/", $name))),
            }),*]
        });
    };
}

assets! {
    "tokens.css": "text/css; charset=utf-8",
    "base.css": "text/css; charset=utf-8",
    "parts.css": "text/css; charset=utf-8",
    "live.js": "text/javascript; charset=utf-8",
    "readings.js": "text/javascript; charset=utf-8",
    "chart.js": "text/javascript; charset=utf-8",
    "logs.js": "text/javascript; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "logo.svg": "image/svg+xml",
    "icons.svg": "image/svg+xml",
}

fn hashed_name(name: &str, content: &str) -> String {
    let digest = Sha256::digest(content.as_bytes());
    let hash: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    match name.rsplit_once('.') {
        Some((stem, extension)) => format!("{stem}.{hash}.{extension}"),
        None => format!("{name}.{hash}"),
    }
}

/// The address of an asset, for templates. An unknown name yields an address that answers 404; a test visits all.
pub(crate) fn url(name: &str) -> String {
    let hashed = ASSETS.iter().find(|asset| asset.name == name).map_or(name, |asset| asset.hashed.as_str());
    format!("/assets/{hashed}")
}

/// The address of one icon in the icon sheet, for `<use href>`.
pub(crate) fn icon(id: &str) -> String {
    format!("{}#{id}", url("icons.svg"))
}

/// `GET /assets/{file}`.
pub(crate) async fn serve(Path(file): Path<String>) -> Response {
    let Some(asset) = ASSETS.iter().find(|asset| asset.hashed == file) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let headers =
        [(header::CONTENT_TYPE, asset.media_type), (header::CACHE_CONTROL, "public, max-age=31536000, immutable")];
    (headers, asset.content).into_response()
}
