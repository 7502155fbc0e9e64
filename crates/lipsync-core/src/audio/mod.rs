//! Steps 1 and 2: any sound to 16 kHz mono ([`resample`]), and that to mel frames ([`mel`]).

pub mod mel;
pub mod resample;
