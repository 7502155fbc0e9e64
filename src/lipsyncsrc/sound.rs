// SPDX-License-Identifier: MPL-2.0
//! The sound that is spoken, piece by piece on its way from the backlog to the pad `audio`.

use std::sync::Arc;

use gst_audio::{AudioFormatInfo, AudioInfo, AudioPackFlags};
use lipsync_core::rate::{SECOND, mul_div};

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
    pub fn samples_until(&self, time: u64) -> u64 {
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

    /// Lets it fall silent in 5 ms from that time on, without a click. Returns the sample frames that are still heard.
    pub fn fade_out(&mut self, from: u64) -> u64 {
        const FADE: u64 = 5_000_000;
        let info = self.info.format_info();
        let unpacked = AudioFormatInfo::from_format(info.unpack_format());
        let before = u128::from(from.saturating_sub(self.start)) * u128::from(self.info.rate());
        let before =
            (before.div_ceil(SECOND.into()) as u64).min(self.samples()) as usize * self.info.bpf() as usize;
        let faded = (before + self.bytes_of(FADE)).min(self.bytes.len());
        let width = unpacked.width() as usize / 8;
        let values = (faded - before) / (info.width() as usize / 8);
        let channels = self.info.channels() as usize;
        let mut samples = vec![0; values * width];
        info.unpack(AudioPackFlags::empty(), &mut samples, &self.bytes[before..faded]);
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
        info.pack(AudioPackFlags::empty(), &mut self.bytes[before..faded], &samples);
        (faded / self.info.bpf() as usize) as u64
    }

    /// Time of a sample.
    pub fn time_of(&self, sample: u64) -> u64 {
        self.start + mul_div(sample, SECOND, self.info.rate().into())
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
        self.time_of(self.samples())
    }
}
