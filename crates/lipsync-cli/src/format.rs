// SPDX-License-Identifier: MPL-2.0
//! Formats and parses numbers, times and lists for people.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

/// Bytes with a suitable unit.
pub fn bytes(count: u64) -> String {
    indicatif::DecimalBytes(count).to_string()
}

/// A number with thousands separators.
pub fn number(count: u64) -> String {
    indicatif::HumanCount(count).to_string()
}

/// A number of things: `1 frame`, `2 frames`.
pub fn count(number: usize, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

/// A word of a command that is shown, so that a shell takes it for one.
pub fn shell_word(text: &str) -> Cow<'_, str> {
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+,:=@%".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(format!("'{}'", text.replace('\'', "'\\''")))
    }
}

/// A time in minutes and seconds, to a hundredth where it is no whole second: `0:07`, `1:23.44`.
pub fn time(seconds: f64) -> String {
    let hundredths = (seconds * 100.0).round() as u64;
    let (minutes, rest) = (hundredths / 6000, hundredths % 6000);
    match rest % 100 {
        0 => format!("{minutes}:{:02}", rest / 100),
        part => format!("{minutes}:{:02}.{part:02}", rest / 100),
    }
}

/// Seconds in a time that a person has typed: `83`, `83.5`, `1:23.5` or `0:01:23.5`.
pub fn parse_time(text: &str) -> Result<f64, String> {
    let parts: Vec<&str> = text.split(':').collect();
    let seconds = parts.iter().try_fold(0.0, |sum, part| {
        // Only digits: "inf", "1e9" and signs would parse as numbers, too.
        let is_number = part.starts_with(|c: char| c.is_ascii_digit())
            && part.chars().all(|c| c.is_ascii_digit() || c == '.');
        let number: f64 = part.parse().ok().filter(|_| is_number)?;
        Some(60.0 * sum + number)
    });
    seconds
        .filter(|_| parts.len() <= 3)
        .ok_or_else(|| "use seconds (83.5) or minutes:seconds (1:23.5)".into())
}

/// The largest side of a video: that of H.264 and VP9 in most players.
const MAX_SIDE: u32 = 8192;

/// Width and height that a person has typed: `1920x1080`. Even numbers, since colours have half the resolution.
pub fn parse_size(text: &str) -> Result<(u32, u32), String> {
    let side = |text: &str| text.parse().ok().filter(|side| (16..=MAX_SIDE).contains(side) && side % 2 == 0);
    let sides = text.split_once(['x', 'X']).and_then(|(width, height)| Some((side(width)?, side(height)?)));
    sides.ok_or_else(|| format!("use even numbers from 16 to {MAX_SIDE}, as in 1920x1080"))
}

/// Numbers of a first and a last frame that a person has typed: `1500-2999`.
pub fn parse_frames(text: &str) -> Result<(u64, u64), String> {
    let number = |text: &str| text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
    let frames = text.split_once('-').and_then(|(first, last)| Some((number(first)?, number(last)?)));
    let frames: Option<(u64, u64)> = frames.filter(|(first, last)| first <= last);
    frames.ok_or_else(|| "use the numbers of the first and the last frame, from 0, as in 1500-2999".into())
}

/// A share that a person has typed.
pub fn parse_share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "use a number from 0 to 1".into())
}

/// Minutes that a person has typed.
pub fn parse_minutes(text: &str) -> Result<f64, String> {
    let minutes = text.parse().ok().filter(|minutes: &f64| (0.1..=100_000.0).contains(minutes));
    minutes.ok_or_else(|| "use a number of minutes, 0.1 or more".into())
}

/// Decibels that a person has typed.
pub fn parse_decibels(text: &str) -> Result<f64, String> {
    let decibels = text.parse().ok().filter(|decibels: &f64| decibels.is_finite() && *decibels > 0.0);
    decibels.ok_or_else(|| "use a number above 0".into())
}

/// Ascending numbers, each formatted by `word`, with runs shortened: `0, 4-7, 12`; after a few only the count
/// of the rest.
pub fn runs(numbers: &[usize], word: impl Fn(&usize) -> String) -> String {
    const SHOWN: usize = 12;
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for &number in numbers {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => runs.push((number, number)),
        }
    }
    let run = |(first, last): &(usize, usize)| match last - first {
        0 => word(first),
        _ => format!("{}-{}", word(first), word(last)),
    };
    let mut text: Vec<String> = runs.iter().take(SHOWN).map(run).collect();
    let rest: usize = runs.iter().skip(SHOWN).map(|(first, last)| last - first + 1).sum();
    if rest > 0 {
        text.push(format!("and {rest} more"));
    }
    text.join(", ")
}

/// Depth to which folders are measured: avatars have two levels.
const DEEPEST: usize = 16;

/// Bytes of a file, or of everything in a folder. Symbolic links are not followed: they may lead anywhere,
/// even in circles.
pub fn size_of(path: &Path) -> u64 {
    match std::fs::metadata(path) {
        Ok(data) if data.is_dir() => size_in(path, DEEPEST),
        data => data.map_or(0, |file| file.len()),
    }
}

fn size_in(folder: &Path, depth: usize) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(data) if data.is_dir() && depth > 0 => size_in(&entry.path(), depth - 1),
        Ok(data) if data.is_dir() => 0,
        data => data.map_or(0, |file| file.len()),
    });
    // Sparse files may be of any size.
    sizes.fold(0, u64::saturating_add)
}

/// The size of some files or folders, after and before.
pub fn change(before: &[PathBuf], after: &[PathBuf]) -> String {
    let size = |paths: &[PathBuf]| bytes(paths.iter().map(|path| size_of(path)).fold(0, u64::saturating_add));
    format!("{} (before: {})", size(after), size(before))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stay_words_in_a_shell() {
        assert_eq!(shell_word("/home/zoë/me.mp4"), "/home/zoë/me.mp4");
        assert_eq!(shell_word("My Films/me"), "'My Films/me'");
        assert_eq!(shell_word("it's; rm"), r"'it'\''s; rm'");
        assert_eq!(shell_word(""), "''");
    }

    #[test]
    fn runs_are_shortened() {
        let runs = |numbers: &[usize]| runs(numbers, usize::to_string);
        assert_eq!(runs(&[0, 4, 5, 6, 7, 12]), "0, 4-7, 12");
        assert_eq!(runs(&[]), "");
        let odd: Vec<usize> = (0..20).map(|n| 2 * n).collect();
        assert_eq!(runs(&odd), "0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, and 8 more");
    }

    #[cfg(unix)]
    #[test]
    fn links_and_deep_folders_do_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("a"), "12345").unwrap();
        std::fs::create_dir(at("b")).unwrap();
        std::fs::write(at("b/c"), "123").unwrap();
        assert_eq!(size_of(folder.path()), 8);
        for name in ["x", "y", "b/z"] {
            std::os::unix::fs::symlink(folder.path(), at(name)).unwrap();
        }
        let link = folder.path().as_os_str().len() as u64;
        assert_eq!(size_of(folder.path()), 8 + 3 * link);
        assert_eq!(size_of(&at("x")), 8 + 3 * link);
        let deep = at(&"d/".repeat(500));
        std::fs::create_dir_all(&deep).unwrap();
        std::fs::write(deep.join("e"), "1").unwrap();
        assert_eq!(size_of(folder.path()), 8 + 3 * link);
        for name in ["holes", "b/holes", "more", "b/more"] {
            // As large as a file system allows.
            let file = std::fs::File::create(at(name)).unwrap();
            (0..10).rev().find(|n| file.set_len(u64::MAX >> (1 + 4 * n)).is_err());
        }
        assert!(size_of(folder.path()) > 1 << 40);
    }

    #[test]
    fn frames_are_a_first_and_a_last_one() {
        assert_eq!(parse_frames("0-0"), Ok((0, 0)));
        assert_eq!(parse_frames("1500-2999"), Ok((1500, 2999)));
        for wrong in ["", "5", "-", "5-", "-5", "2-1", "+1-2", "1-2-3", "1.5-2", "0-18446744073709551616"] {
            assert!(parse_frames(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_are_read_as_they_are_written() {
        for (seconds, text) in [(0.0, "0:00"), (7.0, "0:07"), (83.44, "1:23.44"), (3600.0, "60:00")] {
            assert_eq!(time(seconds), text);
            assert!((parse_time(text).unwrap() - seconds).abs() < 1e-9);
        }
        assert_eq!(time(59.999), "1:00");
        assert_eq!(parse_time("90"), Ok(90.0));
        assert_eq!(parse_time("1:00:01.5"), Ok(3601.5));
        for wrong in ["", "-1", "a", "1:", ":1", "inf", "1e9", "1:2:3:4", "1.2.3", "+5"] {
            assert!(parse_time(wrong).is_err(), "{wrong}");
        }
    }
}
