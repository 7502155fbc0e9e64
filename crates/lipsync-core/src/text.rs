// SPDX-License-Identifier: MPL-2.0
//! Texts that come from strangers, as they may be shown: on a terminal, in a log, in a message of an element.
//!
//! Titles, names of files, of weights and of ports are chosen by whoever made the avatar. Shown as they are they could
//! move a terminal's cursor, colour what follows, or turn the order of letters round, and so feign other output.

use std::fmt::{self, Display, Write};

/// Characters of one text that are shown.
const MOST: usize = 4000;

/// A text without what is no letter to be seen.
#[derive(Debug, Clone, Copy)]
pub struct Plain<T> {
    text: T,
    /// Characters that are shown.
    most: usize,
    /// Whether lines are kept apart.
    lines: bool,
}

/// A text in one line, cut where it is very long.
pub fn plain<T: Display>(text: T) -> Plain<T> {
    short(text, MOST)
}

/// A text in one line, of at most that many characters.
pub fn short<T: Display>(text: T, most: usize) -> Plain<T> {
    Plain { text, most, lines: false }
}

/// A text as a whole, its lines kept apart: for what is our own but for parts of it.
pub fn lines<T: Display>(text: T) -> Plain<T> {
    Plain { text, most: usize::MAX, lines: true }
}

impl<T: Display> Display for Plain<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Filter { out: f, left: self.most, lines: self.lines }, "{}", self.text)
    }
}

struct Filter<'a, 'b> {
    out: &'a mut fmt::Formatter<'b>,
    left: usize,
    lines: bool,
}

impl Write for Filter<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            match self.left {
                0 => return Ok(()),
                1 => self.out.write_char('…')?,
                _ => self.write(character)?,
            }
            self.left -= 1;
        }
        Ok(())
    }
}

impl Filter<'_, '_> {
    fn write(&mut self, character: char) -> fmt::Result {
        match character {
            '\n' if self.lines => self.out.write_char('\n'),
            '\n' | '\r' | '\t' => self.out.write_char(' '),
            _ if is_hidden(character) => write!(self.out, "{}", character.escape_unicode()),
            _ => self.out.write_char(character),
        }
    }
}

/// Whether a character does something instead of being seen. Joiners are left: Persian and many emoji need them.
fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(character,
            // Marks, embeddings and isolates of writing from right to left.
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
            // Separators of lines and paragraphs, the byte order mark, and tags.
            | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_stay_and_control_characters_are_spelt_out() {
        let same = "Iris, 李小龙, \"ایمان\" 👩‍🚀 é\u{301}";
        assert_eq!(plain(same).to_string(), same);
        let text = "a\u{1b}[2Jb\u{7}\u{9b}31m\u{202e}txt.exe\u{2066}\u{e0041}";
        assert_eq!(
            plain(text).to_string(),
            "a\\u{1b}[2Jb\\u{7}\\u{9b}31m\\u{202e}txt.exe\\u{2066}\\u{e0041}"
        );
    }

    #[test]
    fn a_text_is_one_line_unless_it_is_our_own() {
        assert_eq!(plain("a\nverdict: would play\r\n").to_string(), "a verdict: would play  ");
        assert_eq!(lines("a\nb\u{1b}\r").to_string(), "a\nb\\u{1b} ");
    }

    #[test]
    fn long_texts_are_cut() {
        assert_eq!(short("123456", 6).to_string(), "12345…");
        assert_eq!(short("12345", 6).to_string(), "12345");
        assert_eq!(plain("x".repeat(5000)).to_string().chars().count(), MOST);
    }
}
