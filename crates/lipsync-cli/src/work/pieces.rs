// SPDX-License-Identifier: MPL-2.0
//! Where long videos are cut: one after the other, to be resumed, or side by side for several machines.

/// The first and the last frame of a piece.
pub type Piece = (u64, u64);

/// The last frame of what ends with the sound: the largest number that every reader of JSON takes.
pub const OPEN: u64 = (1 << 53) - 1;

/// Time that hearing takes in relation to painting and encoding: a part hears the sound from its beginning.
const HEARING: f64 = 0.04;

/// Pieces that are rendered one after the other, each at least `least` frames, and as long as all before it: so what hearing
/// the sound again costs is a small share of each.
pub fn in_turn(frames: u64, least: u64) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut first = 0;
    while frames >= first + first.max(least) + least {
        let end = first + first.max(least);
        pieces.push((first, end - 1));
        first = end;
    }
    pieces.push((first, OPEN));
    pieces
}

/// At most `count` parts of at least `least` frames that take equally long: the later ones are shorter, for they hear more. They begin
/// where it is quietest within a quarter of `least`; `loudness` is that of a frame.
pub fn side_by_side(frames: u64, count: u64, least: u64, loudness: impl Fn(u64) -> f32) -> Vec<Piece> {
    let count = count.min(frames / least.max(1)).max(1);
    let shrink = 1.0 / (1.0 + HEARING);
    // Each ends at a constant plus `shrink` times where it begins.
    let constant = frames as f64 * (1.0 - shrink) / (1.0 - shrink.powi(count as i32));
    let reach = least / 4;
    let mut ends = Vec::new();
    let mut at = 0.0;
    for _ in 1..count {
        at = constant + shrink * at;
        let near = at.round() as u64;
        let candidates = near.saturating_sub(reach)..=(near + reach).min(frames - 1);
        let quietest = candidates.min_by(|a, b| {
            let distance = |frame: &u64| frame.abs_diff(near);
            loudness(*a).total_cmp(&loudness(*b)).then(distance(a).cmp(&distance(b)))
        });
        ends.push(quietest.unwrap_or(near));
    }
    let firsts = std::iter::once(0).chain(ends.iter().copied());
    let lasts = ends.iter().map(|end| end - 1).chain([OPEN]);
    firsts.zip(lasts).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails where pieces are not all of a video, or one is shorter than that.
    fn check(pieces: &[Piece], frames: u64, least: u64) {
        assert_eq!((pieces[0].0, pieces[pieces.len() - 1].1), (0, OPEN));
        assert!(pieces.windows(2).all(|pair| pair[0].1 + 1 == pair[1].0), "{pieces:?}");
        let lengths = pieces.iter().map(|(first, last)| (last + 1).min(frames) - first);
        assert!(pieces.len() == 1 || lengths.min() >= Some(least), "{pieces:?}");
    }

    #[test]
    fn pieces_in_turn_are_as_long_as_all_before() {
        for frames in [0, 1, 99, 100, 199, 200, 201, 1000, 1001, 123_456] {
            check(&in_turn(frames, 100), frames, 100);
        }
        assert_eq!(in_turn(199, 100), [(0, OPEN)]);
        assert_eq!(in_turn(1000, 100), [(0, 99), (100, 199), (200, 399), (400, 799), (800, OPEN)]);
    }

    #[test]
    fn parts_side_by_side_take_equally_long_and_begin_where_it_is_quiet() {
        for (frames, count) in [(1, 3), (249, 2), (250, 2), (3000, 7), (90_000, 100)] {
            let parts = side_by_side(frames, count, 125, |_| 0.0);
            check(&parts, frames, 60);
            assert_eq!(parts.len() as u64, count.min(frames / 125).max(1));
        }
        let parts = side_by_side(100_000, 4, 125, |_| 0.0);
        let takes = |(first, last): &Piece| {
            let end = (last + 1).min(100_000);
            (end - first) as f64 + HEARING * end as f64
        };
        let [slowest, fastest] = [f64::max, f64::min].map(|of| parts.iter().map(takes).reduce(of).unwrap());
        assert!(slowest - fastest < 3.0, "{parts:?}");
        // A pause near the middle.
        let parts = side_by_side(1000, 2, 125, |frame| if frame == 500 { 0.1 } else { 1.0 });
        assert_eq!(parts, [(0, 499), (500, OPEN)]);
    }
}
