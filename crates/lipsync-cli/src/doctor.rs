// SPDX-License-Identifier: MPL-2.0
//! `doctor`: what is here, what is missing, and how to get it.

use std::process::ExitCode;

use anyhow::Result;
use lipsync_core::avatar::Avatar;
use lipsync_core::inference::runtime::environment;
use lipsync_core::kernels;

use crate::film::environment::SystemPython;
use crate::render::output::Output;
use crate::{format, interrupt, plugin, serve, speech};

/// What somebody may want to do, with the elements and Debian's packages that it needs.
const WISHES: [(&str, Needs); 9] = [
    ("a video, .mp4", Output::Mp4.needs()),
    ("a video, .mkv", Output::Matroska.needs()),
    ("a video, .webm", Output::WebM.needs()),
    ("a video, .mov", Output::Mov.needs()),
    ("pictures", Output::Pngs.needs()),
    ("a window", &[("autovideosink", "gstreamer1.0-plugins-good"), ("ximagesink", "gstreamer1.0-x")]),
    (
        "a loudspeaker",
        &[("autoaudiosink", "gstreamer1.0-plugins-good"), ("pulsesink", "gstreamer1.0-pulseaudio")],
    ),
    ("a browser", serve::NEEDS),
    ("mp3, m4a and films", &[("avdec_aac", "gstreamer1.0-libav")]),
];

type Needs = &'static [(&'static str, &'static str)];

/// The result of one look.
enum Found {
    Here(String),
    /// What is missing, and how to get it.
    Missing(String),
}

/// Prints what was found; a failure where the avatars cannot speak at all.
pub fn run() -> Result<ExitCode> {
    let vital = [("plugin", plugin()), ("ONNX Runtime", runtime()), ("avatars", avatars()?)];
    let mut can_speak = true;
    print_line!("{:<20} {}", "processor", processor());
    for (name, found) in &vital {
        can_speak &= matches!(found, Found::Here(_));
        print(name, found);
    }
    for (wish, needs) in WISHES {
        interrupt::check()?;
        print(wish, &elements(needs));
    }
    print("text-to-speech", &text_to_speech());
    print("a face of your own", &python());
    print_line!("");
    if can_speak {
        print_line!("Avatars can speak here. Try: lipsync render --text \"Good morning.\" hello.mp4");
        Ok(ExitCode::SUCCESS)
    } else {
        print_line!("Avatars cannot speak here: see above for what is missing");
        Ok(ExitCode::FAILURE)
    }
}

fn print(name: &str, found: &Found) {
    match found {
        Found::Here(what) => print_line!("{name:<20} {what}"),
        Found::Missing(what) => print_line!("{name:<20} MISSING: {what}"),
    }
}

fn processor() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let kernels = kernels::detect().map_or("float32 is faster than 8 bits here", |isa| isa.name());
    format!("{}, 8 bits by {kernels}", format::count(cores, "core"))
}

fn plugin() -> Found {
    match plugin::load() {
        Ok(()) => Found::Here(format!(
            "{}, {}",
            plugin::library_dir().map_or_else(String::new, |folder| folder.display().to_string()),
            gst::version_string()
        )),
        Err(error) => Found::Missing(format!("{error:#}")),
    }
}

fn runtime() -> Found {
    match environment(plugin::library_dir().as_deref()) {
        Ok(_) => Found::Here("ready".into()),
        Err(error) => Found::Missing(error.to_string()),
    }
}

fn avatars() -> Result<Found> {
    let all = Avatar::list(plugin::library_dir().as_deref());
    interrupt::check()?;
    let names: Vec<&str> =
        all.iter().filter(|listed| listed.avatar.is_ok()).map(|listed| listed.name.as_str()).collect();
    Ok(match &names[..] {
        [] => Found::Missing("none is found. Run make install again, or set LIPSYNC_AVATAR_PATH".into()),
        names => Found::Here(names.join(", ")),
    })
}

fn elements(needs: Needs) -> Found {
    let lacks: Vec<&(&str, &str)> =
        needs.iter().filter(|(element, _)| gst::ElementFactory::find(element).is_none()).collect();
    if lacks.is_empty() {
        return Found::Here("ready".into());
    }
    let elements: Vec<&str> = lacks.iter().map(|(element, _)| *element).collect();
    let mut packages: Vec<&str> = lacks.iter().map(|(_, package)| *package).collect();
    packages.dedup();
    Found::Missing(format!("{}: sudo apt-get install {}", elements.join(", "), packages.join(" ")))
}

fn text_to_speech() -> Found {
    if let Some(command) = std::env::var_os(speech::VARIABLE).filter(|command| !command.is_empty()) {
        return Found::Here(format!("{} ({})", command.to_string_lossy(), speech::VARIABLE));
    }
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let is_there = |name: &str| std::env::split_paths(&folders).any(|folder| folder.join(name).is_file());
    match speech::PROGRAMS.iter().find(|program| is_there(program.name)) {
        Some(program) => Found::Here(program.name.into()),
        None => Found::Missing("sudo apt-get install flite".into()),
    }
}

/// What `new` and `train` begin with.
fn python() -> Found {
    match SystemPython::find() {
        Some(python) if python.has_venv => Found::Here(format!("{}, 3.{}", python.name, python.minor)),
        Some(python) => Found::Missing(format!("sudo apt-get install {}-venv", python.name)),
        None => Found::Missing(SystemPython::missing()),
    }
}
