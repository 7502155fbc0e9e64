// SPDX-License-Identifier: MPL-2.0
//! The properties that both elements have: their defaults, their words, their values.

use gst::glib;
use gst::prelude::*;
use lipsync_core::PresenterOptions;
use lipsync_core::audio::resample::SAMPLE_RATE;
use lipsync_core::avatar::Avatar;
use lipsync_core::inference::runtime::Engine;
use lipsync_core::rate::{SECOND, mul_div};

use super::enums::{Context, ExecutionProvider, Paste, Precision, State};
use super::property::{Property, property};

/// The values of the properties.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    pub avatar: String,
    pub provider: ExecutionProvider,
    pub device: String,
    pub precision: Precision,
    pub n_threads: u32,
    /// MiB.
    pub cache_size: u32,
    /// Alpha, red, green, blue, from the highest byte down; without alpha, the avatar's own background.
    pub background_color: u32,
    pub context: Context,
    pub paste: Paste,
    pub lookahead: gst::ClockTime,
    pub processing_latency: gst::ClockTime,
    /// The clip to be played instead of those of the state; empty for none.
    pub clip: String,
    pub state: State,
    pub emphasis: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            avatar: "iris".into(),
            provider: ExecutionProvider::default(),
            device: String::new(),
            precision: Precision::default(),
            n_threads: 0,
            cache_size: (PresenterOptions::default().cache >> 20) as u32,
            background_color: 0,
            context: Context::default(),
            paste: Paste::default(),
            lookahead: gst::ClockTime::from_mseconds(500),
            processing_latency: gst::ClockTime::from_mseconds(100),
            clip: String::new(),
            state: State::default(),
            emphasis: 0.3,
        }
    }
}

/// The properties that both elements have, each in one place. The avatar of one that is live can be changed while it plays.
pub const PROPERTIES: &[Property<Settings>] = &[
    property!("avatar", avatar, |name, default, is_live| {
        let avatar = glib::ParamSpecString::builder(name);
        let avatar = if is_live { avatar.mutable_playing() } else { avatar.mutable_ready() };
        avatar
            .nick("Avatar")
            .blurb("Name or folder of the avatar. iris and theo come with the plugin; a folder may be of our own layout, a SyncTalk_2D data set or a digital-clone package with its models. Names are looked for in LIPSYNC_AVATAR_PATH, in lipsync/avatars of the user's and the system's data folders, in lipsync/ beside the plugin, and in share/lipsync/avatars of the prefix that the plugin is installed in")
            .default_value(Some(default.avatar.as_str()))
            .build()
    }),
    property!("execution-provider", provider, |name, default, _| {
        glib::ParamSpecEnum::builder_with_default(name, default.provider)
            .nick("Execution provider")
            .blurb("What runs the networks; one that the loaded ONNX Runtime lacks is an error, never replaced in silence")
            .mutable_ready()
            .build()
    }),
    property!("device", device, |name, default, _| {
        glib::ParamSpecString::builder(name)
            .nick("Device")
            .blurb("Device of the execution provider: a GPU's number for cuda, tensorrt, tensorrt-rtx, migraphx, rocm and directml; CPU, GPU, GPU.1, NPU or the like for openvino; ALL, CPUAndGPU, CPUAndNeuralEngine or CPUOnly for coreml; the backend's library for qnn; none for the others. Empty for the provider's default")
            .default_value(Some(default.device.as_str()))
            .mutable_ready()
            .build()
    }),
    property!("precision", precision, |name, default, _| {
        glib::ParamSpecEnum::builder_with_default(name, default.precision)
            .nick("Precision")
            .blurb("In which numbers the networks compute: 8 bits (int8) take less than half the time of float32 on most processors, for a loss that is not seen (docs/performance.md); auto plays what is faster here, and stats tells what that is; half is for openvino, tensorrt, migraphx, coreml, qnn and nnapi, where the hardware has it")
            .mutable_ready()
            .build()
    }),
    property!("n-threads", n_threads, |name, default, _| {
        glib::ParamSpecUInt::builder(name)
            .nick("Threads")
            .blurb("Frames painted at the same time, each on a thread with a generator of its own (memory of the model times this); 0 = as many as there are processor cores")
            .maximum(256)
            .default_value(default.n_threads)
            .mutable_ready()
            .build()
    }),
    property!("cache-size", cache_size, |name, default, _| {
        glib::ParamSpecUInt::builder(name)
            .nick("Cache size")
            .blurb("MiB of avatar frames to keep, decoded and as far as the network has seen them; frames that do not fit are read again each time they are shown. More is faster with avatars of few frames")
            .maximum(1 << 20)
            .default_value(default.cache_size)
            .mutable_ready()
            .build()
    }),
    property!("background-color", background_color, |name, default, _| {
        glib::ParamSpecUInt::builder(name)
            .nick("Background colour")
            .blurb("What shows behind an avatar with alpha where downstream takes no alpha, as 0xAARRGGBB (big-endian ARGB): with any AA but 00 an opaque colour; 0 = what the avatar's frames show themselves behind the person, or black where they have an alpha channel")
            .default_value(default.background_color)
            .mutable_ready()
            .build()
    }),
    property!("context", context, |name, default, _| {
        glib::ParamSpecEnum::builder_with_default(name, default.context)
            .nick("Context")
            .blurb("Which rows of the mel encoder the generator hears with each frame; networks of HuBERT and Wav2Lip have but one way")
            .mutable_ready()
            .build()
    }),
    property!("paste", paste, |name, default, _| {
        glib::ParamSpecEnum::builder_with_default(name, default.paste)
            .nick("Paste")
            .blurb("How the painted mouth is put back into the face")
            .mutable_ready()
            .build()
    }),
    property!("lookahead", lookahead, |name, default, _| {
        glib::ParamSpecUInt64::builder(name)
            .nick("Lookahead")
            .blurb("Nanoseconds of sound behind a frame that it may wait for: less makes the latency shorter and the mouth less exact. Sensible are 452500000 (all that networks with a mel encoder hear; files want nothing less), 212500000 (conversation) and 92500000 (the least). Rounded down to what the network can do; HuBERT always hears all it needs")
            .minimum(92_500_000)
            .maximum(gst::ClockTime::from_seconds(10).nseconds())
            .default_value(default.lookahead.nseconds())
            .mutable_ready()
            .build()
    }),
    property!("processing-latency", processing_latency, |name, default, _| {
        glib::ParamSpecUInt64::builder(name)
            .nick("Processing latency")
            .blurb("Nanoseconds that painting a frame may take in a live pipeline; part of the latency that the element declares, beside its lookahead and one frame. Sensible are 50000000 (a machine to itself) to 1000000000 (a busy one)")
            .maximum(gst::ClockTime::from_seconds(10).nseconds())
            .default_value(default.processing_latency.nseconds())
            .mutable_playing()
            .build()
    }),
    property!("clip", clip, |name, _, _| {
        glib::ParamSpecString::builder(name)
            .nick("Clip")
            .blurb("Name of a clip of the avatar that is played instead of what state asks for: over and over, or once, if it is one that is played once. Empty = none. lipsync check lists an avatar's clips; a name that it does not have is a warning that lists them. The action signal play-clip plays one once, and so does the event lipsync-clip in the sound, in step with it")
            .mutable_playing()
            .controllable()
            .build()
    }),
    property!("state", state, |name, default, _| {
        glib::ParamSpecEnum::builder_with_default(name, default.state)
            .nick("State")
            .blurb("What the presenter is doing, for which the avatar may have clips: where it has none, it is idle")
            .mutable_playing()
            .controllable()
            .build()
    }),
    property!("emphasis", emphasis, |name, default, _| {
        glib::ParamSpecDouble::builder(name)
            .nick("Emphasis")
            .blurb("How many of the stressed words, by loudness and pitch of the voice, are underlined with a nod or raised brows: 0 for none, 0.3 for one every few seconds, 1 for every one that stands out. Of no effect with avatars that have no clips for it")
            .minimum(0.0)
            .maximum(1.0)
            .default_value(default.emphasis)
            .mutable_playing()
            .controllable()
            .build()
    }),
];

impl Settings {
    /// Whether what is loaded with these settings is also what `other` would load.
    pub fn load_the_same(&self, other: &Self) -> bool {
        let load = |settings: &Self| Self {
            processing_latency: gst::ClockTime::ZERO,
            clip: String::new(),
            state: State::default(),
            emphasis: 0.0,
            ..settings.clone()
        };
        load(self) == load(other)
    }

    /// Where the networks are to run.
    pub fn engine(&self) -> Engine {
        Engine {
            provider: self.provider.into(),
            device: self.device.clone(),
            precision: self.precision.into(),
            library_dir: None,
        }
    }

    /// Puts what the user chose in the place of what the avatar says.
    pub fn adjust(&self, avatar: &mut Avatar) {
        avatar.context = self.context.chosen().unwrap_or(avatar.context);
        avatar.face.paste = self.paste.chosen().or(avatar.face.paste);
    }

    /// Red, green and blue of the background; `None` for the avatar's own.
    pub fn background(&self) -> Option<[u8; 3]> {
        let [alpha, red, green, blue] = self.background_color.to_be_bytes();
        (alpha > 0).then_some([red, green, blue])
    }

    /// Samples at 16 kHz that a frame may wait for.
    pub fn lookahead_samples(&self) -> u64 {
        mul_div(self.lookahead.nseconds(), u64::from(SAMPLE_RATE), SECOND)
    }

    /// Bytes of avatar frames to keep.
    pub fn cache_bytes(&self) -> usize {
        (self.cache_size as usize) << 20
    }
}
