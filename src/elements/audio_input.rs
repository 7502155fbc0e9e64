//! Raw audio buffers of any format as interleaved floats.

use gst_audio::{AudioChannelPosition as Position, AudioFormatInfo, AudioInfo, AudioPackFlags};

/// Caps of everything that is understood: raw interleaved audio.
pub fn caps() -> gst::Caps {
    gst_audio::AudioCapsBuilder::new_interleaved().build()
}

/// Turns buffers of one format into interleaved floats.
pub struct AudioInput {
    info: AudioInfo,
    unpacked: Vec<u8>,
    floats: Vec<f32>,
}

impl AudioInput {
    /// A converter for buffers of that format.
    pub fn new(info: AudioInfo) -> Self {
        Self { info, unpacked: Vec::new(), floats: Vec::new() }
    }

    /// The format.
    pub fn info(&self) -> &AudioInfo {
        &self.info
    }

    /// How much of each channel makes mono.
    ///
    /// Speech is in front: the centre counts as much as left and right together. Where no channel is known to
    /// be in front, all count the same. The weights add up to one, so that nothing clips.
    pub fn mono_weights(&self) -> Vec<f32> {
        let channels = self.info.channels() as usize;
        let front = |position: &Position| match position {
            Position::Mono | Position::FrontCenter => 2.0,
            Position::FrontLeft | Position::FrontRight => 1.0,
            _ => 0.0,
        };
        let weights: Vec<f32> = match self.info.positions() {
            Some(positions) if !self.info.is_unpositioned() => positions.iter().map(front).collect(),
            _ => vec![1.0; channels],
        };
        let sum: f32 = weights.iter().sum();
        if sum > 0.0 {
            weights.iter().map(|weight| weight / sum).collect()
        } else {
            vec![1.0 / channels as f32; channels]
        }
    }

    /// The samples of a buffer, full scale being 1. Bytes that make no whole sample frame are left out.
    pub fn read(&mut self, data: &[u8]) -> &[f32] {
        let info = AudioFormatInfo::from_format(self.info.format());
        let unpacked = AudioFormatInfo::from_format(info.unpack_format());
        let data = &data[..data.len() - data.len() % self.info.bpf() as usize];
        let samples = data.len() / (info.width() as usize / 8);
        let width = unpacked.width() as usize / 8;
        self.unpacked.resize(samples * width, 0);
        info.unpack(AudioPackFlags::empty(), &mut self.unpacked, data);
        self.floats.clear();
        if unpacked.is_float() {
            // Floats unpack to 64 bits, integers to 32.
            let (values, _) = self.unpacked.as_chunks::<8>();
            self.floats.extend(values.iter().map(|bytes| f64::from_ne_bytes(*bytes) as f32));
        } else {
            const FULL_SCALE: f64 = (1u32 << 31) as f64;
            let (values, _) = self.unpacked.as_chunks::<4>();
            let float = |bytes: &[u8; 4]| (f64::from(i32::from_ne_bytes(*bytes)) / FULL_SCALE) as f32;
            self.floats.extend(values.iter().map(float));
        }
        &self.floats
    }
}
