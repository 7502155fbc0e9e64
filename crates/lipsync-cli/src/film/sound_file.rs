// SPDX-License-Identifier: MPL-2.0
//! Reads audio from any file that GStreamer can decode.

use std::path::Path;

use anyhow::Result;

use crate::media::Reader;

const REMEDY: &str = "Give a file with speech, in a format that GStreamer can play";

/// Samples a second of what is read.
pub const RATE: u64 = 16_000;

/// The audio of a file, mono.
pub fn read(file: &Path) -> Result<Vec<f32>> {
    let mut samples = Vec::new();
    for_each(file, |block| samples.extend(block))?;
    Ok(samples)
}

/// The same in blocks, in which a recording of any length fits into memory.
pub fn for_each(file: &Path, mut take: impl FnMut(&mut dyn Iterator<Item = f32>)) -> Result<()> {
    // Decode only audio, also in videos.
    let line = format!(
        "uridecodebin name=source caps=audio/x-raw expose-all-streams=false \
         audioconvert name=convert ! audioresample \
         ! audio/x-raw,format=F32LE,rate={RATE},channels=1 ! appsink name=sound sync=false"
    );
    let mut reader = Reader::open(&line, file, REMEDY)?;
    reader.link(&[("audio", reader.element("convert")?)])?;
    let sound = reader.collect_sound("sound")?;
    reader.start();
    let mut is_empty = true;
    loop {
        let has_ended = reader.has_ended()?;
        let block = sound.take();
        is_empty &= block.is_empty();
        take(&mut block.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)));
        if has_ended {
            break;
        }
    }
    if is_empty {
        return Err(reader.file_error("holds no sound"));
    }
    Ok(())
}
