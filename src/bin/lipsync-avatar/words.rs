//! Numbers and lists as people read them.

use std::path::{Path, PathBuf};

/// Bytes with a fitting unit.
pub fn bytes(count: u64) -> String {
    indicatif::DecimalBytes(count).to_string()
}

/// A number with its thousands apart.
pub fn number(count: u64) -> String {
    indicatif::HumanCount(count).to_string()
}

/// Numbers in order, runs of them shortened: `0, 4-7, 12`; the rest is counted after some.
pub fn runs(numbers: &[usize]) -> String {
    const SHOWN: usize = 12;
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for &number in numbers {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => runs.push((number, number)),
        }
    }
    let word = |&(first, last): &(usize, usize)| match last - first {
        0 => first.to_string(),
        _ => format!("{first}-{last}"),
    };
    let mut text: Vec<String> = runs.iter().take(SHOWN).map(word).collect();
    let rest: usize = runs.iter().skip(SHOWN).map(|(first, last)| last - first + 1).sum();
    if rest > 0 {
        text.push(format!("and {rest} more"));
    }
    text.join(", ")
}

/// Bytes of a file, or of everything in a folder.
pub fn size_of(path: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(path) else {
        return std::fs::metadata(path).map_or(0, |file| file.len());
    };
    entries.flatten().map(|entry| size_of(&entry.path())).sum()
}

/// What became of the size of some files or folders.
pub fn change(before: &[PathBuf], after: &[PathBuf]) -> String {
    let size = |paths: &[PathBuf]| bytes(paths.iter().map(|path| size_of(path)).sum());
    format!("{} (before: {})", size(after), size(before))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_shortened() {
        assert_eq!(runs(&[0, 4, 5, 6, 7, 12]), "0, 4-7, 12");
        assert_eq!(runs(&[]), "");
        let odd: Vec<usize> = (0..20).map(|n| 2 * n).collect();
        assert_eq!(runs(&odd), "0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, and 8 more");
    }
}
