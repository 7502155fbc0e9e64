// SPDX-License-Identifier: MPL-2.0
//! The operations on registers that the kernels consist of.
//!
//! A kernel is written once, generic over [`Simd`], in functions that are always inlined and without closures. Each
//! instruction set compiles them into functions of its own ([`super::backends`]) that enable its instructions.

use super::isa::Isa;
use super::requantize::Requantize;

/// Bytes in a quad.
pub const QUAD: usize = 4;

/// An array of `$value` for each `$n`. Closures, as `std::array::from_fn` takes them, would not be compiled for the
/// instruction set of the function that they are in.
macro_rules! array {
    ($n:ident < $count:expr => $value:expr) => {{
        let $n = 0;
        let mut values = [$value; $count];
        for $n in 1..$count {
            values[$n] = $value;
        }
        values
    }};
}
pub(super) use array;

/// The operations of an instruction set on registers of [`Isa::lanes`] lanes.
///
/// A *quad* is [`QUAD`] bytes that are multiplied and summed into one 32-bit lane. Several registers hold channels in
/// the order of [`super::conv::channel_of_lane`].
///
/// # Safety
/// All functions need the instruction set, and pointers to as many values as the registers hold.
pub trait Simd: Copy {
    /// The instruction set.
    const ISA: Isa;
    /// 32-bit lanes in a register.
    const LANES: usize = Self::ISA.lanes();
    /// Quads that one step of a product multiplies: 2 where products are summed in 16 bits first, or matrices multiplied.
    const QUADS: usize = if Self::ISA.sums_in_16_bits() || Self::ISA.multiplies_matrices() { 2 } else { 1 };
    /// Steps of a product's inner loop that are unrolled.
    const UNROLL: usize = 4;
    /// A register of 32-bit integers.
    type Ints: Copy;
    /// A register of float32.
    type Floats: Copy;

    unsafe fn load_ints(from: *const i32) -> Self::Ints;
    unsafe fn load_floats(from: *const f32) -> Self::Floats;
    unsafe fn store_floats(to: *mut f32, values: Self::Floats);
    unsafe fn splat_int(value: i32) -> Self::Ints;
    unsafe fn splat_float(value: f32) -> Self::Floats;
    unsafe fn to_floats(values: Self::Ints) -> Self::Floats;
    /// Rounds half to even.
    unsafe fn round(values: Self::Floats) -> Self::Ints;
    unsafe fn add_ints(a: Self::Ints, b: Self::Ints) -> Self::Ints;
    /// Clamps to `0..=max`.
    unsafe fn clamp(values: Self::Ints, max: Self::Ints) -> Self::Ints;
    unsafe fn sub(a: Self::Floats, b: Self::Floats) -> Self::Floats;
    unsafe fn mul(a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// `a * b + c`, rounded once.
    unsafe fn mul_add(a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats;

    /// Zero-extends bytes of consecutive channels.
    unsafe fn widen<const R: usize>(from: *const u8) -> [Self::Ints; R];
    /// Adds the zero point, clamps to `0..=max`, and stores the bytes of consecutive channels.
    unsafe fn narrow<const R: usize>(to: *mut u8, values: [Self::Ints; R], zero_point: u8, max: u8);

    /// One step of a product: accumulates [`Self::QUADS`] quads of `P` pixels, which lie at `offsets` from the
    /// pixel and are `pixel_step` bytes apart, times weights `[quad][register][lane][4]`, or, where matrices are
    /// multiplied, `[register][lane][quad][4]`.
    unsafe fn accumulate<const P: usize, const R: usize>(
        acc: &mut [[Self::Ints; R]; P],
        from: *const u8,
        pixel_step: usize,
        offsets: *const u32,
        weights: *const i8,
    );

    /// Rearranges accumulators of pixels for [`Self::accumulate`], and back: where matrices are multiplied, a register
    /// holds the sums of two pixels.
    #[inline(always)]
    unsafe fn pair_pixels<const P: usize, const R: usize>(_acc: &mut [[Self::Ints; R]; P]) {}

    /// Quads of the bytes of three rows and a zero, for four registers of channels.
    unsafe fn interleave(rows: [*const u8; 3]) -> [Self::Ints; 4];
    /// Accumulates quads of [`Self::interleave`] times weights. With `WIDE` the sum of two products may be
    /// larger than 16 bits hold.
    unsafe fn dot<const WIDE: bool>(acc: Self::Ints, quads: Self::Ints, weights: Self::Ints) -> Self::Ints;

    /// Requantizes bytes.
    ///
    /// # Safety
    /// As above; both slices have the same length.
    #[inline(always)]
    unsafe fn requantize_bytes(from: &[u8], to: &mut [u8], by: &Requantize) {
        const REGISTERS: usize = 4;
        let bytes = REGISTERS * Self::LANES;
        let whole = from.len() / bytes * bytes;
        // SAFETY: the caller's promise; `whole` is at most the length of both.
        unsafe {
            let (scale, offset) = (Self::splat_float(by.affine.scale), Self::splat_float(by.affine.offset));
            for at in (0..whole).step_by(bytes) {
                let values = Self::widen::<REGISTERS>(from.as_ptr().add(at));
                let values = array!(r < REGISTERS => {
                    Self::round(Self::mul_add(Self::to_floats(values[r]), scale, offset))
                });
                Self::narrow(to.as_mut_ptr().add(at), values, 0, by.max);
            }
        }
        by.look_up(&from[whole..], &mut to[whole..]);
    }
}
