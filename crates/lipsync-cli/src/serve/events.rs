// SPDX-License-Identifier: MPL-2.0
//! What a session tells those who listen: names with JSON, as server-sent events.

use serde_json::Value;
use tokio::sync::broadcast;

/// Events that a slow listener may lag behind; then it misses some, and is told the present state.
const CAPACITY: usize = 256;

/// Something that happened.
#[derive(Debug, Clone)]
pub struct Event {
    /// `status`, `speech-start`, `utterance-end`, `warning` and so on: docs/serve.md has all of them.
    pub name: &'static str,
    pub data: Value,
}

/// Where events are sent, and listened to.
#[derive(Clone)]
pub struct Events(broadcast::Sender<Event>);

impl Default for Events {
    fn default() -> Self {
        Self(broadcast::Sender::new(CAPACITY))
    }
}

impl Events {
    pub fn send(&self, name: &'static str, data: Value) {
        // Without listeners there is nobody to tell.
        let _ = self.0.send(Event { name, data });
    }

    pub fn listen(&self) -> broadcast::Receiver<Event> {
        self.0.subscribe()
    }
}
