// SPDX-License-Identifier: MPL-2.0
//! The server: who is let in, and which request does what. docs/serve.md has the table.

mod control;
mod page;
mod request;
mod voice;
mod whep;

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, post};
use axum::{Json, Router};

use super::access::Access;
use super::failure::Failure;
use super::options::Serve;
use super::peer::{IceServers, MAX_SDP};
use super::sessions::Sessions;

/// Bytes of a request that is no file of sound.
const MAX_BODY: usize = MAX_SDP;

/// What requests need.
pub struct Server {
    pub sessions: Sessions,
    pub access: Access,
    pub ice: IceServers,
    pub options: Serve,
}

type Shared = State<Arc<Server>>;

/// All routes.
pub fn routes(server: Arc<Server>) -> Router {
    let upload = usize::from(server.options.max_upload) << 20;
    let route = |methods: MethodRouter<Arc<Server>>| methods.fallback(wrong_method);
    let api = Router::new()
        .route("/api/avatars", route(get(control::avatars)))
        .route("/api/sessions", route(get(control::sessions).post(control::create)))
        .route("/api/sessions/{id}", route(get(control::status).delete(control::end)))
        .route("/api/sessions/{id}/avatar", route(post(control::avatar)))
        .route("/api/sessions/{id}/clip", route(post(control::clip)))
        .route("/api/sessions/{id}/state", route(post(control::state)))
        .route("/api/sessions/{id}/events", route(get(control::events)))
        .route(
            "/api/sessions/{id}/recording",
            route(get(control::recording).post(control::start_recording).delete(control::stop_recording)),
        )
        .route("/api/sessions/{id}/push", route(post(control::start_push).delete(control::stop_push)))
        .route("/api/sessions/{id}/say", route(post(voice::say)))
        .route("/api/sessions/{id}/speak", route(post(voice::speak).layer(DefaultBodyLimit::max(upload))))
        .route("/api/sessions/{id}/audio", route(get(voice::audio)))
        .route("/api/sessions/{id}/interrupt", route(post(voice::interrupt)))
        .route("/api/sessions/{id}/whep", route(post(whep::offer).options(whep::options)))
        .route("/api/sessions/{id}/whep/{viewer}", route(delete(whep::leave).patch(whep::candidates)))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(from_fn_with_state(server.clone(), let_in));
    Router::new()
        .route("/", route(get(page::html)))
        .route("/style.css", route(get(page::style)))
        .route("/app.js", route(get(page::script)))
        .route("/microphone.js", route(get(page::microphone)))
        .route("/icon.svg", route(get(page::icon)))
        .merge(api)
        .fallback(nothing)
        .layer(from_fn_with_state(server.clone(), same_site))
        .with_state(server)
}

/// Lets in who has the token.
async fn let_in(State(server): Shared, request: Request, next: Next) -> Response {
    // A browser asks without the token whether it may send it.
    let is_question = request.method() == Method::OPTIONS;
    match server.access.check_token(request.headers(), request.uri()) {
        Err(failure) if !is_question => {
            let mut response = failure.into_response();
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            response
        }
        _ => next.run(request).await,
    }
}

/// Keeps other sites out, but those that are allowed, and says so to their browsers.
async fn same_site(State(server): Shared, request: Request, next: Next) -> Response {
    let origin = request.headers().get(header::ORIGIN).cloned();
    let allowed =
        origin.filter(|origin| origin.to_str().is_ok_and(|origin| server.access.allows_origin(origin)));
    let is_preflight = allowed.is_some()
        && request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = match server.access.check_origin(request.headers()) {
        Err(failure) => failure.into_response(),
        Ok(()) if is_preflight => StatusCode::NO_CONTENT.into_response(),
        Ok(()) => next.run(request).await,
    };
    let headers = response.headers_mut();
    if let Some(origin) = allowed {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::VARY, HeaderValue::from_static("origin"));
        headers
            .insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("location, accept-post"));
    }
    if is_preflight {
        let methods = "GET, POST, PATCH, DELETE, OPTIONS";
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(methods));
        let names = "authorization, content-type";
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(names));
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

async fn nothing(request: Request) -> Failure {
    Failure::missing(format!(
        "there is nothing at {:?}. docs/serve.md lists what there is",
        request.uri().path()
    ))
}

async fn wrong_method(request: Request) -> Failure {
    let (method, path) = (request.method(), request.uri().path());
    let sentence = format!("{method} is nothing that {path:?} does. docs/serve.md lists what there is");
    Failure::new(StatusCode::METHOD_NOT_ALLOWED, sentence)
}

/// JSON of something that was made.
fn created(data: serde_json::Value) -> Response {
    (StatusCode::CREATED, Json(data)).into_response()
}
