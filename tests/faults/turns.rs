// SPDX-License-Identifier: MPL-2.0
//! One fault after the other: each comes in the middle of speech, and what lasts is undone some seconds later.

use gst::prelude::*;
use lipsync_core::avatar::frames::{FrameStore, Shot};
use lipsync_core::features::Context;
use lipsync_core::inference::runtime::Engine;
use lipsync_core::picture::formats::{Canvas, PixelFormat, YuvCoding};
use lipsync_core::render::painter::{MouthRequest, Painter};

use crate::air::Air;
use crate::common::harm::{Shortage, Victim};
use crate::common::studio::SECOND;
use crate::fault::{FAULTS, Fault, Harm};

/// Media time for each fault.
const TURN: u64 = 18 * SECOND;
/// A clock that goes ahead by less is made good; by more, time is given up.
const MADE_GOOD: u64 = 3 * SECOND / 2;

impl Air {
    /// Lets a worker of the network that plays panic: with a context as no listener makes one.
    pub fn panic_in_a_worker(&mut self) {
        let Some(plays) = self.plays else { return };
        let Ok(avatar) = lipsync_core::avatar::Avatar::open(&self.good[plays].path()) else { return };
        let Ok(painter) = Painter::open(&avatar, &Engine::default(), 1) else { return };
        let canvas = Canvas { format: PixelFormat::I420(YuvCoding::BT709), background: None };
        let frames = FrameStore::new(avatar.into(), canvas, painter.framing(), 0);
        let asked = painter.submit(&frames.into(), &Shot::still(0), MouthRequest::Speech(Context::zeros(3)));
        assert!(asked.wait().is_err());
    }

    pub fn fault(&mut self, fault: Fault) {
        *self.counts.entry(fault).or_default() += 1;
        println!("{:7.1} s: {fault:?}", self.studio.now as f64 / 1e9);
        let until = self.studio.now + SECOND + self.random.below(8 * SECOND);
        let name = format!("frames/{}.webp", self.random.below(4));
        match fault {
            Fault::ClockStep => self.studio.step_to(self.studio.now + self.random.below(MADE_GOOD)),
            Fault::ClockLeap => {
                self.leaps += 1;
                self.studio.leap(3 * SECOND + self.random.below(17 * SECOND));
            }
            Fault::ClockStill => (0..50).for_each(|_| self.studio.step_to(self.studio.now)),
            Fault::WorkerPanics => self.panic_in_a_worker(),
            Fault::Interrupt => drop(self.studio.interrupt()),
            Fault::Flush => {
                let pad = self.studio.element.static_pad("sink").unwrap();
                pad.send_event(gst::event::FlushStart::new());
                pad.send_event(gst::event::FlushStop::new(true));
                let segment = gst::FormattedSegment::<gst::ClockTime>::new();
                pad.send_event(gst::event::Segment::new(&segment));
            }
            Fault::Refused => {
                let name = self.random.pick(&self.refused).clone();
                self.set_avatar(&name);
            }
            Fault::TakenAndFails => {
                let name = self.random.pick(&self.failing).name();
                self.set_avatar(&name);
                self.plays = None;
                self.harm.push((fault, until, Harm::Avatar));
            }
            Fault::Taken => {
                let other = self.random.below(2) as usize;
                self.set_avatar(&self.good[other].name());
                self.plays = Some(other);
            }
            Fault::Frames => {
                let victim = &self.good[self.plays.unwrap_or(0)];
                if victim.file(&name).exists() {
                    match self.random.below(3) {
                        0 => std::fs::remove_file(victim.file(&name)).unwrap(),
                        1 => victim.truncate(&name),
                        _ => victim.overwrite(&name, b"no picture"),
                    }
                }
                self.harm.push((fault, until, Harm::Frames));
            }
            Fault::FolderGone => {
                let victim = &self.good[self.plays.unwrap_or(0)];
                if victim.path().exists() {
                    victim.delete();
                }
                self.harm.push((fault, until, Harm::Frames));
            }
            Fault::Descriptors => {
                self.harm.push((fault, until, Harm::Shortage { _limit: Shortage::of_descriptors() }));
            }
            Fault::Disk => self.harm.push((fault, until, Harm::Shortage { _limit: Shortage::of_disk() })),
            Fault::Memory => {
                self.harm.push((fault, until, Harm::Shortage { _limit: Shortage::of_memory(64 << 20) }));
            }
            Fault::Runtime => {
                self.library.harm(self.random.one_in(2));
                self.harm.push((fault, until, Harm::Runtime));
            }
        }
        self.look();
    }

    /// Undoes what has lasted long enough.
    pub fn recover(&mut self, now: u64) {
        // Those that keep files from being opened or written come first.
        let (mut over, kept): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.harm).into_iter().partition(|(_, until, _)| *until <= now);
        self.harm = kept;
        over.sort_by_key(|(_, _, harm)| !matches!(harm, Harm::Shortage { .. }));
        let short = |harm: &[(Fault, u64, Harm)]| {
            harm.iter().any(|(_, _, harm)| matches!(harm, Harm::Shortage { .. }))
        };
        for (fault, until, harm) in over {
            match harm {
                Harm::Shortage { .. } => {}
                // Nothing can be repaired meanwhile.
                harm if short(&self.harm) => self.harm.push((fault, until, harm)),
                Harm::Frames => self.good.iter().for_each(Victim::repair),
                Harm::Runtime => self.library.repair(),
                Harm::Avatar => {
                    self.set_avatar(&self.good[0].name());
                    self.plays = Some(0);
                }
            }
        }
    }

    /// A fault that can come now.
    pub fn next_fault(&mut self) -> Fault {
        loop {
            let fault = *self.random.pick(&FAULTS);
            let files = [Fault::Frames, Fault::FolderGone];
            let shortages = [Fault::Descriptors, Fault::Disk, Fault::Memory];
            let makes_files = files.contains(&fault) || fault == Fault::Runtime;
            let short = shortages.iter().any(|fault| self.suffers(*fault));
            let possible = match fault {
                _ if makes_files && short => false,
                fault if files.contains(&fault) => {
                    self.plays.is_some() && !files.iter().any(|fault| self.suffers(*fault))
                }
                fault if shortages.contains(&fault) => !short,
                Fault::Taken | Fault::TakenAndFails => self.plays.is_some(),
                Fault::WorkerPanics => !short,
                fault => !self.suffers(fault),
            };
            if possible {
                return fault;
            }
        }
    }

    /// One turn: somebody speaks, something goes wrong, and something that was wrong is over.
    pub fn turn(&mut self) {
        let end = self.studio.now + TURN;
        let mut left = self.random.below(14) * SECOND / 2;
        let length = 8000 + self.random.below(self.said.len() as u64 - 8000) as usize;
        self.studio.say(&self.said[..length]);
        let fault = self.next_fault();
        let mut done = false;
        while self.studio.now < end {
            if !done && left == 0 {
                self.fault(fault);
                done = true;
            }
            left = left.saturating_sub(SECOND / 2);
            self.play_until(end.min(self.studio.now + SECOND / 2));
            self.recover(self.studio.now);
        }
    }

    /// All is as it should be again, and so is what is seen and heard.
    pub fn end_well(&mut self) {
        self.recover(u64::MAX);
        self.recover(u64::MAX);
        assert!(self.harm.is_empty());
        self.set_avatar(&self.good[0].name());
        self.play_until(self.studio.now + 25 * SECOND);
        let (repeated, warnings) = (self.count("repeated"), self.warnings.values().sum::<u64>());
        self.studio.say(&self.said.clone());
        self.play_until(self.studio.now + 10 * SECOND);
        assert_eq!(self.count("repeated"), repeated, "it has recovered");
        assert_eq!(self.warnings.values().sum::<u64>(), warnings);
        assert_eq!(self.studio.element.property::<String>("avatar"), self.good[0].name());
        assert!(self.checker.leaps_seen <= self.leaps, "holes where the clock has not leapt");
        assert!(self.checker.leaps_heard <= self.leaps, "holes in the sound");
    }
}
