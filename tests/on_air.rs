// SPDX-License-Identifier: MPL-2.0
//! On air through real programs: nginx with its RTMP module, SRT, ffmpeg. Here picture and sound have but to arrive, which
//! they do on the busiest machine; `make air` judges them: every frame, all sound, both in step and in time.

#![allow(clippy::expect_used, clippy::unwrap_used)]

mod common;

use std::path::Path;
use std::process::Command;

/// Is on air for some seconds by that way.
fn on_air(way: &str) {
    let plugin = common::plugin_folder(true);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(root.join(format!("scripts/on_air/{way}.sh")))
        .arg("5")
        .env("JUDGE", "arrival")
        .env("PATIENCE", "100")
        .env("LIPSYNC_PLUGIN", plugin.path())
        .env_remove("ORT_DYLIB_PATH")
        .env_remove("LIPSYNC_AVATAR_PATH")
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    println!("{text}");
    assert!(output.status.success(), "{text}");
    assert!(text.contains("ok   picture:") && text.contains("ok   sound:"), "{text}");
}

#[test]
fn by_rtmp() {
    on_air("rtmp");
}

#[test]
fn by_rtmp_while_the_server_is_restarted() {
    on_air("restart");
}

#[test]
fn by_srt() {
    on_air("srt");
}
