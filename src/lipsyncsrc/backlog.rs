// SPDX-License-Identifier: MPL-2.0
//! Sound that waits to be spoken.

use std::collections::VecDeque;
use std::sync::Arc;

use gst_audio::AudioInfo;
use lipsync_core::rate::{SECOND, mul_div};

use super::sound::{Chunk, Position};

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

/// Some sound of one format. It may hold a buffer of somebody else's, so it is dropped where no lock is held.
pub struct Piece {
    info: Arc<AudioInfo>,
    sound: Sound,
    /// Sample frames of it that are taken.
    taken: usize,
    /// Not to be spoken before that time.
    earliest: u64,
}

impl Piece {
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

    /// Adds sound. What begins anew is spoken at the time `now` at the earliest.
    pub fn push(&mut self, info: Arc<AudioInfo>, sound: Sound, now: u64) {
        let earliest = if std::mem::take(&mut self.starving) { now } else { 0 };
        let piece = Piece { info, sound, taken: 0, earliest };
        self.length = self.length.saturating_add(piece.length());
        self.pieces.push_back(piece);
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
    /// `spent`. The format changes at the beginning of a chunk, when sound of another is due.
    pub fn take(&mut self, position: &mut Position, until: u64, spent: &mut Vec<Piece>) -> Chunk {
        let head = self.pieces.front();
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
            let Some(head) = self.pieces.front_mut() else {
                self.starving = true;
                break;
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
            done += n;
            position.samples += n as u64;
            if head.left() == 0 {
                spent.extend(self.pieces.pop_front());
            }
        }
        position.samples += (count - done) as u64;
        self.length = self.pieces.iter().map(Piece::length).sum();
        Chunk { info: position.info.clone(), start, bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let chunk = backlog.take(position, until * 1_000_000, &mut spent);
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
