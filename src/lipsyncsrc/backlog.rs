//! Sound that waits to be spoken.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex};

use gst_audio::{AudioFormatInfo, AudioInfo, AudioPackFlags};
use lipsync_core::rate::{SECOND, mul_div};

use crate::lock;

/// A queue of raw audio. Who adds waits while it is full; who takes never waits, but gets silence where there is none.
#[derive(Default)]
pub struct Backlog {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    pieces: VecDeque<Piece>,
    /// Length of all pieces, in nanoseconds.
    length: u64,
    open: bool,
    /// Nothing more is taken from it.
    ended: bool,
    /// Nothing comes in for the moment: the sink pad flushes or is not active.
    flushing: bool,
    /// Counts clearings: who waits to add when it is cleared adds nothing.
    generation: u64,
    /// Something was wanted and not there: what comes next is a new beginning.
    starving: bool,
}

impl State {
    /// Why nothing can be added.
    fn refusal(&self) -> Option<gst::FlowError> {
        match () {
            () if !self.open || self.flushing => Some(gst::FlowError::Flushing),
            () if self.ended => Some(gst::FlowError::Eos),
            () => None,
        }
    }

    /// Takes out all sound: whoever waits to add some adds nothing.
    fn clear(&mut self) -> VecDeque<Piece> {
        self.generation += 1;
        self.length = 0;
        self.starving = true;
        std::mem::take(&mut self.pieces)
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

/// Some sound of one format.
struct Piece {
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

/// Where the spoken sound is: the next sample is number `samples` since the time `base`.
#[derive(Clone)]
pub struct Position {
    pub info: Arc<AudioInfo>,
    pub base: u64,
    pub samples: u64,
}

impl Position {
    /// The beginning of a sound of that format.
    pub fn new(info: Arc<AudioInfo>, base: u64) -> Self {
        Self { info, base, samples: 0 }
    }

    /// Time of the next sample.
    pub fn time(&self) -> u64 {
        self.base + mul_div(self.samples, SECOND, self.info.rate().into())
    }

    /// Number of the first sample at that time or later, since the next one.
    fn samples_until(&self, time: u64) -> u64 {
        let product = u128::from(time.saturating_sub(self.base)) * u128::from(self.info.rate());
        (product.div_ceil(SECOND.into()) as u64).saturating_sub(self.samples)
    }
}

/// Some of the spoken sound.
pub struct Chunk {
    pub info: Arc<AudioInfo>,
    /// Time of its first sample.
    pub start: u64,
    pub bytes: Vec<u8>,
}

impl Chunk {
    /// Sample frames.
    pub fn samples(&self) -> u64 {
        (self.bytes.len() / self.info.bpf() as usize) as u64
    }

    fn bytes_of(&self, duration: u64) -> usize {
        let samples = mul_div(duration, self.info.rate().into(), SECOND).min(self.samples());
        samples as usize * self.info.bpf() as usize
    }

    /// Turns it into silence.
    pub fn silence(&mut self) {
        self.info.format_info().fill_silence(&mut self.bytes);
    }

    /// Lets it fall silent in 5 ms, without a click.
    pub fn fade_out(&mut self) {
        const FADE: u64 = 5_000_000;
        let info = self.info.format_info();
        let unpacked = AudioFormatInfo::from_format(info.unpack_format());
        let faded = self.bytes_of(FADE);
        let width = unpacked.width() as usize / 8;
        let values = faded / (info.width() as usize / 8);
        let channels = self.info.channels() as usize;
        let mut samples = vec![0; values * width];
        info.unpack(AudioPackFlags::empty(), &mut samples, &self.bytes[..faded]);
        let frames = (values / channels).max(1);
        for (i, bytes) in samples.chunks_exact_mut(width).enumerate() {
            let gain = 1.0 - (i / channels) as f64 / frames as f64;
            // Floats unpack to 64 bits, integers to 32.
            if let Ok(float) = <[u8; 8]>::try_from(&*bytes) {
                bytes.copy_from_slice(&(f64::from_ne_bytes(float) * gain).to_ne_bytes());
            } else if let Ok(integer) = <[u8; 4]>::try_from(&*bytes) {
                let faded = (f64::from(i32::from_ne_bytes(integer)) * gain) as i32;
                bytes.copy_from_slice(&faded.to_ne_bytes());
            }
        }
        self.info.format_info().fill_silence(&mut self.bytes[faded..]);
        info.pack(AudioPackFlags::empty(), &mut self.bytes[..faded], &samples);
    }

    /// Leaves out what comes at that time or later.
    pub fn cut_at(&mut self, time: u64) {
        let kept = self.bytes_of(time.saturating_sub(self.start));
        self.bytes.truncate(kept);
    }

    /// Leaves out what comes before that time.
    pub fn cut_before(&mut self, time: u64) {
        let rate = self.info.rate().into();
        let early = u128::from(time.saturating_sub(self.start)) * u128::from(rate);
        let samples = (early.div_ceil(SECOND.into()) as u64).min(self.samples());
        self.bytes.drain(..samples as usize * self.info.bpf() as usize);
        self.start += mul_div(samples, SECOND, rate);
    }

    /// Time at which it ends.
    pub fn end(&self) -> u64 {
        self.start + mul_div(self.samples(), SECOND, self.info.rate().into())
    }
}

impl Backlog {
    /// Empties the backlog and lets it take sound.
    pub fn open(&self) {
        let mut state = lock(&self.state);
        let (generation, flushing) = (state.generation + 1, state.flushing);
        let old = std::mem::replace(
            &mut *state,
            State { open: true, starving: true, generation, flushing, ..State::default() },
        );
        drop(state);
        drop(old);
    }

    /// Lets nobody wait any more.
    pub fn close(&self) {
        lock(&self.state).open = false;
        self.changed.notify_all();
    }

    /// Drops all sound, also that of those who wait to add it.
    pub fn clear(&self) {
        let pieces = lock(&self.state).clear();
        drop(pieces);
        self.changed.notify_all();
    }

    /// Drops all sound, and takes no more: there is nothing that it could be spoken in.
    pub fn end(&self) {
        lock(&self.state).ended = true;
        self.clear();
    }

    /// Whether nothing comes in for the moment. Whoever waits to add something then adds nothing.
    pub fn set_flushing(&self, flushing: bool) {
        lock(&self.state).flushing = flushing;
        self.changed.notify_all();
    }

    /// Length of the waiting sound, in nanoseconds.
    pub fn length(&self) -> u64 {
        lock(&self.state).length
    }

    /// Adds sound, waiting until there are less than `max` nanoseconds. What begins anew is spoken `now` at the earliest.
    ///
    /// # Errors
    /// [`gst::FlowError::Flushing`] where it is closed or flushing, [`gst::FlowError::Eos`] after the end.
    pub fn push(
        &self,
        info: &Arc<AudioInfo>,
        sound: Sound,
        now: impl Fn() -> u64,
        max: u64,
    ) -> Result<(), gst::FlowError> {
        let mut state = lock(&self.state);
        let generation = state.generation;
        while state.refusal().is_none() && state.generation == generation && state.length >= max {
            state = self.changed.wait(state).unwrap_or_else(|e| e.into_inner());
        }
        if let Some(reason) = state.refusal() {
            return Err(reason);
        }
        if state.generation == generation {
            let earliest = if std::mem::take(&mut state.starving) { now() } else { 0 };
            let piece = Piece { info: info.clone(), sound, taken: 0, earliest };
            state.length = state.length.saturating_add(piece.length());
            state.pieces.push_back(piece);
        }
        Ok(())
    }

    /// Takes the sound up to the time `until`, silence where there is none. The format changes at the beginning of a
    /// chunk, when sound of another is due.
    pub fn take(&self, position: &mut Position, until: u64) -> Chunk {
        let mut state = lock(&self.state);
        let head = state.pieces.front();
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
            let Some(head) = state.pieces.front_mut() else {
                state.starving = true;
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
                state.pieces.pop_front();
            }
        }
        position.samples += (count - done) as u64;
        state.length = state.pieces.iter().map(Piece::length).sum();
        drop(state);
        self.changed.notify_all();
        Chunk { info: position.info.clone(), start, bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Waits for a while for somebody to wait, which nothing tells.
    fn push(backlog: &Backlog, frames: usize) -> Result<(), gst::FlowError> {
        let info = AudioInfo::builder(gst_audio::AUDIO_FORMAT_S16, 1000, 1).build().unwrap();
        backlog.push(&Arc::new(info), Sound::Silence(frames), || 0, SECOND)
    }

    #[test]
    fn who_waits_is_told_why_it_is_in_vain() {
        gst::init().unwrap();
        type Change = fn(&Backlog);
        let cases: [(Change, Result<(), gst::FlowError>, u64); 4] = [
            (Backlog::close, Err(gst::FlowError::Flushing), 2 * SECOND),
            (Backlog::end, Err(gst::FlowError::Eos), 0),
            (|backlog| backlog.set_flushing(true), Err(gst::FlowError::Flushing), 2 * SECOND),
            (Backlog::clear, Ok(()), 0),
        ];
        for (change, expected, length) in cases {
            let backlog = Backlog::default();
            assert_eq!(push(&backlog, 1), Err(gst::FlowError::Flushing), "closed");
            backlog.open();
            push(&backlog, 2000).unwrap();
            std::thread::scope(|scope| {
                let waiting = scope.spawn(|| push(&backlog, 500));
                while !waiting.is_finished() {
                    // A clearing is for those who wait already: once more, until this one does.
                    change(&backlog);
                    std::thread::sleep(std::time::Duration::from_millis(1));
                }
                let result = waiting.join().unwrap();
                assert_eq!(result, expected);
            });
            assert!([length, SECOND / 2].contains(&backlog.length()), "{}", backlog.length());
        }
    }

    #[test]
    fn what_flushes_goes_on_afterwards() {
        gst::init().unwrap();
        let backlog = Backlog::default();
        backlog.set_flushing(true);
        backlog.open();
        assert_eq!(push(&backlog, 500), Err(gst::FlowError::Flushing), "still");
        backlog.set_flushing(false);
        push(&backlog, 500).unwrap();
        backlog.end();
        assert_eq!(push(&backlog, 500), Err(gst::FlowError::Eos));
        backlog.open();
        push(&backlog, 500).unwrap();
        assert_eq!(backlog.length(), SECOND / 2);
    }
}
