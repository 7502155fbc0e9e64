# SPDX-License-Identifier: MPL-2.0
"""The frames to compare: those of the plugin, and those of the reference, unchanged or with a step of another library."""

import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import librosa
import numpy as np
from parity_material import FRAMES, HEIGHT, SCRATCH, WIDTH, Case, say

import avatar_folders  # parity_material has put it on the path
import features
import reference

try:
    from PIL import Image
except ImportError:
    Image = None


# --- the plugin -------------------------------------------------------------------------------------------------------


def run_plugin(case: Case, frames: int, form: str, sound: Path) -> np.ndarray:
    """Returns the plugin's frames as a memory-mapped array, one row per frame."""
    out = SCRATCH / f"plugin.{form}"
    caps = f"video/x-raw,format={form},framerate={avatar_folders.FPS}/1"
    if form == "I420":
        caps += ",colorimetry=bt709"
    line = ["gst-launch-1.0", "-q", "filesrc", f"location={sound}", "!", "wavparse", "!"]
    line += ["lipsync", f"avatar={case.avatar}", f"context={case.context}", f"paste={case.paste}", "precision=fp32", "!", caps]
    process = subprocess.Popen([*line, "!", "filesink", f"location={out}"])
    size = WIDTH * HEIGHT * 3 // (2 if form == "I420" else 1)
    shown = time.monotonic()
    while process.poll() is None:
        time.sleep(0.1)
        if time.monotonic() > shown + 10:
            shown = time.monotonic()
            say(f"    plugin: {out.stat().st_size // size if out.exists() else 0} of {FRAMES} frames")
    if process.returncode != 0:
        sys.exit("the plugin's pipeline failed; is GST_PLUGIN_PATH set?")
    result = np.memmap(out, np.uint8, "r").reshape(-1, size)
    if len(result) != FRAMES:
        sys.exit(f"the plugin made {len(result)} frames of {FRAMES}")
    out.unlink()  # the mapping keeps the data until the array is gone
    return result[:frames]


def i420_planes(data: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns luma, H x W x 1, and chroma, H/2 x W/2 x 2, of one frame."""
    luma = data[: WIDTH * HEIGHT].reshape(HEIGHT, WIDTH, 1)
    chroma = data[WIDTH * HEIGHT :].reshape(2, HEIGHT // 2, WIDTH // 2)
    return luma, np.ascontiguousarray(chroma.transpose(1, 2, 0))


# --- the reference ----------------------------------------------------------------------------------------------------


def run_reference(case: Case, sound: Path) -> Iterator[np.ndarray]:
    """Yields frames. The avatar's frames play forward, then backward, as in the plugin."""
    avatar = replace(avatar_folders.load_avatar(case.avatar), context=case.context, paste=case.paste, ping_pong=True)
    audio, _ = features.read_sound(sound)
    return reference.render(avatar, audio, FRAMES)


def with_ipp(frames: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """Renders each of these frames with Intel IPP in OpenCV, as the usual build does, without affecting other iterators."""
    while True:
        cv2.ipp.setUseIPP(True)
        frame = next(frames, None)
        cv2.ipp.setUseIPP(False)
        if frame is None:
            return
        yield frame


def mel_in_single_precision(audio: np.ndarray) -> np.ndarray:
    """Returns T x 80 mel levels in float32, which is what librosa computes for float32 input."""
    emphasised = np.append(audio[:1], audio[1:] - np.float32(0.97) * audio[:-1])
    magnitude = np.abs(librosa.stft(emphasised, n_fft=800, hop_length=200, win_length=800))
    filters = librosa.filters.mel(sr=16_000, n_fft=800, n_mels=80, fmin=55, fmax=7600)
    level = 20 * np.log10(np.maximum(1e-5, filters @ magnitude)) - 20
    return np.clip(8 * (level + 100) / 100 - 4, -4, 4).T.astype(np.float32)


def with_mel_in_single_precision(frames: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """Computes the mel spectrogram, which happens before the first frame, in single precision."""
    usual = reference.mel_spectrogram
    reference.mel_spectrogram = mel_in_single_precision
    first = next(frames)
    reference.mel_spectrogram = usual
    yield first
    yield from frames


def paste_by_pillow(
    frame: np.ndarray, rect: avatar_folders.Rect, face: np.ndarray, border: int, interpolation: int
) -> None:
    """Scales the face to the rectangle with Pillow's bicubic filter."""
    x, y, width, height = rect
    frame[y : y + height, x : x + width] = np.asarray(Image.fromarray(face).resize((width, height), Image.BICUBIC))


def to_ycc(frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns BT.709 luma, H x W x 1, and chroma, H/2 x W/2 x 2, in limited range; chroma is averaged over 2 x 2 pixels."""
    blue, green, red = np.moveaxis(frame.astype(np.float64) / 255, 2, 0)
    luma = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    chroma = np.stack([(blue - luma) / 1.8556, (red - luma) / 1.5748], axis=2)
    chroma = chroma.reshape(HEIGHT // 2, 2, WIDTH // 2, 2, 2).mean(axis=(1, 3))
    return np.rint(16 + 219 * luma).astype(np.uint8)[..., np.newaxis], np.rint(128 + 224 * chroma).astype(np.uint8)
