// SPDX-License-Identifier: MPL-2.0
//! What is named is a regular file inside the avatar's folder; nothing else is read, waited for or copied.

use std::os::unix::fs::symlink;
use std::process::Command;

use lipsync_core::limits;

use super::place::{MANIFEST, Place, SECRET, assert_refused, problems, remove, replace, run, write};
use super::tool::{names, path};

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
