// SPDX-License-Identifier: MPL-2.0
//! What has been said: the utterances that come in, how much of each has come out, and what is to be told with which frame.
//!
//! All times are running times in nanoseconds. Sound is entered in the order in which it is to come out, as stretches of what came
//! in: the silence that fills the holes between them belongs to nobody. What has come out is counted in samples, so that the count
//! is exact.

mod sound;

use std::collections::VecDeque;

pub use sound::{Played, Stretch};

/// Utterances that may be under way: more are not taken for such.
const MOST_UTTERANCES: usize = 1000;

/// Why something has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// It has been said to its end.
    Finished,
    /// It was cut off by an interruption or a flush.
    Interrupted,
    /// The stream ended: that of the sound, without another word, or the element's own.
    Eos,
    /// The element was stopped.
    Stopped,
    /// Frames were left out, or the sound could not be heard.
    Lost,
}

impl Reason {
    /// How messages name it.
    pub fn nick(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Interrupted => "interrupted",
            Self::Eos => "eos",
            Self::Stopped => "stopped",
            Self::Lost => "lost",
        }
    }
}

/// A mark between two samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// The utterance of that number begins with the next sample.
    Start(u64),
    /// It has ended with the last one.
    End(u64, Reason),
    /// What follows is a new beginning: for now there is silence.
    Complete,
}

/// Something that waited to be said and was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dropped {
    Samples,
    Mark(Mark),
}

/// Where the sound is cut off.
#[derive(Debug, Clone, Copy)]
pub enum Cut {
    /// Behind so many sample frames of the piece that begins at that time.
    Piece(u64, u64),
    /// Before that time.
    Time(u64),
}

/// An utterance whose end has not been told.
struct Utterance {
    number: u64,
    id: String,
    /// It has a note of its beginning.
    has_begun: bool,
    /// Where the last of its samples ends that are to come out.
    end: u64,
    /// The same of those that have come out.
    out_until: u64,
    played: Played,
}

/// What is to be told with the frame of a time.
struct Note {
    /// When it happens.
    time: u64,
    /// It is told with the first frame that is shown at that time or later.
    due: u64,
    what: NoteKind,
}

enum NoteKind {
    Start(u64),
    End(u64, Reason),
    Drained,
    Avatar(String),
}

impl NoteKind {
    fn is_of_an_utterance(&self) -> bool {
        matches!(self, Self::Start(_) | Self::End(..))
    }
}

/// Something to be told now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// When it happens.
    pub time: u64,
    pub what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// An utterance begins.
    Start { id: String },
    /// An utterance ends.
    End { id: String, reason: Reason, played: Played },
    /// All that came in has been shown.
    Drained,
    /// The avatar of that name has taken over.
    Avatar { name: String },
}

/// The utterances under way.
#[derive(Default)]
pub struct Ledger {
    utterances: VecDeque<Utterance>,
    /// Utterances so far.
    count: u64,
    /// The one that the sound belongs to which is entered next.
    current: Option<u64>,
    /// Sound that has not come out yet, with its utterance.
    stretches: VecDeque<(Option<u64>, Stretch)>,
    notes: Vec<Note>,
    /// What has come out of no utterance, since the sound last began anew, was cut off, or an utterance began.
    unmarked: Played,
    /// Where sound began anew that has not come out yet.
    beginnings: VecDeque<u64>,
    /// Where the last sound ends that came in, and its rate.
    end: u64,
    rate: u32,
    /// Sound has been entered since it last ran out.
    is_fed: bool,
    /// Where what has come out ends, also where that was silence.
    pub out_until: u64,
    /// Where sound ends that has been told to have come out, and may be on its way yet.
    pub promised: u64,
}

impl Ledger {
    /// Opens an utterance, whose sound is of that rate; `None` where there are too many under way.
    pub fn open(&mut self, id: String, rate: u32) -> Option<u64> {
        if self.utterances.len() >= MOST_UTTERANCES {
            return None;
        }
        self.count += 1;
        let played = Played::default().or_rate(rate);
        let (number, has_begun) = (self.count, false);
        self.utterances.push_back(Utterance { number, id, has_begun, end: 0, out_until: 0, played });
        Some(number)
    }

    /// The name of an utterance whose end has not been told.
    pub fn id(&self, number: u64) -> Option<&str> {
        self.utterances.iter().find(|utterance| utterance.number == number).map(|found| found.id.as_str())
    }

    /// Whether there are utterances whose end has not been told.
    pub fn has_utterances(&self) -> bool {
        !self.utterances.is_empty()
    }

    /// The rate of the last sound, in Hz; 0 where there was none.
    pub fn rate(&self) -> u32 {
        self.rate
    }

    fn utterance(&mut self, number: u64) -> Option<&mut Utterance> {
        self.utterances.iter_mut().find(|utterance| utterance.number == number)
    }

    fn note(&mut self, time: u64, due: u64, what: NoteKind) {
        self.notes.push(Note { time, due, what });
    }

    /// The sound that is entered from now on belongs to that utterance.
    pub fn begin(&mut self, number: u64) {
        self.current = Some(number);
    }

    /// Enters sound that is to come out.
    pub fn enter(&mut self, stretch: Stretch) {
        let (start, end) = (stretch.time_of(0), stretch.end());
        if self.is_drained() {
            self.beginnings.push_back(start);
        }
        self.forget_drained();
        (self.is_fed, self.end, self.rate) = (true, end, stretch.rate);
        let current = self.current;
        if let Some(number) = current
            && let Some(utterance) = self.utterance(number)
        {
            utterance.end = end;
            if !std::mem::replace(&mut utterance.has_begun, true) {
                self.note(start, start, NoteKind::Start(number));
            }
        }
        self.stretches.push_back((current, stretch));
    }

    /// An utterance ends with the last sound of it that has been entered; at that time where there was none.
    pub fn end(&mut self, number: u64, reason: Reason, time: u64) {
        if self.current == Some(number) {
            self.current = None;
        }
        let Some(utterance) = self.utterance(number) else { return };
        let (time, due) = if std::mem::replace(&mut utterance.has_begun, true) {
            (utterance.end, utterance.end.saturating_sub(1))
        } else {
            self.note(time, time, NoteKind::Start(number));
            (time, time)
        };
        self.note(time, due, NoteKind::End(number, reason));
    }

    /// There is no more sound for now: that is told when all has been shown, unless more comes before.
    pub fn run_dry(&mut self) {
        if std::mem::take(&mut self.is_fed) {
            self.note(self.end, self.end.saturating_sub(1), NoteKind::Drained);
        }
    }

    /// Whether all that came in has been shown, or cut off.
    fn is_drained(&self) -> bool {
        !self.is_fed && !self.notes.iter().any(|note| matches!(note.what, NoteKind::Drained))
    }

    fn forget_drained(&mut self) {
        self.notes.retain(|note| !matches!(note.what, NoteKind::Drained));
    }

    /// The avatar of that name takes over with the frame of that time.
    pub fn change_avatar(&mut self, name: String, time: u64) {
        self.note(time, time, NoteKind::Avatar(name));
    }

    fn count_out(&mut self, of: Option<u64>, stretch: &Stretch) {
        while self.beginnings.front().is_some_and(|beginning| *beginning <= stretch.time_of(0)) {
            self.beginnings.pop_front();
            self.unmarked = Played::default();
        }
        match of {
            None => self.unmarked.add(stretch.samples, stretch.rate),
            Some(number) => {
                self.unmarked = Played::default();
                if let Some(utterance) = self.utterance(number) {
                    utterance.played.add(stretch.samples, stretch.rate);
                    utterance.out_until = stretch.end();
                }
            }
        }
    }

    /// The piece that begins at that time comes out, and ends at `end`.
    pub fn play_piece(&mut self, piece: u64, end: u64) {
        self.out_until = end;
        while let Some((of, stretch)) = self.stretches.front().copied()
            && stretch.piece <= piece
        {
            self.stretches.pop_front();
            self.count_out(of, &stretch);
        }
    }

    /// All comes out that comes before that time.
    pub fn play_until(&mut self, time: u64) {
        self.out_until = time;
        while let Some((of, stretch)) = self.stretches.front_mut() {
            let (of, mut out) = (*of, *stretch);
            out.samples = stretch.samples_before(time);
            if out.samples == 0 {
                break;
            }
            stretch.leave_out(out.samples);
            if stretch.samples == 0 {
                self.stretches.pop_front();
            }
            self.count_out(of, &out);
        }
    }

    /// The piece that begins at that time does not come out.
    pub fn lose_piece(&mut self, piece: u64) {
        self.lose(|stretch| if stretch.piece == piece { stretch.samples } else { 0 });
    }

    /// What comes before that time, and has not come out, will not.
    pub fn lose_until(&mut self, time: u64) {
        self.lose(|stretch| stretch.samples_before(time));
    }

    /// The first samples of the piece that begins at that time do not come out.
    pub fn skip(&mut self, piece: u64, samples: u64) {
        self.lose(|stretch| {
            let left = samples.saturating_sub(stretch.offset).min(stretch.samples);
            if stretch.piece == piece { left } else { 0 }
        });
    }

    /// So many of the first samples of each stretch do not come out.
    fn lose(&mut self, lost: impl Fn(&Stretch) -> u64) {
        for (_, stretch) in &mut self.stretches {
            stretch.leave_out(lost(stretch));
        }
        self.stretches.retain(|(_, stretch)| stretch.samples > 0);
    }

    /// Cuts off what has not come out, and returns the time of the first sample that is lost. What is left comes out.
    fn shorten(&mut self, cut: Cut) -> Option<u64> {
        let mut lost = None;
        for (of, mut stretch) in std::mem::take(&mut self.stretches) {
            let kept = match cut {
                Cut::Piece(piece, _) if stretch.piece < piece => stretch.samples,
                Cut::Piece(piece, samples) if stretch.piece == piece => {
                    samples.saturating_sub(stretch.offset)
                }
                Cut::Piece(..) => 0,
                Cut::Time(time) => stretch.samples_before(time),
            };
            if kept < stretch.samples {
                lost.get_or_insert(stretch.time_of(kept));
            }
            stretch.samples = kept.min(stretch.samples);
            if stretch.samples > 0 {
                self.count_out(of, &stretch);
            }
        }
        lost
    }

    /// Ends all utterances for that reason, but for those whose end has been reached by then. Sound ends at the time `at`, where the cut
    /// is; what was dropped before it got here is in `dropped`. All of that is told with the frame of the time `due`, or with that of
    /// its own time, if that is earlier. Returns the first utterance that was cut short, and how much of it has come out; without
    /// one, how much of what belongs to none.
    pub fn cut(
        &mut self,
        cut: Cut,
        at: u64,
        due: u64,
        dropped: &[Dropped],
        reason: Reason,
    ) -> (Option<String>, Played) {
        let lost = self.shorten(cut);
        if self.is_drained() {
            self.unmarked = Played::default();
        }
        self.is_fed = false;
        self.forget_drained();
        self.beginnings.clear();
        for utterance in &mut self.utterances {
            utterance.end = if utterance.played.samples > 0 { utterance.out_until } else { at };
        }
        let mut short = Vec::new();
        for note in &mut self.notes {
            let is_lost = |time: u64| lost.is_some_and(|lost| lost < time);
            match &mut note.what {
                // Its first sample may be the first that is lost.
                NoteKind::Start(_) if is_lost(note.time + 1) => note.time = at,
                NoteKind::End(number, why) if is_lost(note.time) => {
                    *why = reason;
                    let utterance = self.utterances.iter().find(|utterance| utterance.number == *number);
                    note.time = utterance.map_or(at, |utterance| utterance.end);
                    short.push(*number);
                }
                _ => {}
            }
        }
        let mut nothing_lost = lost.is_none();
        for dropped in dropped {
            match *dropped {
                Dropped::Samples => nothing_lost = false,
                Dropped::Mark(Mark::End(number, reason)) if nothing_lost => self.end(number, reason, at),
                Dropped::Mark(_) => {}
            }
        }
        let has_end = |notes: &[Note], number| {
            notes.iter().any(|note| matches!(note.what, NoteKind::End(ended, _) if ended == number))
        };
        let open = self.utterances.iter().map(|utterance| utterance.number);
        let open: Vec<u64> = open.filter(|number| !has_end(&self.notes, *number)).collect();
        for number in open {
            self.end(number, reason, at);
            short.push(number);
        }
        self.current = None;
        for note in self.notes.iter_mut().filter(|note| note.what.is_of_an_utterance()) {
            note.due = note.due.min(due);
        }
        let unmarked = std::mem::take(&mut self.unmarked);
        let first = self.utterances.iter().find(|utterance| short.contains(&utterance.number));
        let (id, played) =
            first.map_or((None, unmarked), |utterance| (Some(utterance.id.clone()), utterance.played));
        (id, played.or_rate(self.rate))
    }

    /// What is to be told with the frame that is shown until that time. `is_waiting` where there is sound that has come in and has not
    /// been entered.
    pub fn take_told(&mut self, until: u64, is_waiting: bool) -> Vec<Told> {
        let mut told = Vec::new();
        for note in self.notes.extract_if(.., |note| note.due < until).collect::<Vec<_>>() {
            let what = match note.what {
                NoteKind::Drained if is_waiting => continue,
                NoteKind::Drained => {
                    let ends = self.stretches.iter().map(|(_, stretch)| stretch.end());
                    self.promised = ends.fold(self.promised, u64::max);
                    What::Drained
                }
                NoteKind::Avatar(name) => What::Avatar { name },
                NoteKind::Start(number) => match self.id(number) {
                    Some(id) => What::Start { id: id.into() },
                    None => continue,
                },
                NoteKind::End(number, reason) => {
                    let place = self.utterances.iter().position(|utterance| utterance.number == number);
                    let Some(utterance) = place.and_then(|place| self.utterances.remove(place)) else {
                        continue;
                    };
                    // The pad of the sound may be a moment behind that of the video: what is told now is not cut off later.
                    let mut played = utterance.played;
                    let rest = self.stretches.iter().filter(|(of, _)| *of == Some(number));
                    rest.for_each(|(_, stretch)| {
                        played.add(stretch.samples, stretch.rate);
                        self.promised = self.promised.max(stretch.end());
                    });
                    What::End { id: utterance.id, reason, played: played.or_rate(self.rate) }
                }
            };
            told.push(Told { time: note.time, what });
        }
        told
    }
}

#[cfg(test)]
mod tests;
