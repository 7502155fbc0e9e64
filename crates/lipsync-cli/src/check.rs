// SPDX-License-Identifier: MPL-2.0
//! `check`: describes an avatar and lists everything that would keep it from playing.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, bail};
use indicatif::ParallelProgressIterator;
use lipsync_core::avatar::clips::{ClipMouth, IDLE};
use lipsync_core::avatar::{Avatar, Layout};
use lipsync_core::render::timeline;
use lipsync_core::survey::{NetworkFile, Survey};
use lipsync_core::text::plain;
use rayon::prelude::*;

use crate::checksums::Checksums;
use crate::cli::Check;
use crate::{format, interrupt, plugin, progress, sheet, trial};

/// A survey in which all frames have been checked.
pub struct Checked {
    pub survey: Survey,
    pub folder: PathBuf,
    /// Every problem, each with its remedy.
    pub problems: Vec<String>,
    sums: Option<Checksums>,
}

/// Checks the avatar, prints the report, and draws the sheet.
pub fn run(options: &Check) -> Result<ExitCode> {
    if let Some(path) = &options.sheet {
        sheet::check_name(path)?;
    }
    let library_dir = plugin::library_dir();
    let folder = plugin::locate(&options.avatar, library_dir.as_deref())?;
    let checked = Checked::new(&folder, library_dir.as_deref())?;
    checked.print();
    if let Some(path) = &options.sheet {
        match &checked.survey.avatar {
            Some(avatar) if !avatar.frames.is_empty() => {
                let framing = checked.survey.generator_info.map(|(_, framing)| framing);
                sheet::draw(avatar, framing, path)?;
                print_line!("sheet           {}", path.display());
                if framing.is_none() {
                    print_line!("                the red rectangle is that of networks of SyncTalk_2D");
                }
            }
            _ => print_line!("sheet           none: there is no frame to draw"),
        }
    }
    let problems = format::count(checked.problems.len(), "problem");
    let verdict = match checked.problems.len() {
        0 => {
            format!("verdict: would play: lipsync say \"Good morning.\" --avatar {}", plain(&options.avatar))
        }
        _ if checked.is_untrained() => {
            format!(
                "verdict: would not play yet: its networks are to be trained, all else is there; {problems}"
            )
        }
        _ => format!("verdict: would not play; {problems}"),
    };
    print_line!("{verdict}");
    Ok(if checked.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Checked {
    /// Checks everything in a folder.
    pub fn new(folder: &Path, library_dir: Option<&Path>) -> Result<Self> {
        let survey = trial::survey(folder, library_dir)?;
        let mut problems: Vec<String> = survey.problems.all().iter().map(ToString::to_string).collect();
        let frames = survey.avatar.as_ref().map_or(0, |avatar| avatar.frames.len());
        let frame_problems: Vec<_> = (0..frames)
            .into_par_iter()
            .progress_with(progress::bar(frames, "frames"))
            .flat_map_iter(|index| if interrupt::requested() { Vec::new() } else { survey.frame(index) })
            .collect();
        interrupt::check()?;
        let unplaced = survey.problems.unplaced().iter().filter_map(|picture| survey.unplaced_frame(picture));
        problems.extend(frame_problems.into_iter().chain(unplaced).map(|problem| problem.to_string()));
        let sums = Checksums::of(folder);
        interrupt::check()?;
        problems.extend(sums.iter().flat_map(|sums| sums.problems.iter().cloned()));
        Ok(Self { survey, folder: folder.into(), problems, sums })
    }

    /// Fails where an avatar that was just written has problems.
    pub fn refuse_problems(&self) -> Result<()> {
        if self.problems.is_empty() {
            return Ok(());
        }
        bail!("what was written would not play, and is removed: {}", self.problems.join("; "))
    }

    /// Whether only the networks are missing, as in a data set that `new` has made.
    fn is_untrained(&self) -> bool {
        let Some(avatar) = &self.survey.avatar else { return false };
        let networks = avatar.audio_encoder.iter().chain([&avatar.generator]);
        let missing = networks.filter(|network| !network.exists()).count();
        !avatar.frames.is_empty() && !avatar.generator.exists() && missing == self.problems.len()
    }

    /// Prints the description and the problems.
    fn print(&self) {
        print_line!("{}", plain(self.folder.display()));
        if let Some(avatar) = &self.survey.avatar {
            self.print_avatar(avatar);
        }
        print_network("audio encoder", self.survey.audio_encoder.as_ref());
        print_network("generator", self.survey.generator.as_ref());
        print_network("in 8 bits", self.survey.int8.as_ref());
        if let Some((context_kind, framing)) = self.survey.generator_info {
            print_line!("  audio input   {context_kind}");
            print_line!(
                "  picture       {0} x {0} pixels, and a border of {1}",
                framing.network,
                framing.border
            );
        }
        if let Some(sums) = &self.sums {
            print_line!(
                "sha256          {} of {} as in {}",
                sums.matching,
                sums.listed,
                crate::checksums::FILE
            );
        }
        for (n, problem) in (1..).zip(&self.problems) {
            print_line!("problem {n:<7} {problem}");
        }
    }

    fn print_avatar(&self, avatar: &Avatar) {
        print_line!("title           {}", plain(&avatar.title));
        print_line!("layout          {}", layout(avatar.layout));
        print_line!("size            {}", format::bytes(format::size_of(&self.folder)));
        print_line!("frames          {}", frames(avatar));
        print_clips(avatar, self.problems.is_empty());
        let inside = |frame: &lipsync_core::avatar::AvatarFrameFiles| frame.face.within(avatar.image.size);
        let sides = || avatar.frames.iter().map(|frame| frame.face.width);
        if let (Some(smallest), Some(largest)) = (sides().min(), sides().max()) {
            print_line!("faces           {smallest} to {largest} pixels wide{}", extras(avatar));
        }
        let cut = avatar.frames.iter().filter(|frame| {
            inside(frame).is_some_and(|inside| {
                (i64::from(inside.width), i64::from(inside.height)) != (frame.face.width, frame.face.height)
            })
        });
        match cut.count() {
            0 => {}
            n => {
                print_line!(
                    "note            {n} face rectangles reach over the edge of the frame and are cut there"
                )
            }
        }
    }
}

/// Prints each clip, if there are several, and how it joins the first.
fn print_clips(avatar: &Avatar, can_be_read: bool) {
    if avatar.clips.len() == 1 {
        return;
    }
    let joins = if can_be_read { timeline::joins(avatar) } else { Vec::new() };
    for (n, clip) in avatar.clips.iter().enumerate() {
        let mouth = if clip.mouth == ClipMouth::Own { ", its own mouth" } else { "" };
        let join = n.checked_sub(1).and_then(|n| joins.get(n)).map(|join| {
            let count = |range: &std::ops::RangeInclusive<u32>| match (range.start(), range.end()) {
                (least, most) if least == most => least.to_string(),
                (least, most) => format!("{least} to {most}"),
            };
            format!(
                "; pictures between {} and it: {}, and back: {}",
                IDLE,
                count(&join.there),
                count(&join.back)
            )
        });
        print_line!(
            "clip            {}: {}, {}, {}{mouth}{}",
            clip.name,
            clip.used_for,
            format::count(clip.frames.len(), "frame"),
            clip.play,
            join.unwrap_or_default()
        );
    }
}

fn extras(avatar: &Avatar) -> &'static str {
    let views = avatar.frames.iter().any(|frame| frame.views.is_some());
    let parsing = avatar.frames.iter().any(|frame| frame.parsing.is_some());
    match (views, parsing) {
        (false, false) => "",
        (true, false) => ", with ready-made pictures",
        (false, true) => ", with parsing masks",
        (true, true) => ", with ready-made pictures and parsing masks",
    }
}

/// Number, size and length of the frames.
pub fn frames(avatar: &Avatar) -> String {
    let (width, height) = avatar.image.size;
    let alpha = if avatar.has_alpha() { ", with alpha" } else { "" };
    format!("{} of {width} x {height}{alpha}, {} a second", avatar.frames.len(), avatar.rate.num())
}

/// A layout's name.
pub fn layout(layout: Layout) -> &'static str {
    match layout {
        Layout::Own => "our own",
        Layout::SyncTalk2d => "SyncTalk_2D data set",
        Layout::DigitalClone => "digital-clone package",
    }
}

fn print_network(what: &str, network: Option<&NetworkFile>) {
    let Some(network) = network else { return };
    let name = network.path.file_name().unwrap_or_default().to_string_lossy();
    let weights: Vec<String> = network
        .weights
        .iter()
        .map(|weights| format!("{} {}", format::number(weights.count), weights.data_type))
        .collect();
    let ports = |ports: &[lipsync_core::onnx::ValueInfo]| {
        ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ")
    };
    let name = plain(name);
    print_line!("{what:<15} {name}, {}, {} weights", format::bytes(network.bytes), weights.join(" and "));
    print_line!("                {} to {}", plain(ports(&network.inputs)), plain(ports(&network.outputs)));
}
