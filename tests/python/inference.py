# SPDX-License-Identifier: MPL-2.0
"""The networks of the method, and of its relatives, run by ONNX Runtime."""

import math
from pathlib import Path

import numpy as np
import onnxruntime

from features import (
    APART,
    CONTEXT_ROWS,
    EMBEDDING,
    GRIDS,
    HOP,
    MEL_BANDS,
    WINDOW,
    feature_sequence,
    mel_spectrogram,
    mel_windows,
    pad_to_one_window,
    window_starts,
    windows_at,
)

HUBERT_HOP, HUBERT_REACH = 320, 400
"""Row r of HuBERT's output covers the samples from 320 r up to 320 r + 400."""
HUBERT_ROW = 1024
HUBERT_BLOCK, HUBERT_PAST, HUBERT_FUTURE = 32, 100, 8
"""Rows computed by one run of the network, and the rows before and behind them that the run hears besides."""

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

    def embeddings(self, windows: np.ndarray) -> np.ndarray:
        batch = self.batch or 64
        parts = [windows[i : i + batch] for i in range(0, len(windows), batch)]
        return np.concatenate([self.run(**{self.mel_input.name: part}) for part in parts])

    def sequence(self, audio: np.ndarray, grid: str = "mel-frames") -> np.ndarray:
        """Returns the generator's feature sequence for a whole clip."""
        return feature_sequence(self.embeddings(mel_windows(pad_to_one_window(audio), grid)))

    def averaged_sequences(self, audio: np.ndarray) -> list[np.ndarray]:
        """Returns three feature sequences: of windows that start 20 ms early, in time, and 20 ms late, all inside the clip."""
        steps = GRIDS["averaged"]
        mel = mel_spectrogram(pad_to_one_window(audio), HOP // steps)
        last = len(mel) - (WINDOW - 1) * steps - 1
        starts = [np.clip(window_starts(len(mel), steps) + shift, 0, last) for shift in (-APART, 0, APART)]
        needed, which = np.unique(starts, return_inverse=True)
        embeddings = self.embeddings(windows_at(mel, needed, steps))
        return [feature_sequence(embeddings[part]) for part in which.reshape(3, -1)]


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
