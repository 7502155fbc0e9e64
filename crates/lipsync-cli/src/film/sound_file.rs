// SPDX-License-Identifier: MPL-2.0
//! Reads audio from any file that GStreamer can decode.

use std::path::Path;

use anyhow::Result;

use crate::media::Reader;

const REMEDY: &str = "Give a file with speech, in a format that GStreamer can play";

/// The audio of a file as 16 kHz mono.
pub fn read(file: &Path) -> Result<Vec<f32>> {
    // Decode only audio, also in videos.
    let line = "uridecodebin name=source caps=audio/x-raw expose-all-streams=false \
                audioconvert name=convert ! audioresample \
                ! audio/x-raw,format=F32LE,rate=16000,channels=1 ! appsink name=sound sync=false";
    let mut reader = Reader::open(line, file, REMEDY)?;
    reader.link(&[("audio", reader.element("convert")?)])?;
    let sound = reader.collect_sound("sound")?;
    reader.start();
    while !reader.has_ended()? {}
    let sound = sound.take();
    if sound.is_empty() {
        return Err(reader.file_error("holds no sound"));
    }
    Ok(sound.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
}
