//! Sound from any file that GStreamer can play.

use std::path::Path;

use anyhow::{Context, Result, bail};
use gst::prelude::*;

/// All of a file's sound, 16 kHz mono.
pub fn read(file: &Path) -> Result<Vec<f32>> {
    gst::init()?;
    let line = "filesrc name=file ! decodebin ! audioconvert ! audioresample \
                ! audio/x-raw,format=F32LE,rate=16000,channels=1 ! appsink name=sound sync=false";
    let pipeline = gst::parse::launch(line).context("the pipeline that reads sound cannot be made")?;
    let pipeline = pipeline.downcast::<gst::Pipeline>().map_err(|_| anyhow::anyhow!("no pipeline"))?;
    let element = |name| pipeline.by_name(name).context("an element is missing");
    element("file")?.set_property("location", file);
    let sink = element("sound")?;
    let sink = sink.downcast::<gst_app::AppSink>().map_err(|_| anyhow::anyhow!("the appsink is none"))?;
    pipeline.set_state(gst::State::Playing).ok();
    let mut sound = Vec::new();
    while let Ok(sample) = sink.pull_sample() {
        let map = sample.buffer().context("a sample without sound")?.map_readable()?;
        sound.extend(map.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)));
    }
    let bus = pipeline.bus().context("the pipeline has no bus")?;
    let problem = bus.pop_filtered(&[gst::MessageType::Error]);
    pipeline.set_state(gst::State::Null).ok();
    if let Some(gst::MessageView::Error(error)) = problem.as_ref().map(|message| message.view()) {
        bail!(
            "{}: cannot be read: {}. Give a file that gst-discoverer-1.0 can read",
            file.display(),
            error.error()
        );
    }
    Ok(sound)
}
