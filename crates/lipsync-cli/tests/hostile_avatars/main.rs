// SPDX-License-Identifier: MPL-2.0
//! Avatars as a malicious stranger would make them: each ends in one sentence that names file and remedy, and none in a
//! hang, a panic, a full memory, or a file read or copied that is not the avatar's.

#![allow(clippy::expect_used, clippy::unwrap_used)]
#![cfg(unix)]

#[path = "../../lipsync-core/tests/common/mod.rs"]
mod common;
#[path = "common/tool.rs"]
mod tool;

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::{fixture, plugin_folder};
use image::{GrayImage, RgbImage};
use lipsync_core::inference::runtime::Engine;
use lipsync_core::limits;
use lipsync_core::survey::Survey;
use tool::{Ran, ends, names, path, tool};

const MANIFEST: &str = "format = 1\ntitle = \"T\"\nlicense = \"L\"\nfps = 25\nframes = \"frames\"\n\
    crops = \"crops.csv\"\nparsing = \"parsing\"\nalpha = \"alpha\"\nbackground = \"background.png\"\n\
    [models]\ngenerator = \"generator.onnx\"\n[face]\nfaces = \"faces\"\nmasked = \"masked\"\n";

/// The file beside the avatars that none of them may name.
const SECRET: &str = "secret";

/// A place for avatars, with a file and a folder beside them that are none of their business.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        std::fs::create_dir(place.path().join("avatars")).unwrap();
        std::fs::create_dir(place.path().join("outside")).unwrap();
        std::fs::write(place.path().join(SECRET), SECRET).unwrap();
        Self(place)
    }

    fn outside(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn avatars(&self) -> PathBuf {
        self.0.path().join("avatars")
    }

    /// An avatar of our own layout with everything that one can have.
    fn own(&self, name: &str) -> PathBuf {
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
    fn plain(&self, name: &str, size: (u32, u32), crop: [i64; 4]) -> PathBuf {
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
    fn set(&self, layout: &str, name: &str) -> PathBuf {
        let folder = self.avatars().join(name);
        common::copy_folder(&fixture(&format!("avatars/{layout}")), &folder);
        std::fs::remove_dir_all(folder.join("models")).unwrap();
        let _ = std::fs::remove_file(folder.join("onnx_dist_config.json"));
        folder
    }
}

fn plain_manifest(crop: [i64; 4]) -> String {
    format!(
        "format = 1\ntitle = \"T\"\nlicense = \"L\"\nfps = 25\nframes = \"frames\"\ncrop = {crop:?}\n\
         [models]\ngenerator = \"generator.onnx\"\n"
    )
}

fn save(folder: &Path, name: &str, (width, height): (u32, u32)) {
    let picture = RgbImage::from_fn(width, height, |x, y| image::Rgb([x as u8, y as u8, (x * y) as u8]));
    picture.save(folder.join(name)).unwrap();
}

fn write(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).unwrap();
}

/// Changes the manifest; what is to be replaced must be there.
fn replace(folder: &Path, from: &str, to: &str) {
    let manifest = std::fs::read_to_string(folder.join("avatar.toml")).unwrap();
    assert!(manifest.contains(from), "{manifest}");
    write(folder, "avatar.toml", &manifest.replace(from, to));
}

fn remove(path: &Path) {
    let removed = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    removed.unwrap_or_else(|e| assert_eq!(e.kind(), std::io::ErrorKind::NotFound, "{e}"));
}

/// All that is wrong with a folder, in words.
fn problems(folder: &Path) -> Vec<String> {
    let survey = Survey::open(folder, &Engine::default());
    let frames = survey.avatar.as_ref().map_or(0, |avatar| avatar.frames.len());
    let of_frames: Vec<_> = (0..frames).flat_map(|index| survey.frame(index)).collect();
    let unplaced = survey.problems.unplaced().iter().filter_map(|picture| survey.unplaced_frame(picture));
    survey.problems.all().iter().cloned().chain(of_frames).chain(unplaced).map(|e| e.to_string()).collect()
}

/// Checks that exactly one thing is wrong with a folder, told in one line with all of `words`.
#[track_caller]
fn assert_refused(folder: &Path, words: &[&str]) {
    let problems = problems(folder);
    assert_eq!(problems.len(), 1, "{}: {problems:?}", folder.display());
    assert!(!problems[0].contains('\n'), "{problems:?}");
    for word in words {
        assert!(problems[0].contains(word), "no \"{word}\" in: {problems:?}");
    }
}

/// Runs a program with as much memory as hostile files may make it take, and no longer than is fair.
fn bounded(command: &Command) -> Ran {
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -v 8000000; exec timeout -k 5 100 \"$0\" \"$@\""]);
    shell.arg(command.get_program()).args(command.get_args());
    shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    ends(shell.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
}

fn run(home: &Path, arguments: &[&str]) -> Ran {
    let mut command = tool(home);
    command.args(arguments);
    bounded(&command)
}

/// Plays an avatar; its error messages, or that there were none.
fn play(plugin: &Path, avatar: &Path) -> Ran {
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

/// The places of files in an avatar that has everything, and what is wrong where there is none.
const FILES: [&str; 10] = [
    "avatar.toml",
    "crops.csv",
    "frames/1.png",
    "parsing/0.png",
    "alpha/1.png",
    "faces/2.png",
    "masked/0.png",
    "background.png",
    "generator.onnx",
    "generator.int8.onnx",
];

#[test]
fn what_is_no_file_is_not_waited_for() {
    let place = Place::new();
    for (n, file) in FILES.into_iter().enumerate() {
        let folder = place.own(&format!("pipe{n}"));
        assert!(problems(&folder).is_empty());
        let at = folder.join(file);
        remove(&at);
        assert!(Command::new("mkfifo").arg(&at).status().unwrap().success());
        assert_refused(&folder, &[path(&at), "is a pipe, a device or the like, not a file. "]);
        std::fs::remove_file(&at).unwrap();
        std::fs::create_dir(&at).unwrap();
        assert_refused(&folder, &[path(&at), "is a folder, not a file. "]);
        std::fs::remove_dir(&at).unwrap();
        symlink("/dev/zero", &at).unwrap();
        assert_refused(&folder, &[path(&at), "is a link out of the avatar's folder, to /dev/zero. "]);
        std::fs::remove_file(&at).unwrap();
        std::fs::write(&at, "").unwrap();
        assert!(!problems(&folder).is_empty(), "{file} is empty");
        let file = std::fs::File::create(&at).unwrap();
        // Of holes alone.
        file.set_len(1 << 40).unwrap();
        assert_refused(&folder, &[path(&at), "has 1099511627776 bytes, more than the "]);
    }
}

#[test]
fn nor_is_it_in_data_sets_and_packages() {
    let place = Place::new();
    for (n, (layout, file)) in [
        ("synctalk", "landmarks/1.lms"),
        ("synctalk", "full_body_img/2.jpg"),
        ("digital_clone", "cache/crop_rectangles.json"),
        ("digital_clone", "rois_320/1.jpg"),
        ("digital_clone", "model_inputs/2.jpg"),
    ]
    .into_iter()
    .enumerate()
    {
        let folder = place.set(layout, &format!("set{n}"));
        let at = folder.join(file);
        let told = |what: &str| {
            let problems = problems(&folder);
            let found = problems.iter().filter(|told| told.contains(path(&at)) && told.contains(what));
            assert_eq!(found.count(), 1, "{problems:?}");
        };
        remove(&at);
        assert!(Command::new("mkfifo").arg(&at).status().unwrap().success());
        told("is a pipe, a device or the like, not a file. ");
        std::fs::remove_file(&at).unwrap();
        symlink(place.outside(SECRET), &at).unwrap();
        told("is a link out of the avatar's folder, to ");
    }
}

#[test]
fn nothing_outside_the_folder_is_named() {
    let place = Place::new();
    let outside = place.outside("outside");
    for (n, (key, value)) in [
        ("frames", "frames"),
        ("crops", "crops.csv"),
        ("parsing", "parsing"),
        ("alpha", "alpha"),
        ("background", "background.png"),
        ("generator", "generator.onnx"),
        ("faces", "faces"),
        ("masked", "masked"),
    ]
    .into_iter()
    .enumerate()
    {
        let folder = place.own(&format!("path{n}"));
        let at = folder.join(value);
        std::fs::rename(&at, outside.join(value)).unwrap();
        // By a link, by a way up, and from the top.
        symlink(outside.join(value), &at).unwrap();
        assert_refused(&folder, &[path(&at), "is a link out of the avatar's folder, to ", "Put a copy"]);
        for other in [format!("../../outside/{value}"), path(&outside.join(value)).into()] {
            write(&folder, "avatar.toml", MANIFEST);
            replace(&folder, &format!("{key} = \"{value}\""), &format!("{key} = \"{other}\""));
            let told = format!("avatar.toml: {key} is \"{other}\", which is no path inside");
            assert_refused(&folder, &[&told, "Copy what is meant"]);
        }
        // Inside, links of files and of folders are as good as what they lead to.
        write(&folder, "avatar.toml", MANIFEST);
        std::fs::remove_file(&at).unwrap();
        std::fs::create_dir(folder.join("store")).unwrap();
        std::fs::rename(outside.join(value), folder.join("store").join(value)).unwrap();
        symlink(format!("store/{value}"), &at).unwrap();
        assert_eq!(problems(&folder), [""; 0]);
    }
}

#[test]
fn import_takes_what_is_inside_and_nothing_else() {
    let (place, home) = (Place::new(), tempfile::tempdir().unwrap());
    let folder = place.own("links");
    std::fs::rename(folder.join("frames"), folder.join("store")).unwrap();
    symlink("store", folder.join("frames")).unwrap();
    symlink("..", folder.join("store/up")).unwrap();
    run(home.path(), &["import", path(&folder), "inside"]).succeeds();
    let imported = home.path().join("lipsync/avatars/inside");
    assert_eq!(names(&imported.join("frames")).len(), 3);
    for (n, (file, remedy)) in
        [("background.png", "Put a copy"), ("frames/2.png", "Put a copy"), ("generator.onnx", "Put a copy")]
            .into_iter()
            .enumerate()
    {
        let folder = place.own(&format!("out{n}"));
        std::fs::rename(folder.join(file), place.outside(&format!("out{n}"))).unwrap();
        symlink(place.outside(&format!("out{n}")), folder.join(file)).unwrap();
        run(home.path(), &["import", path(&folder), "outside"]).fails(&["is a link out of", remedy]);
    }
    assert_eq!(names(&home.path().join("lipsync/avatars")), ["inside"]);
}

#[test]
fn sums_are_told_of_files_inside_alone() {
    let (place, home) = (Place::new(), tempfile::tempdir().unwrap());
    let folder = place.plain("sums", (64, 48), [4, 4, 40, 40]);
    symlink(place.outside(SECRET), folder.join("link")).unwrap();
    let tell = |file: &str| {
        write(
            &folder,
            "onnx_dist_config.json",
            &format!("{{\"a\":{{\"file\":\"{file}\",\"sha256\":\"00\"}}}}"),
        )
    };
    for file in ["/etc/passwd", "../../secret", "link"] {
        tell(file);
        let told =
            run(home.path(), &["check", path(&folder)]).fails(&["avatar's folder", "sha256          0 of 1"]);
        assert!(!told.contains("its SHA-256 is"), "{told}");
    }
    tell("avatar.toml");
    run(home.path(), &["check", path(&folder)]).fails(&["avatar.toml: its SHA-256 is "]);
    let one = "{\"file\":\"generator.onnx\",\"sha256\":\"00\"},".repeat(101);
    write(&folder, "onnx_dist_config.json", &format!("[{}0]", one));
    run(home.path(), &["check", path(&folder)]).fails(&["lists 101 checksums, more than 100"]);
    remove(&folder.join("onnx_dist_config.json"));
    assert!(Command::new("mkfifo").arg(folder.join("onnx_dist_config.json")).status().unwrap().success());
    run(home.path(), &["check", path(&folder)]).fails(&["onnx_dist_config.json: is a pipe"]);
}

#[test]
fn numbers_out_of_bounds_are_refused_with_key_value_and_bound() {
    let place = Place::new();
    let folder = place.plain("numbers", (64, 48), [4, 4, 40, 40]);
    let refused = |from: &str, to: &str, words: &[&str]| {
        write(&folder, "avatar.toml", &plain_manifest([4, 4, 40, 40]));
        replace(&folder, from, to);
        assert_refused(&folder, words);
    };
    for border in [60_000, u32::MAX, limits::BORDER + 1] {
        let told = format!("avatar.toml: border is {border}, not 0 to {}. ", limits::BORDER);
        refused("onnx\"\n", &format!("onnx\"\n[face]\nborder = {border}\n"), &[&told]);
    }
    for fps in [0, 4_294_967_295, u64::from(limits::FPS) + 1] {
        refused(
            "fps = 25",
            &format!("fps = {fps}"),
            &[&format!("avatar.toml: fps is {fps}, not 1 to 240. ")],
        );
    }
    for fps in ["-25", "25.5", "4294967296", "1e9", "nan"] {
        refused("fps = 25", &format!("fps = {fps}"), &["avatar.toml: cannot be read in line 4: "]);
    }
    refused("\"T\"", &format!("\"{}\"", "x".repeat(201)), &["title has 201 characters, more than 200"]);
    refused("fps = 25", "fps = 25\nfirst_frame = 18446744073709551615", &["avatar.toml: "]);
    refused(
        "fps = 25",
        "fps = 25\nfirst_frame = 9223372036854775807",
        &["first_frame is 9223372036854775807"],
    );
    refused("fps = 25", &format!("fps = 25\n{} = 1", "x".repeat(100_000)), &["unknown field", "…"]);
    refused("\"L\"", &format!("\"{}\"", "x".repeat(1 << 20)), &["has 1048", "more than the 1048576"]);
    refused("fps = 25", &format!("fps = {}", "[".repeat(100_000)), &["avatar.toml: cannot be read"]);
    for crop in [[i64::MAX, 4, 40, 40], [4, 4, i64::MIN, 40], [4, -1, 40, 40], [4, 4, 0, 40]] {
        write(&folder, "avatar.toml", &plain_manifest(crop));
        let problems = problems(&folder);
        assert_eq!(problems.len(), 3, "{problems:?}");
        assert!(problems[0].contains("starts outside the 64 x 48 frame or is empty"), "{problems:?}");
    }
    write(&folder, "avatar.toml", &plain_manifest([4, 4, i64::MAX, i64::MAX]));
    assert_eq!(problems(&folder), [""; 0]);
}

#[test]
fn faces_of_data_sets_may_be_of_any_numbers() {
    let place = Place::new();
    let folder = place.set("synctalk", "set");
    for line in ["inf -inf", "-inf inf", "nan 1e38", "-1e38 3", ""] {
        write(&folder, "landmarks/1.lms", &format!("{line}\n").repeat(110));
        assert!(
            problems(&folder).iter().any(|told| told.contains("1.jpg") || told.contains("1.lms")),
            "{line}"
        );
    }
    let mut lines = vec!["-inf 3"; 110];
    lines[31] = "inf 3";
    write(&folder, "landmarks/1.lms", &lines.join("\n"));
    assert!(problems(&folder).iter().any(|told| told.contains("1.jpg: its face rectangle")));
    write(&folder, "landmarks/1.lms", &"1 2\n".repeat(20_000));
    assert!(problems(&folder).iter().any(|told| told.contains("has 80000 bytes, more than the 65536")));

    let folder = place.set("digital_clone", "package");
    let rect = "[-9223372036854775808, 0, 9223372036854775807, 9223372036854775807]";
    let rectangles: Vec<_> = (0..9).map(|n| format!("\"{n}\": {{\"rect\": {rect}}}")).collect();
    write(&folder, "cache/crop_rectangles.json", &format!("{{{}}}", rectangles.join(",")));
    assert!(problems(&folder).iter().any(|told| told.contains("its face rectangle, 9223372036854775807 x ")));
    for text in ["", "{", "[]", "{\"0\": 1}", "{\"18446744073709551616\": {\"rect\": [0,0,0,0]}}"] {
        write(&folder, "cache/crop_rectangles.json", text);
        let problems = problems(&folder);
        assert!(problems[0].contains("crop_rectangles.json: cannot be read: "), "{problems:?}");
    }
    write(&folder, "cache/crop_rectangles.json", &"[".repeat(1 << 20));
    assert!(problems(&folder)[0].contains("crop_rectangles.json: cannot be read: "));
}

#[test]
fn names_of_frames_may_be_anything() {
    use std::os::unix::ffi::OsStrExt;
    let place = Place::new();
    let folder = place.plain("names", (64, 48), [4, 4, 40, 40]);
    let frames = folder.join("frames");
    // None of these is a frame.
    for name in [
        "readme.txt",
        ".0.png",
        "+1.png",
        "-1.png",
        "1 .png",
        "1.5.png",
        "png",
        ".png",
        "\u{661}.png",
        "4\n.png",
        "99999999999999999999999.png",
        "3.gif",
        "3.png.bak",
        "3",
    ] {
        std::fs::write(frames.join(name), "").unwrap();
    }
    std::fs::write(frames.join(std::ffi::OsStr::from_bytes(b"3\xff.png")), "").unwrap();
    std::fs::create_dir_all(frames.join("d/".repeat(300))).unwrap();
    assert_eq!(problems(&folder), [""; 0]);

    for (name, words) in [
        ("18446744073709551615.png", "stands alone, with no frames before it"),
        ("1000000000000000000.png", "stands alone, with no frames before it"),
        ("00001.png", "is a second picture of the same number"),
        ("1.JPG", "is a second picture of the same number"),
        ("3.png", "no readable picture: it is neither JPEG, PNG nor WebP"),
    ] {
        // Of two, the one that is sorted last is told.
        let (told, from) = if words.contains("second") { ("1.png", "1.png") } else { (name, "readme.txt") };
        std::fs::copy(frames.join(from), frames.join(name)).unwrap();
        assert_refused(&folder, &[told, words]);
        std::fs::remove_file(frames.join(name)).unwrap();
    }
    let told = problems(&{
        std::fs::write(frames.join("103.png"), "").unwrap();
        folder.clone()
    });
    assert!(told.len() == 10 && told[8].contains("92 more frames are missing"), "{told:?}");
    std::fs::remove_file(frames.join("103.png")).unwrap();
    symlink("3.png", frames.join("3.png")).unwrap();
    assert_refused(&folder, &["3.png: cannot be read: "]);
    std::fs::remove_file(frames.join("3.png")).unwrap();
    symlink("nowhere", frames.join("3.png")).unwrap();
    assert_refused(&folder, &["3.png: is a link to what is not there"]);
}

#[test]
fn folders_of_very_many_files_are_refused() {
    let place = Place::new();
    let folder = place.plain("many", (64, 48), [4, 4, 40, 40]);
    for n in 3..=limits::FRAMES {
        // Links of a file take no room.
        std::fs::hard_link(folder.join("frames/0.png"), folder.join(format!("frames/{n}.png")))
            .or_else(|_| std::fs::write(folder.join(format!("frames/{n}.png")), ""))
            .unwrap();
    }
    assert_refused(&folder, &["frames: has more than the 100000 pictures that an avatar may have"]);
}

/// A PNG with a header, other chunks and nothing in it.
fn png(width: u32, height: u32, colour: u8, chunks: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
    let mut header = [width.to_be_bytes(), height.to_be_bytes()].concat();
    header.extend([8, colour, 0, 0, 0]);
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    for (name, data) in [(b"IHDR", header.as_slice())].iter().chain(chunks).chain(&[(b"IEND", &[][..])]) {
        file.extend((data.len() as u32).to_be_bytes());
        let start = file.len();
        file.extend_from_slice(*name);
        file.extend_from_slice(data);
        let sum = crc32(&file[start..]);
        file.extend(sum.to_be_bytes());
    }
    file
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(
            sum ^ u32::from(*byte),
            |sum, _| if sum & 1 == 1 { sum >> 1 ^ 0xedb8_8320 } else { sum >> 1 },
        )
    })
}

/// 16 lines of 16 bytes for a PNG, stored as they are.
fn lines() -> Vec<u8> {
    let raw = [[0].as_slice(), &[255; 16]].concat().repeat(16);
    let (a, b) = raw.iter().fold((1u32, 0u32), |(a, b), byte| {
        let a = (a + u32::from(*byte)) % 65_521;
        (a, (b + a) % 65_521)
    });
    let length = raw.len() as u16;
    let mut stream = vec![0x78, 1, 1];
    stream.extend(length.to_le_bytes());
    stream.extend((!length).to_le_bytes());
    stream.extend(raw);
    stream.extend((b << 16 | a).to_be_bytes());
    stream
}

/// A JPEG that says that it is of that size.
fn jpeg(width: u16, height: u16) -> Vec<u8> {
    let mut bytes = std::fs::read(fixture("avatars/own_jpg/frames/0.jpg")).unwrap();
    let start = bytes.windows(2).position(|marker| marker == [0xff, 0xc0]).unwrap();
    bytes[start + 5..start + 7].copy_from_slice(&height.to_be_bytes());
    bytes[start + 7..start + 9].copy_from_slice(&width.to_be_bytes());
    bytes
}

/// A lossless WebP that says that it is of that size.
fn webp(width: u32, height: u32) -> Vec<u8> {
    let size = (width - 1) | (height - 1) << 14;
    let data = [&[0x2f][..], &size.to_le_bytes(), &[0; 11]].concat();
    let chunk = [b"WEBPVP8L", &(data.len() as u32).to_le_bytes()[..], &data].concat();
    [b"RIFF", &(chunk.len() as u32).to_le_bytes()[..], &chunk].concat()
}

#[test]
fn pictures_out_of_bounds_are_refused_by_their_headers() {
    let (place, home, plugin) = (Place::new(), tempfile::tempdir().unwrap(), plugin_folder(true));
    let palette = png(16, 16, 3, &[(b"PLTE", &[7; 686]), (b"IDAT", &lines())]);
    for (n, (ending, picture, words)) in [
        ("jpg", jpeg(65_500, 65_500), "is 65500 x 65500 pixels: a picture may have 8192 on a side"),
        ("jpg", jpeg(8193, 1), "is 8193 x 1 pixels"),
        ("png", png(13_000, 13_000, 6, &[(b"IDAT", &lines())]), "is 13000 x 13000 pixels"),
        ("png", png(u32::MAX, u32::MAX, 6, &[]), "is 4294967295 x 4294967295 pixels"),
        ("png", png(0, 7, 6, &[]), "is 0 x 7 pixels"),
        ("png", png(8000, 8000, 2, &[(b"IDAT", &lines())]), "is 8000 x 8000 pixels"),
        ("webp", webp(16_383, 16_383), "is 16383 x 16383 pixels"),
        ("png", palette, "is no readable picture: its palette is not one of up to 256 colours"),
        ("png", png(64, 48, 3, &[(b"IDAT", &lines())]), "is no readable picture: "),
        ("png", b"\x89PNG\r\n\x1a\n".to_vec(), "is no readable picture: its header is cut short"),
    ]
    .into_iter()
    .enumerate()
    {
        // The first frame, which tells the size of all, or the last; masks and the like are compared with it.
        for (place, frame) in [
            (place.plain(&format!("first{n}"), (64, 48), [4, 4, 40, 40]), 0),
            (place.plain(&format!("last{n}"), (64, 48), [4, 4, 40, 40]), 2),
        ] {
            std::fs::remove_file(place.join(format!("frames/{frame}.png"))).unwrap();
            let name = format!("frames/{frame}.{ending}");
            std::fs::write(place.join(&name), &picture).unwrap();
            let words = [name.as_str(), words];
            let told =
                run(home.path(), &["check", path(&place), "--sheet", path(&home.path().join("s.png"))])
                    .fails(&words);
            assert!(told.contains("; 1 problem"), "{told}");
            // Of the last frame only a few are met before the sound ends.
            let played = play(plugin.path(), &place);
            assert_ne!(played.code, Some(0), "{}", played.output);
            assert!(words.iter().all(|word| played.output.contains(word)), "{}", played.output);
            assert!(
                !played.output.contains("panicked") && !played.output.contains("generator.onnx"),
                "{}",
                played.output
            );
        }
    }
}

#[test]
fn pictures_that_the_bounds_allow_play() {
    let (place, home, plugin) = (Place::new(), tempfile::tempdir().unwrap(), plugin_folder(true));
    for (n, (size, crop)) in [
        ((64, 33), [4, 32, 40, 40]),
        ((65, 33), [5, 31, 40, 40]),
        ((64, 48), [40, 40, 40, 40]),
        ((1, 1), [0, 0, 1, 1]),
        ((3, 8192), [0, 8191, 3, 3]),
        ((8192, 2), [8191, 0, 9, 9]),
    ]
    .into_iter()
    .enumerate()
    {
        let folder = place.plain(&format!("odd{n}"), size, crop);
        let sheet = home.path().join("sheet.png");
        run(home.path(), &["check", path(&folder), "--sheet", path(&sheet)]).succeeds();
        let (width, height) = image::image_dimensions(&sheet).unwrap();
        assert!(width <= 4 * 408 + 8 && height <= 2000, "{size:?}: {width} x {height}");
        play(plugin.path(), &folder).succeeds();
    }
    // 8K video.
    let folder = place.plain("8k", (1, 1), [3000, 1000, 900, 900]);
    for n in 1..3 {
        std::fs::remove_file(folder.join(format!("frames/{n}.png"))).unwrap();
    }
    save(&folder, "frames/0.png", (7680, 4320));
    run(home.path(), &["check", path(&folder)]).succeeds();
}

#[test]
fn list_tells_of_every_folder_and_ends() {
    let (place, home) = (Place::new(), tempfile::tempdir().unwrap());
    place.plain("good", (64, 48), [4, 4, 40, 40]);
    for (name, file) in [("pipe", "avatar.toml"), ("pipe2", "frames/0.png"), ("pipe3", "generator.onnx")] {
        let at = place.plain(name, (64, 48), [4, 4, 40, 40]).join(file);
        remove(&at);
        assert!(Command::new("mkfifo").arg(&at).status().unwrap().success());
    }
    let round = place.plain("round", (64, 48), [4, 4, 40, 40]);
    symlink(".", round.join("a")).unwrap();
    symlink(".", round.join("b")).unwrap();
    symlink("/", round.join("c")).unwrap();
    std::fs::create_dir_all(round.join("d/".repeat(700))).unwrap();
    let zero = place.plain("zero", (64, 48), [4, 4, 40, 40]);
    remove(&zero.join("avatar.toml"));
    symlink("/dev/zero", zero.join("avatar.toml")).unwrap();
    for name in ["esc\u{1b}[31m", "new\nline", "turned\u{202e}gnp"] {
        let folder = place.plain(name, (64, 48), [4, 4, 40, 40]);
        replace(&folder, "title = \"T\"", "title = \"a\\u001b[2J\\nverdict: \\u202e would play\"");
    }
    let mut command = tool(home.path());
    command.env("LIPSYNC_AVATAR_PATH", place.avatars()).arg("list");
    let told = bounded(&command).succeeds();
    for line in ["good            T", "round           T"] {
        assert!(told.contains(line), "{told}");
    }
    assert_eq!(told.matches("cannot be used").count(), 4, "{told}");
    assert!(
        told.contains("esc\\u{1b}[31m") && told.contains("a\\u{1b}[2J verdict: \\u{202e} would"),
        "{told}"
    );
    assert!(told.contains("new line") && told.contains("turned\\u{202e}gnp"), "{told}");
    assert!(told.chars().all(|c| c == '\n' || !c.is_control()) && !told.contains('\u{202e}'), "{told}");
    let told = run(home.path(), &["check", path(&round)]).succeeds();
    assert!(told.contains("size            3"), "{told}");
}

#[test]
fn what_an_avatar_is_called_does_not_reach_the_terminal_as_it_is() {
    let (place, home, plugin) = (Place::new(), tempfile::tempdir().unwrap(), plugin_folder(true));
    let is_plain = |told: &str| {
        assert!(told.chars().all(|c| c == '\n' || !c.is_control()) && !told.contains('\u{202e}'), "{told}");
    };
    let folder = place.plain("a\u{1b}]0;x\u{7}b\u{202e}", (64, 48), [4, 4, 40, 40]);
    replace(&folder, "title = \"T\"", "title = \"\\u001b[31mred\\u009b2J\\nverdict: would play\"");
    let told = run(home.path(), &["check", path(&folder)]).succeeds();
    is_plain(&told);
    assert!(told.contains("title           \\u{1b}[31mred\\u{9b}2J verdict: would play\n"), "{told}");
    replace(&folder, "fps = 25", "fps = 25\n\"\\u001b[2Jkey\" = 1");
    is_plain(&run(home.path(), &["check", path(&folder)]).fails(&["\\u{1b}[2Jkey"]));
    let played = play(plugin.path(), &folder);
    assert_eq!(played.output.matches("ERROR: from element").count(), 1, "{}", played.output);
    is_plain(&played.output);
    is_plain(&run(home.path(), &["import", path(&folder), "x"]).fails(&["\\u{1b}[2Jkey"]));
}

#[test]
fn the_manual_states_the_bounds() {
    let manual = include_str!("../../../models/README.md");
    let (_, table) = manual.split_once("\n## Bounds\n").expect("a section \"Bounds\"");
    let rows: Vec<(&str, &str)> = table
        .lines()
        .skip_while(|line| !line.starts_with("|---"))
        .skip(1)
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            let cells: Vec<_> = line.split('|').map(str::trim).collect();
            (cells[3].trim_matches('`'), cells[2])
        })
        .collect();
    let told = |name: &str| rows.iter().find(|row| row.0 == name).map(|row| row.1);
    let number = |text: &str| {
        let (digits, unit) = text.split_once(' ').unwrap_or((text, ""));
        let number: u64 = digits.replace(',', "").parse().expect(text);
        number
            << match unit {
                "KiB" => 10,
                "MiB" => 20,
                "GiB" => 30,
                _ => 0,
            }
    };
    // Each constant is told, and nothing else is.
    let source = include_str!("../../lipsync-core/src/limits.rs");
    let constants = source.lines().filter_map(|line| {
        let public = line.strip_prefix("pub const ").or_else(|| line.strip_prefix("pub(crate) const "))?;
        public.split_once(": ")
    });
    let mut count = 0;
    for (name, rest) in constants {
        let (_, value) = rest.split_once(" = ").unwrap();
        let value = value.trim_end_matches(';');
        let value = match value.split_once(" << ") {
            Some((value, bits)) => number(value) << number(bits),
            None if value.starts_with("i32::MAX") => i32::MAX as u64,
            None => number(&value.replace('_', "")),
        };
        let row = told(name).unwrap_or_else(|| panic!("models/README.md does not tell of {name}"));
        assert_eq!(number(row), value, "{name} is told as {row}");
        count += 1;
    }
    assert_eq!(count, rows.len(), "models/README.md tells of bounds that are none");
}
