// SPDX-License-Identifier: MPL-2.0
//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::format::{parse_decibels, parse_time};

/// Check, import, list and make avatars: the faces that the GStreamer element lipsync animates.
///
/// An avatar is a folder with frames of a person, the face rectangle of each frame, and two neural networks.
/// Three layouts are supported: our own (avatar.toml), data sets of SyncTalk_2D, and packages of
/// digital-clone.
#[derive(Parser)]
#[command(name = "lipsync-avatar", version, max_term_width = 110, after_long_help = AFTER)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

const AFTER: &str = "\
A face of your own, from a video to a pipeline:
  lipsync-avatar new me.mp4 me         frames, sound and landmarks: the data set ./me
  (train with SyncTalk_2D, export both networks to me/models: `new` says how)
  lipsync-avatar check me --sheet me.png
  lipsync-avatar quantize me           an 8-bit network beside the original, twice as fast
  lipsync-avatar import me me
  gst-launch-1.0 filesrc location=speech.wav ! wavparse ! lipsync avatar=me ! autovideosink

Environment:
  LIPSYNC_AVATAR_PATH  folders of avatars, before those of the data folders, separated by ':'
  XDG_DATA_HOME        the user's data folder (default ~/.local/share); avatars are in lipsync/avatars
  XDG_CACHE_HOME       the user's cache (default ~/.cache); in lipsync are prepared
                       graphs, and the Python packages of `new`
  ORT_DYLIB_PATH       ONNX Runtime's library, instead of the one beside the plugin
  LIPSYNC_PYTHON       as new --python

Exit status:
  0 done, or `check` found nothing; 1 problems, each with its remedy; 2 wrong usage; 130 interrupted";

#[derive(Subcommand)]
pub enum Command {
    Check(Check),
    Import(Import),
    /// List the avatars in the search path, in the order in which names are looked up.
    ///
    /// Prints name, title, layout, frames, size and location of each. Says which avatars are hidden by an
    /// earlier one of the same name, and which cannot be used and why.
    List,
    New(New),
    Quantize(Quantize),
    TryNetworks(TryNetworks),
}

/// Describe an avatar, and list everything that would keep it from playing.
///
/// Decodes every frame, compares all sizes, checks every face rectangle, and loads and runs both networks, in
/// a process of their own because a bad network may crash it. Compares the networks with the checksums in
/// onnx_dist_config.json, where there is one. Lists all problems, not only the first. The last line is the
/// verdict, and the exit status is 0 only where the avatar would play.
#[derive(Args)]
pub struct Check {
    /// Folder of the avatar, or its name in the search path.
    #[arg(value_name = "FOLDER_OR_NAME")]
    pub avatar: String,
    /// Draw a contact sheet to this file: frames with the face (green), the part that is repainted (red) and
    /// the landmarks (yellow), and the network's input for each; also before the training.
    #[arg(long, value_name = "FILE.png")]
    pub sheet: Option<PathBuf>,
}

/// Convert an avatar of any layout to our own, small and complete.
///
/// Frames become JPEG, or lossless WebP where they have an alpha channel; the networks and the ready-made
/// pictures and masks of a package are copied. The result is checked as `check` does, and gets its name only
/// when it is complete. Nothing is ever overwritten.
#[derive(Args)]
pub struct Import {
    /// Folder of the avatar, or its name in the search path.
    #[arg(value_name = "FOLDER")]
    pub avatar: String,
    /// Name of the new avatar, for lipsync avatar=.
    pub name: String,
    /// Quality of the JPEG frames.
    #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u8).range(1..=100))]
    pub quality: u8,
    /// Keep every frame exactly: JPEG files are copied, others become lossless WebP where that is smaller.
    #[arg(long, conflicts_with = "quality")]
    pub lossless: bool,
    /// Store the networks' weights as float16: half the size. The computation stays in float32; the
    /// difference is measured.
    #[arg(long)]
    pub fp16: bool,
    /// Folder for the new avatar, instead of lipsync/avatars in the user's data folder.
    #[arg(long, value_name = "DIR")]
    pub into: Option<PathBuf>,
    /// Title of the new avatar, instead of that of the original.
    #[arg(long)]
    pub title: Option<String>,
    /// Licence of frames and networks, where the avatar does not state it.
    #[arg(long)]
    pub license: Option<String>,
}

/// Make a data set for SyncTalk_2D from a video of a person who speaks.
///
/// Writes NAME/full_body_img/N.jpg at exactly 25 frames a second, NAME/aud.wav (16 kHz mono) and
/// NAME/landmarks/N.lms. What remains is the training, which `new` explains when it is done. The video must
/// show one whole face and have its speech; three to five minutes are usual. Where some frames show no face,
/// several, or not all of one, the longest range of frames between them is kept.
///
/// The landmarks come from MediaPipe Face Mesh. On first use it is installed with pip into a folder of its
/// own in the user's cache (about 320 MB).
#[derive(Args)]
pub struct New {
    /// The video; any format that GStreamer can play.
    pub video: PathBuf,
    /// Name of the data set.
    pub name: String,
    /// Folder for the data set.
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub into: PathBuf,
    /// Start at this time in the video: seconds, or minutes:seconds.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub from: Option<f64>,
    /// End at this time in the video.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub to: Option<f64>,
    /// A Python interpreter that has mediapipe 0.10.x with its models and OpenCV, instead of installing them.
    #[arg(long, env = "LIPSYNC_PYTHON", value_name = "FILE")]
    pub python: Option<PathBuf>,
}

/// Quantize the generator to 8 bits, which makes it twice as fast.
///
/// The network is calibrated on the avatar's own frames and on speech, and evaluated on speech that was not
/// used for the calibration. Layers that would change the result too much stay in float32. The 8-bit network
/// is written to generator.int8.onnx, and lipsync uses it from then on; the original stays as it is, and
/// precision=fp32 uses it. After a new training, quantize again.
#[derive(Args)]
pub struct Quantize {
    /// Folder of the avatar, or its name in the search path.
    #[arg(value_name = "FOLDER_OR_NAME")]
    pub avatar: String,
    /// Speech, in any format that GStreamer can play; without it, aud.wav of the data set.
    #[arg(long, value_name = "FILE")]
    pub sound: Option<PathBuf>,
    /// Frames for the calibration, and as many for the evaluation.
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u16).range(3..=1000))]
    pub samples: u16,
    /// Peak signal-to-noise ratio, in dB, that the mouths must reach compared with float32.
    #[arg(long, value_name = "DB", default_value_t = 40.0, value_parser = parse_decibels)]
    pub psnr: f64,
}

/// The process that `check`, `import` and `quantize` start to try out an avatar's networks.
#[derive(Args)]
#[command(hide = true)]
pub struct TryNetworks {
    /// Folder of the avatar.
    pub folder: PathBuf,
    /// Folder of the plugin.
    #[arg(long)]
    pub library_dir: Option<PathBuf>,
    /// Do not use the 8-bit network.
    #[arg(long)]
    pub fp32: bool,
    /// The process that asks, with which this one ends.
    #[arg(long)]
    pub parent: u32,
}
