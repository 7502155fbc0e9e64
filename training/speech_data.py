# SPDX-License-Identifier: MPL-2.0
"""Speech clips with their mouth trajectories, cut into augmented training batches."""

import json
from typing import NamedTuple

import formants
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
    blend: np.ndarray  # the same as track, before lips are closed


def load_clips(split, prefix=""):
    """All clips of WORK/speech/<split> whose name starts with the prefix."""
    clips = []
    for path in sorted((WORK / "speech" / split).glob(f"{prefix}*.npz")):
        if path.stem.endswith(".part"):
            continue
        stored = np.load(path)
        audio = stored["audio"].astype(np.float32)
        audio /= max(1.0, np.abs(audio).max())
        phones, seconds = json.loads(str(stored["phones"])), len(audio) / SAMPLE_RATE
        blend = formants.with_openness(mouth.blended(phones, seconds), audio, phones)
        blend = mouth.with_effort(blend, audio, SAMPLE_RATE)
        track = mouth.with_closures(blend, mouth.closed(phones, len(blend)))
        clips.append(Clip(path.stem, audio, track, phones, blend))
    return clips


def stretched(audio, factor):
    """The audio `factor` times as long, at the same pitch: overlapping pieces, each moved to where it fits the last one best."""
    size, hop, reach = 640, 320, 120
    count = max(1, int(len(audio) * factor) // hop)
    source = np.pad(audio, (reach, size + reach + hop))
    fade = np.hanning(size + 1)[:size].astype(np.float32)
    out = np.zeros(count * hop + size, np.float32)
    follows = source[reach : reach + size]
    for n in range(count):
        at = min(int(n * hop / factor), len(audio) - 1)
        near = source[at : at + size + 2 * reach]
        best = int(np.argmax(np.correlate(near, follows, "valid"))) if n else reach
        out[n * hop : n * hop + size] += fade * near[best : best + size]
        follows = source[at + best + hop : at + best + hop + size]
    return out[: count * hop]


def whispered(rng, audio):
    """The same words without a voice: noise in the smoothed spectrum of every 16 ms, and less of the bass that only a voice has."""
    size, hop = 512, 128
    pieces = np.lib.stride_tricks.sliding_window_view(np.pad(audio, size), size)[::hop]
    window = np.hanning(size + 1)[:size].astype(np.float32)
    logs = np.log(np.abs(fft.rfft(pieces * window)) + 1e-4)
    ceps = fft.irfft(logs)
    ceps[:, 24:-23] = 0  # what is finer than 1.5 ms is the voice
    envelope = np.exp(fft.rfft(ceps).real)
    noise_of = fft.rfft(rng.standard_normal(pieces.shape, np.float32) * window)
    hz = fft.rfftfreq(size, 1 / SAMPLE_RATE)
    spoken = fft.irfft(envelope * noise_of / np.sqrt(size / 2) * np.minimum(1, (hz + 50) / 900)) * window
    out = np.zeros(len(pieces) * hop + size, np.float32)
    for n, piece in enumerate(spoken):
        out[n * hop : n * hop + size] += piece
    return out[size : size + len(audio)]


def shouted(rng, audio):
    """Pressed and bright: harmonics above 1 kHz raised by up to 15 dB, and quiet sounds less quiet."""
    padded = fft.next_fast_len(len(audio), real=True)
    hz = fft.rfftfreq(padded, 1 / SAMPLE_RATE)
    gain = rng.uniform(6, 15) * np.clip(np.log2(np.maximum(hz, 1) / 400) / 2, 0, 1)
    audio = fft.irfft(fft.rfft(audio, padded) * 10 ** (gain / 20), padded)[: len(audio)]
    level = np.sqrt(np.convolve(audio**2, np.full(800, 1 / 800), "same") + 1e-6)
    return (audio / level**0.3).astype(np.float32)


SHOUT_JAW = 1.25  # 10 dB and more above usual speech: see mouth.EFFORT


def spoken(rng, clip):
    """(audio, blend, closures) of a clip as somebody else might speak it.

    Faster or slower, with the pitch, which imitates further voices, or without; now and then whispered or shouted.
    """
    speed, blend = rng.uniform(0.82, 1.22), clip.blend
    manner = rng.random()
    audio = clip.audio
    if manner < 0.05:
        audio = whispered(rng, audio)
    elif manner < 0.11:
        audio, blend = shouted(rng, audio), blend.copy()
        blend[:, 0] *= SHOUT_JAW
    n = int(len(audio) / speed / STEP) * STEP
    audio = np.interp(np.arange(n) * speed, np.arange(len(audio)), audio).astype(np.float32)
    if rng.random() < 0.2:
        factor = rng.uniform(0.75, 1.3)
        speed /= factor
        audio = stretched(audio, factor)
    count = len(audio) // STEP
    states = mouth.at_times(blend, np.arange(count) / mouth.RATE * speed)
    return audio[: count * STEP], states, mouth.closed(clip.phones, count, speed)


def stream(rng, clips, seconds):
    """Clips in random order and manner with pauses in between, cut to `seconds`: (audio, track, closures)."""
    need = int(seconds * SAMPLE_RATE)
    skip = rng.uniform(0, 2) * SAMPLE_RATE  # start anywhere in the first clip
    audio, track, shut = [], [], []
    length = 0
    while length < need + skip:
        sound, blend, closures = spoken(rng, clips[rng.integers(len(clips))])
        pause = int(rng.exponential(0.25) * mouth.RATE)
        audio += [sound, np.zeros(pause * STEP, np.float32)]
        track += [mouth.with_closures(blend, closures), np.zeros((pause, mouth.N_UNITS), np.float32)]
        shut += [closures, np.zeros(pause, np.float32)]
        length += len(sound) + pause * STEP
    first = int(skip) // STEP
    audio = np.concatenate(audio)[first * STEP :][:need]
    end = first + need // STEP + 2
    return audio, np.concatenate(track)[first:end], np.concatenate(shut)[first:end]


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


def babble(rng, clips, samples):
    """Four to nine voices at once, of level 1: people in the background."""
    out = np.zeros(samples, np.float32)
    for _ in range(rng.integers(4, 10)):
        at = int(-rng.uniform(0, 1) * SAMPLE_RATE)
        gain = rng.uniform(0.4, 1)
        while at < samples:
            audio = clips[rng.integers(len(clips))].audio
            audio = audio * (gain / max(np.sqrt(np.mean(audio**2)), 1e-4))
            piece = audio[max(0, -at) :][: samples - max(0, at)]
            out[max(0, at) : max(0, at) + len(piece)] += piece
            at += len(audio)
    return out / max(np.sqrt(np.mean(out**2)), 1e-6)


def breaths(rng, samples):
    """Breaths of level 1 through the nose or parted lips; the mouth keeps still: (audio, where one is, 0 to 1)."""
    amount = np.zeros(samples, np.float32)
    at = int(rng.uniform(0, 1) * SAMPLE_RATE)
    while at < samples:
        n = int(rng.uniform(0.25, 1.2) * SAMPLE_RATE)
        rise = np.sin(np.pi * np.linspace(0, 1, n, dtype=np.float32) ** rng.uniform(0.6, 1.6))
        amount[at : at + n] = rise[: max(0, samples - at)]
        at += n + int(rng.uniform(0.3, 2) * SAMPLE_RATE)
    spectrum = fft.rfft(rng.standard_normal(samples, np.float32))
    hz = fft.rfftfreq(samples, 1 / SAMPLE_RATE)
    peaks = sum(rng.uniform(0.3, 1) / (1 + ((hz - rng.uniform(400, 4500)) / rng.uniform(200, 900)) ** 2) for _ in range(3))
    out = fft.irfft(spectrum * peaks, samples) * amount
    return (out / max(np.sqrt(np.mean(out**2)), 1e-6)).astype(np.float32), amount


def clicks(rng, samples):
    """Keys, knocks and clicks of the tongue, with a peak of 1: short resonances."""
    out = np.zeros(samples, np.float32)
    for at in rng.integers(0, samples, rng.integers(3, 8 + samples // 4000)):
        n = min(int(rng.uniform(0.005, 0.06) * SAMPLE_RATE), samples - at)
        time = np.arange(n, dtype=np.float32) / SAMPLE_RATE
        ring = np.sin(2 * np.pi * rng.uniform(200, 5000) * time) + rng.uniform(0, 2) * rng.standard_normal(n, np.float32)
        out[at : at + n] += ring * np.exp(-time * rng.uniform(80, 600)) * rng.uniform(0.1, 1)
    return out / max(np.abs(out).max(), 1e-6)


def laughter(rng, samples):
    """"Ha ha ha" with a peak of 1, and what the mouth does: open, smiling, the jaw bobbing a little: (audio, states at mouth.RATE)."""
    time = np.arange(samples, dtype=np.float32) / SAMPLE_RATE
    beat = rng.uniform(4, 6)
    first, last = rng.uniform(0.0, 0.4), samples / SAMPLE_RATE - rng.uniform(0.2, 0.8)
    on = (time > first) & (time < last)
    beats = (time - first) * beat
    share = beats - np.floor(beats)
    gate = np.where(share < 0.5, np.sin(np.pi * share / 0.5), 0) * on * np.exp(-0.15 * (time - first))
    pitch = rng.uniform(120, 380) * (1 - 0.12 * share) * (1 - 0.05 * (time - first))
    phase = np.cumsum(pitch) / SAMPLE_RATE
    voice = (phase % 1 < 0.15) - 0.15 + 0.3 * rng.standard_normal(samples, np.float32)
    hz = fft.rfftfreq(samples, 1 / SAMPLE_RATE)
    peaks = ((rng.uniform(600, 900), 120), (rng.uniform(1100, 1600), 160), (2600, 250))
    shape = sum(1 / (1 + ((hz - hertz) / width) ** 2) for hertz, width in peaks)
    breath = 0.15 * rng.standard_normal(samples, np.float32) * (share >= 0.5) * on
    out = fft.irfft(fft.rfft(voice * gate + breath) * shape, samples)
    count = samples // STEP + 2
    where = np.clip(np.arange(count) * STEP, 0, samples - 1)
    wide = mouth.smooth(on[where].astype(float), 0.08)
    jaw = mouth.smooth(gate[where], 0.03)
    units = {"jaw": 0.12 * wide + 0.08 * jaw, "smile": 0.35 * wide, "upper_up": 0.3 * wide, "lower_down": 0.2 * wide, "tongue": 0.25 * wide}
    states = np.stack([units.get(unit, 0 * wide) for unit in mouth.UNIT_NAMES], 1)
    return (out / max(np.abs(out).max(), 1e-6)).astype(np.float32), states.astype(np.float32)


def coded(rng, audio):
    """A low-quality codec: band-limited and quantized to few levels, uniformly or mu-law."""
    peak = max(np.abs(audio).max(), 1e-4)
    levels = 2 ** rng.integers(5, 9)
    x = audio / peak
    if rng.random() < 0.5:
        return np.round(x * levels) / levels * peak
    return mu_law(x, levels) * peak


def mu_law(audio, levels):
    """Audio in [-1, 1] quantized to so many levels, which are closer to each other the quieter it is."""
    squeezed = np.sign(audio) * np.log1p(255 * np.abs(audio)) / np.log(256)
    squeezed = np.round(squeezed * levels / 2) / (levels / 2)
    return np.sign(squeezed) * np.expm1(np.abs(squeezed) * np.log(256)) / 255


def telephoned(audio):
    """300 to 3400 Hz in 8 bits of mu-law, as telephones send it."""
    padded = fft.next_fast_len(len(audio), real=True)
    hz = fft.rfftfreq(padded, 1 / SAMPLE_RATE)
    band = 1 / (1 + (300 / np.maximum(hz, 1)) ** 8) / (1 + (hz / 3400) ** 24)
    audio = fft.irfft(fft.rfft(audio, padded) * band, padded)[: len(audio)]
    return mu_law(np.clip(audio, -1, 1), 256).astype(np.float32)


def damage(rng, audio, clips):
    """Effects of rooms, microphones, codecs and background: reverb, tone, band limits, noise, music, other voices, level."""
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
    line = rng.random()
    if line < 0.15:
        audio = coded(rng, audio)
    elif line < 0.2:
        audio = telephoned(audio)
    if rng.random() < 0.5:
        audio = audio + noise(rng, n) * (level * 10 ** (-rng.uniform(8, 45) / 20))
    if rng.random() < 0.12:
        audio = audio + music(rng, n) * (level * 10 ** (-rng.uniform(6, 25) / 20))
    if rng.random() < 0.06:
        audio = audio + babble(rng, clips, n) * (level * 10 ** (-rng.uniform(12, 30) / 20))
    return audio.astype(np.float32)


def not_speech(rng, samples, clips):
    """Silence, noise, music, people in the background, breaths or clicks: the mouth stays closed."""
    kind = rng.random()
    level = 10 ** (rng.uniform(-70, -14) / 20)
    if kind < 0.2:
        return rng.standard_normal(samples, np.float32) * 1e-4 * (rng.random() < 0.5)
    if kind < 0.4:
        return noise(rng, samples) * level
    if kind < 0.65:
        return music(rng, samples) * level
    if kind < 0.78:
        return babble(rng, clips, samples) * 10 ** (rng.uniform(-60, -24) / 20)
    if kind < 0.9:
        return breaths(rng, samples)[0] * 10 ** (rng.uniform(-60, -24) / 20)
    return clicks(rng, samples) * 10 ** (rng.uniform(-50, -6) / 20)


def example(rng, clips, seconds):
    """(audio, track, closures): mostly speech, sometimes only other sounds, sometimes one after the other."""
    audio, track, shut = stream(rng, clips, seconds)
    kind = rng.random()
    if kind < 0.07:
        return not_speech(rng, len(audio), clips), track * 0, shut * 0
    if kind < 0.09:
        laugh, states = laughter(rng, len(audio))
        return laugh * 10 ** (rng.uniform(-26, -1) / 20), states[: len(track)], shut * 0
    audio = damage(rng, audio, clips)
    if kind < 0.16:  # speech that starts or ends
        cut = int(rng.uniform(0.2, 0.8) * len(audio) / STEP)
        part = (slice(None, cut * STEP), slice(None, cut)) if rng.random() < 0.5 else (slice(cut * STEP, None), slice(cut, None))
        quiet = not_speech(rng, len(audio), clips) * 0.3
        silent = np.zeros(len(track), bool)
        silent[part[1]] = True
        # The lips need a transition, because the cut is not at a pause.
        weight = np.clip(np.convolve(np.pad(~silent, 10, mode="edge"), np.full(21, 1 / 21), "valid"), 0, 1)
        track = track * weight[:, None].astype(np.float32)
        shut = shut * weight.astype(np.float32)
        audio = audio.copy()
        audio[part[0]] = quiet[part[0]]
    return audio, track, shut


def batch(rng, clips, size, seconds):
    """(audio [size, samples], tracks); a track is states and closures, and can be sampled at any time with mouth.at_times."""
    audio, tracks, shut = zip(*(example(rng, clips, seconds) for _ in range(size)))
    together = [np.concatenate([track, closed[:, None]], 1) for track, closed in zip(tracks, shut)]
    return torch.from_numpy(np.stack(audio).astype(np.float32)), together
