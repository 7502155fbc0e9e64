// SPDX-License-Identifier: MPL-2.0
//! Which frames of a film can be trained on, and why the others cannot.

use std::ops::Range;

use crate::film::landmarks::{Face, Report};
use crate::film::{self, RATE};

/// Stretches of good frames that are shorter are left out.
const MIN_STRETCH: usize = RATE;

/// Frames on each side of a cut whose sound reaches over it, since what is heard for a frame is eight frames long on each side.
const REACH: usize = 8;

/// Degrees by which the head may be turned aside: one cheek is hidden beyond.
const MAX_YAW: f32 = 35.0;

/// Sharpness relative to the film's own below which a frame is blurred.
const BLURRED: f32 = 0.25;

/// A cut changes thumbnails of the picture by so many levels, and so many times as much as the frames around it change.
const CUT_LEVELS: f32 = 12.0;
const CUT_RATIO: f32 = 5.0;
/// Frames on each side that it is compared with.
const CUT_AROUND: usize = 12;

/// A cut moves the face by so much of its side, or changes its side by so much, from one frame to the next.
const JUMP: f32 = 0.25;
const ZOOM: f32 = 0.12;

/// The lower face is hidden where so much of its thumbnail differs, by so many levels and so many times as much as it usually does,
/// from what the film shows otherwise.
const HIDDEN_SHARE: f32 = 0.4;
const HIDDEN_LEVELS: f32 = 32.0;
const HIDDEN_RATIO: f32 = 4.0;

/// What can be said of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Good,
    NoFace,
    SeveralFaces,
    Outside,
    Turned,
    Hidden,
    Blurred,
    Cut,
    NoSound,
    /// Good, but between bad ones.
    Short,
}

impl Verdict {
    /// All that keep a frame from being used, with what is said of them, and their word in frames.csv.
    const BAD: [(Self, &'static str, &'static str); 9] = [
        (Self::NoFace, "no face is found in", "no face"),
        (Self::SeveralFaces, "more than one face is found in", "several faces"),
        (Self::Outside, "the face leaves the picture in", "outside"),
        (Self::Turned, "the head is turned too far in", "turned"),
        (Self::Hidden, "something hides the mouth in", "hidden"),
        (Self::Blurred, "the face is blurred in", "blurred"),
        (Self::Cut, "the film is cut in or beside", "cut"),
        (Self::NoSound, "the sound has ended in", "no sound"),
        (Self::Short, "less than a second is good between bad ones in", "short"),
    ];

    /// Its word in frames.csv; empty for good frames.
    pub fn word(self) -> &'static str {
        Self::BAD.iter().find(|(verdict, ..)| *verdict == self).map_or("", |(_, _, word)| word)
    }
}

/// Says of each frame whether it can be used. `pieces` are those that the frames were taken from, one after another;
/// the frames from `with_sound` on have none.
pub fn judge(
    reports: &[Report],
    size: (u32, u32),
    pieces: &[Range<usize>],
    with_sound: usize,
) -> Vec<Verdict> {
    let mut verdicts: Vec<Verdict> = reports
        .iter()
        .map(|report| match report.face(size) {
            Face::None => Verdict::NoFace,
            Face::Several => Verdict::SeveralFaces,
            Face::Outside => Verdict::Outside,
            Face::Whole(_) if report.yaw.abs() > MAX_YAW => Verdict::Turned,
            Face::Whole(_) => Verdict::Good,
        })
        .collect();
    let cuts = cuts(reports, size, pieces);
    let mut starts = cuts.clone();
    starts.insert(0, 0);
    starts.push(reports.len());
    // First: landmarks of the frame behind a cut are often those before it, and its mouth seems to be hidden.
    cuts.into_iter().for_each(|cut| mark_cut(&mut verdicts, cut, REACH));
    for shot in starts.windows(2) {
        mark_hidden(&reports[shot[0]..shot[1]], &mut verdicts[shot[0]..shot[1]]);
    }
    mark_blurred(reports, &mut verdicts);
    verdicts.iter_mut().skip(with_sound).for_each(|one| *one = Verdict::NoSound);
    for stretch in stretches(&verdicts).into_iter().filter(|stretch| stretch.len() < MIN_STRETCH) {
        verdicts[stretch].fill(Verdict::Short);
    }
    verdicts
}

/// The good frames.
pub fn used(verdicts: &[Verdict]) -> Vec<usize> {
    (0..verdicts.len()).filter(|n| verdicts[*n] == Verdict::Good).collect()
}

/// Leaves out the frames beside the joins of pieces that hear another piece, once the sound is moved by so many frames.
pub fn mark_joins(verdicts: &mut [Verdict], pieces: &[Range<usize>], moved: usize) {
    if moved > 0 {
        let joins = joins(pieces);
        joins.into_iter().for_each(|join| mark_cut(verdicts, join, REACH + moved));
    }
}

fn mark_cut(verdicts: &mut [Verdict], cut: usize, reach: usize) {
    let beside = cut.saturating_sub(reach)..(cut + reach).min(verdicts.len());
    verdicts[beside].iter_mut().filter(|one| **one == Verdict::Good).for_each(|one| *one = Verdict::Cut);
}

/// Runs of good frames.
pub fn stretches(verdicts: &[Verdict]) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for n in (0..verdicts.len()).filter(|n| verdicts[*n] == Verdict::Good) {
        match runs.last_mut() {
            Some(run) if run.end == n => run.end += 1,
            _ => runs.push(n..n + 1),
        }
    }
    runs
}

/// Frames that do not follow the one before, in ascending order.
fn cuts(reports: &[Report], size: (u32, u32), pieces: &[Range<usize>]) -> Vec<usize> {
    let pictures: Vec<Vec<u8>> = reports.iter().map(|report| bytes(&report.picture)).collect();
    let changes: Vec<f32> = (1..reports.len()).map(|n| difference(&pictures[n - 1], &pictures[n])).collect();
    let joins = joins(pieces);
    (1..reports.len())
        .filter(|&n| {
            let change = changes[n - 1];
            let around = (n.saturating_sub(CUT_AROUND)..(n + CUT_AROUND - 1).min(changes.len()))
                .filter(|at| *at != n - 1)
                .map(|at| changes[at]);
            let picture = change > CUT_LEVELS && change > CUT_RATIO * median(around.collect()).max(0.5);
            picture || jumps(&reports[n - 1], &reports[n], size) || joins.contains(&n)
        })
        .collect()
}

/// The first frames of all pieces but the first.
fn joins(pieces: &[Range<usize>]) -> Vec<usize> {
    let mut ends: Vec<usize> = pieces
        .iter()
        .scan(0, |frame, piece| {
            *frame += piece.len();
            Some(*frame)
        })
        .collect();
    ends.pop();
    ends
}

/// Whether the face is somewhere else from one frame to the next.
fn jumps(before: &Report, after: &Report, size: (u32, u32)) -> bool {
    let place = |report: &Report| match report.face(size) {
        Face::Whole(side) => Some((report.left? as f32 + side as f32 / 2.0, report.top? as f32, side as f32)),
        _ => None,
    };
    place(before).zip(place(after)).is_some_and(|((x, y, side), (new_x, new_y, new_side))| {
        (new_x - x).hypot(new_y - y) > JUMP * side || (new_side / side - 1.0).abs() > ZOOM
    })
}

/// Marks frames of a shot in which the lower face looks like nothing else in it, though eyes and nose are where they were.
fn mark_hidden(reports: &[Report], verdicts: &mut [Verdict]) {
    let good: Vec<usize> = (0..reports.len()).filter(|n| verdicts[*n] == Verdict::Good).collect();
    let mouths: Vec<Vec<u8>> = good.iter().map(|n| bytes(&reports[*n].mouth)).collect();
    let values = mouths.first().map_or(0, Vec::len);
    // What is usual is not known of a second.
    if mouths.len() < 2 * RATE || values == 0 || mouths.iter().any(|mouth| mouth.len() != values) {
        return;
    }
    // Of long films every so many frames are enough to know.
    let step = mouths.len().div_ceil(500);
    let usual: Vec<(f32, f32)> = (0..values)
        .map(|at| {
            let middle = median(mouths.iter().step_by(step).map(|mouth| f32::from(mouth[at])).collect());
            let spread = mouths.iter().step_by(step).map(|mouth| (f32::from(mouth[at]) - middle).abs());
            (middle, median(spread.collect()))
        })
        .collect();
    for (n, mouth) in good.into_iter().zip(&mouths) {
        // The light may change: as a whole it does not count.
        let light =
            median(mouth.iter().zip(&usual).map(|(value, (middle, _))| f32::from(*value) - middle).collect());
        let differs = |(value, (middle, spread)): (&u8, &(f32, f32))| {
            (f32::from(*value) - light - middle).abs() > HIDDEN_LEVELS.max(HIDDEN_RATIO * spread)
        };
        let pixels = mouth.chunks(3).zip(usual.chunks(3));
        let different = pixels.filter(|(pixel, usual)| pixel.iter().zip(*usual).any(differs)).count();
        if 3.0 * different as f32 > HIDDEN_SHARE * values as f32 {
            verdicts[n] = Verdict::Hidden;
        }
    }
}

fn mark_blurred(reports: &[Report], verdicts: &mut [Verdict]) {
    let good = || (0..reports.len()).filter(|n| verdicts[*n] == Verdict::Good);
    let usual = median(good().map(|n| reports[n].sharpness).collect());
    let blurred: Vec<usize> = good().filter(|n| reports[*n].sharpness < BLURRED * usual).collect();
    blurred.into_iter().for_each(|n| verdicts[n] = Verdict::Blurred);
}

/// What is wrong with the frames that are left out, and at which times of the film; `film_frame` is where a frame is from.
pub fn reasons(verdicts: &[Verdict], film_frame: impl Fn(usize) -> usize) -> Vec<String> {
    film::reasons(verdicts, Verdict::BAD.map(|(kind, what, _)| (kind, what)), film_frame)
}

/// The bytes that are written in hexadecimal.
pub fn bytes(hexadecimal: &str) -> Vec<u8> {
    let digits = hexadecimal.as_bytes().as_chunks::<2>().0;
    digits.iter().filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

/// The mean difference of two pictures, in levels; of pictures of different sizes nothing can be said.
fn difference(one: &[u8], other: &[u8]) -> f32 {
    if one.len() != other.len() || one.is_empty() {
        return 0.0;
    }
    let sum: u32 = one.iter().zip(other).map(|(a, b)| u32::from(a.abs_diff(*b))).sum();
    sum as f32 / one.len() as f32
}

/// The median; 0 of nothing.
pub fn median(mut values: Vec<f32>) -> f32 {
    let middle = values.len() / 2;
    if values.is_empty() {
        return 0.0;
    }
    *values.select_nth_unstable_by(middle, f32::total_cmp).1
}

/// The value that is as far up in the order as `share` says; 0 of nothing.
pub fn quantile(mut values: Vec<f32>, share: f32) -> f32 {
    if values.is_empty() {
        return 0.0;
    }
    let at = (share * (values.len() - 1) as f32).round() as usize;
    *values.select_nth_unstable_by(at, f32::total_cmp).1
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: (u32, u32) = (640, 480);

    fn hex(value: u8, count: usize) -> String {
        format!("{value:02x}").repeat(count)
    }

    /// A good frame; `n` makes it a little different from others.
    fn report(n: usize) -> Report {
        Report {
            faces: 1,
            picture: hex(100 + (n % 3) as u8, 432),
            left: Some(200),
            right: Some(400),
            top: Some(100),
            yaw: 2.0,
            opening: 0.1,
            sharpness: 100.0 + n as f32 % 7.0,
            mouth: hex(120 + (n % 5) as u8, 576),
        }
    }

    fn reports(count: usize) -> Vec<Report> {
        (0..count).map(report).collect()
    }

    fn judged(reports: &[Report]) -> Vec<Verdict> {
        judge(reports, SIZE, std::slice::from_ref(&(0..reports.len())), reports.len())
    }

    #[test]
    fn good_frames_are_used() {
        assert_eq!(judged(&reports(100)), [Verdict::Good; 100]);
        assert!(reasons(&judged(&reports(100)), |n| n).is_empty());
    }

    #[test]
    fn each_fault_is_seen_where_it_is() {
        let mut film = reports(300);
        film[40].faces = 0;
        film[80].faces = 2;
        film[120].left = Some(-3);
        film[160].yaw = -50.0;
        film[200].sharpness = 3.0;
        // A hand: dark in half of the lower face.
        film[240].mouth = format!("{}{}", hex(40, 288), hex(121, 288));
        let verdicts = judged(&film);
        let faults =
            [Verdict::NoFace, Verdict::SeveralFaces, Verdict::Outside, Verdict::Turned, Verdict::Blurred];
        for (fault, at) in faults.into_iter().chain([Verdict::Hidden]).zip((40..).step_by(40)) {
            assert_eq!(verdicts[at], fault, "frame {at}");
            assert_eq!(verdicts.iter().filter(|one| **one == fault).count(), 1, "{fault:?}");
        }
        assert_eq!(stretches(&verdicts).len(), 7);
        let told = reasons(&verdicts, |n| n + 1500).join("; ");
        assert!(told.starts_with("no face is found in 1 frame (1:01.60); more than one face"), "{told}");
    }

    #[test]
    fn light_that_changes_and_an_open_mouth_hide_nothing() {
        let mut film = reports(200);
        for frame in &mut film[100..] {
            frame.mouth = hex(170, 576);
        }
        // The lips and the teeth.
        film[50].mouth = format!("{}{}{}", hex(122, 250), hex(230, 150), hex(122, 176));
        assert_eq!(judged(&film), [Verdict::Good; 200]);
    }

    #[test]
    fn cuts_are_left_out_with_the_sound_that_reaches_over_them() {
        let mut film = reports(200);
        film[100..].iter_mut().for_each(|frame| frame.picture = hex(30, 432));
        let verdicts = judged(&film);
        let cut: Vec<usize> = (0..200).filter(|n| verdicts[*n] == Verdict::Cut).collect();
        assert_eq!(cut, Vec::from_iter(92..108));
        // A jump of the face before the same wall.
        let mut film = reports(200);
        film[150..].iter_mut().for_each(|frame| (frame.left, frame.right) = (Some(280), Some(480)));
        assert_eq!(judged(&film).iter().filter(|one| **one == Verdict::Cut).count(), 16);
        // Where pieces of a long film meet, whose sound is then moved by three frames.
        let pieces = [0..100, 900..1000];
        let mut verdicts = judge(&reports(200), SIZE, &pieces, 200);
        assert_eq!(used(&verdicts), Vec::from_iter((0..92).chain(108..200)));
        mark_joins(&mut verdicts, &pieces, 0);
        assert_eq!(used(&verdicts).len(), 184);
        mark_joins(&mut verdicts, &pieces, 3);
        assert_eq!(used(&verdicts), Vec::from_iter((0..89).chain(111..200)));
    }

    #[test]
    fn a_film_that_moves_is_not_cut() {
        let mut film = reports(200);
        for (n, frame) in film.iter_mut().enumerate() {
            frame.picture = hex(if n % 2 == 0 { 90 } else { 110 }, 432);
        }
        assert_eq!(judged(&film), [Verdict::Good; 200]);
    }

    #[test]
    fn frames_without_sound_and_short_stretches_are_left_out() {
        let mut film = reports(100);
        film[20].faces = 0;
        let verdicts = judge(&film, SIZE, std::slice::from_ref(&(0..100)), 90);
        assert_eq!(verdicts[..20], [Verdict::Short; 20]);
        assert_eq!(verdicts[21..90], [Verdict::Good; 69]);
        assert_eq!(verdicts[90..], [Verdict::NoSound; 10]);
        assert_eq!(verdicts[0].word(), "short");
    }
}
