# SPDX-License-Identifier: MPL-2.0
"""Mel spectrograms, windows and contexts, exactly as the plugin computes them (see models/README.md)."""

import functools

import numpy as np
import torch

SAMPLE_RATE = 16_000
N_FFT = 800
HOP = 200
GRID = 40  # samples (2.5 ms): windows begin on multiples of it, so that one begins with every frame of 25 per second
BANDS = 80
FPS = 25
WINDOW_FRAMES = 16  # mel frames in one encoder window
CONTEXT_ROWS = 16  # encoder rows that the generator gets for one video frame


def _hz_to_slaney(hz):
    hz = np.asarray(hz, float)
    return np.where(hz < 1000, hz * 3 / 200, 15 + np.log(np.maximum(hz, 1e-9) / 1000) / (np.log(6.4) / 27))


def _slaney_to_hz(mel):
    mel = np.asarray(mel, float)
    return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((mel - 15) * np.log(6.4) / 27))


@functools.cache
def mel_filters():
    """[BANDS, N_FFT/2+1] triangles, 55 to 7600 Hz, Slaney scale and area normalisation."""
    bins = np.arange(N_FFT // 2 + 1) * SAMPLE_RATE / N_FFT
    edges = _slaney_to_hz(np.linspace(*_hz_to_slaney([55.0, 7600.0]), BANDS + 2))
    rise = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
    fall = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
    weights = np.maximum(0, np.minimum(rise, fall)) * (2 / (edges[2:] - edges[:-2]))[:, None]
    return torch.tensor(weights, dtype=torch.float32)


def mel_spectrogram(audio, hop=GRID):
    """Float audio [..., samples] at 16 kHz -> [..., BANDS, 1 + samples // hop] in [-4, 4]."""
    first = audio[..., :1]
    audio = torch.cat([first, audio[..., 1:] - 0.97 * audio[..., :-1]], dim=-1)
    spectrum = torch.stft(
        audio, N_FFT, hop, window=torch.hann_window(N_FFT), center=True, pad_mode="constant", return_complex=True
    ).abs()
    level = 20 * torch.log10(torch.clamp(mel_filters() @ spectrum, min=1e-5)) - 20
    return torch.clamp(8 * (level + 100) / 100 - 4, -4, 4)


PHASES = 16  # of a window against the frames of 25 per second, in steps of GRID: a frame is 16 of them
APART = PHASES // 2  # steps of GRID between windows whose rows are averaged: 20 ms
WINDOW_SPAN = (WINDOW_FRAMES - 1) * HOP // GRID + 1  # frames of a spectrogram with a hop of GRID from the first to the last of a window


def windows(mel, starts):
    """[BANDS, T], with a hop of GRID -> [len(starts), 1, BANDS, 16], mel frames HOP apart.

    Starts are in steps of GRID; those before the beginning or too close to the end are moved to it.
    """
    mel = _at_least(mel, WINDOW_SPAN)
    starts = starts.clamp(0, mel.shape[-1] - WINDOW_SPAN)
    return mel.unfold(1, WINDOW_SPAN, 1)[:, starts, :: HOP // GRID].transpose(0, 1)[:, None]


def rows(encode, mel, count, phase=0):
    """Rows [count, 512] of a spectrogram with a hop of GRID, as the plugin makes them with `windows = "averaged"`, and last rows.

    A row is the mean of three windows, the middle one counted twice.  The last row of a context does not wait for the
    latest of them, and counts its own three times.  `phase` of PHASES is how much later windows start than with frames
    at 25 per second.  `encode` maps windows to rows.
    """
    last = max(0, mel.shape[-1] - WINDOW_SPAN)
    middle = torch.arange(count).mul(PHASES).add(phase).clamp(max=last)
    starts = torch.stack([middle - APART, middle, middle + APART]).clamp(0, last)
    needed, which = torch.unique(starts, return_inverse=True)
    return averaged(*encode(windows(mel, needed))[which])


def averaged(earlier, own, later):
    """Rows of single windows -> their mean, and what it is without the later one: `rows` says when."""
    return (earlier + 2 * own + later) / 4, (earlier + 3 * own) / 4


def floored_windows(mel, count):
    """The same for a spectrogram with a hop of HOP: windows begin up to 10 ms early, as those of SyncTalk_2D do."""
    mel = _at_least(mel, WINDOW_FRAMES)
    last = mel.shape[-1] - WINDOW_FRAMES
    starts = (torch.arange(count, device=mel.device) * 16 // 5).clamp(max=last)
    return mel.unfold(1, WINDOW_FRAMES, 1)[:, starts].transpose(0, 1)[:, None]


def _at_least(mel, frames):
    """A clip shorter than one window: its last frame is held."""
    missing = max(0, frames - mel.shape[-1])
    return torch.cat([mel, mel[:, -1:].expand(-1, missing)], dim=1)


FUTURE_ROWS = CONTEXT_ROWS // 2 - 1  # rows of a context after that of the frame itself
SHORTEST_FUTURE = -2  # rows: a lookahead of 92.5 ms, at which even the frame's own row is not available yet


def contexts(rows, last_rows=None, future=FUTURE_ROWS):
    """Encoder rows [count, 512] -> generator audio [count, 16, 512].

    The first row is repeated once at the start and the last once at the end; the context of frame i is rows
    i-8 .. i+7, zero-padded.  The last of them is taken from `last_rows`.  With fewer rows ahead, `future` (if negative,
    fewer of the past), that one is repeated.
    """
    known = CONTEXT_ROWS // 2 + future + 1
    found = _around(rows)
    last = found if last_rows is None else _around(last_rows)
    return torch.cat([found[:, : known - 1]] + [last[:, known - 1 : known]] * (CONTEXT_ROWS - known + 1), dim=1)


def _around(rows):
    padded = torch.cat([rows[:1], rows, rows[-1:]])
    half = CONTEXT_ROWS // 2
    zeros = rows.new_zeros(half, rows.shape[1])
    padded = torch.cat([zeros, padded, zeros])
    return torch.stack([padded[i : i + CONTEXT_ROWS] for i in range(len(rows))])


def shorten(context, future):
    """Contexts [..., 16, 512] with only `future` rows ahead: the last known row is repeated."""
    known = CONTEXT_ROWS // 2 + future + 1
    return torch.cat([context[..., :known, :]] + [context[..., known - 1 : known, :]] * (CONTEXT_ROWS - known), dim=-2)


def lookahead_ms(future):
    """Audio needed after the start of a frame: the end of the last known window, plus half an FFT window."""
    return (future - 1) * 1000 / FPS + ((WINDOW_FRAMES - 1) * HOP + N_FFT / 2) * 1000 / SAMPLE_RATE
