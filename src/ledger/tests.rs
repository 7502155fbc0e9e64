// SPDX-License-Identifier: MPL-2.0
//! What the ledger tells, without an element around it.

use super::*;

const MS: u64 = 1_000_000;

/// So many samples at 1000 Hz from that millisecond on, which is where a piece begins, too.
fn enter(ledger: &mut Ledger, start: u64, samples: u64) {
    ledger.enter(Stretch { piece: start * MS, offset: 0, samples, rate: 1000, pace: 1000 });
}

fn open(ledger: &mut Ledger, id: &str) -> u64 {
    let number = ledger.open(id.into(), 1000).unwrap();
    ledger.begin(number);
    number
}

/// What is told until that millisecond: starts as `+id`, ends as `-id`, the reason and the samples, and the time.
fn told(ledger: &mut Ledger, until: u64) -> Vec<String> {
    let name = |told: Told| {
        let time = told.time / MS;
        match told.what {
            What::Start { id } => format!("+{id} {time}"),
            What::End { id, reason, played } => {
                assert_eq!(played.duration(), played.samples * MS);
                format!("-{id} {} {} {time}", reason.nick(), played.samples)
            }
            What::Drained => format!("drained {time}"),
            What::Avatar { name } => format!("{name} {time}"),
        }
    };
    ledger.take_told(until * MS, false).into_iter().map(name).collect()
}

#[test]
fn what_was_told_before_it_came_out_is_promised() {
    let mut ledger = Ledger::default();
    let a = open(&mut ledger, "a");
    enter(&mut ledger, 10, 30);
    ledger.end(a, Reason::Finished, 40 * MS);
    enter(&mut ledger, 40, 10);
    assert_eq!(told(&mut ledger, 50), ["+a 10", "-a finished 30 40"]);
    assert_eq!(ledger.promised, 40 * MS);
    // What belongs to no utterance as well.
    ledger.run_dry();
    assert_eq!(told(&mut ledger, 60), ["drained 50"]);
    assert_eq!(ledger.promised, 50 * MS);
}

#[test]
fn what_begins_and_ends_is_told_with_the_frame_of_its_sample() {
    let mut ledger = Ledger::default();
    let a = open(&mut ledger, "a");
    enter(&mut ledger, 10, 30);
    enter(&mut ledger, 40, 40);
    ledger.end(a, Reason::Finished, 90 * MS);
    ledger.run_dry();
    ledger.run_dry();
    assert_eq!(told(&mut ledger, 10), [""; 0]);
    assert_eq!(told(&mut ledger, 11), ["+a 10"]);
    // The sound may be behind: what is still to come counts.
    ledger.play_piece(10 * MS, 40 * MS);
    assert_eq!(told(&mut ledger, 79), [""; 0]);
    assert_eq!(told(&mut ledger, 80), ["-a finished 70 80", "drained 80"]);
    assert!(!ledger.has_utterances());
    // More comes in time, or is on its way.
    enter(&mut ledger, 100, 10);
    ledger.run_dry();
    enter(&mut ledger, 150, 10);
    ledger.run_dry();
    assert_eq!(told(&mut ledger, 120), [""; 0]);
    assert_eq!(ledger.take_told(1000 * MS, true), []);
    assert_eq!(told(&mut ledger, 1000), [""; 0]);
}

#[test]
fn a_cut_ends_each_utterance_where_it_was() {
    const END_OF_B: Dropped = Dropped::Mark(Mark::End(2, Reason::Finished));
    // The cut, what was dropped before, what is told, and which one was cut short after how many samples.
    type Case = (Cut, &'static [Dropped], &'static [&'static str], (&'static str, u64));
    let cases: [Case; 5] = [
        (
            Cut::Time(25 * MS),
            &[END_OF_B],
            &["+a 10", "-a interrupted 15 25", "+b 25", "-b interrupted 0 25"],
            ("a", 15),
        ),
        // All of the first has come out, and nothing of the second.
        (
            Cut::Time(40 * MS),
            &[END_OF_B],
            &["+a 10", "-a finished 30 40", "+b 40", "-b interrupted 0 40"],
            ("b", 0),
        ),
        (
            Cut::Piece(40 * MS, 5),
            &[],
            &["+a 10", "-a finished 30 40", "+b 40", "-b interrupted 5 45"],
            ("b", 5),
        ),
        // All of the second has been entered, and its end has not.
        (
            Cut::Time(90 * MS),
            &[END_OF_B],
            &["+a 10", "-a finished 30 40", "+b 40", "-b finished 40 80"],
            ("", 0),
        ),
        (
            Cut::Time(90 * MS),
            &[Dropped::Samples, END_OF_B],
            &["+a 10", "-a finished 30 40", "+b 40", "-b interrupted 40 80"],
            ("b", 40),
        ),
    ];
    for (cut, dropped, expected, (id, samples)) in cases {
        let mut ledger = Ledger::default();
        let a = open(&mut ledger, "a");
        enter(&mut ledger, 10, 30);
        ledger.end(a, Reason::Finished, 0);
        open(&mut ledger, "b");
        enter(&mut ledger, 40, 40);
        ledger.play_until(12 * MS);
        let at = match cut {
            Cut::Time(time) => time,
            Cut::Piece(piece, samples) => piece + samples * MS,
        };
        let (short, played) = ledger.cut(cut, at, 0, dropped, Reason::Interrupted);
        assert_eq!((short.as_deref().unwrap_or_default(), played.samples), (id, samples), "{cut:?}");
        assert_eq!(played.rate, 1000);
        assert_eq!(told(&mut ledger, 1), expected, "{cut:?} {dropped:?}");
        assert!(!ledger.has_utterances());
    }
}

#[test]
fn what_is_lost_does_not_count() {
    let mut ledger = Ledger::default();
    let a = open(&mut ledger, "a");
    for start in [0, 40, 80, 120, 160] {
        enter(&mut ledger, start, 40);
    }
    ledger.skip(0, 15);
    ledger.play_piece(0, 40 * MS);
    ledger.lose_piece(40 * MS);
    ledger.lose_until(90 * MS);
    ledger.play_until(130 * MS);
    ledger.end(a, Reason::Eos, 0);
    assert_eq!(told(&mut ledger, 1000), ["+a 0", "-a eos 135 200"]);
}

#[test]
fn sound_of_no_utterance_counts_from_where_it_began_anew() {
    let mut ledger = Ledger::default();
    let played = |ledger: &mut Ledger, at| ledger.cut(Cut::Time(at), at, 0, &[], Reason::Interrupted).1;
    for (start, is_drained) in [(0, false), (100, true), (200, false)] {
        enter(&mut ledger, start, 20);
        ledger.play_until((start + 20) * MS);
        ledger.run_dry();
        if is_drained {
            assert_eq!(told(&mut ledger, start + 20), [format!("drained {}", start + 20)]);
        }
    }
    assert_eq!(played(&mut ledger, 210 * MS).samples, 20);
    enter(&mut ledger, 300, 20);
    ledger.play_until(310 * MS);
    // In another format, of which some is cut off.
    ledger.enter(Stretch { piece: 320 * MS, offset: 0, samples: 40, rate: 2000, pace: 2000 });
    let played = played(&mut ledger, 330 * MS);
    assert_eq!((played.samples, played.rate, played.duration()), (40, 2000, 30 * MS));
}

#[test]
fn there_are_not_too_many_and_one_may_be_of_no_samples() {
    let mut ledger = Ledger::default();
    let numbers: Vec<u64> = (0..MOST_UTTERANCES).map(|i| open(&mut ledger, &i.to_string())).collect();
    assert_eq!(ledger.open("one more".into(), 1000), None);
    numbers.iter().for_each(|number| ledger.end(*number, Reason::Finished, 50 * MS));
    assert_eq!(told(&mut ledger, 50), [""; 0]);
    let told = told(&mut ledger, 51);
    assert_eq!(told[..3], ["+0 50", "-0 finished 0 50", "+1 50"]);
    assert_eq!(told.len(), 2 * MOST_UTTERANCES);
    assert!(ledger.open("one more".into(), 1000).is_some());
}
