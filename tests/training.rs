// SPDX-License-Identifier: MPL-2.0
//! The kit says what is missing before it installs anything.

#![allow(clippy::expect_used, clippy::unwrap_used)]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// What a step of the kit says when it fails; nothing may have been put into its work folder.
fn fails(folder: &Path, step: &str, variables: &[&str]) -> String {
    let (work, tools) = (folder.join("work"), folder.join("tools"));
    // A disk with a gigabyte left, so that nothing is ever downloaded.
    std::fs::create_dir_all(&tools).unwrap();
    let df = tools.join("df");
    std::fs::write(
        &df,
        "#!/bin/sh\necho Filesystem 1024-blocks Used Free\necho disk 9000000 8000000 1000000 89% /\n",
    )
    .unwrap();
    std::fs::set_permissions(&df, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", tools.display(), std::env::var("PATH").unwrap());
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new("make")
        .args(["--no-print-directory", "-C", "training", step])
        .args(variables)
        .arg(format!("WORK={}", work.display()))
        .env("PATH", path)
        .current_dir(root)
        .output()
        .unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(!output.status.success(), "{said}");
    assert!(!work.exists() && !said.contains("installing") && !said.contains("Traceback"), "{said}");
    said
}

/// With the Python that makes the fixtures.
#[test]
fn a_film_of_any_length_gets_a_contact_sheet() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().unwrap();
    let script = "\
import sys
from pathlib import Path
sys.path.insert(0, 'training')
import cv2, film_sheet, numpy as np
for count in (20, 26, 40, 400):
    boxes = np.zeros((count, 48, 64, 3), np.uint8)
    path = Path(sys.argv[1]) / f'{count}.png'
    film_sheet.write(path, boxes, boxes + 9, np.arange(count) * 1.0)
    assert cv2.imread(str(path)).shape == (3 * 2 * 48, 6 * 64, 3)
";
    let python = root.join("target/venv/bin/python");
    let output = Command::new(python)
        .args(["-B", "-c", script])
        .arg(folder.path())
        .current_dir(root)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn footage_that_cannot_be_learned_from_is_refused_before_anything_is_installed() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("my film");
    let footage = format!("FOOTAGE={}", folder.display());
    let avatar = "AVATAR=avatars/me";
    let refused = |variables: &[&str], words: &[&str]| {
        for step in ["footage", "fullsize"] {
            let said = fails(home.path(), step, variables);
            words.iter().for_each(|word| assert!(said.contains(word), "no \"{word}\" in: {said}"));
        }
    };
    refused(&[avatar], &["FOOTAGE=me", "lipsync new"]);
    refused(&[&footage, avatar], &["my film: no such folder", "lipsync new"]);
    for part in ["full_body_img", "landmarks"] {
        std::fs::create_dir_all(folder.join(part)).unwrap();
    }
    refused(&[&footage, avatar], &["full_body_img/0.jpg: no such file", "lipsync new"]);
    let frames = |range: std::ops::Range<usize>| {
        for n in range {
            std::fs::write(folder.join(format!("full_body_img/{n}.jpg")), "").unwrap();
            std::fs::write(folder.join(format!("landmarks/{n}.lms")), "").unwrap();
        }
    };
    frames(0..100);
    refused(&[&footage, avatar], &["aud.wav: no such file"]);
    std::fs::write(folder.join("aud.wav"), "").unwrap();
    refused(&[&footage], &["AVATAR=avatars/me"]);
    refused(&[&footage, avatar], &["holds 100 frames", "at least 250"]);
    frames(100..250);
    // All is there, but room for what would be downloaded.
    refused(
        &[&footage, avatar, "MINUTES=45"],
        &["10 s of footage (45 minutes)", "only 1 GB are free", "WORK="],
    );
}

#[test]
fn every_step_that_installs_looks_for_room_first() {
    let home = tempfile::tempdir().unwrap();
    for step in ["setup", "speech", "encoder", "generator"] {
        let said = fails(home.path(), step, &[]);
        assert!(said.contains("only 1 GB are free, and PyTorch needs 13"), "{step}: {said}");
    }
}
