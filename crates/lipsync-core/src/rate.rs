// SPDX-License-Identifier: MPL-2.0
//! Frame rates and the time grid of the video, in whole numbers, so that nothing ever drifts.

/// Nanoseconds in a second.
pub const SECOND: u64 = 1_000_000_000;

/// A frame rate: `num / den` frames a second, both above zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameRate {
    num: u32,
    den: u32,
}

impl FrameRate {
    /// The rate of the method: one audio feature a frame.
    pub const NATIVE: Self = Self { num: 25, den: 1 };

    /// A rate of `num / den` frames a second; `None` if either is zero.
    pub fn new(num: u32, den: u32) -> Option<Self> {
        (num > 0 && den > 0).then_some(Self { num, den })
    }

    /// Frames in [`Self::den`] seconds.
    pub fn num(self) -> u32 {
        self.num
    }

    /// Seconds that [`Self::num`] frames last.
    pub fn den(self) -> u32 {
        self.den
    }

    /// Time of frame `n` after frame 0, in nanoseconds, rounded down.
    pub fn time_of(self, n: u64) -> u64 {
        mul_div(n, u64::from(self.den) * SECOND, u64::from(self.num))
    }

    /// How many frames cover `duration` nanoseconds: `ceil(duration * rate)`.
    pub fn frames_covering(self, duration: u64) -> u64 {
        let den = u128::from(self.den) * u128::from(SECOND);
        (u128::from(duration) * u128::from(self.num)).div_ceil(den) as u64
    }

    /// Index of the frame shown at frame `n` by a clip that plays at `clip` frames a second.
    pub fn convert_index(self, n: u64, clip: FrameRate) -> u64 {
        mul_div(n, u64::from(self.den) * u64::from(clip.num), u64::from(self.num) * u64::from(clip.den))
    }
}

/// `a * b / c`, rounded down, without overflow in between.
pub fn mul_div(a: u64, b: u64, c: u64) -> u64 {
    (u128::from(a) * u128::from(b) / u128::from(c)) as u64
}

/// `a * b / c`, rounded to the nearest, without overflow in between.
pub fn mul_div_nearest(a: u64, b: u64, c: u64) -> u64 {
    let half = u128::from(c / 2);
    ((u128::from(a) * u128::from(b) + half) / u128::from(c)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_of_ntsc_ends_where_it_must() {
        let ntsc = FrameRate::new(30_000, 1001).unwrap();
        // 24 h of 1001 s blocks of 30,000 frames: no rounding is left over.
        assert_eq!(ntsc.time_of(30_000 * 86), 1001 * 86 * SECOND);
        assert_eq!(ntsc.time_of(1), 33_366_666);
    }

    #[test]
    fn frames_cover_the_last_sample() {
        let rate = FrameRate::NATIVE;
        assert_eq!(rate.frames_covering(0), 0);
        assert_eq!(rate.frames_covering(1), 1);
        assert_eq!(rate.frames_covering(40_000_000), 1);
        assert_eq!(rate.frames_covering(40_000_001), 2);
    }

    #[test]
    fn clip_frames_are_neither_lost_nor_doubled_at_its_own_rate() {
        let rate = FrameRate::NATIVE;
        assert!((0..1000).all(|n| rate.convert_index(n, rate) == n));
        let double = FrameRate::new(50, 1).unwrap();
        assert_eq!(double.convert_index(7, rate), 3);
    }
}
