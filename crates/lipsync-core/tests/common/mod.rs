// SPDX-License-Identifier: MPL-2.0
//! What the tests share: the fixtures that `make fixtures` writes, and how to read them.
#![allow(dead_code)] // Each test binary uses a part of it.

use std::path::{Path, PathBuf};

use image::RgbImage;
use lipsync_core::avatar::Avatar;
use lipsync_core::features::{self, AudioContextKind, FeatureTrack};
use lipsync_core::inference::runtime::Engine;
use lipsync_core::picture::formats::{Canvas, Packed, PictureMut, PixelFormat};
use lipsync_core::rate::FrameRate;
use lipsync_core::render::presenter::{Presenter, PresenterOptions};
use ndarray::{Array, Array1, Array3, Array4, Axis, Dimension, Ix3};
use ndarray_npy::ReadableElement;

/// Blue, green, red: OpenCV's order, and so that of the golden pictures.
pub const BGR: PixelFormat = PixelFormat::Packed(Packed { bytes: 3, order: [2, 1, 0], alpha: None });

/// The same with alpha behind them.
pub const BGRA: PixelFormat = PixelFormat::Packed(Packed { bytes: 4, order: [2, 1, 0], alpha: Some(3) });

/// The root of the repository, whichever crate is tested.
pub fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().find(|folder| folder.join("models").is_dir()).expect("it is inside the repository")
}

/// A folder with the plugin, and beside it ONNX Runtime and the shipped avatars: what `make` puts together.
pub fn plugin_folder(with_runtime: bool) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let link = |from: PathBuf, name: &str| {
        assert!(from.exists(), "{} is missing", from.display());
        std::os::unix::fs::symlink(from, folder.path().join(name)).unwrap();
    };
    // Cargo leaves the library beside the tests.
    let deps = std::env::current_exe().unwrap().parent().unwrap().to_path_buf();
    let root = root();
    link(deps.join("libgstlipsync.so"), "libgstlipsync.so");
    link(root.join("models"), "lipsync");
    if with_runtime {
        link(root.join("target/onnxruntime/libonnxruntime.so"), "libonnxruntime.so.1");
    }
    folder
}

/// A file or folder of the fixtures.
pub fn fixture(name: &str) -> PathBuf {
    let path = root().join("target/fixtures").join(name);
    assert!(path.exists(), "{} is missing: run `make fixtures` first", path.display());
    path
}

/// Copies a folder with all that is in it.
pub fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// An array of the fixtures.
pub fn array<T: ReadableElement, D: Dimension>(name: &str) -> Array<T, D> {
    ndarray_npy::read_npy(fixture(&format!("{name}.npy"))).unwrap()
}

/// An avatar of the fixtures.
pub fn avatar(name: &str) -> Avatar {
    Avatar::open(&fixture(&format!("avatars/{name}"))).unwrap()
}

/// All frames of an avatar that speaks 16 kHz mono samples, given in pieces, as BGR.
pub fn render(avatar: Avatar, samples: &[f32], piece: usize, rate: FrameRate) -> Vec<Vec<u8>> {
    render_on(Canvas { format: BGR, background: None }, avatar, samples, piece, rate)
}

/// All frames of an avatar that speaks 16 kHz mono samples, given in pieces, in a packed format.
pub fn render_on(
    canvas: Canvas,
    avatar: Avatar,
    samples: &[f32],
    piece: usize,
    rate: FrameRate,
) -> Vec<Vec<u8>> {
    let PixelFormat::Packed(Packed { bytes, .. }) = canvas.format else { panic!("{canvas:?} is not packed") };
    let (width, height) = avatar.image.size;
    let mut options = PresenterOptions::default().threads(2).rate(rate).cache(8 << 20);
    options.canvas = canvas;
    let mut presenter = Presenter::open(avatar, &options).unwrap();
    presenter.set_input(16_000, vec![1.0]).unwrap();
    let mut frames = Vec::new();
    let mut pull = |presenter: &mut Presenter| {
        while let Some(painted) = presenter.pull().unwrap() {
            let stride = width as usize * bytes;
            let mut frame = vec![0; stride * height as usize];
            let planes = vec![(frame.as_mut_slice(), stride)];
            painted.draw(&mut PictureMut { format: canvas.format, width, height, planes });
            frames.push(frame);
        }
    };
    for piece in samples.chunks(piece) {
        presenter.push(piece).unwrap();
        pull(&mut presenter);
    }
    presenter.finish().unwrap();
    pull(&mut presenter);
    frames
}

/// How two pictures differ.
#[derive(Debug, Default)]
pub struct Difference {
    /// Mean of the absolute differences, in levels.
    pub mean: f64,
    /// Largest difference, in levels.
    pub worst: u8,
    /// Share of the values that differ by more than a level.
    pub above_one: f64,
}

/// Compares two lists of levels of the same length.
pub fn compare<'a>(a: impl IntoIterator<Item = &'a u8>, b: impl IntoIterator<Item = &'a u8>) -> Difference {
    let (mut count, mut sum, mut above, mut worst) = (0u64, 0u64, 0u64, 0);
    let mut b = b.into_iter();
    for a in a {
        let difference = a.abs_diff(*b.next().expect("the same length"));
        count += 1;
        sum += u64::from(difference);
        above += u64::from(difference > 1);
        worst = worst.max(difference);
    }
    assert!(b.next().is_none(), "the same length");
    Difference { mean: sum as f64 / count as f64, worst, above_one: above as f64 / count as f64 }
}

/// The track of an avatar of the fixtures.
pub fn track(avatar: &Avatar, context_kind: AudioContextKind, rate: FrameRate) -> Box<dyn FeatureTrack> {
    let mut track = avatar.open_features(context_kind, features::NO_LIMIT, &Engine::default()).unwrap();
    track.restart(rate);
    track
}

/// The contexts of every frame of the golden sound at `rate`, the sound coming in small pieces.
pub fn contexts(avatar: &Avatar, context_kind: AudioContextKind, rate: FrameRate) -> Vec<Vec<f32>> {
    let mut track = track(avatar, context_kind, rate);
    let samples: Array1<f32> = array("golden/audio_16k");
    let duration = samples.len() as u64 * 1_000_000_000 / 16_000;
    let mut contexts = Vec::new();
    let mut take = |track: &mut dyn FeatureTrack| {
        while (contexts.len() as u64) < rate.frames_covering(duration)
            && let Some(context) = track.context(contexts.len() as u64).unwrap()
        {
            contexts.push(context.to_vec());
        }
    };
    for piece in samples.as_slice().unwrap().chunks(200) {
        track.push(piece);
        take(&mut *track);
    }
    track.finish();
    take(&mut *track);
    contexts
}

/// Checks that values are the same within `tolerance`.
pub fn assert_close(a: &[f32], b: &[f32], tolerance: f32, what: &str) {
    assert_eq!(a.len(), b.len(), "{what}");
    let worst = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst <= tolerance, "{what}: off by {worst}");
}

/// A golden picture, which is BGR, as ours.
pub fn picture(name: &str) -> RgbImage {
    let levels: Array3<u8> = array(name);
    let (height, width, _) = levels.dim();
    RgbImage::from_fn(width as u32, height as u32, |x, y| {
        let pixel = [2, 1, 0].map(|channel| levels[[y as usize, x as usize, channel]]);
        image::Rgb(pixel)
    })
}

/// The frames of a golden clip.
pub fn clip(name: &str) -> Vec<Vec<u8>> {
    let clip: Array4<u8> = array(&format!("clips/{name}"));
    clip.axis_iter(Axis(0))
        .map(|frame| frame.to_owned().into_dimensionality::<Ix3>().unwrap().into_raw_vec_and_offset().0)
        .collect()
}
