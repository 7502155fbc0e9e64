// SPDX-License-Identifier: MPL-2.0
//! Matrix products by AMX, the matrix unit of Intel's server processors since 2023 (Sapphire Rapids): eight
//! times the throughput of VNNI.
//!
//! AMX has eight *tile* registers of up to 16 rows of 64 bytes. `tdpbusd` multiplies a tile of 16 pixels by a
//! tile of weights for 16 channels and accumulates into a tile of 16 x 16 sums. The intrinsics are not stable
//! in Rust yet, so these are assembler blocks.

use core::arch::asm;
use core::arch::x86_64::{__m512i, _mm512_setzero_si512};

use crate::kernels::conv::{Epilogue, OutputRows, PackedConv, Panel, Source};
use crate::kernels::simd::Simd;

/// Pixels need at least so many bytes for AMX to be faster than VNNI.
const MIN_PIXEL_BYTES: usize = 32;

/// Pixels in a tile.
pub const TILE_PIXELS: usize = 16;
/// Bytes in a row of a tile.
const TILE_ROW: usize = 64;

/// This thread's tile registers, configured for products over a given number of bytes. They are released on
/// drop, since ONNX Runtime uses tiles as well.
pub struct AmxTiles {
    /// Bytes beyond the last full tile row.
    remainder: usize,
}

#[repr(C, align(64))]
struct TileConfig {
    palette: u8,
    start: u8,
    none: [u8; 14],
    bytes: [u16; 16],
    rows: [u8; 16],
}

impl AmxTiles {
    /// # Safety
    /// The processor must have AMX ([`Isa::Amx`](crate::kernels::Isa::Amx)), and no other code may configure this thread's tiles before this value
    /// is dropped.
    pub unsafe fn new(bytes: usize) -> Self {
        let remainder = bytes % TILE_ROW;
        let mut config = TileConfig { palette: 1, start: 0, none: [0; 14], bytes: [0; 16], rows: [0; 16] };
        // Tiles 0 to 3: accumulators. 4 and 5: pixels and weights. 6 and 7: the remainder of both.
        config.bytes[..6].fill(TILE_ROW as u16);
        config.rows[..6].fill(TILE_PIXELS as u8);
        if remainder > 0 {
            (config.bytes[6], config.rows[6]) = (remainder as u16, TILE_PIXELS as u8);
            (config.bytes[7], config.rows[7]) = (TILE_ROW as u16, (remainder / 4) as u8);
        }
        // SAFETY: the processor supports AMX, and the configuration is valid.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const config, options(nostack, readonly)) };
        Self { remainder }
    }

    /// The accumulators of 16 pixels in `R` registers: 1, 2 or 4.
    ///
    /// All of it is one assembler block, so that no tile has to keep its state between two of them.
    ///
    /// # Safety
    /// `from` points to 16 pixels of `pixel_bytes` bytes, for which the tiles were configured, `weights` to that
    /// many bytes of packed weights for `R` registers, and `bias` to `R` registers.
    #[inline]
    pub unsafe fn accumulate<const R: usize>(
        &self,
        from: *const u8,
        pixel_bytes: usize,
        weights: *const i8,
        bias: *const i32,
        acc: &mut [[__m512i; R]; TILE_PIXELS],
    ) {
        // Row by row: the pixels' tile is loaded once and multiplied by a tile of weights for each register. All rows
        // of an accumulator start with the bias, which is loaded with a stride of zero.
        macro_rules! multiply {
            ($($tile:literal),+) => {
                asm!(
                    $(concat!("tileloadd tmm", $tile, ", [{bias} + {stride} + ", $tile, " * 64]"),)+
                    "mov {stride}, {row}",
                    "test {count}, {count}",
                    "jz 3f",
                    "2:",
                    "tileloadd tmm4, [{from} + {pixel}]",
                    $(
                        concat!("tileloadd tmm5, [{weights} + {stride} + ", $tile, " * 64]"),
                        concat!("tdpbusd tmm", $tile, ", tmm4, tmm5"),
                    )+
                    "add {from}, 64",
                    "add {weights}, {weights_step}",
                    "dec {count}",
                    "jnz 2b",
                    "3:",
                    "test {remainder}, {remainder}",
                    "jz 4f",
                    "tileloadd tmm6, [{from} + {pixel}]",
                    $(
                        concat!("tileloadd tmm7, [{weights} + {stride} + ", $tile, " * 64]"),
                        concat!("tdpbusd tmm", $tile, ", tmm6, tmm7"),
                    )+
                    "4:",
                    $(concat!("tilestored [{acc} + {stride} + ", $tile, " * 64], tmm", $tile),)+
                    from = inout(reg) from => _,
                    weights = inout(reg) weights => _,
                    count = inout(reg) pixel_bytes / TILE_ROW => _,
                    // Zero while the bias is loaded, then from one row of weights or sums to the next.
                    stride = inout(reg) 0usize => _,
                    row = in(reg) R * TILE_ROW,
                    weights_step = in(reg) TILE_PIXELS * R * TILE_ROW,
                    pixel = in(reg) pixel_bytes,
                    remainder = in(reg) self.remainder,
                    bias = in(reg) bias,
                    acc = in(reg) acc.as_mut_ptr(),
                    options(nostack)
                )
            };
        }
        // SAFETY: only what the caller promises is read, and `acc` has room for `R` tiles.
        unsafe {
            match R {
                1 => multiply!("0"),
                2 => multiply!("0", "1"),
                _ => multiply!("0", "1", "2", "3"),
            }
        }
    }
}

impl Drop for AmxTiles {
    fn drop(&mut self) {
        // SAFETY: tiles were configured by `new`.
        unsafe { asm!("tilerelease", options(nostack, nomem)) };
    }
}

/// Whether tiles compute this product, faster than VNNI does.
#[inline(always)]
pub fn is_faster(conv: &PackedConv, from: &Source<'_>) -> bool {
    conv.has_tiles
        && from.pixel_step == conv.pixel_bytes()
        && conv.pixel_bytes() >= MIN_PIXEL_BYTES
        && from.count >= TILE_PIXELS
}

/// Computes all panels of a 1 x 1 convolution.
///
/// # Safety
/// As those of [`Blocking`](crate::kernels::conv::Blocking), with AVX-512 and AMX.
#[target_feature(enable = "avx512bw,avx512vl,avx512vnni")]
pub unsafe fn run_panels<S: Simd<Ints = __m512i>>(
    conv: &PackedConv,
    from: Source<'_>,
    to: &mut OutputRows<'_>,
    epilogue: Epilogue<'_>,
) {
    let pixel = conv.pixel_bytes();
    // SAFETY: the processor supports AMX, and no other code uses tiles before these are released.
    let tiles = unsafe { AmxTiles::new(pixel) };
    for panel in &conv.panels {
        // SAFETY: the caller's promise.
        unsafe {
            match panel.registers {
                4 => run_panel::<S, 4>(panel, &tiles, pixel, from, to, epilogue),
                2 => run_panel::<S, 2>(panel, &tiles, pixel, from, to, epilogue),
                _ => run_panel::<S, 1>(panel, &tiles, pixel, from, to, epilogue),
            }
        }
    }
}

/// Computes a panel, 16 pixels at a time; the last ones overlap those before them.
#[inline(always)]
unsafe fn run_panel<S: Simd<Ints = __m512i>, const R: usize>(
    panel: &Panel,
    tiles: &AmxTiles,
    pixel: usize,
    from: Source<'_>,
    to: &mut OutputRows<'_>,
    epilogue: Epilogue<'_>,
) {
    assert!(panel.weights.len() == pixel * R * TILE_PIXELS && panel.bias.len() == R * TILE_PIXELS);
    assert!(from.pixel_step == pixel && from.bytes.len() >= from.count * pixel);
    // SAFETY: AVX-512 is enabled by the caller.
    let mut acc = unsafe { [[_mm512_setzero_si512(); R]; TILE_PIXELS] };
    for start in (0..from.count).step_by(TILE_PIXELS) {
        let start = start.min(from.count - TILE_PIXELS);
        let pixels = from.bytes[start * pixel..].as_ptr();
        // SAFETY: `pixels` points to 16 pixels; lengths of weights and bias were asserted.
        unsafe {
            tiles.accumulate(pixels, pixel, panel.weights.as_ptr(), panel.bias.as_ptr(), &mut acc);
            panel.store_tile::<S, TILE_PIXELS, R>(&acc, start, to, epilogue);
        }
    }
}
