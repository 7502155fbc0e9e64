//! The bounds of what an avatar or a sound may ask for, in one place. `models/README.md` states them for people.
//!
//! An avatar may come from a stranger, and a sound from anywhere: what they ask for is compared with these before anything
//! is opened or allocated. They are wide: nothing that anybody was seen to use comes near them.

/// Bytes of a text file: the manifest, face rectangles, landmarks.
pub const TEXT_BYTES: u64 = 64 << 20;

/// Bytes of a picture's file.
pub const PICTURE_BYTES: u64 = 256 << 20;

/// Bytes of a network's file, and of all weights beside it: what the format of the file can hold.
pub const NETWORK_BYTES: u64 = i32::MAX as u64;
