# SPDX-License-Identifier: MPL-2.0
"""Evaluate the hearing alone: mouth states that it predicts, against those that phone times and sound give, on held-out speech.

    python judge_hearing.py                          # of WORK/encoder.pt, or else of hearing.npz
    python judge_hearing.py --weights older.npz      # of other weights

No picture is painted, so it takes a minute, and says nothing about the painter: judge.py measures what is seen.
"""

import argparse
from pathlib import Path

import formants
import mel
import mouth
import numpy as np
import speech_data
import torch
import train_encoder
from scipy.interpolate import CubicSpline
from scipy.signal import lfilter
from scipy.stats import spearmanr

UNSEEN = ("jf_nezumi", "jf_tebukuro", "human")
GROUPS = {  # prefixes of the names of held-out clips
    "flite and festival, known voices": ("slt", "rms", "awb", "kal16", "ked_diphone"),
    "SVOX pico, known voices": ("pico_us", "pico_gb"),
    "Kokoro, known voices": ("jf_gongitsune", "jm_kumo", "jf_alpha"),
    "espeak-ng, four languages": ("de_", "fr_", "es_", "it_"),
    "Kokoro, unseen voices": ("jf_nezumi", "jf_tebukuro"),
    "Piper, unseen voice": ("joe",),
    "human readers, unseen": ("human",),
}
FULL_MM = float(mouth.opening(mouth.shape_vector("aa")))
SHUT_MM = 0.05 * FULL_MM
LAGS = np.arange(-200, 201)  # ms
RATES = (25, 50, 60)
ROUNDED = {"w", "uw"}
HITS = ["p, b, m closed (truth)", "f, v under the teeth (truth)", "w, oo rounded (truth)"]
WARP_RATE, WARP_REACH = 100, 20  # samples per second that are aligned, and how many of them an event may be off
LEVEL_SECONDS = 0.2  # over which the intensity of speech and the movement of the lips are averaged


def held(names):
    return [clip for name in names for clip in speech_data.load_clips("held", name)]


def true_states(clip, frames, rate=mel.FPS):
    return mouth.at_times(clip.track, np.arange(frames) / rate)


def true_opening(clip, frames, rate=mel.FPS):
    return mouth.opening(true_states(clip, frames, rate))


def frames_of(start, end, count):
    """The frames within a phone, and the next one."""
    return slice(min(max(0, int(start * mel.FPS)), count - 1), int(np.ceil(end * mel.FPS)) + 1)


def closures(clip, opening):
    """For every p, b and m of a clip: do the lips close in a frame within it, or in an adjacent frame?"""
    return [opening[frames_of(*at, len(opening))].min() < SHUT_MM for name, *at in clip.phones if name in mouth.CLOSED_PHONES]


def tucked(clip, opening, roll):
    """For every f and v: is the lower lip rolled in by half, under teeth that show, in a frame of it?"""
    under = (roll > 0.35) & (opening < 4)
    return [under[frames_of(*at, len(under))].any() for name, *at in clip.phones if name in ("f", "v")]


def rounded(clip, rounding):
    """For every w and oo: are the lips rounded, by 60 % of the shape, in a frame of it?"""
    full = mouth.shape_vector("oo")[mouth.ROUNDING].sum()
    return [rounding[frames_of(*at, len(rounding))].max() > 0.6 * full for name, *at in clip.phones if name in ROUNDED]


def hits(clips, openings, rolls, roundings):
    """Closures, f and v, w and oo of clips: for each of these three, whether each of its phones can be seen."""
    found = [
        (closures(clip, opening), tucked(clip, opening, roll), rounded(clip, rounding))
        for clip, opening, roll, rounding in zip(clips, openings, rolls, roundings)
    ]
    return [sum(one, []) for one in zip(*found)]


def hits_of(clips, states):
    """The same for mouth states."""
    return hits(clips, *zip(*[(mouth.opening(s), s[:, mouth.ROLL], s[:, mouth.ROUNDING].sum(1)) for s in states]))


def movement(openings):
    return np.mean([np.abs(np.diff(o)).mean() for o in openings])


def turns(openings, truths):
    """Second difference between frames, relative to the truth's: 1 is as smooth."""
    return np.sum([np.abs(np.diff(o, 2)).sum() for o in openings]) / np.sum([np.abs(np.diff(t, 2)).sum() for t in truths])


def best_lag(signals, tracks):
    """Lag in ms of the signals (one value per frame) behind the true opening, in steps of 1 ms."""
    products = np.zeros((len(LAGS), 5))
    for signal, track in zip(signals, tracks):
        time = np.arange(0, (len(signal) - 1) / mel.FPS, 0.001)
        heard = CubicSpline(np.arange(len(signal)) / mel.FPS, signal)(time)
        for row, lag in enumerate(LAGS):
            true = mouth.opening(mouth.at_times(track, time - lag / 1000))
            products[row] += (heard @ true, heard.sum(), true.sum(), heard @ heard, true @ true)
    count = sum(len(np.arange(0, (len(s) - 1) / mel.FPS, 0.001)) for s in signals)
    ab, a, b, aa, bb = products.T / count
    return int(LAGS[np.argmax((ab - a * b) / np.sqrt((aa - a * a) * (bb - b * b)))])


def misalignment(opening, truth):
    """Time in ms between each turn of the true opening (lips widest or narrowest) and where it is in the other one.

    The two curves (one value per frame) are matched by dynamic time warping of their slopes, which depend neither on how wide the
    mouth opens nor on a constant, within 200 ms.
    """
    time = np.arange(0, len(truth) - 1, mel.FPS / WARP_RATE)
    curves = [CubicSpline(np.arange(len(c)), c)(time) for c in (truth, opening)]
    slopes = [np.gradient(c) / (np.gradient(c).std() + 1e-6) for c in curves]
    count, width = len(time), 2 * WARP_REACH + 1
    apart = np.full((count, width), np.inf)  # the second curve's sample is column - WARP_REACH later
    for column in range(width):
        shift = column - WARP_REACH
        rows = np.arange(max(0, -shift), min(count, count - shift))
        apart[rows, column] = (slopes[0][rows] - slopes[1][rows + shift]) ** 2 + 1e-3 * abs(shift)
    total, came = apart.copy(), np.zeros((count, width), np.int8)
    for row in range(1, count):
        for column in range(width):
            # Before it: both one back; only the first; only the second.
            ways = (
                total[row - 1, column],
                total[row - 1, column + 1] if column + 1 < width else np.inf,
                total[row, column - 1] if column else np.inf,
            )
            best = int(np.argmin(ways))
            came[row, column] = best
            total[row, column] += ways[best]
    shifts = np.zeros(count)
    row, column = count - 1, WARP_REACH
    while row > 0:
        shifts[row] = column - WARP_REACH
        way = came[row, column]
        row, column = (row - (way < 2), column + (way == 1) - (way == 2))
    slope = np.diff(curves[0])
    turn = np.flatnonzero((slope[:-1] * slope[1:] < 0) & (np.abs(slope[1:] - slope[:-1]) > 0.05)) + 1
    return np.abs(shifts[turn]) * 1000 / WARP_RATE


def with_intensity(audio, opening):
    """(level of the speech in dB, movement of the lips in mm per frame), a pair for every fifth of a second of speech."""
    frames = round(LEVEL_SECONDS * mel.FPS)
    moves = np.abs(np.diff(opening, prepend=opening[:1]))
    parts = min(len(moves) // frames, len(audio) * mel.FPS // mel.SAMPLE_RATE // frames)
    samples = frames * mel.SAMPLE_RATE // mel.FPS
    level = 10 * np.log10(np.mean(audio[: parts * samples].reshape(parts, samples) ** 2, 1) + 1e-9)
    spoken = level > level.max() - 50
    return level[spoken], moves[: parts * frames].reshape(parts, frames).mean(1)[spoken]


def formant_ranks(clips, *sides):
    """Rank correlation of the opening and the first formant in vowels, for each list of openings."""
    times, found, _ = zip(*(formants.of_vowels(clip.audio, clip.phones) for clip in clips))

    def rank(openings):
        heard = [np.interp(at * mel.FPS, np.arange(len(opening)), opening) for at, opening in zip(times, openings)]
        return spearmanr(np.concatenate(heard), np.concatenate(found)).statistic

    return [rank(openings) for openings in sides]


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows])


def percent(hits, possible):
    """Share, and in brackets that of the truth."""
    return f"{np.mean(hits):.1%} of {len(hits)} ({np.mean(possible):.1%})" if hits else "none"


def judge_speech(model):
    rows = []
    for group, names in GROUPS.items():
        clips = held(names)
        if not clips:
            continue
        heard = [train_encoder.hear(model, clip.audio) for clip in clips]
        wanted = [true_states(clip, len(states)) for clip, states in zip(clips, heard)]
        openings, truths = [mouth.opening(s) for s in heard], [mouth.opening(s) for s in wanted]
        a, b = np.concatenate(openings), np.concatenate(truths)
        seen = [percent(*both) for both in zip(hits_of(clips, heard), hits_of(clips, wanted))]
        level, moves = np.concatenate([np.stack(with_intensity(c.audio, o)) for c, o in zip(clips, openings)], 1)
        level_t, moves_t = np.concatenate([np.stack(with_intensity(c.audio, t)) for c, t in zip(clips, truths)], 1)
        off = np.concatenate([misalignment(o, t) for o, t in zip(openings, truths)])
        rows.append([
            group, f"{sum(len(c.audio) for c in clips) / mel.SAMPLE_RATE:.0f} s", f"{spearmanr(a, b).statistic:.3f}",
            "{:.2f} ({:.2f})".format(*formant_ranks(clips, openings, truths)), *seen,
            f"{np.mean(a[b > 4] < SHUT_MM):.1%}", f"{best_lag(openings, [c.track for c in clips]):+d} ms", f"{off.mean():.0f} ms",
            f"{np.corrcoef(level, moves)[0, 1]:.2f} ({np.corrcoef(level_t, moves_t)[0, 1]:.2f})",
            f"{movement(openings) / movement(truths):.2f}",
        ])  # fmt: skip
    head = ["held-out speech", "length", "rank correlation of the opening", "with the first formant (truth)", *HITS]
    head += ["closed where it is open", "lag", "misalignment", "movement with intensity (truth)", "movement / truth"]
    return table(head, rows)


def judge_rates(model):
    """Smoothness by frame rate, for unseen voices."""
    clips = held(UNSEEN)[::3]
    rows = []
    for rate in RATES:
        openings = [mouth.opening(train_encoder.hear(model, clip.audio, fps=rate)) for clip in clips]
        truths = [true_opening(clip, len(o), rate) for clip, o in zip(clips, openings)]
        rows.append([rate, f"{movement(openings) / movement(truths):.2f}", f"{turns(openings, truths):.2f}"])
    return table(["frames per second", "first difference between frames, relative to truth", "second difference, relative to truth"], rows)


def steady_vowel(seconds=3):
    """A constant sung `ah`: a pulse train through four formants."""
    pulses = np.zeros(seconds * mel.SAMPLE_RATE)
    pulses[:: mel.SAMPLE_RATE // 125] = 1
    for hertz, width in ((730, 90), (1090, 110), (2440, 160), (3400, 250)):
        radius = np.exp(-np.pi * width / mel.SAMPLE_RATE)
        pulses = lfilter([1 - radius], [1, -2 * radius * np.cos(2 * np.pi * hertz / mel.SAMPLE_RATE), radius**2], pulses)
    return (0.3 * pulses / np.abs(pulses).max()).astype(np.float32)


def quiet_sounds():
    """{name: sounds of six seconds in which nobody near the microphone speaks}."""
    rng = np.random.default_rng(99)
    count = 6 * mel.SAMPLE_RATE
    voices = held(("slt", "rms", "awb", "kal16"))
    return {
        "digital silence": [np.zeros(count, np.float32)],
        "white noise at -50 dBFS": [rng.standard_normal(count, np.float32) * 10 ** (-50 / 20)],
        "white noise at -30 dBFS": [rng.standard_normal(count, np.float32) * 10 ** (-30 / 20)],
        "coloured noise at -30 dBFS, ten kinds": [speech_data.noise(rng, count) * 10 ** (-30 / 20) for _ in range(10)],
        "music at -20 dBFS, ten pieces": [speech_data.music(rng, count) * 0.1 for _ in range(10)],
        "babble of others at -30 dBFS, five kinds": [speech_data.babble(rng, voices, count) * 10 ** (-30 / 20) for _ in range(5)],
        "breaths, five kinds": [speech_data.breaths(rng, count)[0] * 0.03 for _ in range(5)],
        "clicks and keys, five kinds": [speech_data.clicks(rng, count) * 0.1 for _ in range(5)],
        "laughter (a mouth moves), five kinds": [speech_data.laughter(rng, count)[0] * 0.1 for _ in range(5)],
    }


def judge_quiet(model):
    """Sounds that must not make the mouth speak, and a vowel that must keep it steady."""
    rows = []
    for label, sounds in quiet_sounds().items():
        share = np.concatenate([mouth.opening(train_encoder.hear(model, s.astype(np.float32))) for s in sounds]) / FULL_MM
        rows.append([label, f"{share.mean():.1%}", f"{np.percentile(share, 95):.1%}", f"{share.max():.1%}"])
    vowel = mouth.opening(train_encoder.hear(model, steady_vowel()))[20:-20] / FULL_MM
    text = table(["audio", "mean opening", "95th percentile", "maximum"], rows)
    return f"{text}\n\nA steady sung vowel: {vowel.mean():.0%} of the full opening, with a standard deviation of {vowel.std():.1%}."


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, help="a file like hearing.npz, or a checkpoint of train_encoder.py")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = train_encoder.load(arguments.weights)
    print("\n\n".join([judge_speech(model), judge_rates(model), judge_quiet(model)]))


if __name__ == "__main__":
    main()
