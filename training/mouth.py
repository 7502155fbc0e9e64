# SPDX-License-Identifier: MPL-2.0
"""The mouth's degrees of freedom, and how each phone sets them.

A mouth state is a vector of twelve *units*, each a weight on one of the face shapes that come
with the mesh (ARKit names; left and right always move together).  Everything else in this folder
uses these vectors: the renderer poses the face with them, the audio encoder and head predict them,
the painter renders them.
"""

import numpy as np

# name of the unit -> the face shapes it drives
UNITS = {
    "jaw": ["jawOpen"],
    "funnel": ["mouthFunnel"],
    "pucker": ["mouthPucker"],
    "smile": ["mouthSmileLeft", "mouthSmileRight"],
    "stretch": ["mouthStretchLeft", "mouthStretchRight"],
    "lower_down": ["mouthLowerDownLeft", "mouthLowerDownRight"],
    "upper_up": ["mouthUpperUpLeft", "mouthUpperUpRight"],
    "roll_lower": ["mouthRollLower"],
    "roll_upper": ["mouthRollUpper"],
    "press": ["mouthPressLeft", "mouthPressRight"],
    "shrug_lower": ["mouthShrugLower"],
    "tongue": ["tongueOut"],
}
UNIT_NAMES = list(UNITS)
N_UNITS = len(UNITS)
ROLL = UNIT_NAMES.index("roll_lower")
ROUNDING = [UNIT_NAMES.index("funnel"), UNIT_NAMES.index("pucker")]

# Mouth shapes.  A jaw of 0.40 is already a full "aa" on this face; 0.5 looks like shock.
SHAPES = {
    "rest": {},
    "pbm": dict(roll_lower=0.25, roll_upper=0.15, press=0.50, smile=0.06),
    "fv": dict(jaw=0.08, roll_lower=0.70, upper_up=0.28, shrug_lower=0.05),
    "th": dict(jaw=0.11, lower_down=0.35, upper_up=0.30, tongue=0.62),
    "td": dict(jaw=0.10, lower_down=0.35, upper_up=0.28, stretch=0.12, tongue=0.35),
    "l": dict(jaw=0.15, lower_down=0.30, upper_up=0.30, tongue=0.52),
    "s": dict(jaw=0.05, lower_down=0.48, upper_up=0.38, stretch=0.22, smile=0.10, tongue=0.30),
    "sh": dict(jaw=0.09, funnel=0.50, pucker=0.15, lower_down=0.25, upper_up=0.20, tongue=0.30),
    "kg": dict(jaw=0.15, lower_down=0.22, upper_up=0.22, tongue=0.20),
    "r": dict(jaw=0.10, funnel=0.30, pucker=0.32, lower_down=0.12, tongue=0.20),
    "w": dict(jaw=0.06, pucker=0.70, funnel=0.25),
    "oo": dict(jaw=0.14, pucker=0.58, funnel=0.35, tongue=0.15),
    "oh": dict(jaw=0.26, pucker=0.30, funnel=0.45, tongue=0.20),
    "aw": dict(jaw=0.34, funnel=0.35, pucker=0.12, lower_down=0.15, tongue=0.20),
    "aa": dict(jaw=0.40, lower_down=0.25, upper_up=0.35, stretch=0.12, tongue=0.30),
    "ae": dict(jaw=0.32, lower_down=0.35, upper_up=0.38, stretch=0.25, smile=0.12, tongue=0.30),
    "eh": dict(jaw=0.24, lower_down=0.35, upper_up=0.35, stretch=0.20, smile=0.08, tongue=0.35),
    "uh": dict(jaw=0.20, lower_down=0.22, upper_up=0.25, tongue=0.30),
    "ih": dict(jaw=0.15, lower_down=0.38, upper_up=0.35, stretch=0.22, smile=0.12, tongue=0.35),
    "ee": dict(jaw=0.11, lower_down=0.45, upper_up=0.40, stretch=0.35, smile=0.30, tongue=0.35),
}

# How far a weight of 1 opens the lips at the middle, in mm (distance of two vertices of the mesh).
OPENING_MM = np.array([34.2, 13.2, -1.2, -3.0, 0.4, 3.8, 4.8, -3.2, -2.8, -2.6, -5.0, 0.0], np.float32)


def opening(states):
    """Distance between the lips in mm, for mouth states [..., N_UNITS]."""
    return np.maximum(states @ OPENING_MM, 0)


def shape_vector(name):
    """One of SHAPES as an array of N_UNITS weights."""
    return np.array([SHAPES[name].get(unit, 0.0) for unit in UNIT_NAMES], np.float32)


def face_shapes(units):
    """Mouth state -> {face shape of the mesh: weight}."""
    return {
        shape: float(weight)
        for unit, weight in zip(UNIT_NAMES, units)
        if weight
        for shape in UNITS[unit]
    }


# Phone (ARPAbet, lower case) -> (shape, strength).  Strength is how firmly the sound holds its
# shape against its neighbours: a "w" imposes its rounding, a "k" adopts the mouth of its neighbours.
# Diphthongs are two shapes in sequence.
PHONES = {
    "pau": [("rest", 1.0)],
    "p": [("pbm", 0.6)], "b": [("pbm", 0.6)], "m": [("pbm", 0.6)],
    "f": [("fv", 2.2)], "v": [("fv", 2.0)],
    "th": [("th", 0.9)], "dh": [("th", 0.7)],
    "t": [("td", 0.5)], "d": [("td", 0.5)], "n": [("td", 0.5)], "l": [("l", 0.7)],
    "s": [("s", 1.0)], "z": [("s", 1.0)],
    "sh": [("sh", 1.4)], "zh": [("sh", 1.4)], "ch": [("sh", 1.3)], "jh": [("sh", 1.3)],
    "k": [("kg", 0.35)], "g": [("kg", 0.35)], "ng": [("kg", 0.45)], "hh": [("kg", 0.2)],
    "r": [("r", 1.0)], "er": [("r", 1.0)], "w": [("w", 1.6)], "y": [("ee", 0.8)],
    "aa": [("aa", 1.2)], "ae": [("ae", 1.2)], "ah": [("uh", 1.0)], "ax": [("uh", 0.6)],
    "oe": [("oh", 1.2)],  # o of German, French, Spanish, Italian: no glide to oo
    "ao": [("aw", 1.2)], "eh": [("eh", 1.0)], "ih": [("ih", 0.8)], "iy": [("ee", 1.0)],
    "uh": [("oo", 0.8)], "uw": [("oo", 1.3)], "ow": [("oh", 1.2), ("oo", 1.0)],
    "aw": [("aa", 1.2), ("oo", 1.0)], "ay": [("aa", 1.2), ("ih", 0.9)],
    "ey": [("eh", 1.0), ("ee", 0.9)], "oy": [("oh", 1.2), ("ih", 0.9)],
}  # fmt: skip

# Louder speech lowers the jaw further (Schulman 1989, Geumann 2001, Huber and Chandrasekaran 2006), by how much depends on why it is
# loud. Here, where it is louder than this speaker's average, 2 % more per dB, and as much less where it is quieter: our choice.
EFFORT = 0.02  # of the jaw per dB
EFFORT_DB = 6.0  # beyond this it stays as it is
EFFORT_SECONDS = 0.3  # over which the level is averaged: longer than a vowel, whose own loudness is not effort

RATE = 200  # trajectory samples per second
BLEND_SIGMA = 0.040  # s; shapes blend into each other over about 80 ms
ROUND_SIGMA = 0.060  # s; lip rounding spreads further ...
ROUND_LEAD = 0.020  # s; ... and starts early
CLOSURE_SIGMA = 0.014  # s; lips close and open faster than anything else moves
SHORTEST_CLOSURE = 0.085  # s; 53 ms of it are wholly closed: a shorter one could fall between two frames 40 ms apart
CLOSED_PHONES = {"p", "b", "m"}
# What a sound cannot do without is reached, whatever its neighbours are (a critical articulator: Recasens' coarticulation resistance):
# the lip under the teeth for f and v, rounding for w and oo.  phone -> (shape, units or all, share of it, sigma in s, shortest in s)
CRITICAL = {
    "f": ("fv", None, 0.95, 0.020, 0.080),
    "v": ("fv", None, 0.90, 0.020, 0.080),
    "w": ("w", ("funnel", "pucker"), 0.85, 0.030, 0.100),
    "uw": ("oo", ("funnel", "pucker"), 0.80, 0.035, 0.100),
}


def _gaussian(sigma):
    reach = int(4 * sigma * RATE)
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / (sigma * RATE)) ** 2)
    return taps / taps.sum()


def smooth(signal, sigma):
    """Gaussian smoothing along axis 0; the end values are repeated."""
    taps = _gaussian(sigma)
    pad = len(taps) // 2
    padded = np.pad(signal, [(pad, pad)] + [(0, 0)] * (signal.ndim - 1), mode="edge")
    columns = padded.reshape(len(padded), -1)
    out = np.stack([np.convolve(c, taps, "valid") for c in columns.T], axis=1)
    return out.reshape(signal.shape)


def blended(phones, seconds):
    """Timed phones [(name, start, end)] -> mouth state at RATE without lip closures, array [samples, N_UNITS].

    Every phone contributes its shape, weighted by its strength, for its duration; weighted shapes and
    strengths are smoothed separately and divided, so weak phones are influenced by their neighbours.
    """
    n = int(np.ceil(seconds * RATE)) + 1
    time = np.arange(n) / RATE
    pull = np.zeros((n, N_UNITS))
    strength = np.full(n, 1e-3)  # outside all phones: rest
    for name, start, end in phones:
        parts = PHONES[name]
        edges = np.linspace(start, end, len(parts) + 1)
        for (shape, weight), a, b in zip(parts, edges[:-1], edges[1:]):
            here = (time >= a) & (time < b)
            strength[here] = weight
            pull[here] = weight * shape_vector(shape)

    blend = smooth(pull, BLEND_SIGMA) / smooth(strength, BLEND_SIGMA)[:, None]
    lead = int(ROUND_LEAD * RATE)
    wide = smooth(pull, ROUND_SIGMA) / smooth(strength, ROUND_SIGMA)[:, None]
    wide = np.concatenate([wide[lead:], np.repeat(wide[-1:], lead, 0)])
    for unit in ("funnel", "pucker"):
        blend[:, UNIT_NAMES.index(unit)] = wide[:, UNIT_NAMES.index(unit)]

    for shape, units, share, sigma, shortest in dict.fromkeys(CRITICAL.values()):
        here = np.zeros(n)
        for name, start, end in phones:
            if CRITICAL.get(name) == (shape, units, share, sigma, shortest):
                more = max(0.0, shortest - (end - start)) / 2
                here[(time >= start - more) & (time < end + more)] = share
        if here.any():
            here = np.clip(smooth(here, sigma) * 1.15, 0, share)[:, None]
            chosen = [UNIT_NAMES.index(unit) for unit in units or UNIT_NAMES]
            blend[:, chosen] = blend[:, chosen] * (1 - here) + shape_vector(shape)[chosen] * here
    return blend.astype(np.float32)


def closed(phones, count, speed=1.0):
    """How far the lips are closed for p, b and m, 0 to 1, `count` values at RATE, where the phones are spoken that much faster.

    However fast it is, a closure lasts at least SHORTEST_CLOSURE.
    """
    time = np.arange(count) / RATE
    shut = np.zeros(len(time))
    for name, start, end in phones:
        if name in CLOSED_PHONES:
            # The last part of a p or b is the burst: the lips are already open.
            release = (end if name == "m" else end - 0.25 * (end - start)) / speed
            start /= speed
            more = max(0.0, SHORTEST_CLOSURE - (release - start)) / 2
            shut[(time >= start - 0.005 - more) & (time < release + more)] = 1.0
    return np.clip(smooth(shut, CLOSURE_SIGMA) * 1.15, 0, 1).astype(np.float32)


def with_closures(blend, shut):
    """Lip closures applied to mouth states, because blending would leave the lips half open."""
    return (blend * (1 - shut[:, None]) + shape_vector("pbm") * shut[:, None]).astype(np.float32)


def with_effort(track, audio, sample_rate):
    """Mouth states whose jaw follows the local level of the speech, relative to its average."""
    step = sample_rate // RATE
    power = np.zeros(len(track))
    cut = audio[: len(audio) // step * step].reshape(-1, step) ** 2
    power[: len(cut)] = cut.mean(1)[: len(power)]
    level = 10 * np.log10(smooth(power, EFFORT_SECONDS / 2) + 1e-9)
    spoken = level > level.max() - 25
    above = np.clip(level - level[spoken].mean(), -EFFORT_DB, EFFORT_DB)
    track = track.copy()
    track[:, 0] *= 1 + EFFORT * above
    return track


def at_times(track, times):
    """The trajectory sampled at times in seconds (linear; the end values are repeated)."""
    where = np.clip(np.asarray(times) * RATE, 0, len(track) - 1)
    low = np.minimum(where.astype(int), len(track) - 2)
    part = (where - low)[..., None]
    return track[low] * (1 - part) + track[low + 1] * part
