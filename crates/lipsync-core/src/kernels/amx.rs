// SPDX-License-Identifier: MPL-2.0
//! Matrix products by AMX, the matrix unit of Intel's server processors since 2023 (Sapphire Rapids): eight
//! times the throughput of VNNI.
//!
//! AMX has eight *tile* registers of up to 16 rows of 64 bytes. `tdpbusd` multiplies a tile of 16 pixels by a
//! tile of weights for 16 channels and accumulates into a tile of 16 x 16 sums. The intrinsics are not stable
//! in Rust yet, so these are assembler blocks.

use core::arch::asm;
use core::arch::x86_64::{__cpuid_count, __m512i};
use std::sync::OnceLock;

/// Pixels in a tile.
pub const TILE_PIXELS: usize = 16;
/// Bytes in a row of a tile.
const TILE_ROW: usize = 64;

/// Whether the processor has AMX-TILE and AMX-INT8, and the system lets this process use them.
pub fn is_supported() -> bool {
    static SUPPORTED: OnceLock<bool> = OnceLock::new();
    *SUPPORTED.get_or_init(|| {
        const TILES_AND_BYTES: u32 = 0b11 << 24;
        // SAFETY: every x86-64 processor has CPUID. Newer compilers know that the call is safe.
        #[allow(unused_unsafe)]
        let has = unsafe { __cpuid_count(7, 0) }.edx & TILES_AND_BYTES == TILES_AND_BYTES;
        has && request_permission()
    })
}

/// On Linux a process must ask for permission to use the tile registers, since their state is large.
#[cfg(target_os = "linux")]
fn request_permission() -> bool {
    const REQUEST_STATE: libc::c_ulong = 0x1023;
    const TILE_DATA: libc::c_ulong = 18;
    // SAFETY: the call takes two integers and accesses no memory of this process.
    unsafe { libc::syscall(libc::SYS_arch_prctl, REQUEST_STATE, TILE_DATA) == 0 }
}

#[cfg(not(target_os = "linux"))]
fn request_permission() -> bool {
    false
}

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
    /// [`is_supported`] must be true, and no other code may configure this thread's tiles before this value
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
    /// # Safety
    /// `from` points to 16 pixels of `pixel_bytes` bytes, `weights` to that many bytes of packed weights for
    /// `R` registers, and `bias` to `R` registers.
    #[inline]
    pub unsafe fn accumulate<const R: usize>(
        &self,
        from: *const u8,
        pixel_bytes: usize,
        weights: *const i8,
        bias: *const i32,
        acc: &mut [[__m512i; R]; TILE_PIXELS],
    ) {
        // All rows of an accumulator start with the bias, which is loaded with a stride of zero.
        macro_rules! begin {
            ($tile:literal) => {
                asm!(
                    concat!("tileloadd tmm", $tile, ", [{bias} + {none} + ", $tile, " * 64]"),
                    bias = in(reg) bias, none = in(reg) 0usize, options(nostack, readonly)
                )
            };
        }
        macro_rules! pixels {
            ($tile:literal, $place:expr) => {
                asm!(
                    concat!("tileloadd tmm", $tile, ", [{from} + {pixel_bytes}]"),
                    from = in(reg) from.add($place), pixel_bytes = in(reg) pixel_bytes, options(nostack, readonly)
                )
            };
        }
        macro_rules! multiply {
            ($acc:literal, $pixels:literal, $weights:literal, $place:ident) => {
                asm!(
                    concat!("tileloadd tmm", $weights, ", [{weights} + {step} + ", $acc, " * 64]"),
                    concat!("tdpbusd tmm", $acc, ", tmm", $pixels, ", tmm", $weights),
                    weights = in(reg) weights.add($place), step = in(reg) R * TILE_ROW, options(nostack, readonly)
                )
            };
        }
        macro_rules! end {
            ($tile:literal) => {
                asm!(
                    concat!("tilestored [{acc} + {row} + ", $tile, " * 64], tmm", $tile),
                    acc = in(reg) acc.as_mut_ptr(), row = in(reg) R * TILE_ROW, options(nostack)
                )
            };
        }
        macro_rules! each_register {
            ($what:ident $(, $argument:tt)*) => {
                $what!("0" $(, $argument)*);
                if R > 1 {
                    $what!("1" $(, $argument)*);
                }
                if R > 2 {
                    $what!("2" $(, $argument)*);
                    $what!("3" $(, $argument)*);
                }
            };
        }
        let rows = pixel_bytes / TILE_ROW;
        // SAFETY: only what the caller promises is read, and `acc` has room for `R` tiles. The compiler uses
        // no tile registers.
        unsafe {
            each_register!(begin);
            for n in 0..rows {
                pixels!("4", n * TILE_ROW);
                let place = n * TILE_PIXELS * R * TILE_ROW;
                each_register!(multiply, "4", "5", place);
            }
            if self.remainder > 0 {
                pixels!("6", rows * TILE_ROW);
                let place = rows * TILE_PIXELS * R * TILE_ROW;
                each_register!(multiply, "6", "7", place);
            }
            each_register!(end);
        }
    }
}

impl Drop for AmxTiles {
    fn drop(&mut self) {
        // SAFETY: tiles were configured by `new`.
        unsafe { asm!("tilerelease", options(nostack, nomem)) };
    }
}
