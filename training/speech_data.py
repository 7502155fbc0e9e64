# SPDX-License-Identifier: MPL-2.0
"""Speech clips with their mouth trajectories, cut into augmented training batches."""

import json
from typing import NamedTuple

import mouth
import numpy as np
import torch
from common import WORK
from mel import SAMPLE_RATE
from scipy import fft

STEP = SAMPLE_RATE // mouth.RATE  # audio samples per trajectory sample


class Clip(NamedTuple):
    name: str
    audio: np.ndarray  # float32, 16 kHz, peak 1 at most
    track: np.ndarray  # mouth states, mouth.RATE per second
    phones: list  # (name, start, end)


def load_clips(split, prefix=""):
    """All clips of WORK/speech/<split> whose name starts with the prefix."""
    clips = []
    for path in sorted((WORK / "speech" / split).glob(f"{prefix}*.npz")):
        if path.stem.endswith(".part"):
            continue
        stored = np.load(path)
        audio = stored["audio"].astype(np.float32)
        audio /= max(1.0, np.abs(audio).max())
        phones = json.loads(str(stored["phones"]))
        clips.append(Clip(path.stem, audio, mouth.trajectory(phones, len(audio) / SAMPLE_RATE), phones))
    return clips


def stream(rng, clips, seconds):
    """Clips in random order and speed with pauses in between, cut to `seconds`: (audio, track).

    Changing the speed also changes the pitch, which imitates further voices.
    """
    need = int(seconds * SAMPLE_RATE)
    skip = rng.uniform(0, 2) * SAMPLE_RATE  # start anywhere in the first clip
    audio, track = [], []
    length = 0
    while length < need + skip:
        clip = clips[rng.integers(len(clips))]
        speed = rng.uniform(0.82, 1.22)
        n = int(len(clip.audio) / speed / STEP) * STEP
        audio.append(np.interp(np.arange(n) * speed, np.arange(len(clip.audio)), clip.audio))
        track.append(mouth.at_times(clip.track, np.arange(n // STEP) / mouth.RATE * speed))
        pause = int(rng.exponential(0.25) * mouth.RATE)
        audio.append(np.zeros(pause * STEP))
        track.append(np.zeros((pause, mouth.N_UNITS), np.float32))
        length += n + pause * STEP
    first = int(skip) // STEP
    audio = np.concatenate(audio)[first * STEP :][:need].astype(np.float32)
    return audio, np.concatenate(track)[first:][: need // STEP + 2]


def spectral_tilt(rng, decibels, hz):
    """A random smooth spectral envelope, as an amplitude factor for every frequency."""
    knots = np.geomspace(60, 8000, 7)
    curve = np.interp(np.log(np.maximum(hz, 30)), np.log(knots), rng.normal(0, decibels, len(knots)))
    return 10 ** (curve / 20).astype(np.float32)


def noise(rng, samples):
    """Coloured noise of level 1, some of it with a varying level."""
    spectrum = fft.rfft(rng.standard_normal(samples, np.float32))
    out = fft.irfft(spectrum * spectral_tilt(rng, 8, fft.rfftfreq(samples, 1 / SAMPLE_RATE)), samples)
    if rng.random() < 0.4:
        out *= 1 + 0.9 * np.sin(np.arange(samples) * (2 * np.pi * rng.uniform(0.2, 4) / SAMPLE_RATE) + rng.uniform(0, 6))
    return (out / np.sqrt(np.mean(out**2))).astype(np.float32)


def music(rng, samples):
    """Chords, a melody, a bass and drums of level 1, without speech."""
    out = np.zeros(samples, np.float32)
    beat = int(SAMPLE_RATE * rng.uniform(0.25, 0.6))
    root = rng.uniform(80, 200)
    scale = rng.choice([0, 2, 4, 5, 7, 9, 11, 12, 3, 10], 7)
    harmonics = 1 / np.arange(1, rng.integers(4, 12)) ** rng.uniform(0.7, 2.2)
    drums, decay = rng.random() < 0.6, rng.uniform(1, 8)
    for start in range(0, samples, beat):
        n = min(samples - start, int(beat * rng.uniform(0.8, 2.5)))
        time = np.arange(n, dtype=np.float32) / SAMPLE_RATE
        envelope = np.minimum(time / 0.01, 1) * np.exp(-decay * time)
        for _ in range(rng.integers(1, 4)):
            pitch = root * 2 ** (rng.choice(scale) / 12 + rng.integers(0, 3))
            for k, amount in enumerate(harmonics, 1):
                if pitch * k < 7600:
                    out[start : start + n] += amount * envelope * np.sin(2 * np.pi * pitch * k * time + rng.uniform(0, 6))
        if drums:
            hit = rng.standard_normal(n, np.float32) * np.exp(-40 * time) * rng.uniform(0.3, 2)
            out[start : start + n] += hit
    return out / max(np.sqrt(np.mean(out**2)), 1e-6)


def coded(rng, audio):
    """A low-quality codec: band-limited and quantized to few levels, uniformly or mu-law."""
    peak = max(np.abs(audio).max(), 1e-4)
    levels = 2 ** rng.integers(5, 9)
    x = audio / peak
    if rng.random() < 0.5:
        return np.round(x * levels) / levels * peak
    squeezed = np.sign(x) * np.log1p(255 * np.abs(x)) / np.log(256)
    squeezed = np.round(squeezed * levels / 2) / (levels / 2)
    return np.sign(squeezed) * np.expm1(np.abs(squeezed) * np.log(256)) / 255 * peak


def damage(rng, audio):
    """Effects of rooms, microphones, codecs and background: reverb, tone, band limits, noise, music, level."""
    n = len(audio)
    room, tone, band = rng.random(3) < (0.35, 0.6, 0.25)
    if room or tone or band:
        padded = fft.next_fast_len(n + 6400, real=True)
        hz = fft.rfftfreq(padded, 1 / SAMPLE_RATE)
        spectrum = fft.rfft(audio, padded)
        if room:  # direct sound and a decaying tail
            tail = int(rng.uniform(0.05, 0.4) * SAMPLE_RATE)
            impulse = rng.standard_normal(tail, np.float32) * np.exp(-5 * np.arange(tail, dtype=np.float32) / tail)
            impulse *= rng.uniform(0.1, 0.5) / np.linalg.norm(impulse)
            impulse[0] = 1
            spectrum *= fft.rfft(impulse, padded)
        if tone:
            spectrum *= spectral_tilt(rng, 4, hz)
        if band:
            low, high = rng.uniform(80, 300), rng.uniform(3000, 7000)
            spectrum *= (1 / (1 + (low / np.maximum(hz, 1)) ** 8) / (1 + (hz / high) ** 16)).astype(np.float32)
        audio = fft.irfft(spectrum, padded)[:n]
    audio = audio * (10 ** (rng.uniform(-26, -1) / 20) / max(np.abs(audio).max(), 0.05))
    level = max(np.sqrt(np.mean(audio**2)), 0.002)
    if rng.random() < 0.15:
        audio = coded(rng, audio)
    if rng.random() < 0.5:
        audio = audio + noise(rng, n) * (level * 10 ** (-rng.uniform(8, 45) / 20))
    if rng.random() < 0.12:
        audio = audio + music(rng, n) * (level * 10 ** (-rng.uniform(6, 25) / 20))
    return audio.astype(np.float32)


def not_speech(rng, samples):
    """Silence, noise or music of any level: the mouth stays closed."""
    kind = rng.random()
    level = 10 ** (rng.uniform(-70, -14) / 20)
    if kind < 0.25:
        return rng.standard_normal(samples, np.float32) * 1e-4 * (rng.random() < 0.5)
    if kind < 0.55:
        return noise(rng, samples) * level
    return music(rng, samples) * level


def example(rng, clips, seconds):
    """(audio, track): mostly speech, sometimes only noise or music, sometimes one after the other."""
    audio, track = stream(rng, clips, seconds)
    kind = rng.random()
    if kind < 0.07:
        return not_speech(rng, len(audio)), track * 0
    audio = damage(rng, audio)
    if kind < 0.14:  # speech that starts or ends
        cut = int(rng.uniform(0.2, 0.8) * len(audio) / STEP)
        part = (slice(None, cut * STEP), slice(None, cut)) if rng.random() < 0.5 else (slice(cut * STEP, None), slice(cut, None))
        quiet = not_speech(rng, len(audio)) * 0.3
        track = track.copy()
        shut = np.zeros(len(track), bool)
        shut[part[1]] = True
        # The lips need a transition, because the cut is not at a pause.
        weight = np.clip(np.convolve(np.pad(~shut, 10, mode="edge"), np.full(21, 1 / 21), "valid"), 0, 1)
        track *= weight[:, None].astype(np.float32)
        audio = audio.copy()
        audio[part[0]] = quiet[part[0]]
    return audio, track


def batch(rng, clips, size, seconds):
    """(audio [size, samples], tracks); tracks can be sampled at any time with mouth.at_times."""
    audio, tracks = zip(*(example(rng, clips, seconds) for _ in range(size)))
    return torch.from_numpy(np.stack(audio).astype(np.float32)), tracks
