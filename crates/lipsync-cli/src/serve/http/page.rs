// SPDX-License-Identifier: MPL-2.0
//! The page: part of the program, and loads nothing from elsewhere.

use axum::http::{HeaderName, header};
use axum::response::IntoResponse;

/// The page's own files only; its videos are streams, its recordings blobs.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      media-src 'self' blob: mediastream:; worker-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

fn file(kind: &'static str, text: &'static str) -> impl IntoResponse {
    let headers: [(HeaderName, &'static str); 3] = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        // Another version of the program has another page.
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, text)
}

pub async fn html() -> impl IntoResponse {
    file("text/html; charset=utf-8", include_str!("../page/index.html"))
}

pub async fn style() -> impl IntoResponse {
    file("text/css; charset=utf-8", include_str!("../page/style.css"))
}

pub async fn script() -> impl IntoResponse {
    file("text/javascript; charset=utf-8", include_str!("../page/app.js"))
}

pub async fn microphone() -> impl IntoResponse {
    file("text/javascript; charset=utf-8", include_str!("../page/microphone.js"))
}

pub async fn icon() -> impl IntoResponse {
    file("image/svg+xml", include_str!("../page/icon.svg"))
}
