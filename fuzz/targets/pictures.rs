// SPDX-License-Identifier: MPL-2.0
//! Picture files: JPEG, PNG and WebP, their headers and their pixels. Built for fuzzing, the PNG decoder passes over wrong sums.

#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use lipsync_core::picture::image_file::{self, ImageInfo};

static FILE: LazyLock<PathBuf> = LazyLock::new(|| fuzz::folder::temporary().keep().join("picture"));

fuzz_target!(|input: &[u8]| {
    let path = &*FILE;
    std::fs::write(path, input).expect("no place for the picture");
    let info = image_file::info(path);
    let picture = image_file::read(path);
    let Ok(ImageInfo { size, alpha }) = info else { return };
    if let Ok(picture) = picture {
        assert_eq!(picture.colours.dimensions(), size);
        assert_eq!(picture.alpha.is_some(), alpha);
    }
    if let Ok(grey) = image_file::read_grey(path, size, "itself") {
        assert_eq!(grey.dimensions(), size);
    }
});
