// SPDX-License-Identifier: MPL-2.0
//! Contexts of a stream.

#![allow(clippy::expect_used, clippy::unwrap_used)]

mod common;

use common::avatar;
use lipsync_core::avatar::Avatar;
use lipsync_core::features::{self, AudioContextKind, MelWindows, RowSelection};
use lipsync_core::inference::runtime::Engine;
use lipsync_core::rate::FrameRate;

/// Between 40 ms and the video's frames lie rows that exist for one frame and not for the next.
#[test]
fn a_short_lookahead_goes_with_any_frame_rate() {
    let own = avatar("own");
    for (kind, windows) in [
        (RowSelection::Window, MelWindows::MelFrames),
        (RowSelection::Window, MelWindows::Exact),
        (RowSelection::Window, MelWindows::Averaged),
        (RowSelection::Tile, MelWindows::MelFrames),
        (RowSelection::Tile, MelWindows::Exact),
        (RowSelection::Tile, MelWindows::Averaged),
    ] {
        let avatar = Avatar { windows, ..own.clone() };
        for limit in [1480, 2120, 3400, features::NO_LIMIT] {
            let mut track =
                avatar.open_features(AudioContextKind::MelRows(kind), limit, &Engine::default()).unwrap();
            for (num, den) in [(25, 1), (30, 1), (30_000, 1001), (24, 1), (10, 1), (50, 1), (1, 1), (240, 1)]
            {
                let rate = FrameRate::new(num, den).unwrap();
                track.restart(rate);
                let mut told = 0;
                for _ in 0..100 {
                    track.push(&[0.1; 320]);
                    while track.context(told).unwrap().is_some() {
                        told += 1;
                    }
                }
                track.finish();
                let all = rate.frames_covering(2_000_000_000);
                while told < all && track.context(told).unwrap().is_some() {
                    told += 1;
                }
                assert_eq!(told, all, "{kind:?} {windows:?} {limit} {num}/{den}");
            }
        }
    }
}

#[test]
fn networks_without_rows_are_not_averaged() {
    let avatar = Avatar { windows: MelWindows::Averaged, ..avatar("wav2lip") };
    let opened = avatar.open_features(AudioContextKind::MelWindow, features::NO_LIMIT, &Engine::default());
    let error = opened.map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("averaged") && error.contains("wav2lip"), "{error}");
}
