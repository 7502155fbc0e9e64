// SPDX-License-Identifier: MPL-2.0
//! WHEP (draft-ietf-wish-whep): how players watch.
//!
//! The answer has all candidates. Those of the player may come in its offer, or later by PATCH; what it sends is found in any case.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::Shared;
use super::request::{Body, Named, blocking};
use crate::serve::failure::{Failure, Outcome};
use crate::serve::sessions::new_id;

const SDP: &str = "application/sdp";
const FRAGMENT: &str = "application/trickle-ice-sdpfrag";

/// Candidates of one request: a player has some ten.
const MAX_CANDIDATES: usize = 100;

/// What can be sent here.
pub async fn options() -> impl IntoResponse {
    (StatusCode::NO_CONTENT, [("accept-post", SDP), ("allow", "POST, OPTIONS")])
}

/// Answers the offer of a player.
pub async fn offer(
    State(server): Shared,
    Named(session): Named,
    headers: HeaderMap,
    Body(body): Body,
) -> Outcome<Response> {
    let offer = text_of(&headers, SDP, body.to_vec())?;
    let viewer = new_id()?;
    let location = format!("/api/sessions/{}/whep/{viewer}", session.id);
    let answer = blocking(move || session.add_viewer(&viewer, &server.ice, &offer)).await?;
    let headers = [(header::CONTENT_TYPE, SDP.to_string()), (header::LOCATION, location)];
    Ok((StatusCode::CREATED, headers, answer).into_response())
}

/// The player has seen enough.
pub async fn leave(Named(session): Named, Path((_, viewer)): Path<(String, String)>) -> Outcome<StatusCode> {
    blocking(move || session.remove_viewer(&viewer)).await?;
    Ok(StatusCode::OK)
}

/// Candidates of a player that come after its offer.
pub async fn candidates(
    Named(session): Named,
    Path((_, viewer)): Path<(String, String)>,
    headers: HeaderMap,
    Body(body): Body,
) -> Outcome<StatusCode> {
    let fragment = text_of(&headers, FRAGMENT, body.to_vec())?;
    let peer = session.viewer(&viewer)?;
    let lines = fragment.lines().map(str::trim);
    let candidates: Vec<String> = lines
        .filter_map(|line| line.strip_prefix("a="))
        .filter(|line| line.starts_with("candidate:"))
        .map(String::from)
        .collect();
    if candidates.is_empty() && !fragment.contains("a=end-of-candidates") {
        return Err(Failure::unusable(
            "the fragment has no candidates, and ICE is not restarted here. Leave, and offer again",
        ));
    }
    if candidates.len() > MAX_CANDIDATES {
        return Err(Failure::bad(format!(
            "there are {} candidates, and {MAX_CANDIDATES} may be sent",
            candidates.len()
        )));
    }
    blocking(move || {
        // Picture and sound are sent together, by the first transport.
        candidates.iter().for_each(|candidate| peer.add_candidate(0, candidate));
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}

fn text_of(headers: &HeaderMap, kind: &str, body: Vec<u8>) -> Outcome<String> {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !given.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(kind) {
        return Err(Failure::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!("Content-Type: {given:?} is not read here. Send {kind}"),
        ));
    }
    String::from_utf8(body).map_err(|_| Failure::bad(format!("the {kind} is no text in UTF-8")))
}
