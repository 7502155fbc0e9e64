// SPDX-License-Identifier: MPL-2.0
//! What a file's ending says of it: container, encoders, and which packages have them.

use std::path::Path;

use anyhow::{Result, bail};

use crate::plugin;

/// A kind of file to render.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// H.264 and AAC.
    Mp4,
    /// H.264 and Opus.
    Matroska,
    /// VP9 and Opus.
    WebM,
    /// ProRes 4444 with an alpha channel, and sound as it is; for programs that cut films.
    Mov,
    /// A numbered picture for each frame, with an alpha channel.
    Pngs,
}

/// Samples that avenc_aac writes before the first of the sound; GStreamer 1.22 does not say so in the file.
const AAC_DELAY: u64 = 1024;
const AAC_RATE: u64 = 48_000;

const ENDINGS: &str = ".mp4, .mkv, .webm, .mov, or a folder of pictures: frames/";

impl Output {
    /// What a path is the name of.
    ///
    /// # Errors
    /// Where nothing of that name can be written.
    pub fn of(path: &Path) -> Result<Self> {
        if path.as_os_str().as_encoded_bytes().ends_with(b"/") {
            return Ok(Self::Pngs);
        }
        let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
        match ending.as_deref() {
            Some("mp4" | "m4v") => Ok(Self::Mp4),
            Some("mkv") => Ok(Self::Matroska),
            Some("webm") => Ok(Self::WebM),
            Some("mov") => Ok(Self::Mov),
            Some("png") => bail!("{}: pictures are many files. Name a folder: frames/", path.display()),
            _ => bail!("{}: its ending does not say what to write. Use {ENDINGS}", path.display()),
        }
    }

    /// Whether it has an alpha channel.
    pub fn has_alpha(self) -> bool {
        matches!(self, Self::Mov | Self::Pngs)
    }

    /// The format that the video encoder is given.
    pub fn video_format(self) -> &'static str {
        match self {
            Self::Mp4 | Self::Matroska | Self::WebM => "I420",
            Self::Mov => "A444_10LE",
            Self::Pngs => "RGBA",
        }
    }

    /// The launch line from raw video on.
    pub fn video(self) -> String {
        let x264 =
            "x264enc speed-preset=veryfast pass=qual quantizer=20 ! video/x-h264,profile=high ! h264parse";
        match self {
            Self::Mp4 | Self::Matroska => x264.into(),
            Self::WebM => "vp9enc deadline=1 cpu-used=6 row-mt=true threads=16 end-usage=cq cq-level=24 target-bitrate=4000000 \
                           keyframe-max-dist=250"
                .into(),
            // The avatars have no more levels of alpha.
            Self::Mov => "avenc_prores_ks profile=4 alpha-bits=8".into(),
            Self::Pngs => "pngenc compression-level=4".into(),
        }
    }

    /// The launch line from raw sound on; `None` where there is no place for it.
    pub fn sound(self) -> Option<String> {
        match self {
            Self::Mp4 => Some(format!("audio/x-raw,rate={AAC_RATE} ! avenc_aac bitrate=160000 ! aacparse")),
            Self::Matroska | Self::WebM => Some("opusenc bitrate=128000".into()),
            Self::Mov => Some("audio/x-raw,format=S16LE".into()),
            Self::Pngs => None,
        }
    }

    /// The muxer; `None` where every frame is a file.
    pub fn muxer(self) -> Option<&'static str> {
        match self {
            Self::Mp4 => Some("mp4mux faststart=true"),
            Self::Matroska => Some("matroskamux"),
            Self::WebM => Some("webmmux"),
            Self::Mov => Some("qtmux"),
            Self::Pngs => None,
        }
    }

    /// The launch line that gives back what [`Self::video`] has encoded, and its caps; `None` where every frame is a file.
    pub fn demuxed(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Mp4 => Some(("qtdemux ! h264parse", "video/x-h264")),
            Self::Matroska => Some(("matroskademux ! h264parse", "video/x-h264")),
            Self::WebM => Some(("matroskademux", "video/x-vp9")),
            Self::Mov => Some(("qtdemux", "video/x-prores")),
            Self::Pngs => None,
        }
    }

    /// By how much the picture has to be late for the sound to be in step with it.
    pub fn picture_delay(self) -> gst::ClockTime {
        match self {
            Self::Mp4 => gst::ClockTime::from_nseconds(AAC_DELAY * 1_000_000_000 / AAC_RATE),
            _ => gst::ClockTime::ZERO,
        }
    }

    /// Fails where GStreamer lacks one of the elements that it needs.
    pub fn require(self) -> Result<()> {
        self.needs().iter().try_for_each(|(element, package)| plugin::require(element, package))
    }

    /// The elements it needs that are not in every installation, and Debian's packages that have them.
    pub const fn needs(self) -> &'static [(&'static str, &'static str)] {
        const X264: (&str, &str) = ("x264enc", "gstreamer1.0-plugins-ugly");
        const H264: (&str, &str) = ("h264parse", "gstreamer1.0-plugins-bad");
        const OPUS: (&str, &str) = ("opusenc", "gstreamer1.0-plugins-base");
        match self {
            Self::Mp4 => {
                &[X264, H264, ("avenc_aac", "gstreamer1.0-libav"), ("mp4mux", "gstreamer1.0-plugins-good")]
            }
            Self::Matroska => &[X264, H264, OPUS, ("matroskamux", "gstreamer1.0-plugins-good")],
            Self::WebM => {
                &[("vp9enc", "gstreamer1.0-plugins-good"), OPUS, ("webmmux", "gstreamer1.0-plugins-good")]
            }
            Self::Mov => &[("avenc_prores_ks", "gstreamer1.0-libav"), ("qtmux", "gstreamer1.0-plugins-good")],
            Self::Pngs => &[("pngenc", "gstreamer1.0-plugins-good")],
        }
    }
}
