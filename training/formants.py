# SPDX-License-Identifier: MPL-2.0
"""How open a vowel was spoken, from its first formant.

The same vowel is spoken with the jaw lower or higher: stressed or not, slow or fast, between these neighbours or those. Phone
times do not tell; the sound does, because the first formant rises as the jaw falls (Lindblom and Sundberg 1971).
"""

import mouth
import numpy as np
from mel import SAMPLE_RATE
from scipy.linalg import solve_toeplitz
from scipy.signal import lfilter, resample_poly

# First formants of men in Hz (Hillenbrand, Getty, Clark and Wheeler 1995; ax and oe are ours); of diphthongs, where they begin and end.
VOWELS = {
    "iy": (342, 342), "ih": (427, 427), "ey": (476, 427), "eh": (580, 580), "ae": (588, 588), "aa": (768, 768),
    "ao": (652, 652), "ow": (497, 469), "oe": (497, 497), "uh": (469, 469), "uw": (378, 378), "ah": (623, 623),
    "ax": (580, 580), "ay": (768, 427), "aw": (768, 469), "oy": (652, 427),
}  # fmt: skip
RATE = 100  # measurements per second
LPC_HZ = 10_000  # the sample rate in which five formants are expected,
ORDER = 10  # two poles for each
WINDOW = 300  # samples
EDGE = 0.015  # s at both ends of a vowel that belong to its neighbours
FIRST_HZ = (200, 1100)
WIDEST_HZ = 400  # bandwidth of what is a formant
LEAST = 10  # measurements in a clip, below which nothing is concluded
MOST = 0.35  # of log(Hz) from what is usual, beyond which a measurement is wrong
SECONDS = 0.025  # over which measurements are averaged
# The jaw opens as this power of the formant, at most GAIN / (1 + FADE): three would be right if only the jaw moved (Lindblom and
# Sundberg, for [a]), but the tongue does most of it.
GAIN = 2.0
FADE = 0.3  # the larger, the sooner it has no effect beside a vowel
JAW_LIMIT = 0.36, 0.08  # a jaw lower than the first is lowered ever less, by the second at most, before effort: a wider mouth looks shocked


def first_formants(audio, times):
    """The first formant at these times of speech of 16 kHz, in Hz, by linear prediction; NaN where there is none."""
    speech = lfilter([1, -0.97], [1], resample_poly(audio, LPC_HZ, SAMPLE_RATE))
    found = np.full(len(times), np.nan)
    for number, time in enumerate(times):
        start = int(time * LPC_HZ) - WINDOW // 2
        if start < 0 or start + WINDOW > len(speech):
            continue
        piece = speech[start : start + WINDOW] * np.hamming(WINDOW)
        autocorrelation = np.correlate(piece, piece, "full")[WINDOW - 1 : WINDOW + ORDER]
        if autocorrelation[0] < 1e-6:
            continue
        autocorrelation[0] *= 1.0001
        poles = np.roots(np.r_[1, solve_toeplitz(autocorrelation[:ORDER], -autocorrelation[1:])])
        poles = poles[poles.imag > 0]
        hertz = np.angle(poles) * LPC_HZ / (2 * np.pi)
        width = -np.log(np.abs(poles)) * LPC_HZ / np.pi
        hertz = hertz[(width < WIDEST_HZ) & (hertz > FIRST_HZ[0])]
        if len(hertz) and hertz.min() < FIRST_HZ[1]:
            found[number] = hertz.min()
    return found


def of_vowels(audio, phones):
    """Times in s within the vowels of [(phone, start, end)] at which there is a first formant; these formants, and what they would be
    in Hillenbrand's men, both as log(Hz). By what those of the clip are higher in the median is taken off: it is the speaker's."""
    times, usual = [np.zeros(0)], [np.zeros(0)]
    for name, start, end in phones:
        if name in VOWELS:
            times.append(np.arange(start + EDGE, end - EDGE, 1 / RATE))
            usual.append(np.interp(times[-1], (start, end), np.log(VOWELS[name])))
    times, usual = np.concatenate(times), np.concatenate(usual)
    hertz = first_formants(audio, times)
    known = ~np.isnan(hertz)
    times, found, usual = times[known], np.log(hertz[known]), usual[known]
    return times, found - (np.median(found - usual) if len(found) else 0), usual


def with_openness(track, audio, phones):
    """Mouth states whose jaw is lower in vowels whose first formant is higher than is usual in this clip, and the reverse."""
    times, found, usual = of_vowels(audio, phones)
    if len(times) < LEAST:
        return track
    total, measured = np.zeros(len(track)), np.zeros(len(track))
    places = np.minimum(np.round(times * mouth.RATE).astype(int), len(track) - 1)
    np.add.at(total, places, np.clip(found - usual, -MOST, MOST))
    np.add.at(measured, places, 1)
    mean = mouth.smooth(total, SECONDS) / (mouth.smooth(measured, SECONDS) + FADE * RATE / mouth.RATE)
    track = track.copy()
    wide = track[:, 0] * np.exp(GAIN * mean)
    excess = np.maximum(wide - JAW_LIMIT[0], 0)
    track[:, 0] = wide - excess + JAW_LIMIT[1] * np.tanh(excess / JAW_LIMIT[1])
    return track
