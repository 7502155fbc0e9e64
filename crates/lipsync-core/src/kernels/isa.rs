// SPDX-License-Identifier: MPL-2.0
//! Instruction sets, and which of them this processor has.

/// An instruction set that there are kernels for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isa {
    /// AVX2: Intel since Haswell (2013), AMD since Excavator and Zen.
    Avx2,
    /// AVX-VNNI, on registers of 256 bits: Intel's desktops and laptops since the 12th generation, AMD since Zen 5.
    AvxVnni,
    /// AVX-512 with VNNI: Intel's servers since 2019, AMD since Zen 4.
    Avx512Vnni,
    /// AMX tiles beside AVX-512 with VNNI: Intel's servers since 2023.
    Amx,
    /// NEON with dot products (`sdot`): ARM processors since Cortex-A75, Apple since A11, Graviton 2, Raspberry Pi 5.
    NeonDotprod,
    /// NEON with products of 8-bit matrices (`usmmla`): ARM processors since Cortex-A510, A710 and X2, Apple since M2,
    /// Graviton 3.
    NeonI8mm,
}

impl Isa {
    /// All of them, the slower ones of an architecture first.
    pub const ALL: [Self; 6] =
        [Self::Avx2, Self::AvxVnni, Self::Avx512Vnni, Self::Amx, Self::NeonDotprod, Self::NeonI8mm];

    /// Its name in `stats`, in the log and in `LIPSYNC_KERNELS`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Avx2 => "avx2",
            Self::AvxVnni => "avx-vnni",
            Self::Avx512Vnni => "avx512-vnni",
            Self::Amx => "amx",
            Self::NeonDotprod => "neon-dotprod",
            Self::NeonI8mm => "neon-i8mm",
        }
    }

    /// Whether this processor has it, and the system lets this process use it.
    pub fn is_supported(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = || is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            let avx512 = || {
                is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512vnni")
            };
            match self {
                Self::Avx2 => avx2(),
                Self::AvxVnni => avx2() && is_x86_feature_detected!("avxvnni"),
                Self::Avx512Vnni => avx512(),
                Self::Amx => avx512() && amx::is_supported(),
                Self::NeonDotprod | Self::NeonI8mm => false,
            }
        }
        #[cfg(target_arch = "aarch64")]
        return match self {
            Self::NeonDotprod => std::arch::is_aarch64_feature_detected!("dotprod"),
            Self::NeonI8mm => std::arch::is_aarch64_feature_detected!("i8mm"),
            _ => false,
        };
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        false
    }

    /// 32-bit lanes in a register.
    pub const fn lanes(self) -> usize {
        match self {
            Self::Avx2 | Self::AvxVnni => 8,
            Self::Avx512Vnni | Self::Amx => 16,
            Self::NeonDotprod | Self::NeonI8mm => 4,
        }
    }

    /// Whether it has instructions that multiply bytes and sum in 32 bits, which are faster than float32.
    pub fn multiplies_bytes(self) -> bool {
        !self.sums_in_16_bits()
    }

    /// Whether products of two bytes are summed in 16 bits first, so that large weights have to be kept apart.
    pub const fn sums_in_16_bits(self) -> bool {
        matches!(self, Self::Avx2)
    }

    /// Whether an instruction multiplies two pixels of eight bytes by the weights of two channels.
    pub const fn multiplies_matrices(self) -> bool {
        matches!(self, Self::NeonI8mm)
    }

    /// Whether bytes are multiplied as signed numbers, less 128.
    pub const fn has_signed_bytes(self) -> bool {
        matches!(self, Self::NeonDotprod)
    }
}

#[cfg(target_arch = "x86_64")]
mod amx {
    use core::arch::x86_64::__cpuid_count;
    use std::sync::OnceLock;

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
}
