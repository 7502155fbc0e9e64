//! Sums of products by AMX, the unit for products of matrices in Intel's server processors since 2023: eight times the
//! products of VNNI.
//!
//! It computes in eight registers of its own, *tiles* of up to 16 rows of 64 bytes. A tile of 16 pixels times one of 16
//! channels' weights adds to a tile of 16 x 16 sums. Rust has no stable functions for it yet, so they are written in
//! assembler.

use core::arch::asm;
use core::arch::x86_64::{__cpuid_count, __m512i};
use std::sync::OnceLock;

/// Pixels of a tile.
pub const TILE_PIXELS: usize = 16;
/// Bytes of a row of a tile.
const TILE_ROW: usize = 64;

/// Whether the processor has AMX for bytes, and the system lets this process use it.
pub fn is_supported() -> bool {
    static SUPPORTED: OnceLock<bool> = OnceLock::new();
    *SUPPORTED.get_or_init(|| {
        const TILES_AND_BYTES: u32 = 0b11 << 24;
        // SAFETY: every processor that runs this has the instruction. Newer compilers know that it is safe.
        #[allow(unused_unsafe)]
        let has = unsafe { __cpuid_count(7, 0) }.edx & TILES_AND_BYTES == TILES_AND_BYTES;
        has && request_permission()
    })
}

/// Linux hands out the tiles' large state to those that ask.
#[cfg(target_os = "linux")]
fn request_permission() -> bool {
    const REQUEST_STATE: libc::c_ulong = 0x1023;
    const TILE_DATA: libc::c_ulong = 18;
    // SAFETY: it takes two numbers, and changes nothing that this process has.
    unsafe { libc::syscall(libc::SYS_arch_prctl, REQUEST_STATE, TILE_DATA) == 0 }
}

#[cfg(not(target_os = "linux"))]
fn request_permission() -> bool {
    false
}

/// Tiles set up for products over so many bytes. They are this thread's, and given up in the end: ONNX Runtime uses tiles, too.
pub struct AmxTiles {
    /// Bytes that do not fill a row.
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
    /// [`is_supported`]; nobody else sets up this thread's tiles before this is dropped.
    pub unsafe fn new(bytes: usize) -> Self {
        let remainder = bytes % TILE_ROW;
        let mut config = TileConfig { palette: 1, start: 0, none: [0; 14], bytes: [0; 16], rows: [0; 16] };
        // 0 to 3: sums. 4 and 5: pixels and weights. 6 and 7: what does not fill a row of them.
        config.bytes[..6].fill(TILE_ROW as u16);
        config.rows[..6].fill(TILE_PIXELS as u8);
        if remainder > 0 {
            (config.bytes[6], config.rows[6]) = (remainder as u16, TILE_PIXELS as u8);
            (config.bytes[7], config.rows[7]) = (TILE_ROW as u16, (remainder / 4) as u8);
        }
        // SAFETY: the processor has tiles, and the setup is one.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const config, options(nostack, readonly)) };
        Self { remainder }
    }

    /// The sums of 16 pixels in `R` registers, which are 1, 2 or 4.
    ///
    /// # Safety
    /// At `from` are 16 pixels of `pixel_bytes` bytes, at `weights` as many steps of four bytes for `R` registers, at `bias`
    /// `R` registers.
    #[inline]
    pub unsafe fn accumulate<const R: usize>(
        &self,
        from: *const u8,
        pixel_bytes: usize,
        weights: *const i8,
        bias: *const i32,
        acc: &mut [[__m512i; R]; TILE_PIXELS],
    ) {
        // Every row of the sums begins with the bias: they are read from one place.
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
        // SAFETY: no more is read than is promised, and the sums are of `R` tiles. The compiler uses no tiles.
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
        // SAFETY: there are tiles, or there would be no `AmxTiles`.
        unsafe { asm!("tilerelease", options(nostack, nomem)) };
    }
}
