//! The bounds of what an avatar or a sound may ask for, in one place. `models/README.md` states them for people.
//!
//! An avatar may come from a stranger, and a sound from anywhere: what they ask for is compared with these before anything
//! is opened or allocated. They are wide: nothing that anybody was seen to use comes near them.

/// Bytes of a text file: face rectangles.
pub const TEXT_BYTES: u64 = 16 << 20;

/// Bytes of a manifest, or of a package's list of sums. What is made of them in memory is a hundred times as large.
pub const MANIFEST_BYTES: u64 = 1 << 20;

/// Bytes of the landmarks of a frame.
pub const LANDMARK_BYTES: u64 = 64 << 10;

/// Characters of an avatar's title.
pub const TITLE_CHARS: usize = 200;

/// Bytes of a picture's file.
pub const PICTURE_BYTES: u64 = 256 << 20;

/// Width and height of a picture in pixels: 8K video, 7680 x 4320, fits.
pub const PICTURE_SIDE: u32 = 8192;

/// Pixels of a picture.
pub const PICTURE_PIXELS: u64 = 36_000_000;

/// Scans of a JPEG: those of progressive ones, of which encoders write about ten, cost hardly a byte and much time.
pub const JPEG_SCANS: u32 = 100;

/// Frames of an avatar, more than an hour at 25 a second, and pictures of each folder that goes with them.
pub const FRAMES: usize = 100_000;

/// Files in a folder of pictures, whatever they are.
pub const FOLDER_FILES: usize = 1_000_000;

/// Frames a second at which an avatar's frames play: what the elements' caps take.
pub const FPS: u32 = 240;

/// Pixels by which the crop of a face is wider, on each side, than the network's square.
pub const BORDER: u32 = 512;

/// Side of the square that a generator sees and paints, in pixels.
pub const NETWORK_SIDE: u32 = 2048;

/// Bytes of a network's file, and of all weights beside it: what the format of the file can hold.
pub const NETWORK_BYTES: u64 = i32::MAX as u64;

/// Files of which a package tells sums; of bytes they may have [`NETWORK_BYTES`] in all.
pub const SUMS: usize = 100;
