// SPDX-License-Identifier: MPL-2.0
//! `train`: from a film of a person to an avatar that has a name.

mod data_set;
mod frames;
mod heard;
mod kit;
mod offset;
mod screen;
mod source;
mod stages;
mod trainer;
mod verdict;
mod work;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use lipsync_core::avatar::Avatar;
use lipsync_core::inference::precision::int8_file;
use lipsync_core::text::plain;

use crate::cli::{self, Train};
use crate::film::environment::faces;
use crate::partial::{Partial, free_target};
use crate::quantize::{Talk, quantize};
use crate::{import, interrupt, plugin};
use data_set::{DataSet, Refused};
use source::Source;
use stages::{Guess, Progress, Stage};
use trainer::{Judgement, Training};
use work::Work;

/// Minutes of training that are enough without a GPU.
const MINUTES: f64 = 30.0;
/// Seconds of film that the first guess of the time that is left is for.
const FILM: f64 = 180.0;

/// Makes the avatar, or goes on making it.
pub fn run(options: &Train) -> Result<ExitCode> {
    match train(options) {
        Err(_) if interrupt::requested() => bail!("interrupted. The same command goes on where it stopped"),
        trained => trained.map(|()| ExitCode::SUCCESS),
    }
}

fn train(options: &Train) -> Result<()> {
    let place = import::place(options.into.as_deref())?;
    free_target(&place, &options.name)?;
    let source = Source::of(options)?;
    let library_dir = plugin::library_dir();
    let library_dir = library_dir.as_deref();
    let environment = kit::environment();
    // Before half an hour of work.
    environment.check(options.python.as_deref())?;
    faces(data_set::FACES_OPTION).check(options.faces_python.as_deref())?;
    let work = Work::open(&options.name, &source.identity())?;
    let mut progress = Progress::new(Guess { film: FILM, minutes: options.minutes.unwrap_or(MINUTES) });

    let set =
        match data_set::make(&work, &source, options.faces_python.as_deref(), library_dir, &mut progress) {
            Ok(set) => set,
            Err(error) => {
                // Of other failures another run may make up for, from where this one stopped.
                if error.is::<Refused>() {
                    work.remove()?;
                }
                return Err(error);
            }
        };
    progress.suspend(|| set.told.iter().for_each(|line| print_line!("{line}")));
    let python = progress.suspend(|| environment.interpreter(options.python.as_deref()))?;
    let made = Making { options, work: &work, set: &set, library_dir };
    let judgement = made.train(&python, &mut progress)?;
    let arithmetic = made.finish(&mut progress)?;
    drop(progress);
    let avatar = made.install(&place, &judgement)?;
    work.remove()?;

    print_line!("{}", plain(avatar.display()));
    verdict::lines(&judgement).iter().for_each(|line| print_line!("{line}"));
    print_line!("  network       {arithmetic}");
    let sheet = judgement.sheet.as_ref().map(|sheet| avatar.join(sheet_name(sheet)));
    sheet
        .filter(|sheet| sheet.exists())
        .iter()
        .for_each(|sheet| print_line!("  sheet         {}", plain(sheet.display())));
    print_line!("verdict: {}", verdict::words(&judgement, set.seconds));
    import::print_say_something(options.into.as_deref().map(|_| avatar.as_path()), &options.name);
    Ok(())
}

/// The judgement, in the avatar's folder as well.
const JUDGEMENT: &str = "trained.json";

/// What the contact sheet is called there.
fn sheet_name(sheet: &Path) -> PathBuf {
    Path::new(JUDGEMENT).with_extension(sheet.extension().unwrap_or_default())
}

/// An avatar that is being made.
struct Making<'a> {
    options: &'a Train,
    work: &'a Work,
    set: &'a DataSet,
    library_dir: Option<&'a Path>,
}

impl Making<'_> {
    /// The folder that the training writes the avatar to.
    fn folder(&self) -> PathBuf {
        self.work.path("avatar")
    }

    /// Trains, exports and judges, unless that was finished before.
    fn train(&self, python: &Path, progress: &mut Progress) -> Result<Judgement> {
        if let Some(judgement) = self.work.noted(JUDGEMENT) {
            return Ok(judgement);
        }
        let kit = kit::unpack()?;
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let teacher = Avatar::find(heard::TEACHER, plugin::library_dir().as_deref()).ok();
        let training = Training {
            python,
            kit: &kit,
            work: self.work.folder(),
            set: &self.set.folder,
            avatar: &self.folder(),
            begin_with: teacher.as_ref().map(|avatar| avatar.generator.as_path()),
            minutes: self.options.minutes,
            threads: self.options.threads.map_or(threads, usize::from),
        };
        let judgement = trainer::run(&training, progress)?;
        self.work.note(JUDGEMENT, &judgement)?;
        Ok(judgement)
    }

    /// Cuts the person out where there is a screen, and quantizes the generator; returns how it is computed.
    fn finish(&self, progress: &mut Progress) -> Result<String> {
        if let Some(screen) = self.set.screen {
            screen::cut_out(&self.folder(), screen, &mut |done, of| {
                progress.tell(Stage::Quantize, 0.3 * done as f64, of as f64, None);
            })?;
        }
        progress.tell(Stage::Quantize, 0.3, 1.0, None);
        let sound = self.set.folder.join("aud.wav");
        let wanted = (usize::from(cli::Quantize::SAMPLES), cli::Quantize::PSNR);
        let made =
            quantize(&self.folder(), &sound, wanted, self.library_dir, Talk::Silent, &mut |done, of| {
                progress.tell(Stage::Quantize, 0.3 + 0.3 * done as f64 / of as f64, 1.0, None);
            });
        interrupt::check()?;
        // An avatar plays without it.
        let arithmetic = match made {
            Ok(made) => made.arithmetic,
            Err(error) => {
                progress.suspend(|| {
                    print_error!("note: the network is not quantized: {}", crate::message(&error))
                });
                None
            }
        };
        if arithmetic.is_none() {
            // A network that this processor plays slower only takes room.
            let file = int8_file(&Avatar::open(&self.folder())?.generator);
            if file.exists() {
                std::fs::remove_file(&file)
                    .with_context(|| format!("{}: cannot be removed", file.display()))?;
            }
        }
        Ok(arithmetic.unwrap_or_else(|| "float32".into()))
    }

    /// Copies the avatar to where avatars are, checks it there, and gives it its name.
    fn install(&self, place: &Path, judgement: &Judgement) -> Result<PathBuf> {
        let avatar = Avatar::open(&self.folder())?;
        let partial = Partial::begin(place, &self.options.name)?;
        let license = avatar.license().unwrap_or_else(|| "all rights reserved".into());
        import::copy_exactly(&avatar, &partial, &self.options.name, &license, self.library_dir)?;
        if let Some(sheet) = judgement.sheet.as_ref().filter(|sheet| sheet.is_file()) {
            std::fs::copy(sheet, partial.folder().join(sheet_name(sheet)))
                .with_context(|| format!("{}: cannot be copied", sheet.display()))?;
        }
        let told = Judgement { sheet: None, ..judgement.clone() };
        let told = serde_json::to_vec_pretty(&told)?;
        std::fs::write(partial.folder().join(JUDGEMENT), told)
            .context("the judgement cannot be written. Make room")?;
        interrupt::check()?;
        partial.finish()
    }
}
