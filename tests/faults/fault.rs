// SPDX-License-Identifier: MPL-2.0
//! What can go wrong, and what of it lasts.

use crate::common::harm::Shortage;

/// What goes wrong. Those behind `Frames` last for a while; the others are over at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The clock goes ahead by up to a second and a half.
    ClockStep,
    /// The clock goes ahead by 3 to 20 seconds.
    ClockLeap,
    /// The clock stands still, as it does where it is set back.
    ClockStill,
    WorkerPanics,
    Interrupt,
    Flush,
    /// An avatar that is refused.
    Refused,
    /// An avatar that is taken, and fails later.
    TakenAndFails,
    /// An avatar that is as it should be.
    Taken,
    /// Files of the avatar that plays are broken.
    Frames,
    FolderGone,
    Descriptors,
    Disk,
    Memory,
    Runtime,
}

pub const FAULTS: [Fault; 15] = [
    Fault::ClockStep,
    Fault::ClockLeap,
    Fault::ClockStill,
    Fault::WorkerPanics,
    Fault::Interrupt,
    Fault::Flush,
    Fault::Refused,
    Fault::TakenAndFails,
    Fault::Taken,
    Fault::Frames,
    Fault::FolderGone,
    Fault::Descriptors,
    Fault::Disk,
    Fault::Memory,
    Fault::Runtime,
];

/// What lasts until it is undone.
pub enum Harm {
    Frames,
    Runtime,
    Shortage { _limit: Shortage },
    Avatar,
}
