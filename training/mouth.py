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

RATE = 200  # trajectory samples per second
BLEND_SIGMA = 0.040  # s; shapes blend into each other over about 80 ms
ROUND_SIGMA = 0.060  # s; lip rounding spreads further ...
ROUND_LEAD = 0.020  # s; ... and starts early
CLOSURE_SIGMA = 0.014  # s; lips close and open faster than anything else moves
SHORTEST_CLOSURE = 0.070  # s; a shorter closure could fall between two frames 40 ms apart
CLOSED_PHONES = {"p", "b", "m"}


def _gaussian(sigma):
    reach = int(4 * sigma * RATE)
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / (sigma * RATE)) ** 2)
    return taps / taps.sum()


def _smooth(signal, sigma):
    """Gaussian smoothing along axis 0; the end values are repeated."""
    taps = _gaussian(sigma)
    pad = len(taps) // 2
    padded = np.pad(signal, [(pad, pad)] + [(0, 0)] * (signal.ndim - 1), mode="edge")
    columns = padded.reshape(len(padded), -1)
    out = np.stack([np.convolve(c, taps, "valid") for c in columns.T], axis=1)
    return out.reshape(signal.shape)


def trajectory(phones, seconds):
    """Timed phones [(name, start, end)] -> mouth state at RATE, array [samples, N_UNITS].

    Every phone contributes its shape, weighted by its strength, for its duration; weighted shapes and
    strengths are smoothed separately and divided, so weak phones are influenced by their neighbours.
    Lip closures are applied to the result, because blending would leave the lips half open.
    """
    n = int(np.ceil(seconds * RATE)) + 1
    time = np.arange(n) / RATE
    pull = np.zeros((n, N_UNITS))
    strength = np.full(n, 1e-3)  # outside all phones: rest
    closed = np.zeros(n)
    for name, start, end in phones:
        parts = PHONES[name]
        edges = np.linspace(start, end, len(parts) + 1)
        for (shape, weight), a, b in zip(parts, edges[:-1], edges[1:]):
            here = (time >= a) & (time < b)
            strength[here] = weight
            pull[here] = weight * shape_vector(shape)
        if name in CLOSED_PHONES:
            # The last part of a p or b is the burst: the lips are already open.
            release = end if name == "m" else end - 0.25 * (end - start)
            more = max(0.0, SHORTEST_CLOSURE - (release - start)) / 2
            closed[(time >= start - 0.005 - more) & (time < release + more)] = 1.0

    blend = _smooth(pull, BLEND_SIGMA) / _smooth(strength, BLEND_SIGMA)[:, None]
    lead = int(ROUND_LEAD * RATE)
    wide = _smooth(pull, ROUND_SIGMA) / _smooth(strength, ROUND_SIGMA)[:, None]
    wide = np.concatenate([wide[lead:], np.repeat(wide[-1:], lead, 0)])
    for unit in ("funnel", "pucker"):
        blend[:, UNIT_NAMES.index(unit)] = wide[:, UNIT_NAMES.index(unit)]

    closed = np.clip(_smooth(closed, CLOSURE_SIGMA) * 1.15, 0, 1)[:, None]
    return (blend * (1 - closed) + shape_vector("pbm") * closed).astype(np.float32)


def at_times(track, times):
    """The trajectory sampled at times in seconds (linear; the end values are repeated)."""
    where = np.clip(np.asarray(times) * RATE, 0, len(track) - 1)
    low = np.minimum(where.astype(int), len(track) - 2)
    part = (where - low)[..., None]
    return track[low] * (1 - part) + track[low + 1] * part
