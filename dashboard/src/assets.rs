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
    ($($name:literal: $media_type:literal = $($file:literal)+;)*) => {
        static ASSETS: LazyLock<Vec<Asset>> = LazyLock::new(|| {
            vec![$({
                let content = concat!($(include_str!(concat!("../assets/", $file))),+);
                Asset { name: $name, media_type: $media_type, content, hashed: hashed_name($name, content) }
            }),*]
        });
    };
}

// One file each for the browser, of small files for us: an import between scripts would need their hashed names.
assets! {
    "app.css": "text/css; charset=utf-8" = "css/tokens.css" "css/base.css" "css/parts.css";
    "app.js": "text/javascript; charset=utf-8" =
        "js/times.js" "js/readings.js" "js/chart.js" "js/logs.js" "js/live.js" "js/upload.js" "js/page.js";
    "logo.svg": "image/svg+xml" = "logo.svg";
    "icons.svg": "image/svg+xml" = "icons.svg";
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
