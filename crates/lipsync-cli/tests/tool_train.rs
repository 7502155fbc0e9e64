// SPDX-License-Identifier: MPL-2.0
//! The tool `lipsync` as users have it: `train`.
