// SPDX-License-Identifier: MPL-2.0
//! Which picture of the avatar is shown when: clips by what is going on, gestures by request, and the joins between them.
//!
//! Time is counted in frames of the avatar. Of an avatar with a single clip, frame `n` is the clip's frame at position `n`. What is
//! decided depends on what was asked for and when, in frames: the same sound gives the same pictures.

mod matching;
mod quality;

use std::sync::Arc;

use crate::avatar::Avatar;
use crate::avatar::clips::{ClipMouth, ClipUse, Play};
use crate::avatar::frames::{FrameRef, PREFETCH, Shot};
use matching::{Cursor, EMPHASIS, GESTURE, Join, Matching, STATE, frames_in};
pub use quality::{ClipJoins, joins};

/// What the avatar is doing, as far as the program says so.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum State {
    /// It speaks while there is speech, and is idle else.
    #[default]
    Auto,
    /// It is idle.
    Idle,
    /// It listens.
    Listening,
    /// It thinks.
    Thinking,
    /// It speaks.
    Speaking,
}

/// Frames of the avatar that are gone through one by one; where more are left out, whatever was under way is over.
const MOST_STEPS: u64 = 1000;

/// What is played, and the join that is under way.
#[derive(Debug, Clone, Copy)]
struct Playing {
    now: Cursor,
    /// With the number of frames since it was decided.
    join: Option<(Join, u32)>,
}

impl Playing {
    fn at(clip: usize, position: u64) -> Self {
        Self { now: Cursor { clip, position }, join: None }
    }

    /// The clip that is played, or will be.
    fn destination(&self) -> usize {
        self.join.map_or(self.now.clip, |(join, _)| join.entry.clip)
    }

    /// Which of the frames between two clips this is, from 1, and the place in the clip that is entered.
    fn between(&self) -> Option<(u32, Join, Cursor)> {
        let (join, done) = self.join?;
        let number = done.checked_sub(join.wait).filter(|number| *number > 0)?;
        let position = join.entry.position + u64::from(number) - 1;
        Some((number, join, Cursor { position, ..join.entry }))
    }

    /// Goes on by a frame.
    fn step(&mut self) {
        self.now.position += 1;
        if let Some((_, done)) = &mut self.join {
            *done += 1;
        }
        if let Some((number, join, entered)) = self.between()
            && number > join.length
        {
            *self = Self { now: entered, join: None };
        }
    }

    /// The picture, and how much of the mouth is its own, of 255.
    fn look(&self, avatar: &Avatar) -> (FrameRef, u8) {
        let frame = |cursor: Cursor| avatar.clips[cursor.clip].frame_at(cursor.position);
        let own = |cursor: Cursor| u32::from(avatar.clips[cursor.clip].mouth == ClipMouth::Own) * 255;
        let Some((number, join, entered)) = self.between() else {
            return (FrameRef::Single(frame(self.now)), own(self.now) as u8);
        };
        let weight = 255 * number / (join.length + 1);
        let own_mouth = (own(self.now) * (255 - weight) + own(entered) * weight) / 255;
        (FrameRef::between(frame(self.now), frame(entered), weight as u8), own_mouth as u8)
    }
}

/// Decides for each frame of the avatar which picture is shown.
pub struct Timeline {
    avatar: Arc<Avatar>,
    matching: Matching,
    playing: Playing,
    /// The step that was asked for last.
    last: Option<u64>,
    state: State,
    /// The clip to be played instead of those of the state.
    held: Option<usize>,
    /// The clip to be played once, next, and how long it may wait for a good frame, in nanoseconds.
    gesture: Option<(usize, u64)>,
    /// The clip is played once, and then left.
    once: bool,
    /// Counts the clips that have taken turns.
    turn: usize,
    /// Counts the words that were underlined.
    underlined: usize,
}

impl Timeline {
    /// One that begins with a clip that is played by itself.
    pub fn new(avatar: Arc<Avatar>) -> Self {
        Self {
            avatar,
            matching: Matching::default(),
            playing: Playing::at(0, 0),
            last: None,
            state: State::Auto,
            held: None,
            gesture: None,
            once: false,
            turn: 0,
            underlined: 0,
        }
    }

    /// The avatar whose clips are played.
    pub fn avatar(&self) -> &Avatar {
        &self.avatar
    }

    /// Says what the avatar is doing.
    pub fn set_state(&mut self, state: State) {
        self.state = state;
    }

    /// Plays a clip until another is set: over and over, or once, if it is one that is played once, and then what the state
    /// asks for. `None` leaves it to the state. Returns false, and changes nothing, where the avatar has no clip of that name.
    pub fn set_clip(&mut self, name: Option<&str>) -> bool {
        let found = name.map(|name| self.find(name));
        if found == Some(None) {
            return false;
        }
        let found = found.flatten();
        let is_once = |clip: &usize| self.avatar.clips[*clip].play == Play::Once;
        self.gesture = found.filter(is_once).map(|clip| (clip, GESTURE.0)).or(self.gesture);
        self.held = found.filter(|clip| !is_once(clip));
        true
    }

    /// Plays a clip once, within a fifth of a second, and then goes back. Returns false where the avatar has no clip of that name.
    pub fn play_clip(&mut self, name: &str) -> bool {
        self.play(name, GESTURE.0)
    }

    /// The same, but it begins with the next picture, whatever that does to the join.
    pub fn play_clip_now(&mut self, name: &str) -> bool {
        self.play(name, 0)
    }

    fn play(&mut self, name: &str, patience: u64) -> bool {
        let found = self.find(name);
        self.gesture = found.map(|clip| (clip, patience)).or(self.gesture);
        found.is_some()
    }

    /// Underlines a word: plays a clip for that, unless something else is under way or the way there is long. Returns whether it does.
    pub fn emphasize(&mut self) -> bool {
        if self.once || self.gesture.is_some() || self.playing.join.is_some() {
            return false;
        }
        let longest = frames_in(&self.avatar, EMPHASIS);
        // Where the way to the one whose turn it is is long, that to another may be short.
        let clips = self.avatar.clips.iter().filter(|clip| clip.used_for == ClipUse::Emphasis).count();
        let found = (0..clips).find_map(|n| {
            let clip = self.clip_for(ClipUse::Emphasis, self.underlined + n)?;
            let join = self.join_to(clip, GESTURE);
            (join.length <= longest).then_some(join)
        });
        let Some(join) = found else { return false };
        self.underlined += 1;
        self.once = true;
        self.playing.join = Some((join, 0));
        true
    }

    /// The name of the clip that is played, or entered.
    pub fn clip(&self) -> &str {
        &self.avatar.clips[self.playing.destination()].name
    }

    fn find(&self, name: &str) -> Option<usize> {
        self.avatar.clips.iter().position(|clip| clip.name == name)
    }

    /// The picture at a step, in frames of the avatar; steps may be repeated and left out. Going back begins anew.
    pub fn shot(&mut self, step: u64, speaking: bool) -> Shot {
        match self.last {
            Some(last) if step >= last => self.advance(step - last, speaking),
            _ => {
                self.once = false;
                self.playing = Playing::at(0, step);
                self.playing.now.clip = self.wanted(speaking);
            }
        }
        self.last = Some(step);
        let (frame, own_mouth) = self.playing.look(&self.avatar);
        let mut preview = self.playing;
        let ahead = [(); PREFETCH].map(|()| {
            preview.step();
            preview.look(&self.avatar).0
        });
        Shot { frame, own_mouth, ahead }
    }

    /// Goes on by that many frames.
    fn advance(&mut self, steps: u64, speaking: bool) {
        if steps > MOST_STEPS || (self.avatar.clips.len() == 1 && self.playing.join.is_none() && !self.once) {
            let Cursor { clip, position } = self.playing.now;
            self.playing = Playing::at(clip, position + steps);
            return;
        }
        for _ in 0..steps {
            self.decide(speaking);
            self.playing.step();
        }
    }

    /// Decides whether another clip is played soon.
    fn decide(&mut self, speaking: bool) {
        // What has begun to change is changed first.
        if self.playing.between().is_some() {
            return;
        }
        if let Some((clip, patience)) = self.gesture.take() {
            self.once = true;
            return self.join(clip, (patience, GESTURE.1));
        }
        let Cursor { clip, position } = self.playing.now;
        let left = self.avatar.clips[clip].period().saturating_sub(position + 1);
        if self.once {
            let frames = frames_in(&self.avatar, GESTURE.0);
            // It is on the way there, or in the midst of it.
            if self.playing.join.is_some() || left > u64::from(frames) {
                return;
            }
            self.once = false;
            let patience = (left * self.avatar.rate.time_of(1), STATE.1);
            let wanted = self.wanted(speaking);
            return self.join(wanted, patience);
        }
        if self.held.is_none()
            && self.playing.join.is_none()
            && (position + 1) % self.avatar.clips[clip].period() == 0
        {
            self.turn += 1;
        }
        let wanted = self.wanted(speaking);
        if wanted == self.playing.destination() {
            return;
        }
        if wanted == clip {
            self.playing.join = None;
        } else {
            self.join(wanted, STATE);
        }
    }

    /// The clip that is played by itself at the moment.
    fn wanted(&self, speaking: bool) -> usize {
        if let Some(held) = self.held {
            return held;
        }
        let used_for = match self.state {
            State::Auto if speaking => ClipUse::Speaking,
            State::Auto | State::Idle => ClipUse::Idle,
            State::Listening => ClipUse::Listening,
            State::Thinking => ClipUse::Thinking,
            State::Speaking => ClipUse::Speaking,
        };
        let clip = self.clip_for(used_for, self.turn);
        clip.or_else(|| self.clip_for(ClipUse::Idle, self.turn)).unwrap_or(0)
    }

    /// One of the clips that are for that, each in its turn; `None` where there are none.
    fn clip_for(&self, used_for: ClipUse, turn: usize) -> Option<usize> {
        let clips = &self.avatar.clips;
        let found = || (0..clips.len()).filter(|i| clips[*i].used_for == used_for);
        found().nth(turn.checked_rem(found().count())?)
    }

    /// Begins to change to another clip, within a time and over a time.
    fn join(&mut self, to: usize, times: (u64, u64)) {
        self.playing.join = Some((self.join_to(to, times), 0));
    }

    /// How to come to another clip within a time and over a time.
    fn join_to(&mut self, to: usize, times: (u64, u64)) -> Join {
        self.matching.join(&self.avatar, self.playing.now, to, times)
    }
}

#[cfg(test)]
mod tests;
