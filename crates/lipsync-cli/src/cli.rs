// SPDX-License-Identifier: MPL-2.0
//! The command line.

use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use crate::format::{parse_decibels, parse_frames, parse_minutes, parse_share, parse_size, parse_time};

/// A face that speaks: audio or text in, video of a talking avatar out.
///
/// An avatar is a folder with frames of a person, the face rectangle of each frame, and two neural networks. iris and theo
/// come with the plugin; faces of your own are folders in one of three layouts: our own (avatar.toml), data sets of
/// SyncTalk_2D, and packages of digital-clone.
#[derive(Parser)]
#[command(name = "lipsync", version, max_term_width = 110, after_long_help = AFTER)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

const AFTER: &str = "\
Speak:
  lipsync render speech.mp3 out.mp4                        a video
  lipsync render speech.mp3 out.mp4 --avatar theo --background green --size 1920x1080
  lipsync render --text \"Good morning.\" out.webm           by flite, espeak-ng or your own program
  lipsync play speech.mp3                                  in a window, with sound
  lipsync say \"Good morning.\"                              the same from a text
  lipsync render long.mp3 1.mp4 --frames 0-4999            a part; `join` puts parts together
  lipsync serve                                            in a browser: type, speak, drop a file
  lipsync doctor                                           what is missing here, and how to get it

A face of your own, from a film:
  lipsync train me.mp4 me              (three minutes of film: 35 minutes on two cores)
  lipsync say \"Good morning.\" --avatar me

The same in steps, with SyncTalk_2D:
  lipsync new me.mp4 me                frames, sound and landmarks: the data set ./me
  (train with SyncTalk_2D, export both networks to me/models: `new` says how)
  lipsync check me --sheet me.png
  lipsync quantize me                  an 8-bit network beside it: faster on most processors
  lipsync import me me
  lipsync play speech.wav --avatar me

Environment:
  LIPSYNC_TTS          a command that turns text (stdin) into WAV (stdout), for --text and say
  LIPSYNC_AVATAR_PATH  folders of avatars, before those of the data folders, separated by ':'
  XDG_DATA_HOME        the user's data folder (default ~/.local/share), with lipsync/avatars
  XDG_CACHE_HOME       the user's cache (default ~/.cache); in lipsync are prepared
                       graphs, and the Python packages of `new` and `train`
  ORT_DYLIB_PATH       ONNX Runtime's library, instead of the one beside the plugin
  LIPSYNC_PYTHON       as new --python and train --faces-python

Exit status:
  0 done, or `check` or `doctor` found nothing; 1 problems, each with its remedy; 2 wrong usage;
  130 interrupted; `work` and `split`: 3 the job itself is wrong, and would fail every time";

#[derive(Subcommand)]
pub enum Command {
    Render(Render),
    Join(Join),
    Work(Work),
    Split(Split),
    Play(Play),
    Say(Say),
    Serve(crate::serve::Serve),
    /// Look for everything that is needed, and say what is missing and how to get it.
    Doctor,
    Check(Check),
    Import(Import),
    /// List the avatars in the search path, in the order in which names are looked up.
    ///
    /// Prints name, title, layout, frames, size and location of each. Says which avatars are hidden by an
    /// earlier one of the same name, and which cannot be used and why.
    List,
    Train(Train),
    New(New),
    Quantize(Quantize),
    Completions(Completions),
    /// Write manual pages and completion scripts to a folder, laid out as in /usr/share.
    #[command(hide = true)]
    Share {
        /// The folder.
        folder: PathBuf,
    },
    TryNetworks(TryNetworks),
}

/// Make a video of an avatar that speaks a file, or a text.
///
/// The sound is in step with the lips. Nothing half-finished is left behind, also after Ctrl-C.
#[derive(Args)]
pub struct Render {
    /// A file with speech, any sound or video that GStreamer plays, unless there is --text; and the video, whose ending says
    /// what is written: .mp4 and .mkv (H.264), .webm (VP9), .mov (ProRes 4444 with an alpha channel), or a folder with a slash
    /// behind it for a PNG file of each frame, with an alpha channel and without sound.
    #[arg(value_names = ["SPEECH", "VIDEO"], num_args = 1..=2, required = true)]
    pub files: Vec<PathBuf>,
    /// Speak this text instead of a file.
    #[arg(long)]
    pub text: Option<String>,
    /// Voice of the text-to-speech program: `flite -lv` or `espeak-ng --voices` lists them.
    #[arg(long, requires = "text")]
    pub voice: Option<String>,
    /// Replace the video if it is there already.
    #[arg(long)]
    pub force: bool,
    /// Only these frames of the video, counted from 0, without sound: a part, for several processes or machines to render a
    /// long video together. The frames are exactly those of the whole video; `join` puts parts together.
    #[arg(long, value_parser = parse_frames, value_name = "FIRST-LAST")]
    pub frames: Option<(u64, u64)>,
    #[command(flatten)]
    pub look: Look,
}

/// Join the parts of a video that `render --frames` has made, and add the sound. No picture is encoded again.
#[derive(Args)]
pub struct Join {
    /// The file with speech that the parts were rendered from.
    #[arg(value_name = "SPEECH")]
    pub speech: PathBuf,
    /// The parts in their order, and the video to write, all with the same ending: .mp4, .mkv, .webm or .mov.
    #[arg(value_names = ["PART", "VIDEO"], num_args = 2.., required = true)]
    pub files: Vec<PathBuf>,
    /// Replace the video if it is there already.
    #[arg(long)]
    pub force: bool,
}

impl Render {
    /// The file with speech, if any, and the video.
    ///
    /// # Errors
    /// Where one is missing, or too much.
    pub fn files(&self) -> Result<(Option<&Path>, &Path), String> {
        match (&self.files[..], &self.text) {
            ([video], Some(_)) => Ok((None, video)),
            ([speech, video], None) => Ok((Some(speech), video)),
            ([speech, _], Some(_)) => Err(format!("both --text and {} are to be spoken. Give one of them", speech.display())),
            _ => Err("the video has no name. Give a file with speech and a video: lipsync render speech.mp3 out.mp4".into()),
        }
    }
}

/// Do a job of a queue: render the video that a JSON file asks for, and write a report beside it.
///
/// A job is an object: "video", and "speech" (a file) or "text" and "voice"; if wanted "avatar", "size" ("1920x1080"), "fps",
/// "background", "clip" and "emphasis", as the options of render; "frames" ([0, 4999]) for a part without sound; "parts" (["1.mp4",
/// "2.mp4"]) to join instead of rendering. Paths are relative to the file.
///
/// The same job again does nothing: VIDEO.json, the report, says that it is done. A killed run of a long video is resumed where
/// it was. Progress goes to stdout, a line of JSON each: {"stage": "render", "done": 120, "of": 4500, "seconds_left": 31};
/// at the end {"result": REPORT}, or {"error": "what is wrong, and the remedy", "retry": true, "busy": false}.
///
/// Exit status: 0 done; 1 failed, and another try may succeed (a full disk, or "busy": another process is at it); 3 the job is wrong,
/// and no try will succeed; 130 interrupted, and the next run goes on.
#[derive(Args)]
pub struct Work {
    /// The file with the job; - reads it from stdin.
    #[arg(value_name = "JOB.json")]
    pub job: PathBuf,
    /// End with the process that has started this one.
    #[arg(long)]
    pub with_parent: bool,
}

/// Split the job of a long video into jobs for its parts and one that joins them, for `work` on several machines.
///
/// Writes 1.json, 2.json and so on, and join.json; prints {"parts": [FILE, ...], "join": FILE, "frames": COUNT}. Parts take equally
/// long, and are cut where the speech is quiet. Their frames are exactly those of one run. Where the video is there already, there are
/// no parts, and join.json is the job itself. Errors and exit status are those of `work`.
#[derive(Args)]
pub struct Split {
    /// The file with the job, as for work.
    #[arg(value_name = "JOB.json")]
    pub job: PathBuf,
    /// How many parts at most, of five seconds or more each, give or take one for the quiet place.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub parts: u16,
    /// Folder for the jobs and for what they write. Default: VIDEO.parts, beside the video.
    #[arg(long, value_name = "DIR")]
    pub into: Option<PathBuf>,
}

/// Show an avatar that speaks a file, in a window, with sound. Ctrl-C ends it.
#[derive(Args)]
pub struct Play {
    /// A file with speech: any sound or video that GStreamer plays.
    #[arg(value_name = "SPEECH")]
    pub speech: PathBuf,
    #[command(flatten)]
    pub look: Look,
}

/// Show an avatar that speaks a text, in a window, with sound; or make a video of it.
#[derive(Args)]
pub struct Say {
    /// What to say.
    pub text: String,
    /// Voice of the text-to-speech program: `flite -lv` or `espeak-ng --voices` lists them.
    #[arg(long)]
    pub voice: Option<String>,
    /// Make a video instead, as `render` does.
    #[arg(long, short, value_name = "VIDEO")]
    pub output: Option<PathBuf>,
    /// Replace the video if it is there already.
    #[arg(long, requires = "output")]
    pub force: bool,
    #[command(flatten)]
    pub look: Look,
}

/// Write a script to stdout that lets a shell complete the commands and options.
///
/// For bash: lipsync completions bash > ~/.local/share/bash-completion/completions/lipsync
#[derive(Args)]
pub struct Completions {
    /// The shell.
    pub shell: Shell,
}

/// What the video shows.
#[derive(Args)]
pub struct Look {
    /// Name or folder of the avatar: iris, theo, or one that `lipsync list` shows.
    #[arg(long, default_value = "iris", value_name = "NAME_OR_FOLDER")]
    pub avatar: String,
    /// Width and height of the video in pixels, as in 1920x1080 or, upright, 1080x1920. Default: those of the avatar's frames.
    /// The avatar is as tall as the video: what is too wide is cut off beside the face, beside what is too narrow there is
    /// background.
    #[arg(long, value_parser = parse_size, value_name = "WIDTHxHEIGHT")]
    pub size: Option<(u32, u32)>,
    /// Frames a second, 1 to 240. Default: those of the avatar, 25 in most.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=240), value_name = "RATE")]
    pub fps: Option<u32>,
    /// What is behind the avatar: green, blue, black, white, grey, #RRGGBB, or a picture, which is cut to cover all of the video.
    /// Default: what the frames show, or nothing where the video has an alpha channel.
    #[arg(long, value_name = "COLOUR_OR_PICTURE")]
    pub background: Option<String>,
    /// A clip of the avatar to show, instead of its own choice: `lipsync check NAME` lists them.
    #[arg(long, value_name = "NAME")]
    pub clip: Option<String>,
    /// How many of the stressed words are underlined by a nod or raised brows: 0 none, 1 every one that stands out.
    #[arg(long, value_name = "0_TO_1", value_parser = parse_share)]
    pub emphasis: Option<f64>,
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
    /// Name of the new avatar, for --avatar.
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
/// The landmarks are those of MediaPipe Face Mesh. On first use its networks and what runs them are installed with
/// pip into a folder of their own in the user's cache (135 MB), which takes a Python from 3.11 to 3.14.
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
    /// A Python interpreter that has ai-edge-litert, OpenCV and the files of mediapipe 0.10.21, instead of installing them.
    #[arg(long, env = "LIPSYNC_PYTHON", value_name = "FILE")]
    pub python: Option<PathBuf>,
}

/// Make an avatar from a film of a person who speaks: one command from the film to a name.
///
/// Checks the film first: frames without a face, with several, with the mouth hidden, turned away or blurred, and those beside cuts
/// are left out and counted, and a film of which too little is left is refused with what to film instead. Sound that is late or early
/// is moved, by when lips are seen and heard to open. Then PyTorch is installed into the user's cache (once: 3.2 GB to download),
/// the mouth is learnt, judged on seconds of the film that were not shown, and the avatar gets its name when it is complete.
///
/// Three minutes of film take about 35 minutes on two cores; a GPU is used if PyTorch finds one. Ctrl-C stops it: the same command
/// goes on. It needs a Python from 3.11 to 3.14, unless --python and --faces-python are given.
#[derive(Args)]
pub struct Train {
    /// The film, in any format that GStreamer plays, or a folder that lipsync new has made.
    #[arg(value_name = "FILM")]
    pub film: PathBuf,
    /// Name of the avatar.
    pub name: String,
    /// Start at this time in the film: seconds, or minutes:seconds.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub from: Option<f64>,
    /// End at this time in the film.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub to: Option<f64>,
    /// Minutes of training; more are sharper. Default: 30, or as many as are enough with a GPU.
    #[arg(long, value_name = "MINUTES", value_parser = parse_minutes)]
    pub minutes: Option<f64>,
    /// Processors to train with. Default: all.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Folder for the avatar, instead of lipsync/avatars in the user's data folder.
    #[arg(long, value_name = "DIR")]
    pub into: Option<PathBuf>,
    /// A Python interpreter that has PyTorch, ONNX, ONNX Runtime, OpenCV, SciPy and tqdm, instead of installing them.
    #[arg(long, value_name = "FILE")]
    pub python: Option<PathBuf>,
    /// A Python interpreter that has ai-edge-litert, OpenCV and the files of mediapipe 0.10.21, instead of installing them.
    #[arg(long, env = "LIPSYNC_PYTHON", value_name = "FILE")]
    pub faces_python: Option<PathBuf>,
}

/// Quantize the generator to 8 bits, which makes it faster on most processors.
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
    #[arg(long, default_value_t = Quantize::SAMPLES, value_parser = clap::value_parser!(u16).range(3..=1000))]
    pub samples: u16,
    /// Peak signal-to-noise ratio, in dB, that the mouths must reach compared with float32.
    #[arg(long, value_name = "DB", default_value_t = Quantize::PSNR, value_parser = parse_decibels)]
    pub psnr: f64,
}

impl Quantize {
    /// Frames for the calibration, and PSNR in dB, unless others are asked for.
    pub const SAMPLES: u16 = 24;
    pub const PSNR: f64 = 40.0;
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
