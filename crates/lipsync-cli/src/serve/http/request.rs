// SPDX-License-Identifier: MPL-2.0
//! Requests, read; and work that blocks, done where it may.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use super::Server;
use crate::serve::failure::{Failure, Outcome};
use crate::serve::session::Session;

/// The session that the path names.
pub struct Named(pub Arc<Session>);

impl FromRequestParts<Arc<Server>> for Named {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, server: &Arc<Server>) -> Outcome<Self> {
        let names = Path::<Vec<(String, String)>>::from_request_parts(parts, server).await;
        let names = names.map_err(|_| Failure::bad("the path is not understood"))?;
        let id = names.0.iter().find(|(key, _)| key == "id").map_or("", |(_, id)| id.as_str());
        server.sessions.get(id).map(Self)
    }
}

/// The body, which has a limit.
pub struct Body(pub Bytes);

impl FromRequest<Arc<Server>> for Body {
    type Rejection = Failure;

    async fn from_request(request: Request, server: &Arc<Server>) -> Outcome<Self> {
        Bytes::from_request(request, server).await.map(Self).map_err(refused)
    }
}

/// A body of JSON. Nothing at all is `{}`.
pub struct Asked<T>(pub T);

impl<T: DeserializeOwned> FromRequest<Arc<Server>> for Asked<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, server: &Arc<Server>) -> Outcome<Self> {
        let Body(body) = Body::from_request(request, server).await?;
        let text: &[u8] = if body.is_empty() { b"{}" } else { &body };
        serde_json::from_slice(text).map(Self).map_err(|error| {
            Failure::bad(format!("the JSON is not understood: {error}. docs/serve.md has examples"))
        })
    }
}

fn refused(rejection: BytesRejection) -> Failure {
    match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Failure::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "the request is too large. Send less, or start with a larger --max-upload for files of sound",
        ),
        status => Failure::new(status, rejection.body_text()),
    }
}

/// Runs what waits for pipelines, programs or the disk.
///
/// # Errors
/// Those of `work`; and where it panics.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Outcome<T> + Send + 'static) -> Outcome<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| Failure::ours("it failed. lipsync serve printed why"))?
}

/// An answer without content.
pub fn done() -> Json<serde_json::Value> {
    Json(serde_json::json!({ "done": true }))
}
