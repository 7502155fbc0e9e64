// SPDX-License-Identifier: MPL-2.0
//! Steps 1 and 2: any audio to 16 kHz mono ([`resample`]), and 16 kHz mono to mel frames ([`mel`]); and which syllables are
//! stressed ([`accents`]).

pub mod accents;
pub mod mel;
pub mod resample;
