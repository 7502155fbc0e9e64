#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""The method in plain Python: audio and an avatar folder in, frames of a talking face out.

This is the yardstick of the project. It shares no code with the plugin and does everything the obvious way: librosa
for the mel spectrogram, OpenCV for the pictures, ONNX Runtime for the two networks. Nothing here is tuned; a reader
should be able to check each step against a description of SyncTalk_2D.

The data passes through three files, and each from top to bottom: features.py (sound -> mel -> windows, context),
inference.py (windows -> embeddings; network input -> network) and compositing.py (frame -> network input; paste -> frame).
Here they are put together.

Two relatives of the method are here as well: generators that hear HuBERT features instead of SyncTalk_2D's own, and
Wav2Lip's, which hear the mel spectrogram itself.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import librosa
import numpy as np

from avatar_folders import Avatar, load_avatar
from compositing import (
    PASTES,
    STYLE_OF,
    STYLES,
    Colour,
    blend,
    face_crop,
    keep_unpainted,
    read_frame,
    read_mask,
    read_picture,
    take_out,
    to_picture,
)
from features import (
    CONTEXTS,
    SAMPLE_RATE,
    averaged_context,
    feature_sequence,
    mel_heard,
    mel_spectrogram,
    mel_windows,
    pad_to_one_window,
    read_sound,
    window_context,
)
from inference import ENCODERS, ULTRALIGHT_ROWS, Generator, Network
from outputs import open_outputs

# --- rendering --------------------------------------------------------------------------------------------------------


class Clock:
    """Adds up the seconds spent in each part of the work."""

    def __init__(self):
        self.started = time.perf_counter()
        self.parts: dict[str, float] = {}

    def elapsed(self) -> float:
        return time.perf_counter() - self.started

    @contextmanager
    def part(self, name: str):
        start = time.perf_counter()
        yield
        self.parts[name] = self.parts.get(name, 0.0) + time.perf_counter() - start


def finish(frame: np.ndarray, alpha: np.ndarray | None, background: Colour | None, with_alpha: bool) -> np.ndarray:
    """Returns blue, green, red and alpha where asked to, else the frame over the background or over black."""
    if with_alpha:
        return np.dstack([frame, np.full(frame.shape[:2], 255, np.uint8) if alpha is None else alpha])
    return frame if alpha is None else blend(frame, alpha, background or (0, 0, 0))


def listen(
    generator: Generator, encoder: Network | None, audio: np.ndarray, context: str, grid: str, clock: Clock
) -> Callable[[int], np.ndarray]:
    """Returns the function that gives the sound belonging to a video frame, as the generator wants to hear it."""
    if generator.hears.startswith("hubert"):
        with clock.part("encoder"):
            sequence = encoder.sequence(audio)
        if generator.hears == "hubert of 8 frames":
            return lambda frame: window_context(sequence, frame, ULTRALIGHT_ROWS)
        return lambda frame: CONTEXTS[context](sequence, frame)
    if generator.hears == "mel":
        with clock.part("mel"):
            mel = mel_spectrogram(pad_to_one_window(audio))
        return lambda frame: mel_heard(mel, frame)
    if grid == "averaged":
        if context != "window":
            raise ValueError(f"averaged windows are heard with the context window, not {context}")
        with clock.part("encoder"):
            sequences = encoder.averaged_sequences(audio)
        return lambda frame: averaged_context(*sequences, frame)
    with clock.part("mel"):
        windows = mel_windows(pad_to_one_window(audio), grid)
    with clock.part("encoder"):
        sequence = feature_sequence(encoder.embeddings(windows))
    return lambda frame: CONTEXTS[context](sequence, frame)


def render(
    avatar: Avatar,
    audio: np.ndarray,
    frames: int,
    threads: int = 0,
    clock: Clock | None = None,
    background: Colour | None = None,
    with_alpha: bool = False,
) -> Iterator[np.ndarray]:
    """Yields the given number of frames of the avatar speaking 16 kHz mono sound.

    Frames are BGRA, or BGR over the background. Where there is none, frames with masks show what they show by
    themselves, and frames with an alpha channel show black.
    """
    clock = clock or Clock()
    with clock.part("load"):
        generator = Generator(avatar.generator, threads)
        kind = ENCODERS.get(generator.hears)
        encoder = kind(avatar.audio_encoder, threads) if kind else None
    heard = listen(generator, encoder, audio, avatar.context, avatar.windows, clock)
    style = STYLES[avatar.style or STYLE_OF[generator.hears]]
    border = style.border if avatar.border is None else avatar.border
    paste = PASTES[avatar.paste or style.paste]
    masked_out = avatar.alpha and (with_alpha or background is not None)
    behind = read_picture(avatar.background) if masked_out and avatar.background else None

    for i in range(frames):
        index = avatar.picture_index(i)
        rect = avatar.rects[index]
        with clock.part("decode"):
            frame, alpha = read_frame(avatar.frames[index])
            ready = (read_picture(avatar.faces[index]), read_picture(avatar.masked[index])) if avatar.faces else None
            parsing = read_picture(avatar.parsing[index]) if avatar.parsing else None
            alpha = read_mask(avatar.alpha[index]) if masked_out else alpha
        with clock.part("compositing"):
            if ready and ready[0].shape[0] == generator.size:
                face, masked = ready
            else:
                face = face_crop(frame, rect, generator.size, border, style.interpolation)
                masked = style.hide(face)
            picture = style.network_input(face, masked)
        with clock.part("generator"):
            output = generator.draw(picture, heard(i))
        with clock.part("compositing"):
            original = frame.copy() if avatar.parsing else None
            paste(frame, rect, to_picture(output), border, style.interpolation)
            if avatar.parsing:
                keep_unpainted(frame, original, rect, parsing)
            if behind is not None:
                frame = take_out(frame, alpha, behind)
            frame = finish(frame, alpha, background, with_alpha)
        yield frame


# --- command line -----------------------------------------------------------------------------------------------------


def colour(text: str) -> Colour:
    """Reads RRGGBB."""
    if len(text) != 6:
        raise ValueError(f"{text} is not RRGGBB")
    red, green, blue = bytes.fromhex(text)
    return blue, green, red


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--avatar", type=Path, required=True, help="avatar folder, any of the three layouts")
    parser.add_argument("--audio", type=Path, required=True, help="sound file that libsndfile can read")
    parser.add_argument("--out", type=Path, help="frames.npy, or a folder for numbered PNG pictures")
    parser.add_argument("--mp4", type=Path, help="encode the frames to this file with GStreamer (no sound)")
    parser.add_argument("--frames", type=int, help="stop after so many frames (default: the length of the sound)")
    parser.add_argument("--context", choices=CONTEXTS, help="audio context (default: what the avatar says)")
    parser.add_argument("--paste", choices=PASTES, help="how the face is put back (default: what the avatar says)")
    parser.add_argument("--first-frame", type=int, help="avatar frame to start with (default: what the layout says)")
    parser.add_argument("--ping-pong", action="store_true", help="go backward after the last frame in every layout")
    behind = parser.add_mutually_exclusive_group()
    behind.add_argument("--background", type=colour, help="RRGGBB behind the avatar (default: its own)")
    behind.add_argument("--alpha", action="store_true", help="write the alpha channel: blue, green, red, alpha")
    parser.add_argument("--threads", type=int, default=0, help="threads of ONNX Runtime (default: its own choice)")
    parser.add_argument("--timings", type=Path, help="write seconds per part to this JSON file")
    options = parser.parse_args()
    if options.alpha and options.mp4:
        parser.error("an MP4 file has no alpha channel")
    return options


def main() -> int:
    options = parse_arguments()
    clock = Clock()
    with clock.part("load"):
        _ = librosa.stft  # librosa imports its parts at first use; that is not the mel's fault
        audio, frames = read_sound(options.audio)
        avatar = load_avatar(options.avatar)
    seconds = len(audio) / SAMPLE_RATE
    if options.frames is not None:
        frames = min(frames, options.frames)
    avatar = replace(
        avatar,
        context=options.context or avatar.context,
        paste=options.paste or avatar.paste,
        first_frame=avatar.first_frame if options.first_frame is None else options.first_frame,
        ping_pong=avatar.ping_pong or options.ping_pong,
    )

    height, width, _ = read_picture(avatar.frames[0]).shape
    outputs = open_outputs(options, frames, (height, width, 4 if options.alpha else 3))
    first_frame_after = None
    for frame in render(avatar, audio, frames, options.threads, clock, options.background, options.alpha):
        if first_frame_after is None:
            first_frame_after = clock.elapsed()
        with clock.part("encoding"):
            for output in outputs:
                output.write(frame)
    with clock.part("encoding"):
        for output in outputs:
            output.close()

    report = {
        "frames": frames,
        "audio_seconds": seconds,
        "seconds": clock.parts,
        "first_frame_seconds": first_frame_after,
        "total_seconds": clock.elapsed(),
    }
    if options.timings:
        options.timings.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(f"{frames} frames in {report['total_seconds']:.2f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
