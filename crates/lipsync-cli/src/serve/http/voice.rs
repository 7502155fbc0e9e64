// SPDX-License-Identifier: MPL-2.0
//! What is said: texts, files of sound, and raw sound as it comes.

use std::io::Write;
use std::sync::Arc;

use anyhow::Context;
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{FromRequest, Query, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::Shared;
use super::request::{Asked, Body, Named, blocking};
use crate::serve::failure::{Failure, Outcome};
use crate::serve::session::{LOOK, Session};
use crate::serve::sound::{Converter, seconds, sentences};
use crate::serve::utterances::Utterance;

/// Bytes of a message with raw sound: five seconds of two channels at 48 kHz.
const MAX_MESSAGE: usize = 1 << 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Say {
    text: String,
    voice: Option<String>,
}

/// The format of raw sound, S16LE.
#[derive(Deserialize)]
pub struct Format {
    #[serde(default = "Format::rate")]
    rate: u32,
    #[serde(default = "Format::channels")]
    channels: u32,
}

impl Format {
    fn rate() -> u32 {
        48_000
    }

    fn channels() -> u32 {
        1
    }
}

/// Answers as soon as the first sentence can be heard; the others follow.
pub async fn say(
    State(server): Shared,
    Named(session): Named,
    Asked(asked): Asked<Say>,
) -> Outcome<Response> {
    let (length, max) = (asked.text.chars().count(), server.options.max_text as usize);
    if length > max {
        return Err(Failure::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the text has {length} characters, and {max} may be said at a time. Send it in parts"),
        ));
    }
    check_voice(asked.voice.as_deref())?;
    let parts = sentences(&asked.text);
    if parts.is_empty() {
        return Err(Failure::bad("the text is empty. Send {\"text\": \"Good morning.\"}"));
    }
    let mut utterance = session.ask();
    let id = utterance.id.clone();
    let turn = session.turn.clone().lock_owned().await;
    let (sender, first) = oneshot::channel();
    tokio::task::spawn_blocking(move || {
        let _turn = turn;
        let mut sender = Some(sender);
        for (n, part) in parts.iter().enumerate() {
            let said = session.say(&mut utterance, part, asked.voice.as_deref(), n + 1 == parts.len());
            let failed = said.is_err();
            match (sender.take(), said) {
                (Some(sender), said) => {
                    let _ = sender.send(said);
                }
                (None, Err(failure)) if failure.status != StatusCode::CONFLICT => {
                    session.events.send("warning", json!({ "message": failure.sentence }));
                }
                _ => {}
            }
            if failed {
                return;
            }
        }
    });
    first.await.map_err(|_| Failure::ours("it failed. lipsync serve printed why"))??;
    Ok(accepted(&id))
}

/// Programs take voices as arguments, and some as files.
fn check_voice(voice: Option<&str>) -> Outcome<()> {
    let plain = |voice: &str| {
        voice.len() <= 64
            && voice.starts_with(|first: char| first.is_ascii_alphanumeric())
            && voice.chars().all(|character| character.is_ascii_alphanumeric() || "-_+".contains(character))
    };
    match voice {
        Some(voice) if !plain(voice) => Err(Failure::bad(format!(
            "the voice {voice:?} is no name. `flite -lv` or `espeak-ng --voices` lists them"
        ))),
        _ => Ok(()),
    }
}

/// Any file of sound that GStreamer decodes. It waits for its turn on the disk.
pub async fn speak(State(server): Shared, Named(session): Named, request: Request) -> Outcome<Response> {
    // Before it is read into memory.
    let place = session.uploads.clone().try_acquire_owned().map_err(|_| {
        Failure::limit("too many files of sound wait to be spoken. Send this one when others have been")
    })?;
    let Body(body) = Body::from_request(request, &server).await?;
    if body.is_empty() {
        return Err(Failure::bad("there is no sound. Send a file: curl --data-binary @speech.wav"));
    }
    let mut utterance = session.ask();
    let id = utterance.id.clone();
    let file = blocking(move || {
        let written = || -> anyhow::Result<_> {
            let mut file = tempfile::Builder::new().prefix("lipsync-").suffix(".sound").tempfile()?;
            file.write_all(&body)?;
            Ok(file.into_temp_path())
        };
        written().context("no temporary file can be made for the sound").map_err(Failure::ours)
    })
    .await?;
    let turn = session.turn.clone().lock_owned().await;
    blocking(move || {
        let _held = (turn, place);
        let sound = session.decode(&utterance, &file)?;
        session.push(&mut utterance, sound, true)
    })
    .await?;
    Ok(accepted(&id))
}

pub async fn interrupt(Named(session): Named) -> Outcome<Json<Value>> {
    blocking(move || Ok(Json(session.interrupt()))).await
}

/// 202: it will be said.
fn accepted(id: &str) -> Response {
    (StatusCode::ACCEPTED, Json(json!({ "utterance": id }))).into_response()
}

/// Raw sound as it comes: binary messages of S16LE. The text `end` ends an utterance, `interrupt` stops it.
pub async fn audio(
    Named(session): Named,
    format: Result<Query<Format>, QueryRejection>,
    upgrade: Result<WebSocketUpgrade, axum::extract::ws::rejection::WebSocketUpgradeRejection>,
) -> Outcome<Response> {
    let Query(format) = format.map_err(|rejection| Failure::bad(rejection.body_text()))?;
    let converter = Converter::new(format.rate, format.channels)?;
    let upgrade = upgrade
        .map_err(|rejection| Failure::bad(format!("this is for WebSockets: {}", rejection.body_text())))?;
    Ok(upgrade.max_message_size(MAX_MESSAGE).on_upgrade(|socket| hear(socket, session, converter)))
}

async fn hear(mut socket: WebSocket, session: Arc<Session>, mut converter: Converter) {
    let mut listener = session.events.listen();
    let mut open: Option<Utterance> = None;
    let close = loop {
        let message = tokio::select! {
            message = socket.recv() => message,
            event = listener.recv() => match event {
                Ok(event) if event.name == "end" => break Some("the session has ended".to_string()),
                Err(tokio::sync::broadcast::error::RecvError::Closed) => break None,
                _ => continue,
            },
        };
        session.touch();
        let outcome = match message {
            Some(Ok(Message::Binary(bytes))) => {
                take(&mut socket, &session, &mut converter, &mut open, &bytes).await
            }
            Some(Ok(Message::Text(text))) => match text.trim() {
                "end" => finish(&session, &mut open),
                "interrupt" => {
                    open = None;
                    let stopped = session.clone();
                    let answer = blocking(move || Ok(stopped.interrupt())).await;
                    match answer {
                        Ok(answer) => tell(&mut socket, &answer).await,
                        Err(failure) => Err(failure),
                    }
                }
                other => Err(Failure::bad(format!(
                    "the text {other:?} is nothing to do. Send end, interrupt, or sound"
                ))),
            },
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(()),
            // What is too large is read no further, so that nothing behind it is understood.
            Some(Err(_)) => break Some(format!("messages of at most {MAX_MESSAGE} bytes are understood")),
            _ => break None,
        };
        if let Err(failure) = outcome {
            break Some(failure.sentence);
        }
    };
    let _ = finish(&session, &mut open);
    if let Some(mut sentence) = close {
        // A reason has 123 bytes at most.
        let end = (0..=sentence.len().min(123)).rfind(|end| sentence.is_char_boundary(*end)).unwrap_or(0);
        sentence.truncate(end);
        let frame = CloseFrame { code: close_code::POLICY, reason: sentence.into() };
        let _ = socket.send(Message::Close(Some(frame))).await;
    }
}

/// Says sound of the open utterance, or of another.
async fn take(
    socket: &mut WebSocket,
    session: &Arc<Session>,
    converter: &mut Converter,
    open: &mut Option<Utterance>,
    bytes: &[u8],
) -> Outcome<()> {
    let sound = converter.convert(bytes)?;
    // Whoever sends faster than it is spoken waits.
    while !session.has_room(seconds(sound.len())) {
        tokio::time::sleep(LOOK).await;
    }
    let wanted = open.take().filter(|utterance| session.is_wanted(utterance));
    let mut utterance = match wanted {
        Some(utterance) => utterance,
        None => {
            let utterance = session.ask();
            tell(socket, &json!({ "utterance": utterance.id })).await?;
            utterance
        }
    };
    match session.push(&mut utterance, sound, false) {
        // Interrupted just now: what comes next is another utterance.
        Err(failure) if failure.status == StatusCode::CONFLICT => Ok(()),
        Err(failure) => Err(failure),
        Ok(()) => {
            *open = Some(utterance);
            Ok(())
        }
    }
}

fn finish(session: &Session, open: &mut Option<Utterance>) -> Outcome<()> {
    match open.take() {
        Some(mut utterance) if session.is_wanted(&utterance) => {
            session.push(&mut utterance, Vec::new(), true)
        }
        _ => Ok(()),
    }
}

async fn tell(socket: &mut WebSocket, data: &Value) -> Outcome<()> {
    socket.send(Message::Text(data.to_string().into())).await.map_err(Failure::ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn voices_are_names() {
        for good in ["slt", "en-us", "en+f3", "cmu_us_slt"] {
            assert!(check_voice(Some(good)).is_ok(), "{good}");
        }
        for bad in ["", "-voice", "/etc/passwd", "http://example.org/x", "a b", &"x".repeat(65)] {
            assert!(check_voice(Some(bad)).is_err(), "{bad}");
        }
    }
}
