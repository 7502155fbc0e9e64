// SPDX-License-Identifier: MPL-2.0
//! The bounds of what an avatar or a sound may ask for, in one place. `models/README.md` states them for people.
//!
//! An avatar may come from a stranger, and a sound from anywhere: what they ask for is compared with these before anything
//! is opened or allocated. They are wide: nothing that anybody was seen to use comes near them.

/// Bytes of a text file: face rectangles.
pub(crate) const TEXT_BYTES: u64 = 16 << 20;

/// Bytes of a manifest, or of a package's list of sums. What is made of them in memory is a hundred times as large.
pub const MANIFEST_BYTES: u64 = 1 << 20;

/// Bytes of the landmarks of a frame.
pub(crate) const LANDMARK_BYTES: u64 = 64 << 10;

/// Characters of an avatar's title.
pub(crate) const TITLE_CHARS: usize = 200;

/// Bytes of a picture's file.
pub const PICTURE_BYTES: u64 = 256 << 20;

/// Width and height of a picture in pixels: 8K video, 7680 x 4320, fits.
pub(crate) const PICTURE_SIDE: u32 = 8192;

/// Pixels of a picture.
pub(crate) const PICTURE_PIXELS: u64 = 36_000_000;

/// Scans of a JPEG: those of progressive ones, of which encoders write about ten, cost hardly a byte and much time.
pub(crate) const JPEG_SCANS: u32 = 100;

/// Frames of an avatar, more than an hour at 25 a second, and pictures of each folder that goes with them.
pub const FRAMES: usize = 100_000;

/// Clips of an avatar.
pub(crate) const CLIPS: usize = 100;

/// Characters of a clip's name.
pub(crate) const CLIP_NAME_CHARS: usize = 60;

/// Files in a folder of pictures, whatever they are.
pub(crate) const FOLDER_FILES: usize = 1_000_000;

/// Frames a second at which an avatar's frames play: what the elements' caps take.
pub const FPS: u32 = 240;

/// Pixels by which the crop of a face is wider, on each side, than the network's square.
pub const BORDER: u32 = 512;

/// Side of a generator's square input and output, in pixels.
pub(crate) const NETWORK_SIDE: u32 = 2048;

/// Bytes of a network's file, and of all weights beside it: what the format of the file can hold.
pub const NETWORK_BYTES: u64 = i32::MAX as u64;

/// Files of which a package tells sums; of bytes they may have [`NETWORK_BYTES`] in all.
pub const SUMS: usize = 100;

// --- Networks ---------------------------------------------------------------------------------------------------------

/// Bytes of memory that a network's file may take beside the weights that it holds as bytes: for its entries, each of which may
/// be only two bytes in the file, and for numbers that it writes one by one.
pub(crate) const NETWORK_MEMORY: usize = 1 << 30;

/// Nodes of a network, in all of its graphs.
pub(crate) const NODES: usize = 1 << 15;

/// Weights of a network, in all of its graphs.
pub(crate) const WEIGHTS: usize = 1 << 17;

/// Depth of nested graphs (loops and branches).
pub(crate) const GRAPH_DEPTH: usize = 4;

/// Inputs of a network, and outputs.
pub(crate) const PORTS: usize = 64;

/// Dimensions of a tensor.
pub(crate) const RANK: usize = 16;

/// Kernels, strides, pads and the like of a network's layers.
pub(crate) const LAYER_SIZE: i64 = 1 << 12;

/// Values in a tensor that goes in or out, or that is made of a shape that the file states.
pub(crate) const VALUES: u64 = 1 << 26;

/// Bytes of one value that ONNX Runtime may compute when it loads a network, instead of each time.
pub(crate) const CONSTANT_BYTES: u64 = 256 << 20;

/// Bytes by which a graph may grow in preparation, beyond four times its size.
pub(crate) const PREPARED_GROWTH: u64 = 64 << 20;

/// Batch size of a network.
pub(crate) const BATCH: i64 = 64;

/// The least side of a generator's square input and output, in pixels.
pub(crate) const LEAST_SIDE: u32 = 16;

/// Bytes of scratch memory of a fused kernel, for each thread.
pub(crate) const KERNEL_BYTES: usize = 256 << 20;

/// Seconds that loading one network may take when an avatar is to play, and that one run may take, on the processor.
pub(crate) const LOAD: u64 = 60;
/// See [`LOAD`].
pub(crate) const RUN: u64 = 15;

/// The same where another execution provider compiles the network first.
pub(crate) const LOAD_COMPILED: u64 = 1800;
/// See [`LOAD_COMPILED`].
pub(crate) const RUN_COMPILED: u64 = 600;

/// Bytes of address space of the process in which a stranger's networks are tried out.
pub const TRIAL_MEMORY: u64 = 8 << 30;

/// Seconds that loading one of a stranger's networks may take when it is tried out.
pub const TRIAL_LOAD: u64 = 60;

/// Seconds that one run may take when it is tried out.
pub const TRIAL_RUN: u64 = 12;

// --- Sounds -----------------------------------------------------------------------------------------------------------

/// The least sample rate, in Hz.
pub const LEAST_RATE: u32 = 1_000;

/// The highest sample rate, in Hz.
pub const RATE: u32 = 768_000;

/// Channels of a sound: as many as GStreamer has places for.
pub const CHANNELS: u32 = 64;

/// Seconds of a gap in a sound that are filled with silence: a day.
pub const GAP_SECONDS: u64 = 86_400;

/// The latest time of a sound, in nanoseconds: 146 years. Times of frames are computed from it.
pub const LATEST: u64 = 1 << 62;

// --- On air -----------------------------------------------------------------------------------------------------------

/// Bytes of memory that must be there before another avatar is loaded on air.
pub const AVATAR_MEMORY: usize = 256 << 20;
