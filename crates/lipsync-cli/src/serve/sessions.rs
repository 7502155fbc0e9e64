// SPDX-License-Identifier: MPL-2.0
//! All sessions.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use lipsync_core::sync::lock;
use serde_json::Value;

use super::access::random_token;
use super::avatars::Avatars;
use super::failure::{Failure, Outcome};
use super::memory;
use super::options::Serve;
use super::session::Session;

/// Characters of a session's or a viewer's name.
const ID_LENGTH: usize = 16;

/// The sessions by their names; where one is being made, its place is kept.
pub struct Sessions {
    options: Serve,
    avatars: Avatars,
    all: Mutex<BTreeMap<String, Option<Arc<Session>>>>,
}

impl Sessions {
    pub fn new(options: Serve, avatars: Avatars) -> Self {
        Self { options, avatars, all: Mutex::default() }
    }

    pub fn avatars(&self) -> &Avatars {
        &self.avatars
    }

    /// Makes a session.
    ///
    /// # Errors
    /// Where there are too many, or the avatar cannot be played.
    pub fn create(&self, avatar: Option<&str>) -> Outcome<Arc<Session>> {
        let name = avatar.unwrap_or(self.avatars.first());
        let avatar = self.avatars.find(name)?;
        let id = new_id()?;
        {
            let mut all = lock(&self.all);
            let max = usize::from(self.options.max_sessions);
            if all.len() >= max {
                return Err(Failure::limit(format!(
                    "there are {max} sessions already. End one (DELETE), or start with a larger --max-sessions"
                )));
            }
            all.insert(id.clone(), None);
        }
        let session = Session::start(id.clone(), name.into(), avatar, &self.options);
        let mut all = lock(&self.all);
        match session {
            // After `close_all` nobody is let in.
            Ok(session) if all.contains_key(&id) => {
                all.insert(id, Some(session.clone()));
                Ok(session)
            }
            Ok(_) => {
                Err(Failure::new(axum::http::StatusCode::SERVICE_UNAVAILABLE, "lipsync serve is ending"))
            }
            Err(failure) => {
                all.remove(&id);
                Err(failure)
            }
        }
    }

    /// A session by its name.
    ///
    /// # Errors
    /// Where there is none of that name.
    pub fn get(&self, id: &str) -> Outcome<Arc<Session>> {
        let session = lock(&self.all).get(id).cloned().flatten();
        session.ok_or_else(|| no_session(id))
    }

    /// Ends a session.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn end(&self, id: &str, why: &str) -> Outcome<()> {
        let session = {
            let mut all = lock(&self.all);
            let session = all.get(id).cloned().flatten().ok_or_else(|| no_session(id))?;
            all.remove(id);
            session
        };
        session.close(why);
        drop(session);
        memory::give_back();
        Ok(())
    }

    /// The state of each.
    pub fn describe(&self) -> Value {
        self.living().iter().map(|session| session.status()).collect()
    }

    /// Ends those that failed, or that nobody uses; returns why, for each.
    pub fn tidy(&self) -> Vec<(String, String)> {
        let mut ended = Vec::new();
        for session in self.living() {
            session.tidy();
            if let Some(why) = session.is_over() {
                let _ = self.end(&session.id, &why);
                ended.push((session.id.clone(), why));
            }
        }
        ended
    }

    /// Ends all of them at once: each may wait for another server.
    pub fn close_all(&self) {
        let all = std::mem::take(&mut *lock(&self.all));
        std::thread::scope(|scope| {
            for session in all.into_values().flatten() {
                scope.spawn(move || session.close("lipsync serve was ended"));
            }
        });
    }

    fn living(&self) -> Vec<Arc<Session>> {
        lock(&self.all).values().flatten().cloned().collect()
    }
}

/// A name that nobody guesses.
///
/// # Errors
/// Where the system has no random numbers.
pub fn new_id() -> Outcome<String> {
    let mut id = random_token().map_err(Failure::ours)?;
    id.truncate(ID_LENGTH);
    Ok(id)
}

fn no_session(id: &str) -> Failure {
    Failure::missing(format!(
        "there is no session {id:?}: it has ended, or never was. Make one (POST /api/sessions)"
    ))
}
