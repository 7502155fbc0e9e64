// SPDX-License-Identifier: MPL-2.0
//! Writes the seeds that are not text into a folder, a folder for each target.

use std::path::{Path, PathBuf};

use fuzz::networks::{encoder, generator, hubert, in_eight_bits};
use image::{DynamicImage, ImageFormat};
use lipsync_core::onnx::Model;

fn main() -> std::io::Result<()> {
    let folder = PathBuf::from(std::env::args_os().nth(1).expect("usage: seeds FOLDER"));
    let generator = generator();
    let in_eight_bits = in_eight_bits(&generator);
    let model = Model::decode(Path::new("generator.int8.onnx"), &in_eight_bits).expect("it was just made");
    assert!(model.clone().fuse_blocks().is_some(), "without a block our kernels would not be met");
    for target in ["graphs", "generators"] {
        write(&folder, target, "generator.onnx", &generator)?;
        write(&folder, target, "generator.int8.onnx", &in_eight_bits)?;
    }
    for target in ["graphs", "encoders"] {
        write(&folder, target, "encoder.onnx", &encoder())?;
        write(&folder, target, "hubert.onnx", &hubert())?;
    }
    let grey = image::GrayImage::from_fn(9, 7, |x, y| image::Luma([(x * 20 + y) as u8]));
    let pictures = [
        ("grey", DynamicImage::from(grey.clone())),
        ("colours", DynamicImage::from(grey.clone()).to_rgb8().into()),
        ("alpha", DynamicImage::from(grey.clone()).to_rgba8().into()),
        ("deep", DynamicImage::from(grey).to_rgba16().into()),
    ];
    for (name, picture) in pictures {
        let mut bytes = std::io::Cursor::new(Vec::new());
        picture.write_to(&mut bytes, ImageFormat::Png).expect("a PNG");
        write(&folder, "pictures", name, bytes.get_ref())?;
    }
    Ok(())
}

fn write(folder: &Path, target: &str, name: &str, bytes: &[u8]) -> std::io::Result<()> {
    let folder = folder.join(target);
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join(name), bytes)
}
