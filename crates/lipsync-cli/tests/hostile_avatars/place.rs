// SPDX-License-Identifier: MPL-2.0
//! A place for hostile avatars, and what is done with them: all that is wrong is listed, the tool is run, a pipeline plays.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use image::{GrayImage, RgbImage};
use lipsync_core::inference::runtime::Engine;
use lipsync_core::survey::Survey;

use super::common::{copy_folder, fixture};
use super::tool::{Ran, ends, tool};

pub const MANIFEST: &str = "format = 1\ntitle = \"T\"\nlicense = \"L\"\nfps = 25\nframes = \"frames\"\n\
    crops = \"crops.csv\"\nparsing = \"parsing\"\nalpha = \"alpha\"\nbackground = \"background.png\"\n\
    [models]\ngenerator = \"generator.onnx\"\n[face]\nfaces = \"faces\"\nmasked = \"masked\"\n";

/// The file beside the avatars that none of them may name.
pub const SECRET: &str = "secret";

/// A place for avatars, with a file and a folder beside them that are none of their business.
pub struct Place(tempfile::TempDir);

impl Place {
    pub fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        std::fs::create_dir(place.path().join("avatars")).unwrap();
        std::fs::create_dir(place.path().join("outside")).unwrap();
        std::fs::write(place.path().join(SECRET), SECRET).unwrap();
        Self(place)
    }

    pub fn outside(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn avatars(&self) -> PathBuf {
        self.0.path().join("avatars")
    }

    /// An avatar of our own layout with everything that one can have.
    pub fn own(&self, name: &str) -> PathBuf {
        let folder = self.avatars().join(name);
        for (name, size) in
            [("frames", (64, 48)), ("parsing", (64, 48)), ("faces", (96, 96)), ("masked", (96, 96))]
        {
            std::fs::create_dir_all(folder.join(name)).unwrap();
            for n in 0..3 {
                save(&folder, &format!("{name}/{n}.png"), size);
            }
        }
        std::fs::create_dir(folder.join("alpha")).unwrap();
        for n in 0..3 {
            GrayImage::new(64, 48).save(folder.join(format!("alpha/{n}.png"))).unwrap();
        }
        save(&folder, "background.png", (64, 48));
        write(&folder, "crops.csv", "frame,x,y,width,height\n0,4,4,40,40\n1,4,4,40,40\n2,4,4,40,40\n");
        write(&folder, "avatar.toml", MANIFEST);
        std::fs::copy(fixture("models/generator_wav2lip.onnx"), folder.join("generator.onnx")).unwrap();
        folder
    }

    /// One with nothing but frames.
    pub fn plain(&self, name: &str, size: (u32, u32), crop: [i64; 4]) -> PathBuf {
        let folder = self.avatars().join(name);
        std::fs::create_dir_all(folder.join("frames")).unwrap();
        for n in 0..3 {
            save(&folder, &format!("frames/{n}.png"), size);
        }
        write(&folder, "avatar.toml", &plain_manifest(crop));
        std::fs::copy(fixture("models/generator_wav2lip.onnx"), folder.join("generator.onnx")).unwrap();
        folder
    }

    /// A data set, and a package, whose networks are left out.
    pub fn set(&self, layout: &str, name: &str) -> PathBuf {
        let folder = self.avatars().join(name);
        copy_folder(&fixture(&format!("avatars/{layout}")), &folder);
        std::fs::remove_dir_all(folder.join("models")).unwrap();
        let _ = std::fs::remove_file(folder.join("onnx_dist_config.json"));
        folder
    }
}

pub fn plain_manifest(crop: [i64; 4]) -> String {
    format!(
        "format = 1\ntitle = \"T\"\nlicense = \"L\"\nfps = 25\nframes = \"frames\"\ncrop = {crop:?}\n\
         [models]\ngenerator = \"generator.onnx\"\n"
    )
}

pub fn save(folder: &Path, name: &str, (width, height): (u32, u32)) {
    let picture = RgbImage::from_fn(width, height, |x, y| image::Rgb([x as u8, y as u8, (x * y) as u8]));
    picture.save(folder.join(name)).unwrap();
}

pub fn write(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).unwrap();
}

/// Changes the manifest; what is to be replaced must be there.
pub fn replace(folder: &Path, from: &str, to: &str) {
    let manifest = std::fs::read_to_string(folder.join("avatar.toml")).unwrap();
    assert!(manifest.contains(from), "{manifest}");
    write(folder, "avatar.toml", &manifest.replace(from, to));
}

pub fn remove(path: &Path) {
    let removed = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    removed.unwrap_or_else(|e| assert_eq!(e.kind(), std::io::ErrorKind::NotFound, "{e}"));
}

/// All that is wrong with a folder, in words.
pub fn problems(folder: &Path) -> Vec<String> {
    let survey = Survey::open(folder, &Engine::default());
    let frames = survey.avatar.as_ref().map_or(0, |avatar| avatar.frames.len());
    let of_frames: Vec<_> = (0..frames).flat_map(|index| survey.frame(index)).collect();
    let unplaced = survey.problems.unplaced().iter().filter_map(|picture| survey.unplaced_frame(picture));
    survey.problems.all().iter().cloned().chain(of_frames).chain(unplaced).map(|e| e.to_string()).collect()
}

/// Checks that exactly one thing is wrong with a folder, told in one line with all of `words`.
#[track_caller]
pub fn assert_refused(folder: &Path, words: &[&str]) {
    let problems = problems(folder);
    assert_eq!(problems.len(), 1, "{}: {problems:?}", folder.display());
    assert!(!problems[0].contains('\n'), "{problems:?}");
    for word in words {
        assert!(problems[0].contains(word), "no \"{word}\" in: {problems:?}");
    }
}

/// Runs a program with as much memory as hostile files may make it take, and no longer than is fair.
pub fn bounded(command: &Command) -> Ran {
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -v 8000000; exec timeout -k 5 100 \"$0\" \"$@\""]);
    shell.arg(command.get_program()).args(command.get_args());
    shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    ends(shell.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
}

pub fn run(home: &Path, arguments: &[&str]) -> Ran {
    let mut command = tool(home);
    command.args(arguments);
    bounded(&command)
}

/// Plays an avatar; its error messages, or that there were none.
pub fn play(plugin: &Path, avatar: &Path) -> Ran {
    let mut command = Command::new("gst-launch-1.0");
    let line = "audiotestsrc num-buffers=60 ! audio/x-raw,rate=16000 ! lipsync name=l";
    command.args(line.split(' ')).arg(format!("avatar={}", avatar.display()));
    command.args(["!", "video/x-raw,format=I420", "!", "fakesink"]);
    command
        .env("GST_PLUGIN_PATH", plugin)
        .env("GST_REGISTRY", plugin.join("registry.bin"))
        .env("LC_ALL", "C");
    bounded(&command)
}
