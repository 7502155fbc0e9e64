// SPDX-License-Identifier: MPL-2.0
//! What the fuzz targets share. `README.md` says how they are run.

pub mod avatar;
pub mod fault;
pub mod folder;
pub mod mutate;
pub mod networks;
pub mod watchdog;
