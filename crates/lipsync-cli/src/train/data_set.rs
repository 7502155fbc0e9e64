// SPDX-License-Identifier: MPL-2.0
//! From a film, or from a folder that `new` has made, to a data set for the training, with all that is to be said of the film.

use std::fmt::Write as _;
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use lipsync_core::audio::resample::SAMPLE_RATE;
use lipsync_core::file;
use serde::{Deserialize, Serialize};

use super::frames::{self, Verdict, quantile};
use super::heard;
use super::offset::{self, Offset};
use super::screen::Screen;
use super::source::Source;
use super::stages::{Progress, Stage};
use super::work::{DATA_SET, Work};
use crate::film::environment::faces;
use crate::film::landmarks::{self, Face, Frames, Report};
use crate::film::{MIN_SHARP_FACE, MIN_TRAINABLE_FRAMES, RATE, RECOMMENDED_FRAMES, sound, time};

/// A narrower face is not learnt from.
const MIN_FACE: i64 = 96;
/// Successive frames that the loop of an avatar needs: SHORTEST_LOOP of the kit's film_avatar.py.
const MIN_LOOP_FRAMES: usize = 75;
/// The opening of lips, relative to the distance of the eyes, varies by more where somebody speaks.
const MOVES: f32 = 0.025;
/// Share of frames with several faces from which on these are why there is too little.
const MANY: f32 = 0.3;
/// The least correlation of a mouth with the sound that is its own.
const RELATED: f32 = 0.2;
/// Windows from which on that can be said.
const MIN_WINDOWS: usize = 6;

/// What gives an interpreter that finds faces.
pub const FACES_OPTION: &str = "--faces-python";

/// The data set's folder in the work folder.
const SET: &str = "set";

/// Why nothing can be learnt from a film, and what to film instead.
#[derive(Debug)]
pub struct Refused(String);

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

macro_rules! refuse {
    ($($text:tt)*) => {
        return Err(Refused(format!($($text)*)).into())
    };
}

/// What was read of a film.
#[derive(Serialize, Deserialize)]
pub struct Read {
    pub frames: usize,
    pub pieces: Vec<Range<usize>>,
    pub size: (u32, u32),
    /// The film's frame that is number 0.
    pub start: usize,
    pub with_sound: usize,
}

impl Read {
    /// Frames of the film from the first to the last that was read.
    fn film_frames(&self) -> usize {
        self.pieces.last().map_or(0, |piece| piece.end)
    }

    /// Where a frame is in the film.
    fn film_frame(&self, frame: usize) -> usize {
        let mut left = frame;
        for piece in &self.pieces {
            if left < piece.len() {
                return self.start + piece.start + left;
            }
            left -= piece.len();
        }
        self.start + self.film_frames()
    }
}

/// A data set that can be trained on.
#[derive(Serialize, Deserialize)]
pub struct DataSet {
    pub folder: PathBuf,
    pub screen: Option<Screen>,
    /// What is said of the film, in lines.
    pub told: Vec<String>,
    /// Seconds that can be trained on.
    pub seconds: f64,
}

/// Makes it in the work folder, or goes on where an earlier run stopped.
pub fn make(
    work: &Work,
    source: &Source,
    python: Option<&Path>,
    library_dir: Option<&Path>,
    progress: &mut Progress,
) -> Result<DataSet> {
    if let Some(set) = work.noted::<DataSet>(DATA_SET) {
        return Ok(set);
    }
    let read = read(work, source, progress)?;
    progress.guess(|guess| guess.film = read.frames as f64 / RATE as f64);
    let samples = sound::samples(
        &std::fs::read(work.path(SOUND))
            .with_context(|| format!("{}: cannot be read", work.path(SOUND).display()))?,
    );
    let reports = look(work, &read, python, progress)?;
    let set = Looked { work, name: source.name(), read, reports, samples }.finish(library_dir, progress)?;
    work.note(DATA_SET, &set)?;
    Ok(set)
}

const SOUND: &str = "sound.s16";
const READ: &str = "film.json";

/// Frames and sound of the film.
fn read(work: &Work, source: &Source, progress: &mut Progress) -> Result<Read> {
    if let Some(read) = work.noted(READ) {
        return Ok(read);
    }
    work.fresh_subfolder(SET)?;
    let pictures = work.subfolder("set/full_body_img")?;
    let (extracted, start) = source.extract(&pictures, &mut |done, of| {
        if let Some(of) = of {
            progress.guess(|guess| guess.film = of as f64 / RATE as f64);
        }
        progress.tell(Stage::Film, done as f64, of.unwrap_or(0) as f64, None);
    })?;
    let name = source.name();
    if sound::is_silent(&extracted.sound) {
        refuse!("{name}: its sound is silence. Film with a microphone that is on");
    }
    if extracted.frames < MIN_TRAINABLE_FRAMES {
        refuse!(
            "{name}: {} is too short: 10 seconds are the least, three minutes are good. Film longer",
            time(extracted.frames)
        );
    }
    let bytes: Vec<u8> = extracted.sound.iter().flat_map(|sample| sample.to_le_bytes()).collect();
    file::replace(&work.path(SOUND), &bytes)?;
    let read = Read {
        with_sound: sound::frames_with_sound(&extracted.sound, extracted.frames),
        frames: extracted.frames,
        pieces: extracted.pieces,
        size: extracted.size,
        start,
    };
    work.note(READ, &read)?;
    Ok(read)
}

/// Landmarks and a report of every frame.
fn look(work: &Work, read: &Read, python: Option<&Path>, progress: &mut Progress) -> Result<Vec<Report>> {
    const REPORTS: &str = "faces.jsonl";
    let mut reports: Vec<Report> = work.lines(REPORTS);
    reports.truncate(read.frames);
    if reports.len() == read.frames {
        return Ok(reports);
    }
    let environment = faces(FACES_OPTION);
    progress.suspend(|| environment.interpreter(python))?;
    let mut journal = work.journal(REPORTS, &reports)?;
    let (pictures, landmarks) = (work.path("set/full_body_img"), work.subfolder("set/landmarks")?);
    let frames =
        Frames { pictures: &pictures, landmarks: &landmarks, first: reports.len(), count: read.frames };
    landmarks::find(&frames, (&environment, python), &mut |report| {
        journal.add(&report)?;
        reports.push(report);
        progress.tell(Stage::Faces, reports.len() as f64, read.frames as f64, None);
        Ok(())
    })?;
    Ok(reports)
}

/// A film that has been looked at.
struct Looked<'a> {
    work: &'a Work,
    name: String,
    read: Read,
    reports: Vec<Report>,
    samples: Vec<i16>,
}

impl Looked<'_> {
    fn finish(self, library_dir: Option<&Path>, progress: &mut Progress) -> Result<DataSet> {
        let read = &self.read;
        let mut verdicts = frames::judge(&self.reports, read.size, &read.pieces, read.with_sound);
        self.refuse(&verdicts)?;
        let offset = self.measure_offset(&verdicts, library_dir, progress)?;
        let late = (offset.0.to_mend() * SAMPLE_RATE as f32 / 1000.0).round() as isize;
        frames::mark_joins(&mut verdicts, &read.pieces, late.unsigned_abs().div_ceil(sound::samples_of(1)));
        let used = frames::used(&verdicts);
        let reasons = self.reasons(&verdicts);
        let sides: Vec<f32> = used.iter().filter_map(|n| self.side(*n)).collect();
        let (narrowest, widest) = (quantile(sides.clone(), 0.0), quantile(sides, 1.0));
        let set = self.work.path(SET);
        sound::write(&set.join("aud.wav"), &moved(&self.samples, late), &(0..read.frames))?;
        let mut table = String::from("frame,use,reason\n");
        for (n, verdict) in verdicts.iter().enumerate() {
            // Writing to a string cannot fail.
            let _ = writeln!(table, "{n},{},{}", u8::from(*verdict == Verdict::Good), verdict.word());
        }
        file::replace(&set.join("frames.csv"), table.as_bytes())?;

        let screen = Screen::of(&self.reports);
        let (width, height) = read.size;
        let mut told = vec![format!("{}: {} of {width} x {height}", self.name, time(read.film_frames()))];
        if read.frames < read.film_frames() {
            told.push(format!(
                "  looked at     {}, in pieces from all of it: more does not help",
                time(read.frames)
            ));
        }
        told.push(format!(
            "  used          {}, {} of {} frames; the face is {narrowest} to {widest} pixels wide",
            time(used.len()),
            used.len(),
            read.frames
        ));
        let heads = std::iter::once("  left out      ").chain(std::iter::repeat("                "));
        told.extend(reasons.iter().zip(heads).map(|(reason, head)| format!("{head}{reason}")));
        told.push(format!("  sound         {}", offset_words(&offset)));
        if let Some(drift) = offset.0.drift {
            told.push(format!(
                "  note: sound and picture go apart by {:.0} ms from beginning to end. Record both with one device",
                drift.abs()
            ));
        }
        told.extend(screen.map(|screen| {
            format!("  screen        {}: cut out, so that the avatar has alpha", screen.name())
        }));
        told.extend(notes(used.len(), narrowest as i64).into_iter().map(|note| format!("  note: {note}")));
        Ok(DataSet { folder: set, screen, told, seconds: used.len() as f64 / RATE as f64 })
    }

    /// The side of the face's square.
    fn side(&self, frame: usize) -> Option<f32> {
        match self.reports[frame].face(self.read.size) {
            Face::Whole(side) => Some(side as f32),
            _ => None,
        }
    }

    fn reasons(&self, verdicts: &[Verdict]) -> Vec<String> {
        frames::reasons(verdicts, |frame| self.read.film_frame(frame))
    }

    /// Refuses a film that nothing can be learnt from, in one sentence on what to film instead.
    fn refuse(&self, verdicts: &[Verdict]) -> Result<()> {
        let name = &self.name;
        let (used, reasons) = (frames::used(verdicts), self.reasons(verdicts));
        let share = |kind| verdicts.iter().filter(|one| **one == kind).count() as f32 / verdicts.len() as f32;
        if used.len() < MIN_TRAINABLE_FRAMES {
            let remedy = match () {
                () if share(Verdict::SeveralFaces) > MANY => "Film one person alone",
                () if share(Verdict::NoFace) > MANY => "Film a face from the front, in good light",
                () if share(Verdict::Outside) > MANY => "Film the whole face, with room around it",
                () if share(Verdict::Turned) > MANY => "Look at the camera",
                () if share(Verdict::NoSound) > MANY => "Record the sound to the end",
                () => "Film one whole face, three minutes in one go",
            };
            refuse!(
                "{name}: only {} can be learnt from, and 10 seconds are the least: {}. {remedy}",
                time(used.len()),
                reasons.join("; ")
            );
        }
        let longest = frames::stretches(verdicts).iter().map(ExactSizeIterator::len).max().unwrap_or(0);
        if longest < MIN_LOOP_FRAMES {
            refuse!(
                "{name}: {} is the longest part that can be used without a break, and three seconds are the least: {}. \
                 Film in one go",
                time(longest),
                reasons.join("; ")
            );
        }
        let side = quantile(used.iter().filter_map(|n| self.side(*n)).collect(), 0.5) as i64;
        if side < MIN_FACE {
            refuse!(
                "{name}: the face is {side} pixels wide, and {MIN_FACE} are the least. Film closer, or in more pixels"
            );
        }
        let openings: Vec<f32> = used.iter().map(|n| self.reports[*n].opening).collect();
        if quantile(openings.clone(), 0.95) - quantile(openings, 0.1) < MOVES {
            refuse!(
                "{name}: the mouth does not move. Film a person who speaks, with nothing in front of the mouth"
            );
        }
        Ok(())
    }

    /// The offset, and whether a network has heard it.
    fn measure_offset(
        &self,
        verdicts: &[Verdict],
        library_dir: Option<&Path>,
        progress: &mut Progress,
    ) -> Result<(Offset, bool)> {
        let samples: Vec<f32> = self.samples.iter().map(|sample| f32::from(*sample) / 32768.0).collect();
        let of = self.read.frames as f64;
        let heard = heard::hear(&samples, library_dir, &mut |done| {
            progress.tell(Stage::Sound, done as f64, of, None);
        })?;
        let seen =
            |(report, verdict): (&Report, &Verdict)| (*verdict == Verdict::Good).then_some(report.opening);
        let seen: Vec<Option<f32>> = self.reports.iter().zip(verdicts).map(seen).collect();
        let offset = offset::measure(&seen, &heard.opening);
        if heard.by_network && offset.windows >= MIN_WINDOWS && offset.correlation < RELATED {
            refuse!(
                "{}: the mouth does not move with the sound, which may be music, or somebody else's voice. \
                 Film one person who speaks, without music",
                self.name
            );
        }
        Ok((offset, heard.by_network))
    }
}

/// Sound that is so many samples earlier; what is missing is silence.
fn moved(samples: &[i16], earlier: isize) -> Vec<i16> {
    let at = |n: isize| usize::try_from(n + earlier).ok().and_then(|n| samples.get(n)).copied().unwrap_or(0);
    (0..samples.len() as isize).map(at).collect()
}

fn offset_words((offset, by_network): &(Offset, bool)) -> String {
    let late = offset.late.round();
    let amount = match late {
        0.0 => "in step with the lips".into(),
        _ if late > 0.0 => format!("{late} ms late"),
        _ => format!("{} ms early", -late),
    };
    let doubt = offset.doubt.round();
    let how = if *by_network { "" } else { ", by loudness alone" };
    match (offset.is_sure, offset.to_mend() != 0.0) {
        (false, _) => "how late or early it is could not be measured: left as it is".into(),
        (true, true) => format!("{amount}, sure to {doubt} ms{how}: moved"),
        (true, false) => format!("{amount}, sure to {doubt} ms{how}: left as it is"),
    }
}

/// What to expect.
fn notes(frames: usize, narrowest: i64) -> Vec<String> {
    let mut notes = Vec::new();
    // Three minutes with a cut in them are enough.
    if frames < RECOMMENDED_FRAMES * 9 / 10 {
        notes.push(format!(
            "{} is little to learn from: expect a soft mouth that errs in sounds it has not seen. \
             Three to five minutes of speech are recommended",
            time(frames)
        ));
    }
    if narrowest < MIN_SHARP_FACE {
        notes.push(format!(
            "a face narrower than {MIN_SHARP_FACE} pixels gives a soft mouth. Film closer, or in more pixels"
        ));
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sound_is_moved_with_silence_behind_and_before() {
        assert_eq!(moved(&[1, 2, 3, 4], 1), [2, 3, 4, 0]);
        assert_eq!(moved(&[1, 2, 3, 4], -2), [0, 0, 1, 2]);
        assert_eq!(moved(&[1, 2, 3, 4], 9), [0; 4]);
    }

    #[test]
    fn frames_of_pieces_are_found_in_the_film() {
        let read =
            Read { frames: 300, pieces: vec![0..250, 500..550], size: (1, 1), start: 1000, with_sound: 300 };
        assert_eq!([0, 249, 250, 299].map(|frame| read.film_frame(frame)), [1000, 1249, 1500, 1549]);
        assert_eq!(read.film_frames(), 550);
    }

    #[test]
    fn the_offset_is_told_with_its_doubt() {
        let offset =
            Offset { late: 120.4, doubt: 6.2, is_sure: true, drift: None, correlation: 0.7, windows: 9 };
        let told = |offset: &Offset| offset_words(&(offset.clone(), true));
        assert_eq!(told(&offset), "120 ms late, sure to 6 ms: moved");
        assert_eq!(
            told(&Offset { late: -14.0, ..offset.clone() }),
            "14 ms early, sure to 6 ms: left as it is"
        );
        assert_eq!(
            told(&Offset { late: 0.2, ..offset.clone() }),
            "in step with the lips, sure to 6 ms: left as it is"
        );
        assert!(told(&Offset { is_sure: false, ..offset }).contains("could not be measured"));
    }
}
