// SPDX-License-Identifier: MPL-2.0
//! `import`: converts an avatar of any layout to our own.

mod difference;
mod models;
mod pictures;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use lipsync_core::avatar::{Avatar, names, user_place};
use lipsync_core::onnx::Float16Conversion;
use lipsync_core::survey::Survey;
use lipsync_core::text::plain;

use crate::check::Checked;
use crate::cli::Import;
use crate::format::shell_word;
use crate::partial::Partial;
use crate::{format, interrupt, plugin, trial};

/// Copies the avatar, checks the copy, and gives it its name.
pub fn run(options: &Import) -> Result<ExitCode> {
    let library_dir = plugin::library_dir();
    let library_dir = library_dir.as_deref();
    let folder = plugin::locate(&options.avatar, library_dir)?;
    let avatar = open_valid_avatar(&folder, library_dir)?;
    let place = place(options.into.as_deref())?;
    let partial = Partial::begin(&place, &options.name)?;
    let title = options.title.as_deref().unwrap_or(&avatar.title);
    let license = options.license.clone().or_else(|| avatar.license()).unwrap_or_else(|| "not stated".into());
    let halved = copy(&avatar, &partial, pictures::Encoding::of(options), options.fp16, [title, &license])?;

    let checked = Checked::new(partial.folder(), library_dir)?;
    checked.refuse_problems()?;
    let difference = match &checked.survey.avatar {
        Some(copy) if options.fp16 => Some(difference::measure(&avatar, copy, library_dir)?),
        _ => None,
    };
    interrupt::check()?;
    let finished = partial.finish()?;

    print_line!("{}", plain(finished.display()));
    print_line!("  frames        {}", format::change(&frames_of(&avatar), &[finished.join(names::FRAMES)]));
    print_line!(
        "  networks      {}",
        format::change(&models::files(&avatar), &models::names().map(|name| finished.join(name)))
    );
    print_line!("  in all        {}", format::change(&[folder], std::slice::from_ref(&finished)));
    if let Some(difference) = difference {
        print_line!("  float16       {} weights; {difference}", format::number(halved.values));
        if halved.too_large > 0 {
            print_line!(
                "                {} more are too large for it and stay float32",
                format::number(halved.too_large)
            );
        }
    }
    print_line!("  checked: it would play");
    print_say_something(options.into.as_deref().map(|_| finished.as_path()), &options.name);
    Ok(ExitCode::SUCCESS)
}

/// Prints how a new avatar speaks: by its name, or where it lies elsewhere, by its folder.
pub fn print_say_something(elsewhere: Option<&Path>, name: &str) {
    let avatar = elsewhere.map_or(name.into(), |folder| folder.display().to_string());
    print_line!(
        "say something: lipsync say \"Good morning.\" --avatar {}",
        shell_word(&plain(avatar).to_string())
    );
}

/// The given folder, else that of the user's avatars.
pub fn place(given: Option<&Path>) -> Result<PathBuf> {
    let place = given.map(Path::to_path_buf).or_else(user_place);
    place.context("there is no home folder. Say with --into where the avatar is to go")
}

/// Copies an avatar and checks the copy, with every frame exactly as it is.
pub fn copy_exactly(
    avatar: &Avatar,
    partial: &Partial,
    title: &str,
    license: &str,
    library_dir: Option<&Path>,
) -> Result<()> {
    copy(avatar, partial, pictures::Encoding::Lossless, false, [title, license])?;
    Checked::new(partial.folder(), library_dir)?.refuse_problems()
}

fn copy(
    avatar: &Avatar,
    partial: &Partial,
    encoding: pictures::Encoding,
    halve: bool,
    [title, license]: [&str; 2],
) -> Result<Float16Conversion> {
    let target = partial.folder();
    pictures::copy_frames(avatar, &partial.subfolder(names::FRAMES)?, encoding)?;
    pictures::copy_beside(avatar, partial)?;
    pictures::copy_background(avatar, target)?;
    let halved = models::copy(avatar, target, halve)?;
    avatar.write_own(target, title, license)?;
    Ok(halved)
}

/// The avatar in a folder, if its folder and networks have no problems; frames are checked when they are
/// copied.
fn open_valid_avatar(folder: &Path, library_dir: Option<&Path>) -> Result<Avatar> {
    let Survey { avatar, problems, .. } = trial::survey(folder, library_dir)?;
    match (avatar, problems.all()) {
        (Some(avatar), []) => Ok(avatar),
        (_, [only]) => bail!("{only}"),
        (_, several) => bail!(
            "{}: has {} problems, the first of them: {}. See them all: lipsync check {0}",
            folder.display(),
            several.len(),
            several.first().map(ToString::to_string).unwrap_or_default()
        ),
    }
}

fn frames_of(avatar: &Avatar) -> Vec<PathBuf> {
    avatar.frames.iter().map(|frame| frame.picture.clone()).collect()
}
