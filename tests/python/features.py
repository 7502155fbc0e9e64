# SPDX-License-Identifier: MPL-2.0
"""Sound, mel spectrogram, and which part of them belongs to a video frame."""

from pathlib import Path

import librosa
import numpy as np
import soundfile
import soxr

from avatar_folders import FPS

SAMPLE_RATE = 16_000

N_FFT = 800
HOP = 200
MEL_BANDS = 80
MEL_RATE = SAMPLE_RATE // HOP
"""Mel frames in a second."""

WINDOW = 16
"""Mel frames that the audio encoder sees at once."""
GRIDS = {"mel-frames": 1, "exact": 5, "averaged": 5}
"""Where windows may start: steps from a mel frame to the next."""
APART = MEL_RATE * GRIDS["averaged"] // FPS // 2
"""Steps of the grid between windows that are averaged: half the way from a video frame to the next."""
EMBEDDING = 512
CONTEXT_ROWS = 16
"""Embeddings that the generator sees at once, half of them before the frame."""


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


def mel_spectrogram(audio: np.ndarray, hop: int = HOP) -> np.ndarray:
    """Returns T x 80 mel levels in [-4, 4] of 16 kHz mono sound, T = 1 + samples // hop."""
    audio = audio.astype(np.float64)
    emphasised = np.append(audio[:1], audio[1:] - 0.97 * audio[:-1])
    magnitude = np.abs(librosa.stft(emphasised, n_fft=N_FFT, hop_length=hop, win_length=N_FFT))
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


def window_starts(mel_frames: int, steps: int = 1) -> np.ndarray:
    """Returns the first mel frame of every encoder window; the last windows are held inside the clip.

    Of mel frames that are `steps` times as close, a window takes every `steps`th.
    """
    count = window_count((mel_frames - 1) // steps + 1)
    starts = [int(MEL_RATE * steps * j / FPS) for j in range(count)]
    return np.minimum(starts, mel_frames - (WINDOW - 1) * steps - 1)


def windows_at(mel: np.ndarray, starts: np.ndarray, steps: int) -> np.ndarray:
    """Returns the windows that start there, N x 1 x 80 x 16; mel frames are `steps` times as close as those of a window."""
    return np.stack([mel[start:][: WINDOW * steps : steps].T for start in starts])[:, np.newaxis]


def mel_windows(audio: np.ndarray, grid: str = "mel-frames") -> np.ndarray:
    """Returns the encoder's input for 16 kHz mono sound, N x 1 x 80 x 16."""
    steps = GRIDS[grid]
    mel = mel_spectrogram(audio, HOP // steps)
    return windows_at(mel, window_starts(len(mel), steps), steps)


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


def averaged_context(earlier: np.ndarray, sequence: np.ndarray, later: np.ndarray, frame: int) -> np.ndarray:
    """Returns the 16 rows around a frame, each the mean of three windows 20 ms apart, the middle one counted twice.

    The last row does not wait for the later window, and counts its own three times.
    """
    earlier, rows, later = (window_context(part, frame) for part in (earlier, sequence, later))
    later[-1] = rows[-1]
    return (earlier + 2 * rows + later) / 4


def tile_context(sequence: np.ndarray, frame: int) -> np.ndarray:
    """Returns the one row of a frame 16 times, as the digital-clone package was demonstrated; zeros past the end."""
    row = sequence[frame] if frame < len(sequence) else np.zeros(sequence.shape[1], sequence.dtype)
    return np.tile(row, (CONTEXT_ROWS, 1))


CONTEXTS = {"window": window_context, "tile": tile_context}
