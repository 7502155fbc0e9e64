// SPDX-License-Identifier: MPL-2.0
//! NEON with products of 8-bit matrices (i8mm): `usmmla` and `usdot`, with everything else as for dot products.
#![allow(unsafe_op_in_unsafe_fn)]

use super::entry_points;
use super::neon::Neon;

entry_points!(Neon<true>, "neon,i8mm");
