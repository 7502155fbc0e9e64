"""Speech clips with their mouth trajectories, cut into augmented training batches."""

import json

import mouth
import numpy as np
import torch
from common import WORK
from mel import FPS, SAMPLE_RATE


def load_clips(split, prefix=""):
    """[(name, float audio with peak 1, trajectory)] of WORK/speech/<split>."""
    clips = []
    for path in sorted((WORK / "speech" / split).glob(f"{prefix}*.npz")):
        if path.stem.endswith(".part"):
            continue
        clip = np.load(path)
        audio = clip["audio"].astype(np.float32)
        audio /= max(1.0, np.abs(audio).max())
        clips.append((path.stem, audio, mouth.trajectory(json.loads(str(clip["phones"])), len(audio) / SAMPLE_RATE)))
    return clips


def stream(rng, clips, seconds):
    """Clips in random order and speed with pauses between, cut to `seconds`: (audio, track).

    Speed changes pitch too, which stands in for voices we do not have.
    """
    need, need_track = int(seconds * SAMPLE_RATE), int(seconds * mouth.RATE) + 2
    audio, track = [], []
    length = 0
    skip = 0.0
    if rng.random() < 0.6:
        skip = rng.uniform(0, 2)  # s; start anywhere ...
    else:  # ... or as recordings do, with a little silence: zero rows before the start mean "shut"
        pause = int(rng.uniform(0, 0.4) * mouth.RATE)
        audio.append(np.zeros(pause * 80, np.float32))
        track.append(np.zeros((pause, mouth.N_UNITS), np.float32))
        length = pause * 80
    while length < need + skip * SAMPLE_RATE:
        _, clip, states = clips[rng.integers(len(clips))]
        speed = rng.uniform(0.82, 1.22)
        n = int(len(clip) / speed / 80) * 80  # 80 samples = one trajectory sample
        audio.append(np.interp(np.arange(n) * speed, np.arange(len(clip)), clip).astype(np.float32))
        track.append(mouth.at_times(states, np.arange(n // 80) / mouth.RATE * speed))
        pause = int(rng.exponential(0.25) * mouth.RATE)
        audio.append(np.zeros(pause * 80, np.float32))
        track.append(np.zeros((pause, mouth.N_UNITS), np.float32))
        length += n + pause * 80
    first = int(skip * mouth.RATE)
    audio = np.concatenate(audio)[first * 80 :][:need]
    track = np.concatenate(track)[first:][:need_track]
    return audio, np.pad(track, [(0, need_track - len(track)), (0, 0)], mode="edge")


def colour(rng, shape, samples):
    """Random smooth spectral curve as an amplitude factor for every rfft bin."""
    hz = np.fft.rfftfreq(samples, 1 / SAMPLE_RATE)
    knots = np.geomspace(60, 8000, 7)
    decibels = np.interp(np.log(np.maximum(hz, 30)), np.log(knots), rng.normal(0, shape, len(knots)))
    return 10 ** (decibels / 20)


def damage(rng, audio):
    """What rooms, microphones and codecs do: reverb, tone, band limits, noise, level."""
    n = len(audio)
    spectrum = np.fft.rfft(audio, 2 * n)
    if rng.random() < 0.35:  # a room: direct sound and a decaying tail
        tail = int(rng.uniform(0.05, 0.4) * SAMPLE_RATE)
        impulse = rng.normal(0, 1, tail) * np.exp(-5 * np.arange(tail) / tail)
        impulse *= rng.uniform(0.1, 0.5) / np.linalg.norm(impulse)
        impulse[0] = 1
        spectrum *= np.fft.rfft(impulse, 2 * n)
    if rng.random() < 0.6:
        spectrum *= colour(rng, 4, 2 * n)
    if rng.random() < 0.25:
        hz = np.fft.rfftfreq(2 * n, 1 / SAMPLE_RATE)
        low, high = rng.uniform(80, 300), rng.uniform(3000, 7000)
        spectrum *= 1 / (1 + (low / np.maximum(hz, 1)) ** 8) / (1 + (hz / high) ** 16)
    audio = np.fft.irfft(spectrum)[:n]
    audio *= 10 ** (rng.uniform(-24, -1) / 20) / max(np.abs(audio).max(), 0.05)
    if rng.random() < 0.6:
        noise = np.fft.irfft(np.fft.rfft(rng.normal(0, 1, n)) * colour(rng, 8, n), n)
        level = max(np.sqrt(np.mean(audio**2)), 0.002) * 10 ** (-rng.uniform(8, 45) / 20)
        audio = audio + noise * level / np.sqrt(np.mean(noise**2))
    return audio.astype(np.float32)


def batch(rng, clips, size, frames, lead=0.2):
    """(audio [size, samples], times, tracks): tracks can be read at any time with mouth.at_times.

    A few items are silence or bare noise, which must close the mouth.
    """
    seconds = frames / FPS + lead
    audio, tracks = [], []
    for _ in range(size):
        wave, track = stream(rng, clips, seconds)
        if rng.random() < 0.06:
            wave, track = wave * 0 + rng.normal(0, 1e-4, len(wave)).astype(np.float32), track * 0
        audio.append(damage(rng, wave))
        tracks.append(track)
    return torch.from_numpy(np.stack(audio)), tracks
