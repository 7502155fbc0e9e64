// SPDX-License-Identifier: MPL-2.0
//! `play` and `say`: an avatar in a window, with sound.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, bail};
use gst::prelude::*;

use crate::cli::{Look, Say};
use crate::render::{HEARD, SPEECH, Stage, open, render};
use crate::{interrupt, plugin, speech};

const REMEDY_WITHOUT_WINDOW: &str = "Run it on a desktop, or make a video: lipsync render speech.wav out.mp4";

/// Plays a file of speech until its end.
pub fn run(file: &Path, look: &Look) -> Result<ExitCode> {
    plugin::load()?;
    plugin::require("autovideosink", "gstreamer1.0-plugins-good")?;
    require_window()?;
    let avatar = look.open_avatar()?;
    let stage = Stage::of(look, &avatar, false)?;
    let line = format!(
        "{SPEECH} ! {} ! videoconvert ! autovideosink name=window {HEARD} ! autoaudiosink",
        stage.line(&look.rate())
    );
    let mut reader = open(&line, file, look, &avatar, &stage)?;
    reader.start();
    if is_fake(&reader.element("window")?) {
        bail!("no window can be opened on the display. {REMEDY_WITHOUT_WINDOW}");
    }
    loop {
        match reader.has_ended() {
            Ok(false) => {}
            Ok(true) => return Ok(ExitCode::SUCCESS),
            // Whoever closes the window or presses Ctrl-C has seen enough.
            Err(_) if interrupt::requested() => return Ok(ExitCode::SUCCESS),
            Err(error) if error.to_string().contains("window was closed") => return Ok(ExitCode::SUCCESS),
            Err(error) => return Err(error),
        }
    }
}

/// Fails where no program can open windows.
fn require_window() -> Result<()> {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    if !is_set("DISPLAY") && !is_set("WAYLAND_DISPLAY") {
        bail!(
            "there is no display to open a window on (DISPLAY and WAYLAND_DISPLAY are not set). {REMEDY_WITHOUT_WINDOW}"
        );
    }
    // It crashes where the display is gone, and autovideosink would try it.
    if let Some(directfb) = gst::ElementFactory::find("dfbvideosink") {
        directfb.set_rank(gst::Rank::NONE);
    }
    Ok(())
}

/// Whether an autovideosink has found nothing better than a sink that shows nothing.
fn is_fake(sink: &gst::Element) -> bool {
    let children = sink.downcast_ref::<gst::Bin>().map(|bin| bin.children());
    let name = |child: &gst::Element| child.factory().map(|factory| factory.name().to_string());
    children.into_iter().flatten().any(|child| name(&child).is_some_and(|name| name.starts_with("fake")))
}

/// Speaks a text: in a window, or into a video.
pub fn say(options: &Say) -> Result<ExitCode> {
    let sound = speech::speak(&options.text, options.voice.as_deref())?;
    match &options.output {
        Some(video) => render(&sound, video, &options.look, None, options.force),
        None => run(&sound, &options.look),
    }
}
