// SPDX-License-Identifier: MPL-2.0
//! Raw audio buffers of any format and layout as interleaved floats.

use gst_audio::{
    AudioCapsBuilder, AudioChannelPosition as Position, AudioFormatInfo, AudioInfo, AudioLayout, AudioMeta,
    AudioPackFlags,
};
use lipsync_core::audio::resample::check_format;
use lipsync_core::error::Error;
use lipsync_core::limits::{CHANNELS, LEAST_RATE, RATE};

/// Caps of everything that is understood: raw audio in both layouts, for decoders such as avdec_mp3 and avdec_aac
/// deliver their channels one behind the other.
pub fn caps() -> gst::Caps {
    within_bounds(AudioCapsBuilder::new())
}

/// Caps of the same with its channels interleaved.
pub fn interleaved_caps() -> gst::Caps {
    within_bounds(AudioCapsBuilder::new_interleaved())
}

fn within_bounds(caps: AudioCapsBuilder<gst::caps::NoFeature>) -> gst::Caps {
    caps.rate_range(LEAST_RATE as i32..=RATE as i32).channels_range(1..=CHANNELS as i32).build()
}

/// The format that fixed caps tell.
///
/// # Errors
/// [`Error::Audio`] with the value that is beyond its bounds, or the caps, where they are no raw audio.
pub fn format(caps: &gst::CapsRef) -> Result<AudioInfo, Error> {
    let info = AudioInfo::from_caps(caps).map_err(|_| {
        let problem = format!("it is said to be {caps}, which is no raw audio that can be heard");
        Error::audio(problem, "Repair the file, or put audioconvert in front")
    })?;
    check_format(info.rate(), info.channels() as usize)?;
    Ok(info)
}

/// Whether fixed caps are raw audio of no format that is heard. They are let in, because their event can say what is wrong:
/// where they are turned away, all that is told is that upstream could not negotiate.
pub fn is_to_be_told(caps: &gst::CapsRef) -> bool {
    caps.structure(0).is_some_and(|format| format.name() == "audio/x-raw") && format(caps).is_err()
}

/// What can come in where that is what can go out: the same in both layouts.
pub fn of_both_layouts(mut caps: gst::Caps) -> gst::Caps {
    for structure in caps.make_mut().iter_mut() {
        structure.set("layout", gst::List::new(["interleaved", "non-interleaved"]));
    }
    caps
}

/// The format with its channels interleaved.
pub fn interleaved(info: &AudioInfo) -> AudioInfo {
    AudioInfo::builder_from_info(info)
        .layout(AudioLayout::Interleaved)
        .build()
        .unwrap_or_else(|e| unreachable!("a layout does not make a format invalid: {e}"))
}

/// A buffer of the format `info` with its channels interleaved.
///
/// # Errors
/// Where it cannot be read, or its planes do not lie inside.
pub fn interleave(buffer: gst::Buffer, info: &AudioInfo) -> Result<gst::Buffer, gst::ErrorMessage> {
    if info.layout() == AudioLayout::Interleaved {
        return Ok(buffer);
    }
    let data = buffer.map_readable().map_err(|_| unreadable())?;
    let (bytes, bpf) = (info.bps() as usize, info.bpf() as usize);
    let meta = buffer.meta::<AudioMeta>();
    let samples = meta.as_ref().map_or(data.len() / bpf, |meta| meta.samples());
    let mut interleaved = vec![0; samples.min(data.len() / bpf) * bpf];
    for channel in 0..info.channels() as usize {
        let told = meta.as_ref().and_then(|meta| meta.offsets().get(channel).copied());
        let start = told.unwrap_or(samples.saturating_mul(channel * bytes));
        let plane = samples.checked_mul(bytes).and_then(|size| data.get(start..start.checked_add(size)?));
        let Some(plane) = plane else {
            return Err(gst::error_msg!(
                gst::StreamError::Format,
                (
                    "an audio buffer of {} bytes does not hold the {samples} samples of {} channels that it says. Put audioconvert in front",
                    data.len(),
                    info.channels()
                )
            ));
        };
        let places = interleaved.chunks_exact_mut(bpf).map(|frame| &mut frame[channel * bytes..][..bytes]);
        plane.chunks_exact(bytes).zip(places).for_each(|(sample, place)| place.copy_from_slice(sample));
    }
    let mut interleaved = gst::Buffer::from_mut_slice(interleaved);
    let flags = gst::BufferCopyFlags::FLAGS | gst::BufferCopyFlags::TIMESTAMPS;
    let target = interleaved.get_mut().unwrap_or_else(|| unreachable!("nobody else has it"));
    buffer.copy_into(target, flags, ..).map_err(|_| unreadable())?;
    drop(data);
    Ok(interleaved)
}

fn unreadable() -> gst::ErrorMessage {
    gst::error_msg!(gst::ResourceError::Read, ("an audio buffer cannot be read"))
}

/// What to tell whoever sends sound without having said what it is.
pub fn no_caps() -> gst::ErrorMessage {
    gst::error_msg!(
        gst::CoreError::Negotiation,
        ("what comes in is no raw audio, for it has no caps. Put a parser or decoder in front: wavparse for a WAV file, decodebin for any other")
    )
}

/// Turns interleaved buffers of one format into floats.
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
