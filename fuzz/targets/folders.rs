// SPDX-License-Identifier: MPL-2.0
//! Folders of avatars: manifests, face rectangles, landmarks, numbered pictures, links and pipes.

#![no_main]

use fuzz::folder;
use libfuzzer_sys::fuzz_target;
use lipsync_core::avatar::{Avatar, Problems};
use lipsync_core::survey::Survey;

fuzz_target!(|input: &[u8]| {
    let folder = folder::temporary();
    folder::write(folder.path(), input);
    let mut problems = Problems::default();
    let avatar = Avatar::survey(folder.path(), &mut problems);
    let avatar = problems.note(avatar);
    if let Some(avatar) = &avatar {
        avatar.frames.iter().for_each(|frame| drop(avatar.landmarks(frame)));
        if !avatar.frames.is_empty() {
            (0..9).for_each(|step| assert!(avatar.ping_pong(step) < avatar.frames.len()));
        }
    }
    let frames = avatar.as_ref().map_or(0, |avatar| avatar.frames.len());
    let survey =
        Survey { avatar, generator: None, int8: None, audio_encoder: None, generator_info: None, problems };
    for frame in 0..frames {
        survey.frame(frame).iter().for_each(|problem| drop(problem.to_string()));
    }
    survey.problems.all().iter().for_each(|problem| drop(problem.to_string()));
});
