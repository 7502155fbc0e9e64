// SPDX-License-Identifier: MPL-2.0
//! `lipsync render`, `say`, `play`, `doctor`, and what is generated from the command line, as users have them.

#![allow(clippy::expect_used, clippy::unwrap_used)]

#[path = "../../lipsync-core/tests/common/mod.rs"]
mod common;
#[path = "common/tool.rs"]
mod tool;

use std::path::Path;
use std::process::{Command, Stdio};

use common::{fixture, root};
use tool::{Ran, ends, ffmpeg, kill, names, path, start, tool, with_plugin};

/// Runs the tool with the plugin in its reach, in a folder.
fn run(folder: &Path, arguments: &[&str]) -> Ran {
    ends(with_plugin(&mut tool(folder)).current_dir(folder).args(arguments).spawn().unwrap())
}

/// What ffprobe says of a file: of the stream of that kind (`v`, `a`), or of the whole.
fn probe(file: &Path, stream: &str, entries: &str) -> String {
    let mut command = Command::new("ffprobe");
    command.args(["-v", "error", "-select_streams", stream, "-show_entries", entries, "-of", "csv=p=0"]);
    let output = command.arg(file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().trim_end_matches(',').to_string()
}

fn avatar(name: &str) -> String {
    fixture(&format!("avatars/{name}")).display().to_string()
}

fn sound(name: &str) -> String {
    fixture(&format!("audio/{name}.wav")).display().to_string()
}

/// A second of silence with a click in its middle, in a folder.
fn click(folder: &Path) -> String {
    let file = folder.join("click.wav");
    ffmpeg(&["-f", "lavfi", "-i", "aevalsrc='0.9*between(t,0.5,0.502)':s=48000:d=1"], &file);
    file.display().to_string()
}

/// The time of the loudest sample, in seconds from the beginning of the picture.
fn time_of_click(file: &Path) -> f64 {
    let mut decode = Command::new("ffmpeg");
    // Silence where the sound begins after the picture; what is before the picture is cut.
    let resample = "aresample=48000:async=1:first_pts=0";
    decode.args([
        "-v",
        "error",
        "-copyts",
        "-i",
        path(file),
        "-af",
        resample,
        "-ac",
        "1",
        "-f",
        "f32le",
        "-",
    ]);
    let bytes = decode.output().unwrap().stdout;
    let samples = bytes.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()).abs());
    let (loudest, _) = samples.enumerate().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
    let picture: f64 = probe(file, "v", "stream=start_time").parse().unwrap();
    loudest as f64 / 48_000.0 - picture
}

#[test]
fn every_ending_is_a_kind_of_file_with_the_sound_in_step() {
    let folder = tempfile::tempdir().unwrap();
    let click = click(folder.path());
    for (name, video, audio) in [
        ("out.mp4", "h264,yuv420p", "aac"),
        ("out.mkv", "h264,yuv420p", "opus"),
        ("out.webm", "vp9,yuv420p", "opus"),
        ("out.mov", "prores,yuva444p12le", "pcm_s16le"),
    ] {
        let said = run(folder.path(), &["render", &click, name, "--avatar", &avatar("masks")]).succeeds();
        assert_eq!(said, format!("{name}: 0:01, 25 frames of 256 x 192\n"));
        let file = folder.path().join(name);
        let shape = probe(&file, "v", "stream=codec_name,width,height,pix_fmt");
        let (codec, format) = video.split_once(',').unwrap();
        assert_eq!(shape, format!("{codec},256,192,{format}"), "{name}");
        assert_eq!(probe(&file, "a", "stream=codec_name"), audio, "{name}");
        let packets = Command::new("ffprobe")
            .args([
                "-v",
                "error",
                "-select_streams",
                "v",
                "-count_packets",
                "-show_entries",
                "stream=nb_read_packets",
            ])
            .args(["-of", "csv=p=0"])
            .arg(&file)
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&packets.stdout).trim().trim_end_matches(','), "25", "{name}");
        let at = time_of_click(&file);
        assert!((0.498..=0.504).contains(&at), "{name}: the click is at {at}");
    }
    let said = run(folder.path(), &["render", &click, "100%n/", "--avatar", &avatar("masks")]).succeeds();
    assert_eq!(said, "100%n/: 0:01, 25 frames of 256 x 192\n");
    let mut pictures = names(&folder.path().join("100%n"));
    pictures.sort();
    assert_eq!((pictures.len(), &pictures[0][..], &pictures[24][..]), (25, "00000.png", "00024.png"));
    let picture = image::open(folder.path().join("100%n/00000.png")).unwrap().to_rgba8();
    assert!(picture.pixels().any(|pixel| pixel.0[3] == 0) && picture.pixels().any(|pixel| pixel.0[3] == 255));
    assert_eq!(names(folder.path()).iter().filter(|name| name.starts_with('.')).count(), 0);
}

/// The first frame of a video.
fn first_frame(file: &Path) -> image::RgbaImage {
    let picture = file.with_extension("first.png");
    ffmpeg(&["-i", path(file), "-frames:v", "1", "-pix_fmt", "rgba"], &picture);
    image::open(picture).unwrap().to_rgba8()
}

/// Whether two colours are about the same: encoders change them a little.
fn is_about(pixel: &image::Rgba<u8>, colour: [u8; 3]) -> bool {
    pixel.0.iter().zip(colour).all(|(a, b)| a.abs_diff(b) < 12)
}

#[test]
fn behind_the_avatar_is_what_is_asked_for_in_any_shape() {
    let folder = tempfile::tempdir().unwrap();
    let blue = [20, 40, 200];
    image::RgbImage::from_pixel(40, 90, image::Rgb(blue)).save(folder.path().join("blue.png")).unwrap();
    let (masks, speech) = (avatar("masks"), sound("one_sample"));
    let green = [0, 0xb1, 0x40];
    // As it is, upright (cut at the sides), and wide (with background at the sides).
    for size in ["256x192", "120x192", "400x120"] {
        for (background, colour) in [("green", green), ("#1428c8", blue), ("blue.png", blue)] {
            let options =
                ["--avatar", &masks, "--size", size, "--background", background, "--fps", "30", "--force"];
            let arguments = [&["render", &speech, "out.mp4"][..], &options].concat();
            let said = run(folder.path(), &arguments).succeeds();
            assert!(said.contains(&size.replace('x', " x ")), "{said}");
            let frame = first_frame(&folder.path().join("out.mp4"));
            assert_eq!(format!("{}x{}", frame.width(), frame.height()), size);
            let behind = frame.pixels().filter(|pixel| is_about(pixel, colour)).count();
            let all = frame.pixels().len();
            assert!((all / 20..all).contains(&behind), "{size} {background}: {behind} of {all}");
            let corner = frame.get_pixel(2, 2);
            assert!(is_about(corner, colour), "{size} {background}: {corner:?}");
        }
    }
    let rate = probe(&folder.path().join("out.mp4"), "v", "stream=r_frame_rate");
    assert_eq!(rate, "30/1");
}

#[test]
fn the_face_stays_in_the_middle_of_what_is_cut() {
    let folder = tempfile::tempdir().unwrap();
    let whole = ["render", &sound("one_sample"), "whole/", "--avatar", "iris"];
    let cut = ["render", &sound("one_sample"), "cut/", "--avatar", "iris", "--size", "406x720"];
    run(folder.path(), &whole).succeeds();
    run(folder.path(), &cut).succeeds();
    let whole = image::open(folder.path().join("whole/00000.png")).unwrap().to_rgba8();
    let cut = image::open(folder.path().join("cut/00000.png")).unwrap().to_rgba8();
    let frame = &lipsync_core::avatar::Avatar::open(&root().join("models/iris")).unwrap().frames[0];
    let middle = (frame.face.x + frame.face.width / 2) as u32;
    let row = (frame.face.y + frame.face.height / 2) as u32;
    let difference = |left: u32| -> u32 {
        (0..406)
            .map(|x| u32::from(whole.get_pixel(left + x, row)[1].abs_diff(cut.get_pixel(x, row)[1])))
            .sum()
    };
    let left = (0..1280 - 406).min_by_key(|&left| difference(left)).unwrap();
    assert!((left + 203).abs_diff(middle) < 12, "columns from {left} on, and the face is at {middle}");
}

#[test]
fn a_mistake_is_a_sentence_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (speech, own, masks) = (sound("speech"), avatar("own"), avatar("masks"));
    std::fs::write(folder.path().join("there.mp4"), "mine").unwrap();
    std::fs::write(folder.path().join("text.txt"), "no picture").unwrap();
    std::fs::create_dir(folder.path().join("there")).unwrap();
    let before = names(folder.path());
    let cases: &[(&[&str], &[&str])] = &[
        (&[&speech, "out.avi"], &["out.avi", "ending", ".mp4"]),
        (&[&speech, "out"], &["out", "ending", ".mp4"]),
        (&[&speech, "out.png"], &["out.png", "Name a folder"]),
        (&[&speech, "there.mp4"], &["there.mp4", "is there already", "--force"]),
        (&[&speech, "there/", "--force"], &["there/", "is a folder", "Choose another name"]),
        (&[&speech, "nowhere/out.mp4"], &["nowhere", "no such folder", "Make it first"]),
        (&[&speech, "out.mp4", "--avatar", "nobody"], &["nobody", "lipsync list"]),
        (&[&speech, "out.mp4", "--clip", "dance"], &["--clip dance", "nod", "smile"]),
        (
            &[&speech, "out.mp4", "--avatar", &own, "--background", "green"],
            &["--background green", "alpha channel", "iris"],
        ),
        (
            &[&speech, "out.mp4", "--avatar", &masks, "--background", "grene"],
            &["--background grene", "no such picture", "#RRGGBB"],
        ),
        (&[&speech, "out.mp4", "--avatar", &masks, "--background", "text.txt"], &["text.txt"]),
        (&["nothing.wav", "out.mp4"], &["nothing.wav", "no such file"]),
        (&["text.txt", "out.mp4"], &["text.txt", "Give a file with speech"]),
        (&["there", "out.mp4"], &["there", "is a folder"]),
        (&[&speech], &["the video has no name", "lipsync render speech.mp3 out.mp4"]),
        (&[&speech, "out.mp4", "--text", "hello"], &["--text", "Give one of them"]),
        (&["out.mp4", "--text", " "], &["the text is empty"]),
    ];
    for (arguments, words) in cases {
        let said = run(folder.path(), &[&["render"], *arguments].concat()).fails(words);
        assert_eq!(said.lines().count(), 1, "{said}");
        assert_eq!(names(folder.path()), before, "{arguments:?}");
    }
    assert_eq!(std::fs::read(folder.path().join("there.mp4")).unwrap(), b"mine");
    for (option, value) in [("--size", "1920"), ("--size", "0x9"), ("--fps", "0"), ("--emphasis", "2")] {
        let ran = run(folder.path(), &["render", &speech, "out.mp4", option, value]);
        assert_eq!(ran.code, Some(2), "{}", ran.output);
        assert!(ran.output.contains(option) && ran.output.contains(value), "{}", ran.output);
    }
}

/// A sound that takes long to speak.
fn long_sound(folder: &Path) -> String {
    let file = folder.join("long.wav");
    ffmpeg(&["-f", "lavfi", "-i", "sine=300:sample_rate=16000:duration=3000"], &file);
    file.display().to_string()
}

/// Starts a rendering that takes long, and waits for the first bytes.
fn start_long(folder: &Path, long: &str, output: &str) -> std::process::Child {
    let arguments = ["render", long, output, "--avatar", &avatar("own_160")];
    let child = with_plugin(&mut tool(folder)).current_dir(folder).args(arguments).spawn().unwrap();
    let begun =
        || names(folder).iter().any(|name| name.starts_with(&format!(".{}", output.trim_end_matches('/'))));
    let patience = std::time::Instant::now();
    while !begun() {
        assert!(patience.elapsed().as_secs() < 60, "nothing is written: {:?}", names(folder));
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    child
}

#[test]
fn an_interruption_leaves_nothing_and_a_killed_run_is_cleaned_up_after() {
    let folder = tempfile::tempdir().unwrap();
    let long = long_sound(folder.path());
    let before = names(folder.path());
    for output in ["out.mp4", "out/"] {
        for signal in ["-INT", "-TERM"] {
            let child = start_long(folder.path(), &long, output);
            kill(&child, signal);
            let ran = ends(child);
            assert_eq!(ran.code, Some(130), "{}", ran.output);
            assert!(ran.output.contains("interrupted; nothing was left behind"), "{}", ran.output);
            assert_eq!(names(folder.path()), before);
        }
        let child = start_long(folder.path(), &long, output);
        let own = format!(".{}.partial-{}", output.trim_end_matches('/'), child.id());
        kill(&child, "-KILL");
        assert_eq!(ends(child).code, None);
        let mut left = names(folder.path());
        left.retain(|name| !before.contains(name));
        assert!(left.contains(&own) && left.iter().all(|name| name.starts_with(&own)), "{left:?}");
        let next = ["render", &sound("one_sample"), output, "--avatar", &avatar("own_160")];
        run(folder.path(), &next).succeeds();
        assert_eq!(names(folder.path()).len(), before.len() + 1, "{:?}", names(folder.path()));
        let made = folder.path().join(output);
        let _ = std::fs::remove_file(&made).or_else(|_| std::fs::remove_dir_all(&made));
    }
}

#[test]
fn a_full_disk_is_said_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    // No file may grow beyond 40 kB; the signal for that is ignored, and writing fails as on a full disk.
    let line = format!(
        "trap '' XFSZ; ulimit -f 40; exec {} render {} out.mkv --avatar {}",
        env!("CARGO_BIN_EXE_lipsync"),
        sound("speech"),
        avatar("own")
    );
    let mut shell = Command::new("bash");
    shell.envs(tool(folder.path()).get_envs().filter_map(|(name, value)| Some((name, value?))));
    with_plugin(&mut shell).current_dir(folder.path()).args(["-c", &line]).stdin(Stdio::null());
    // The graphs that are kept are larger, so they are made before.
    run(folder.path(), &["render", &sound("one_sample"), "small.mp4", "--avatar", &avatar("own")]).succeeds();
    let said = ends(shell.spawn().unwrap()).fails(&["out.mkv"]);
    assert_eq!(said.lines().count(), 1, "{said}");
    let left = names(folder.path());
    assert!(!left.iter().any(|name| name.contains("out.mkv")), "{left:?}");
}

#[test]
fn a_text_is_spoken_by_ones_own_program_or_by_what_is_installed() {
    let folder = tempfile::tempdir().unwrap();
    let speak = |variable: Option<&str>, arguments: &[&str]| {
        let mut command = tool(folder.path());
        with_plugin(&mut command).current_dir(folder.path()).args(arguments);
        match variable {
            Some(program) => command.env("LIPSYNC_TTS", program),
            None => command.env_remove("LIPSYNC_TTS"),
        };
        ends(command.spawn().unwrap())
    };
    let own = avatar("own_160");
    let text = ["render", "--text", "Good morning.", "out.mp4", "--avatar", &own, "--force"];
    let by_program = format!("cat > said.txt; cat {}", sound("s16_44k1_stereo"));
    let said = speak(Some(&by_program), &text).succeeds();
    assert!(said.starts_with("out.mp4: 0:03.32, 83 frames"), "{said}");
    assert_eq!(std::fs::read_to_string(folder.path().join("said.txt")).unwrap(), "Good morning.");
    speak(Some("echo no voice here >&2; exit 3"), &text).fails(&["no voice here", "cannot speak", "3"]);
    speak(Some("true"), &text).fails(&["true has spoken nothing", "LIPSYNC_TTS"]);
    speak(Some("echo nonsense"), &text).fails(&["echo nonsense", "something else than WAV"]);

    let say = ["say", "Good morning.", "-o", "say.mp4", "--avatar", &own];
    let said = speak(None, &say).succeeds();
    assert!(said.starts_with("say.mp4: 0:0"), "{said}");
    speak(None, &[&text[..], &["--voice", "nobody's"]].concat()).fails(&["nobody's"]);
}

#[test]
fn the_lines_of_the_readme_make_what_they_say() {
    let folder = tempfile::tempdir().unwrap();
    let mp3 = folder.path().join("speech.mp3");
    ffmpeg(&["-i", &sound("speech"), "-t", "0.3"], &mp3);
    ffmpeg(
        &["-f", "lavfi", "-i", "color=brown:s=64x64", "-frames:v", "1"],
        &folder.path().join("picture.jpg"),
    );
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let lines: Vec<&str> = readme.lines().filter(|line| line.starts_with("lipsync render ")).collect();
    assert!(lines.len() >= 5, "{lines:?}");
    for line in lines {
        let (words, text) = match line.split_once('"') {
            None => (line.to_string(), None),
            Some((before, rest)) => {
                let (text, after) = rest.split_once('"').unwrap();
                (format!("{before}TEXT{after}"), Some(text))
            }
        };
        let arguments: Vec<&str> = words
            .split_whitespace()
            .skip(1)
            .map(|word| if word == "TEXT" { text.unwrap() } else { word })
            .collect();
        let said = run(folder.path(), &arguments).succeeds();
        let (made, _) = said.split_once(": 0:0").unwrap_or_else(|| panic!("{line}: {said}"));
        assert!(
            line.contains(made) && folder.path().join(made).metadata().unwrap().len() > 1000,
            "{line}: {said}"
        );
    }
}

#[test]
fn a_window_shows_it_and_where_there_is_none_that_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["play", &sound("speech"), "--avatar", &avatar("own")];
    let mut command = tool(folder.path());
    with_plugin(&mut command).args(arguments).env_remove("DISPLAY").env_remove("WAYLAND_DISPLAY");
    ends(command.spawn().unwrap()).fails(&["no display", "DISPLAY", "lipsync render"]);
    with_plugin(&mut command).env("DISPLAY", ":987");
    ends(command.spawn().unwrap()).fails(&["no window can be opened", "lipsync render"]);

    let mut on_screen = Command::new("xvfb-run");
    on_screen.envs(tool(folder.path()).get_envs().filter_map(|(name, value)| Some((name, value?))));
    on_screen.args(["-a", env!("CARGO_BIN_EXE_lipsync")]).args(arguments).stdin(Stdio::null());
    let ran = ends(with_plugin(&mut on_screen).spawn().unwrap());
    assert_eq!(ran.code, Some(0), "{}", ran.output);
}

#[test]
fn the_doctor_says_what_is_missing_and_how_to_get_it() {
    let folder = tempfile::tempdir().unwrap();
    let said = run(folder.path(), &["doctor"]).succeeds();
    for words in ["ONNX Runtime         ready", "iris, theo", "a video, .mp4        ready", "text-to-speech "]
    {
        assert!(said.contains(words), "no \"{words}\" in: {said}");
    }
    // Without programs, avatars, or ONNX Runtime.
    let mut poor = tool(folder.path());
    with_plugin(&mut poor).arg("doctor").env("PATH", "/nowhere").env("LIPSYNC_AVATAR_PATH", "");
    poor.env("ORT_DYLIB_PATH", "/nowhere/libonnxruntime.so");
    let said = ends(poor.spawn().unwrap());
    assert_eq!(said.code, Some(1), "{}", said.output);
    for words in ["text-to-speech       MISSING: sudo apt-get install flite", "/nowhere/libonnxruntime.so"] {
        assert!(said.output.contains(words), "no \"{words}\" in: {}", said.output);
    }
    assert!(said.output.ends_with("see above for what is missing\n"), "{}", said.output);
}

#[test]
fn shells_and_man_read_what_is_generated() {
    let folder = tempfile::tempdir().unwrap();
    for (shell, check) in [("bash", Some(["bash", "-n"])), ("zsh", None), ("fish", None)] {
        let script = run(folder.path(), &["completions", shell]).succeeds();
        assert!(script.contains("quantize") && script.contains("background"), "{shell}: {script}");
        let file = folder.path().join(shell);
        std::fs::write(&file, script).unwrap();
        if let Some([program, option]) = check {
            assert!(Command::new(program).arg(option).arg(&file).status().unwrap().success());
        }
    }
    run(folder.path(), &["share", "share"]).succeeds();
    let pages = names(&folder.path().join("share/man/man1"));
    for page in ["lipsync.1", "lipsync-render.1", "lipsync-say.1", "lipsync-check.1"] {
        assert!(pages.contains(&page.to_string()), "{pages:?}");
    }
    assert!(!pages.iter().any(|page| page.contains("try-networks") || page.contains("share")), "{pages:?}");
    let page = std::fs::read_to_string(folder.path().join("share/man/man1/lipsync-render.1")).unwrap();
    assert!(page.contains(".TH lipsync-render 1") && page.contains("background"), "{page}");
    let installed = folder.path().join("share/bash-completion/completions/lipsync");
    assert_eq!(std::fs::read(installed).unwrap(), std::fs::read(folder.path().join("bash")).unwrap());
    // A reader that has seen enough.
    let mut child = start(folder.path(), &["completions", "bash"]);
    drop(child.stdout.take());
    assert_eq!(ends(child).code, Some(0));
}

/// A checksum of each frame of a video, as it is decoded, and of the sound; with their times.
fn checksums(file: &Path, kind: &str) -> String {
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-i", path(file), "-map", kind, "-f", "framemd5", "-"]);
    String::from_utf8(command.output().unwrap().stdout).unwrap()
}

/// The pictures are lossless, so that the frames can be compared to the bit.
#[test]
fn parts_are_joined_into_the_video_that_one_run_makes() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let (speech, own) = (sound("speech"), avatar("own"));
    for ending in ["mov", "mp4"] {
        let whole = at(&format!("whole.{ending}"));
        run(folder.path(), &["render", &speech, &whole, "--avatar", &own]).succeeds();
        let mut join = vec!["join".to_string(), speech.clone()];
        for (number, frames) in ["0-30", "31-31", "32-100"].iter().enumerate() {
            let part = at(&format!("{number}.{ending}"));
            let ran = run(folder.path(), &["render", &speech, &part, "--avatar", &own, "--frames", frames]);
            let count = ["31 frames", "1 frame", "51 frames"][number];
            assert!(ran.succeeds().contains(count), "{frames}");
            join.push(part);
        }
        let joined = at(&format!("joined.{ending}"));
        join.push(joined.clone());
        let join: Vec<&str> = join.iter().map(String::as_str).collect();
        let said = run(folder.path(), &join).succeeds();
        assert!(said.contains("83 frames of 3 parts"), "{said}");
        let (whole, joined) = (Path::new(&whole), Path::new(&joined));
        assert_eq!(checksums(joined, "0:a"), checksums(whole, "0:a"), "{ending}");
        let times = "packet=pts_time,duration_time";
        let sorted = |file| {
            let mut times: Vec<String> = probe(file, "v", times).lines().map(Into::into).collect();
            times.sort();
            times
        };
        assert_eq!(sorted(joined), sorted(whole), "{ending}");
        if ending == "mov" {
            assert_eq!(checksums(joined, "0:v"), checksums(whole, "0:v"));
        }

        let unfinished = at(&format!("unfinished.{ending}"));
        let without_second = [&join[..3], &join[4..5], &[unfinished.as_str()]].concat();
        run(folder.path(), &without_second).fails(&["Give all parts"]);
        let twice = [&join[..4], &join[3..5], &[unfinished.as_str()]].concat();
        run(folder.path(), &twice).fails(&["each once"]);
    }
    let refused = |arguments: &[&str], words: &[&str]| _ = run(folder.path(), arguments).fails(words);
    refused(&["render", &speech, &at("late.mp4"), "--frames", "83-90"], &["has no frame 83"]);
    refused(&["join", &speech, &at("0.mp4"), &at("1.mov"), &at("x.mp4")], &["another kind of file"]);
    refused(&["join", &speech, &at("7.mp4"), &at("x.mp4")], &["no such file"]);
}
