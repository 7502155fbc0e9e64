// SPDX-License-Identifier: MPL-2.0
//! AVX-VNNI: `vpdpbusd` on the registers of AVX2, with everything else as there.
#![allow(unsafe_op_in_unsafe_fn)]

use super::avx2::Avx2;
use super::entry_points;

entry_points!(Avx2<true>, "avx2,fma,avxvnni");
