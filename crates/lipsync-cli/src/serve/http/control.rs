// SPDX-License-Identifier: MPL-2.0
//! Sessions, what they show, and what they tell.

use std::convert::Infallible;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::sse::{Event as Sent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::Stream;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::broadcast::error::RecvError;

use super::request::{Asked, Named, blocking, done};
use super::{Shared, created};
use crate::serve::events::Event;
use crate::serve::failure::{Failure, Outcome};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Create {
    avatar: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Name {
    name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clip {
    name: String,
    /// Over and over, until another is asked for.
    #[serde(default)]
    hold: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    url: String,
    token: Option<String>,
}

pub async fn avatars(State(server): Shared) -> Outcome<Json<Value>> {
    blocking(move || Ok(Json(server.sessions.avatars().describe()))).await
}

pub async fn sessions(State(server): Shared) -> Outcome<Json<Value>> {
    blocking(move || Ok(Json(server.sessions.describe()))).await
}

pub async fn create(State(server): Shared, Asked(asked): Asked<Create>) -> Outcome<Response> {
    let session = blocking(move || server.sessions.create(asked.avatar.as_deref())).await?;
    let location = [(header::LOCATION, format!("/api/sessions/{}", session.id))];
    blocking(move || Ok((location, created(session.status())).into_response())).await
}

pub async fn status(Named(session): Named) -> Outcome<Json<Value>> {
    blocking(move || {
        session.touch();
        Ok(Json(session.status()))
    })
    .await
}

pub async fn end(State(server): Shared, Named(session): Named) -> Outcome<Json<Value>> {
    blocking(move || server.sessions.end(&session.id, "it was ended")).await?;
    Ok(done())
}

pub async fn avatar(
    State(server): Shared,
    Named(session): Named,
    Asked(asked): Asked<Name>,
) -> Outcome<Json<Value>> {
    blocking(move || {
        let avatar = server.sessions.avatars().find(&asked.name)?;
        session.change_avatar(asked.name, avatar)?;
        Ok(Json(session.status()))
    })
    .await
}

pub async fn clip(Named(session): Named, Asked(asked): Asked<Clip>) -> Outcome<Json<Value>> {
    blocking(move || {
        session.touch();
        if asked.hold || asked.name.is_empty() {
            session.hold_clip(&asked.name)?;
        } else {
            session.play_clip(&asked.name)?;
        }
        Ok(Json(session.status()))
    })
    .await
}

pub async fn state(Named(session): Named, Asked(asked): Asked<Name>) -> Outcome<Json<Value>> {
    blocking(move || {
        session.touch();
        session.set_state(&asked.name)?;
        Ok(Json(session.status()))
    })
    .await
}

/// Server-sent events: the present state first, then what happens, until the session ends.
pub async fn events(Named(session): Named) -> Sse<impl Stream<Item = Result<Sent, Infallible>>> {
    session.touch();
    let listener = session.events.listen();
    let first = Some(Event { name: "status", data: session.status() });
    // The listener does not keep the session alive.
    let session = std::sync::Arc::downgrade(&session);
    let stream = futures_util::stream::unfold(Some((first, listener, session)), |state| async {
        let (first, mut listener, session) = state?;
        let event = match first {
            Some(event) => event,
            None => match listener.recv().await {
                Ok(event) => event,
                // What was missed is lost, but not the present state.
                Err(RecvError::Lagged(_)) => Event { name: "status", data: session.upgrade()?.status() },
                Err(RecvError::Closed) => return None,
            },
        };
        let next = (event.name != "end").then_some((None, listener, session));
        Some((Ok(Sent::default().event(event.name).data(event.data.to_string())), next))
    });
    Sse::new(stream).keep_alive(KeepAlive::default())
}

pub async fn start_recording(Named(session): Named) -> Outcome<Response> {
    blocking(move || {
        session.start_recording()?;
        Ok(created(session.status()))
    })
    .await
}

pub async fn stop_recording(Named(session): Named) -> Outcome<Json<Value>> {
    blocking(move || {
        session.stop_recording()?;
        Ok(Json(serde_json::json!({ "url": format!("/api/sessions/{}/recording", session.id) })))
    })
    .await
}

/// The film, whole: half an hour has some hundred megabytes, which are sent piece by piece.
pub async fn recording(Named(session): Named) -> Outcome<Response> {
    let recorded = session.recorded()?;
    let file = tokio::fs::File::open(&**recorded).await.map_err(Failure::ours)?;
    let length = file.metadata().await.map_err(Failure::ours)?.len();
    let pieces = futures_util::stream::unfold((file, recorded), |(mut file, recorded)| async {
        use tokio::io::AsyncReadExt;
        let mut piece = Vec::with_capacity(1 << 16);
        match (&mut file).take(1 << 16).read_to_end(&mut piece).await {
            Ok(0) => None,
            Ok(_) => Some((Ok(piece), (file, recorded))),
            Err(error) => Some((Err(error), (file, recorded))),
        }
    });
    let headers = [
        (header::CONTENT_TYPE, "video/mp4".to_string()),
        (header::CONTENT_LENGTH, length.to_string()),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"presenter.mp4\"".into()),
    ];
    Ok((headers, axum::body::Body::from_stream(pieces)).into_response())
}

pub async fn start_push(
    State(server): Shared,
    Named(session): Named,
    Asked(asked): Asked<Target>,
) -> Outcome<Response> {
    blocking(move || {
        session.start_push(&server.ice, &asked.url, asked.token.as_deref())?;
        Ok(created(session.status()))
    })
    .await
}

pub async fn stop_push(Named(session): Named) -> Outcome<Json<Value>> {
    blocking(move || session.stop_push()).await?;
    Ok(done())
}
