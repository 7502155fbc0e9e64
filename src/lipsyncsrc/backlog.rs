// SPDX-License-Identifier: MPL-2.0
//! Sound that waits to be spoken.

use std::collections::VecDeque;
use std::sync::Arc;

use gst_audio::AudioInfo;
use lipsync_core::rate::{SECOND, mul_div};

use super::sound::{Chunk, Position};
use crate::clips::Asked;
use crate::ledger::{Dropped, Mark};

/// Clips that may wait in it.
const MOST_CLIPS: usize = 1000;

/// Raw audio, first in, first out. Who takes gets silence where there is no sound.
pub struct Backlog {
    pieces: VecDeque<Piece>,
    /// Length of all pieces, in nanoseconds.
    length: u64,
    /// Counts clearings: who waits to add when it is cleared adds nothing.
    generation: u64,
    /// Something was wanted and not there: what comes next is a new beginning.
    starving: bool,
}

impl Default for Backlog {
    fn default() -> Self {
        Self { pieces: VecDeque::new(), length: 0, generation: 0, starving: true }
    }
}

/// What is to be spoken.
pub enum Sound {
    Samples(gst::MappedBuffer<gst::buffer::Readable>),
    /// That many sample frames of silence.
    Silence(usize),
}

impl Sound {
    fn frames(&self, info: &AudioInfo) -> usize {
        match self {
            Self::Samples(data) => data.size() / info.bpf() as usize,
            Self::Silence(frames) => *frames,
        }
    }
}

/// What waits: some sound, or a mark in it. It may hold a buffer of somebody else's, so it is dropped where no lock is held.
pub enum Piece {
    Sound(SoundPiece),
    Mark(Mark),
    /// A clip that begins there.
    Clip(Asked),
}

/// What has been taken, in order.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken {
    /// So many sample frames of the chunk, after so many others.
    Sound { offset: u64, samples: u64 },
    /// A mark at that time.
    Mark(Mark, u64),
    /// A clip at that time.
    Clip(Asked, u64),
}

/// Some sound of one format.
pub struct SoundPiece {
    info: Arc<AudioInfo>,
    sound: Sound,
    /// Sample frames of it that are taken.
    taken: usize,
    /// Not to be spoken before that time.
    earliest: u64,
}

impl Piece {
    fn sound(&self) -> Option<&SoundPiece> {
        match self {
            Self::Sound(sound) => Some(sound),
            Self::Mark(_) | Self::Clip(_) => None,
        }
    }

    /// What of what is said is lost where it is dropped.
    pub fn dropped(&self) -> Option<Dropped> {
        match self {
            Self::Sound(_) => Some(Dropped::Samples),
            Self::Mark(mark) => Some(Dropped::Mark(*mark)),
            Self::Clip(_) => None,
        }
    }
}

impl SoundPiece {
    /// Sample frames that are not taken.
    fn left(&self) -> usize {
        self.sound.frames(&self.info) - self.taken
    }

    /// How long these last, in nanoseconds.
    fn length(&self) -> u64 {
        mul_div(self.left() as u64, SECOND, self.info.rate().into())
    }
}

impl Backlog {
    /// Length of the waiting sound, in nanoseconds.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// How often it has been cleared.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether what comes next is a new beginning.
    pub fn is_starving(&self) -> bool {
        self.starving
    }

    /// Whether there is sound.
    pub fn has_sound(&self) -> bool {
        self.pieces.iter().any(|piece| piece.sound().is_some())
    }

    /// Puts a mark behind the sound that waits.
    pub fn mark(&mut self, mark: Mark) {
        // Twice that this was all says no more than once.
        if mark != Mark::Complete || !matches!(self.pieces.back(), Some(Piece::Mark(Mark::Complete))) {
            self.pieces.push_back(Piece::Mark(mark));
        }
    }

    /// Puts a clip behind the sound that waits; false where there are too many.
    pub fn add_clip(&mut self, clip: Asked) -> bool {
        let waiting = self.pieces.iter().filter(|piece| matches!(piece, Piece::Clip(_))).count();
        if waiting < MOST_CLIPS {
            self.pieces.push_back(Piece::Clip(clip));
        }
        waiting < MOST_CLIPS
    }

    /// Adds sound. What begins anew is spoken at the time `now` at the earliest.
    pub fn push(&mut self, info: Arc<AudioInfo>, sound: Sound, now: u64) {
        let earliest = if std::mem::take(&mut self.starving) { now } else { 0 };
        let piece = SoundPiece { info, sound, taken: 0, earliest };
        self.length = self.length.saturating_add(piece.length());
        self.pieces.push_back(Piece::Sound(piece));
    }

    /// Takes out all sound.
    #[must_use = "it may hold buffers, which are dropped where no lock is held"]
    pub fn clear(&mut self) -> VecDeque<Piece> {
        self.generation += 1;
        self.length = 0;
        self.starving = true;
        std::mem::take(&mut self.pieces)
    }

    /// Takes the sound up to the time `until`, silence where there is none, and puts the pieces that are used up by it into
    /// `spent`, and what they were into `taken`. The format changes at the beginning of a chunk, when sound of another is due.
    pub fn take(
        &mut self,
        position: &mut Position,
        until: u64,
        spent: &mut Vec<Piece>,
        taken: &mut Vec<Taken>,
    ) -> Chunk {
        let head = self.pieces.iter().find_map(Piece::sound);
        if let Some(head) = head.filter(|head| head.info != position.info && head.earliest <= position.time())
        {
            *position = Position::new(head.info.clone(), position.time());
        }
        let bpf = position.info.bpf() as usize;
        let start = position.time();
        let count = position.samples_until(until) as usize;
        let mut bytes = vec![0; count * bpf];
        position.info.format_info().fill_silence(&mut bytes);
        let mut done = 0;
        while done < count {
            let head = match self.pieces.front_mut() {
                Some(Piece::Sound(head)) => head,
                Some(Piece::Mark(mark)) => {
                    taken.push(Taken::Mark(*mark, position.time()));
                    self.pieces.pop_front();
                    continue;
                }
                Some(Piece::Clip(_)) => {
                    if let Some(Piece::Clip(clip)) = self.pieces.pop_front() {
                        taken.push(Taken::Clip(clip, position.time()));
                    }
                    continue;
                }
                None => {
                    self.starving = true;
                    break;
                }
            };
            if head.info != position.info {
                break;
            }
            let wait = position.samples_until(head.earliest) as usize;
            if wait > 0 {
                let silence = wait.min(count - done);
                done += silence;
                position.samples += silence as u64;
                continue;
            }
            let n = head.left().min(count - done);
            if let Sound::Samples(data) = &head.sound {
                bytes[done * bpf..][..n * bpf].copy_from_slice(&data[head.taken * bpf..][..n * bpf]);
            }
            head.taken += n;
            taken.push(Taken::Sound { offset: done as u64, samples: n as u64 });
            done += n;
            position.samples += n as u64;
            if head.left() == 0 {
                spent.extend(self.pieces.pop_front());
            }
        }
        position.samples += (count - done) as u64;
        self.length = self.pieces.iter().filter_map(Piece::sound).map(SoundPiece::length).sum();
        Chunk { info: position.info.clone(), start, bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Reason;

    fn mono() -> Arc<AudioInfo> {
        gst::init().unwrap();
        Arc::new(AudioInfo::builder(gst_audio::AUDIO_FORMAT_S16, 1000, 1).build().unwrap())
    }

    fn samples(values: &[i16]) -> Sound {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_ne_bytes()).collect();
        Sound::Samples(gst::Buffer::from_slice(bytes).into_mapped_buffer_readable().unwrap())
    }

    /// Takes the sound up to so many milliseconds.
    fn take(backlog: &mut Backlog, position: &mut Position, until: u64) -> (Vec<i16>, usize) {
        let mut spent = Vec::new();
        let chunk = backlog.take(position, until * 1_000_000, &mut spent, &mut Vec::new());
        let values = chunk.bytes.as_chunks::<2>().0.iter().map(|bytes| i16::from_ne_bytes(*bytes)).collect();
        (values, spent.len())
    }

    #[test]
    fn what_begins_anew_waits_for_its_time_and_what_follows_does_not() {
        let info = mono();
        let mut backlog = Backlog::default();
        let mut position = Position::new(info.clone(), 0);
        backlog.push(info.clone(), samples(&[1, 2]), 3_000_000);
        assert!(!backlog.is_starving());
        backlog.push(info.clone(), samples(&[3, 4, 5]), 9_000_000);
        assert_eq!(backlog.length(), 5_000_000);
        assert_eq!(take(&mut backlog, &mut position, 4), (vec![0, 0, 0, 1], 0));
        assert_eq!(take(&mut backlog, &mut position, 6), (vec![2, 3], 1), "what is used up comes back");
        assert_eq!(backlog.length(), 2_000_000);
        assert!(!backlog.is_starving());
        assert_eq!(take(&mut backlog, &mut position, 10), (vec![4, 5, 0, 0], 1));
        assert!(backlog.is_starving());
        backlog.push(info, samples(&[6]), 12_000_000);
        assert_eq!(take(&mut backlog, &mut position, 14).0, [0, 0, 6, 0]);
    }

    #[test]
    fn marks_keep_their_place_between_the_samples() {
        let info = mono();
        let mut backlog = Backlog::default();
        let mut position = Position::new(info.clone(), 0);
        backlog.mark(Mark::Start(1));
        assert!(backlog.is_starving() && !backlog.has_sound(), "a mark is no sound");
        backlog.push(info.clone(), samples(&[1, 2]), 3_000_000);
        backlog.mark(Mark::End(1, Reason::Finished));
        backlog.push(info, samples(&[3, 4, 5]), 0);
        let mut take = |backlog: &mut Backlog, until: u64| {
            let mut taken = Vec::new();
            let _ = backlog.take(&mut position, until * 1_000_000, &mut Vec::new(), &mut taken);
            taken
        };
        let start = Taken::Mark(Mark::Start(1), 0);
        assert_eq!(take(&mut backlog, 4), [start, Taken::Sound { offset: 3, samples: 1 }]);
        let end = Taken::Mark(Mark::End(1, Reason::Finished), 5_000_000);
        let sound = |offset, samples| Taken::Sound { offset, samples };
        assert_eq!(take(&mut backlog, 7), [sound(0, 1), end, sound(1, 2)]);
        // Nothing is wanted, so nothing is taken.
        backlog.mark(Mark::Complete);
        assert_eq!(take(&mut backlog, 7), []);
        assert_eq!(take(&mut backlog, 8), [sound(0, 1)]);
        assert_eq!(take(&mut backlog, 9), [Taken::Mark(Mark::Complete, 8_000_000)]);
    }

    #[test]
    fn a_clearing_counts_and_what_comes_next_is_a_new_beginning() {
        let info = mono();
        let mut backlog = Backlog::default();
        backlog.push(info, Sound::Silence(500), 0);
        let before = backlog.generation();
        assert_eq!(backlog.length(), SECOND / 2);
        assert_eq!(backlog.clear().len(), 1);
        assert_eq!(backlog.length(), 0);
        assert!(backlog.is_starving() && backlog.generation() != before);
    }
}
