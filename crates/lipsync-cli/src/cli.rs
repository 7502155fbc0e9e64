//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::format::{parse_decibels, parse_time};

/// Check, import, list and make avatars: the faces that the GStreamer element lipsync speaks with.
///
/// An avatar is a folder with frames of a person, where the face is in each of them, and two neural networks. Three
/// layouts are understood: our own (avatar.toml), data sets of SyncTalk_2D, and packages of digital-clone.
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
  lipsync-avatar quantize me           in half the time: an 8-bit network beside the other
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
    /// List the avatars in the search path, in the order in which names are looked for.
    ///
    /// Says of each its name, title, layout, frames, size and place, which of them an earlier one of the same name
    /// hides, and which cannot be used and why.
    List,
    New(New),
    Quantize(Quantize),
    TryNetworks(TryNetworks),
}

/// Say what an avatar is, and everything that would keep it from playing.
///
/// Decodes every frame, compares all sizes, looks at every face rectangle, loads and runs both networks in a process of
/// their own, which a bad one may end, and compares them with the sums in onnx_dist_config.json where there is one. All problems are told, not only the first. The
/// last line is the verdict, and the exit status is 0 only where the avatar would play.
#[derive(Args)]
pub struct Check {
    /// Folder of the avatar, or its name in the search path.
    #[arg(value_name = "FOLDER_OR_NAME")]
    pub avatar: String,
    /// Draw a contact sheet there: frames with the face (green), the part that is painted anew (red) and the landmarks
    /// (yellow), and what the network sees of each; also before the training.
    #[arg(long, value_name = "FILE.png")]
    pub sheet: Option<PathBuf>,
}

/// Bring an avatar of any layout into our own, small and complete.
///
/// Frames become JPEG, or lossless WebP where they have an alpha channel; the networks and the ready-made pictures and
/// masks of a package are copied. What is written is checked like `check` does, and appears under its name only
/// when it is complete. Nothing is ever overwritten.
#[derive(Args)]
pub struct Import {
    /// Folder of the avatar, or its name in the search path.
    #[arg(value_name = "FOLDER")]
    pub avatar: String,
    /// Name of the new avatar: what lipsync avatar= will be given.
    pub name: String,
    /// Quality of the JPEG frames.
    #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u8).range(1..=100))]
    pub quality: u8,
    /// Keep every frame exactly: JPEG files are copied, others become lossless WebP where that is smaller.
    #[arg(long, conflicts_with = "quality")]
    pub lossless: bool,
    /// Store the networks' weights as float16: half the size. Computation stays float32; the difference is measured.
    #[arg(long)]
    pub fp16: bool,
    /// Folder that gets the new avatar, instead of lipsync/avatars in the user's data folder.
    #[arg(long, value_name = "DIR")]
    pub into: Option<PathBuf>,
    /// Title for people, instead of the one it has.
    #[arg(long)]
    pub title: Option<String>,
    /// Licence of frames and networks, where the avatar does not say.
    #[arg(long)]
    pub license: Option<String>,
}

/// Make a data set for SyncTalk_2D from a video of a person who speaks.
///
/// Writes NAME/full_body_img/N.jpg at exactly 25 frames a second, NAME/aud.wav (16 kHz mono) and NAME/landmarks/N.lms.
/// What remains is the training, which `new` explains when it is done. The video must show one face, all of it, and hold
/// its speech; three to five minutes are usual. Where some frames show no face, several, or not all of one, the longest
/// stretch between them is kept.
///
/// The landmarks come from MediaPipe Face Mesh. On first use it is installed with pip into a folder of its own in the
/// user's cache (about 320 MB).
#[derive(Args)]
pub struct New {
    /// The video; any format that GStreamer can play.
    pub video: PathBuf,
    /// Name of the data set.
    pub name: String,
    /// Folder that gets the data set.
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub into: PathBuf,
    /// Begin there in the video: seconds, or minutes:seconds.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub from: Option<f64>,
    /// End there in the video.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub to: Option<f64>,
    /// A Python interpreter that has mediapipe 0.10.x with its models and OpenCV, instead of installing them.
    #[arg(long, env = "LIPSYNC_PYTHON", value_name = "FILE")]
    pub python: Option<PathBuf>,
}

/// Make the generator twice as fast: an 8-bit network beside it, which lipsync plays from then on.
///
/// The network is calibrated on the avatar's own frames and on speech, and judged on speech that it was not calibrated
/// on. Layers that take it too far from the original stay in float32. The file is generator.int8.onnx; the original
/// stays as it is, and precision=fp32 plays it. After a new training it must be made again.
#[derive(Args)]
pub struct Quantize {
    /// Folder of the avatar, or its name in the search path.
    #[arg(value_name = "FOLDER_OR_NAME")]
    pub avatar: String,
    /// Speech, in any format that GStreamer can play; without it, aud.wav of the data set.
    #[arg(long, value_name = "FILE")]
    pub sound: Option<PathBuf>,
    /// Frames to calibrate on, and as many to judge by.
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u16).range(3..=1000))]
    pub samples: u16,
    /// How close the mouths must be to those of float32: peak signal-to-noise ratio in dB.
    #[arg(long, value_name = "DB", default_value_t = 40.0, value_parser = parse_decibels)]
    pub psnr: f64,
}

/// What `check`, `import` and `quantize` start to have an avatar's networks tried out, and read.
#[derive(Args)]
#[command(hide = true)]
pub struct TryNetworks {
    /// Folder of the avatar.
    pub folder: PathBuf,
    /// Folder of the plugin.
    #[arg(long)]
    pub beside: Option<PathBuf>,
    /// Leave the 8-bit network alone.
    #[arg(long)]
    pub fp32: bool,
}
