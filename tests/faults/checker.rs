// SPDX-License-Identifier: MPL-2.0
//! All that comes out is on the grid, in order and without holes of its own.

use crate::common::studio::FRAME;

/// Looks at all that comes out.
#[derive(Default)]
pub struct Checker {
    pub frames: u64,
    /// The next frame, and where the sound ends.
    next: u64,
    sound_end: Option<u64>,
    pub leaps_seen: u64,
    pub leaps_heard: u64,
}

impl Checker {
    pub fn check(&mut self, video: &[gst::Sample], audio: &[gst::Sample]) {
        for sample in video {
            let buffer = sample.buffer().unwrap();
            let pts = buffer.pts().unwrap().nseconds();
            let discont = buffer.flags().contains(gst::BufferFlags::DISCONT);
            assert_eq!(pts % FRAME, 0, "on the grid");
            assert_eq!(buffer.duration().unwrap().nseconds(), FRAME);
            let n = pts / FRAME;
            if n != self.next {
                assert!(n > self.next && discont, "{n} after {}", self.next);
                self.leaps_seen += 1;
            }
            assert_eq!(buffer.size(), 320 * 240 * 3);
            self.next = n + 1;
            self.frames += 1;
        }
        for sample in audio {
            let buffer = sample.buffer().unwrap();
            let pts = buffer.pts().unwrap().nseconds();
            let end = *self.sound_end.get_or_insert(pts);
            if pts != end {
                assert!(pts > end, "{pts} after {end}");
                self.leaps_heard += 1;
            }
            self.sound_end = Some(pts + buffer.duration().unwrap().nseconds());
        }
    }
}
