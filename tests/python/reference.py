#!/usr/bin/env python3
"""The method in plain Python: audio and an avatar folder in, frames of a talking face out.

This is the yardstick of the project. It shares no code with the plugin and does everything the obvious way: librosa
for the mel spectrogram, OpenCV for the pictures, ONNX Runtime for the two networks. Nothing here is tuned; a reader
should be able to check each step against a description of SyncTalk_2D.

The data passes through the file from top to bottom:
sound -> mel -> windows -> embeddings -> context -> network input -> network -> paste -> frame.

Two relatives of the method are here as well: generators that hear HuBERT features instead of SyncTalk_2D's own, and
Wav2Lip's, which hear the mel spectrogram itself.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import librosa
import numpy as np
import onnxruntime
import soundfile
import soxr

from avatar_folders import FPS, Avatar, Rect, load_avatar
from outputs import open_outputs

SAMPLE_RATE = 16_000

N_FFT = 800
HOP = 200
MEL_BANDS = 80
MEL_RATE = SAMPLE_RATE // HOP
"""Mel frames in a second."""

WINDOW = 16
"""Mel frames that the audio encoder sees at once."""
EMBEDDING = 512
CONTEXT_ROWS = 16
"""Embeddings that the generator sees at once, half of them before the frame."""

HUBERT_HOP, HUBERT_REACH = 320, 400
"""Row r of HuBERT's output covers the samples from 320 r up to 320 r + 400."""
HUBERT_ROW = 1024
HUBERT_BLOCK, HUBERT_PAST, HUBERT_FUTURE = 32, 100, 8
"""Rows computed by one run of the network, and the rows before and behind them that the run hears besides."""

# The processor maker's primitives inside some builds of OpenCV round one pixel in 25 differently. OpenCV's own code
# gives the same picture on every machine.
if hasattr(cv2, "ipp"):
    cv2.ipp.setUseIPP(False)


# --- sound ------------------------------------------------------------------------------------------------------------


def read_sound(path: Path) -> tuple[np.ndarray, int]:
    """Returns a sound file as 16 kHz mono, and the number of video frames that it lasts."""
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    frames = -(-len(samples) * FPS // rate)
    # Float files may hold NaN or infinity; one such sample would poison every mel frame that it touches.
    mono = np.nan_to_num(samples, nan=0.0, posinf=0.0, neginf=0.0).mean(axis=1)
    if rate != SAMPLE_RATE:
        mono = soxr.resample(mono, rate, SAMPLE_RATE)
    return mono.astype(np.float32), frames


# --- mel --------------------------------------------------------------------------------------------------------------


def mel_spectrogram(audio: np.ndarray) -> np.ndarray:
    """Returns T x 80 mel levels in [-4, 4] of 16 kHz mono sound, T = 1 + samples // 200."""
    audio = audio.astype(np.float64)
    emphasised = np.append(audio[:1], audio[1:] - 0.97 * audio[:-1])
    magnitude = np.abs(librosa.stft(emphasised, n_fft=N_FFT, hop_length=HOP, win_length=N_FFT))
    filters = librosa.filters.mel(sr=SAMPLE_RATE, n_fft=N_FFT, n_mels=MEL_BANDS, fmin=55, fmax=7600)
    level = 20 * np.log10(np.maximum(1e-5, filters @ magnitude)) - 20
    return np.clip(8 * (level + 100) / 100 - 4, -4, 4).T.astype(np.float32)


def pad_to_one_window(audio: np.ndarray) -> np.ndarray:
    """Appends zeros to a clip too short for a single encoder window."""
    shortest = (WINDOW - 1) * HOP
    return np.pad(audio, (0, max(0, shortest - len(audio))))


# --- windows and embeddings -------------------------------------------------------------------------------------------


def window_count(mel_frames: int) -> int:
    """Returns the number of encoder windows of a clip, in the very floating point arithmetic of SyncTalk_2D.

    For one clip length in 200 (384 mel frames is the first) the rounding of that arithmetic loses a window that exact
    arithmetic would have; models are trained with the loss, so it stays.
    """
    return int((mel_frames - WINDOW) / 80.0 * 25.0) + 2


def window_starts(mel_frames: int) -> np.ndarray:
    """Returns the first mel frame of every encoder window; the last windows are held inside the clip."""
    starts = [int(MEL_RATE * j / FPS) for j in range(window_count(mel_frames))]
    return np.minimum(starts, mel_frames - WINDOW)


def mel_windows(mel: np.ndarray) -> np.ndarray:
    """Returns the encoder's input, N x 1 x 80 x 16."""
    windows = [mel[start : start + WINDOW].T for start in window_starts(len(mel))]
    return np.stack(windows)[:, np.newaxis]


def mel_heard(mel: np.ndarray, frame: int) -> np.ndarray:
    """Returns the window that Wav2Lip hears for a video frame, 80 x 16; the last windows are held inside the clip."""
    start = min(MEL_RATE * frame // FPS, len(mel) - WINDOW)
    return mel[start : start + WINDOW].T


def feature_sequence(embeddings: np.ndarray) -> np.ndarray:
    """Returns the embeddings with the first one repeated in front and the last one behind."""
    return np.concatenate([embeddings[:1], embeddings, embeddings[-1:]])


def window_context(sequence: np.ndarray, frame: int, rows: int = CONTEXT_ROWS) -> np.ndarray:
    """Returns the 16 rows around a frame, 8 before it; rows that do not exist are zeros."""
    context = np.zeros((rows, sequence.shape[1]), sequence.dtype)
    first = frame - rows // 2
    for row in range(rows):
        if 0 <= first + row < len(sequence):
            context[row] = sequence[first + row]
    return context


def tile_context(sequence: np.ndarray, frame: int) -> np.ndarray:
    """Returns the one row of a frame 16 times, as the digital-clone package was demonstrated; zeros past the end."""
    row = sequence[frame] if frame < len(sequence) else np.zeros(sequence.shape[1], sequence.dtype)
    return np.tile(row, (CONTEXT_ROWS, 1))


CONTEXTS = {"window": window_context, "tile": tile_context}


# --- the networks -----------------------------------------------------------------------------------------------------

ELEMENT_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


class Network:
    """An ONNX model, fed in whatever precision it asks for and answering in float32."""

    def __init__(self, path: Path, threads: int = 0):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.inputs = {node.name: node for node in self.session.get_inputs()}

    @property
    def batch(self) -> int | None:
        """The batch that the network insists on; None where any will do."""
        size = next(iter(self.inputs.values())).shape[0]
        return size if isinstance(size, int) else None

    def run(self, **arrays: np.ndarray) -> np.ndarray:
        """Returns the network's only output. What a fixed batch has room for beyond the given items is zeros."""
        count = len(next(iter(arrays.values())))
        spare = self.batch - count if self.batch else 0
        feed = {}
        for name, array in arrays.items():
            whole = np.pad(array, [(0, spare)] + [(0, 0)] * (array.ndim - 1))
            feed[name] = whole.astype(ELEMENT_TYPES[self.inputs[name].type])
        return self.session.run(None, feed)[0][:count].astype(np.float32)


class AudioEncoder(Network):
    """Turns mel windows [N, 1, 80, 16] into embeddings [N, 512]."""

    def __init__(self, path: Path, threads: int = 0):
        super().__init__(path, threads)
        (self.mel_input,) = self.inputs.values()
        if list(self.mel_input.shape[1:]) != [1, MEL_BANDS, WINDOW]:
            raise ValueError(f"{path}: the input is {self.mel_input.shape}, not [N, 1, 80, 16]")

    def embeddings(self, mel: np.ndarray) -> np.ndarray:
        windows = mel_windows(mel)
        batch = self.batch or 64
        parts = [windows[i : i + batch] for i in range(0, len(windows), batch)]
        return np.concatenate([self.run(**{self.mel_input.name: part}) for part in parts])

    def sequence(self, audio: np.ndarray) -> np.ndarray:
        """Returns the generator's feature sequence for a whole clip."""
        return feature_sequence(self.embeddings(mel_spectrogram(pad_to_one_window(audio))))


class HubertEncoder(Network):
    """Turns a waveform [1, samples] into rows [1, T, 1024], T = (samples - 80) // 320.

    The network hears the whole of what it is given. A live stream has no whole, so the rows are computed in blocks
    that hear two seconds of the past and a little of the future, and loudness is judged by the sound so far.
    """

    def __init__(self, path: Path, threads: int = 0):
        super().__init__(path, threads)
        (self.waveform,) = self.inputs.values()
        if len(self.waveform.shape) != 2:
            raise ValueError(f"{path}: the input is {self.waveform.shape}, not [N, samples]")
        shape = self.session.get_outputs()[0].shape
        if len(shape) != 3 or shape[2] != HUBERT_ROW:
            raise ValueError(f"{path}: the output is {shape}, not [N, T, {HUBERT_ROW}]")

    def rows(self, audio: np.ndarray) -> np.ndarray:
        """Returns T x 1024, a row for every 320 samples."""
        audio = np.pad(audio.astype(np.float64), (0, max(0, HUBERT_REACH - len(audio))))
        return np.concatenate([self.block(audio, row) for row in range(0, hubert_rows(len(audio)), HUBERT_BLOCK)])

    def block(self, audio: np.ndarray, row: int) -> np.ndarray:
        """Returns the 32 rows from the given one, fewer at the end of the sound."""
        first = max(0, row - HUBERT_PAST)
        last = row + HUBERT_BLOCK + HUBERT_FUTURE - 1
        so_far = audio[: HUBERT_HOP * last + HUBERT_REACH]
        normal = (so_far[HUBERT_HOP * first :] - so_far.mean()) / np.sqrt(so_far.var() + 1e-7)
        rows = self.run(**{self.waveform.name: normal[np.newaxis]})[0]
        if rows.shape != (hubert_rows(len(normal)), HUBERT_ROW):
            raise ValueError(f"the audio encoder made {rows.shape} of {len(normal)} samples")
        return rows[row - first : row - first + HUBERT_BLOCK]

    def sequence(self, audio: np.ndarray) -> np.ndarray:
        """Returns two rows per video frame, frames x 2048; an odd last row is dropped, nothing is repeated."""
        rows = self.rows(audio)
        return rows[: len(rows) // 2 * 2].reshape(-1, 2 * HUBERT_ROW)


def hubert_rows(samples: int) -> int:
    return (samples - (HUBERT_REACH - HUBERT_HOP)) // HUBERT_HOP


ULTRALIGHT_ROWS = 8
"""Frames that a network of Ultralight-Digital-Human hears, half of them before its own."""

ENCODERS = {"ave": AudioEncoder, "hubert": HubertEncoder, "hubert of 8 frames": HubertEncoder}
"""What stands before a generator, by what it hears; before one that hears "mel" there is nothing."""


def what_it_hears(shape: list) -> str:
    """Returns the kind of sound that a generator's audio input of this shape is made for."""
    item = list(shape[1:])
    if item == [1, MEL_BANDS, WINDOW]:
        return "mel"
    values = math.prod(item)
    if values == CONTEXT_ROWS * EMBEDDING:
        return "ave"
    if values == CONTEXT_ROWS * 2 * HUBERT_ROW:
        return "hubert"
    if values == ULTRALIGHT_ROWS * 2 * HUBERT_ROW:
        return "hubert of 8 frames"
    raise ValueError(f"the audio input is {shape}: neither 8192, 16384, 32768 values nor [N, 1, 80, 16]")


class Generator(Network):
    """Draws the face: [N, 6, S, S] pictures and the audio's context in, in either order; [N, 3, S, S] out."""

    def __init__(self, path: Path, threads: int = 0):
        super().__init__(path, threads)
        pictures = [node for node in self.inputs.values() if node.shape[1] == 6]
        sounds = [node for node in self.inputs.values() if node.shape[1] != 6]
        if len(pictures) != 1 or len(sounds) != 1:
            raise ValueError(f"{path}: needs one input of 6 channels and one for the audio")
        self.picture, self.sound = pictures[0], sounds[0]
        self.hears = what_it_hears(self.sound.shape)
        self.size = self.picture.shape[-1]

    def draw(self, picture: np.ndarray, context: np.ndarray) -> np.ndarray:
        """Returns the face, 3 x S x S in [0, 1], for one 6 x S x S picture and the sound that belongs to it."""
        audio = context.reshape(1, *self.sound.shape[1:])
        return self.run(**{self.picture.name: picture[np.newaxis], self.sound.name: audio})[0]


# --- pictures ---------------------------------------------------------------------------------------------------------

def resize(image: np.ndarray, width: int, height: int, interpolation: int = cv2.INTER_CUBIC) -> np.ndarray:
    return cv2.resize(image, (width, height), interpolation=interpolation)


def cut(frame: np.ndarray, rect: Rect) -> np.ndarray:
    x, y, width, height = rect
    if x < 0 or y < 0 or width < 1 or height < 1 or x + width > frame.shape[1] or y + height > frame.shape[0]:
        raise ValueError(f"crop {rect} is not inside a frame of {frame.shape[1]} x {frame.shape[0]}")
    return frame[y : y + height, x : x + width]


def face_crop(
    frame: np.ndarray, rect: Rect, size: int, border: int, interpolation: int = cv2.INTER_CUBIC
) -> np.ndarray:
    """Returns the face at the network's size, without the border that surrounds it."""
    whole = size + 2 * border
    return resize(cut(frame, rect), whole, whole, interpolation)[border : border + size, border : border + size]


def hide_mouth(face: np.ndarray) -> np.ndarray:
    """Returns the face with the mouth rectangle blacked: x, y, width, height, as SyncTalk_2D calls OpenCV."""
    size = face.shape[0]
    return cv2.rectangle(face.copy(), (5, 5, size - 10, size - 15), (0, 0, 0), -1)


def hide_lower_half(face: np.ndarray) -> np.ndarray:
    """Returns the face with its lower half blacked, as Wav2Lip does."""
    masked = face.copy()
    masked[face.shape[0] // 2 :] = 0
    return masked


def network_input(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Returns 6 x S x S: the planes B, G, R of two pictures, each value / 255. SyncTalk_2D's have the face first."""
    planes = np.concatenate([first.transpose(2, 0, 1), second.transpose(2, 0, 1)])
    return planes.astype(np.float32) / 255.0


def to_picture(output: np.ndarray) -> np.ndarray:
    """Returns the network's output as an 8 bit picture. It truncates, as the public scripts do."""
    return np.clip(np.nan_to_num(output) * 255, 0, 255).astype(np.uint8).transpose(1, 2, 0)


def paste_inner(
    frame: np.ndarray, rect: Rect, face: np.ndarray, border: int, interpolation: int = cv2.INTER_CUBIC
) -> None:
    """Puts the drawn face into the resized crop, all but its border, and that crop back over the frame."""
    x, y, width, height = rect
    size = face.shape[0]
    crop = resize(cut(frame, rect), size + 2 * border, size + 2 * border, interpolation)
    crop[border : border + size, border : border + size] = face
    frame[y : y + height, x : x + width] = resize(crop, width, height, interpolation)


def paste_full(
    frame: np.ndarray, rect: Rect, face: np.ndarray, border: int, interpolation: int = cv2.INTER_CUBIC
) -> None:
    """Stretches the drawn face over the whole rectangle, as the digital-clone and Wav2Lip scripts do."""
    x, y, width, height = rect
    frame[y : y + height, x : x + width] = resize(face, width, height, interpolation)


PASTES = {"inner": paste_inner, "full": paste_full}

KEPT_COLOURS = ((0, 0, 255), (255, 255, 255))
"""Colours of a parsing picture, BGR, under which nothing is painted: the body and the background."""


def keep_unpainted(frame: np.ndarray, original: np.ndarray, rect: Rect, parsing: np.ndarray) -> None:
    """Puts the original's pixels back where the parsing picture has exactly one of the kept colours."""
    x, y, width, height = rect
    region = cut(parsing, rect)
    kept = np.zeros((height, width), bool)
    for colour in KEPT_COLOURS:
        kept |= (region == colour).all(axis=2)
    frame[y : y + height, x : x + width][kept] = cut(original, rect)[kept]


Colour = tuple[int, int, int]
"""Blue, green, red."""


def blend(colours: np.ndarray, alpha: np.ndarray, background: Colour) -> np.ndarray:
    """Returns H x W x 3 colours laid over a background by their H x W alpha, rounded in whole numbers."""
    weight = alpha[..., np.newaxis].astype(np.int64)
    return ((colours * weight + np.array(background) * (255 - weight) + 127) // 255).astype(np.uint8)


FAINTEST = 16
"""Below this alpha no colour can be told from the noise, and the pixel is left as it is."""


def take_out(colours: np.ndarray, alpha: np.ndarray, behind: np.ndarray) -> np.ndarray:
    """Returns H x W x 3 colours without the picture behind them, which is mixed in by their H x W alpha."""
    weight = alpha[..., np.newaxis].astype(np.int64)
    share = colours * np.int64(255) - behind * (255 - weight)
    freed = np.clip(np.floor(share / np.maximum(weight, 1) + 0.5), 0, 255).astype(np.uint8)
    return np.where((weight >= FAINTEST) & (weight < 255), freed, colours)


@dataclass(frozen=True)
class Style:
    """How a family of networks wants its pictures made and its faces put back."""

    border: int
    paste: str
    interpolation: int
    hide: Callable[[np.ndarray], np.ndarray]
    masked_first: bool

    def network_input(self, face: np.ndarray, masked: np.ndarray) -> np.ndarray:
        return network_input(masked, face) if self.masked_first else network_input(face, masked)


STYLES = {
    "synctalk": Style(4, "inner", cv2.INTER_CUBIC, hide_mouth, masked_first=False),
    "ultralight": Style(4, "inner", cv2.INTER_LINEAR, hide_mouth, masked_first=False),
    "wav2lip": Style(0, "full", cv2.INTER_LINEAR, hide_lower_half, masked_first=True),
}

STYLE_OF = {"ave": "synctalk", "hubert": "synctalk", "hubert of 8 frames": "ultralight", "mel": "wav2lip"}
"""The style that goes with what a generator hears."""


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


def read_picture(path: Path) -> np.ndarray:
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        raise ValueError(f"{path}: not a picture that OpenCV can read")
    return picture


def read_frame(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Returns a picture's colours as they are stored, and its alpha channel if it has one."""
    if path.suffix != ".jpg":
        picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if picture is not None and picture.ndim == 3 and picture.shape[2] == 4 and picture.dtype == np.uint8:
            return picture[..., :3].copy(), picture[..., 3]
    return read_picture(path), None


def read_mask(path: Path) -> np.ndarray:
    picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if picture is None or picture.ndim != 2 or picture.dtype != np.uint8:
        raise ValueError(f"{path}: not a grey picture of 8 bits")
    return picture


def finish(frame: np.ndarray, alpha: np.ndarray | None, background: Colour | None, with_alpha: bool) -> np.ndarray:
    """Returns blue, green, red and alpha where asked to, else the frame over the background or over black."""
    if with_alpha:
        return np.dstack([frame, np.full(frame.shape[:2], 255, np.uint8) if alpha is None else alpha])
    return frame if alpha is None else blend(frame, alpha, background or (0, 0, 0))


def listen(
    generator: Generator, encoder: Network | None, audio: np.ndarray, context: str, clock: Clock
) -> Callable[[int], np.ndarray]:
    """Returns the function that gives the sound belonging to a video frame, as the generator wants to hear it."""
    if generator.hears.startswith("hubert"):
        with clock.part("encoder"):
            sequence = encoder.sequence(audio)
        if generator.hears == "hubert of 8 frames":
            return lambda frame: window_context(sequence, frame, ULTRALIGHT_ROWS)
        return lambda frame: CONTEXTS[context](sequence, frame)
    with clock.part("mel"):
        mel = mel_spectrogram(pad_to_one_window(audio))
    if generator.hears == "mel":
        return lambda frame: mel_heard(mel, frame)
    with clock.part("encoder"):
        sequence = feature_sequence(encoder.embeddings(mel))
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
    heard = listen(generator, encoder, audio, avatar.context, clock)
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
