// SPDX-License-Identifier: MPL-2.0
//! Names of frames, folders and avatars, and how they are shown.

use std::os::unix::fs::symlink;
use std::process::Command;

use super::common::plugin_folder;
use super::place::{Place, assert_refused, bounded, play, problems, remove, replace, run};
use super::tool::{path, tool};

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
