# SPDX-License-Identifier: MPL-2.0
"""The people of this kit: shape, colours, hair, clothes, lights and background of each, as data.

`PERSON=theo python render.py ...` selects one; Iris is the default.  Shapes are named targets of the
MakeHuman mesh with weights; colours are linear RGB.
"""

import os
from dataclasses import dataclass, field, replace

FEMALE = {
    "macrodetails/universal-female-young-averagemuscle-averageweight": 1.0,
    "macrodetails/proportions/female-young-averagemuscle-averageweight-idealproportions": 0.6,
}
MALE = {
    "macrodetails/universal-male-young-averagemuscle-averageweight": 1.0,
    "macrodetails/proportions/male-young-averagemuscle-averageweight-idealproportions": 0.4,
}


def both(name, amount):
    """The same target for the left and the right side."""
    folder, target = name.split("/")
    return {f"{folder}/{side}-{target}": amount for side in "lr"}


# A slight smile, a squint and relaxed eyelids that are always applied: {face shape: weight}.
RESTING_FACE = {f"mouthSmile{side}": 0.22 for side in ("Left", "Right")}
RESTING_FACE |= {f"eyeSquint{side}": 0.10 for side in ("Left", "Right")}
RESTING_FACE |= {f"eyeBlink{side}": 0.12 for side in ("Left", "Right")}
RESTING_FACE |= {f"cheekSquint{side}": 0.08 for side in ("Left", "Right")}


@dataclass(frozen=True)
class Person:
    title: str
    identity: dict
    size: float = 1.0  # of the whole figure, so that long faces fit the boxes
    # skin, its second tone and its freckles; lips and their second tone
    skin: tuple = ((0.56, 0.30, 0.20), (0.50, 0.23, 0.145), (0.40, 0.17, 0.10))
    lips: tuple = ((0.36, 0.075, 0.08), (0.42, 0.10, 0.10))
    gloss: float = 0.42  # specular level of the skin
    roughness: tuple = (0.44, 0.54)  # of the skin, from its smoothest to its roughest patches
    freckles: float = 0.0  # on the nose and the cheeks
    scalp: tuple = (0.16, 0.085, 0.06)  # darker than the skin, so that none shines through the hair
    blush: float = 0.30
    eye_shadow: float = 0.55
    eye_liner: float = 0.8
    beard: float = 0.0  # shadow of a shaved beard
    iris: tuple = ((0.035, 0.017, 0.008), (0.14, 0.07, 0.028))
    hair: str = "layered"
    melanin: float = 0.62
    highlights: float = 0.0  # melanin that the lightest strands lack
    redness: float = 0.35
    brow_width: float = 1.0
    brow_arch: float = 1.0
    brow_height: float = 0.0205  # m above the eyes
    cornea: float = 1.38  # its index of refraction: more makes brighter highlights in the eyes
    lash_length: float = 1.0
    lashes: int = 130  # on an upper lid
    lash_radius: float = 0.00009  # m, at the lid
    outfit: str = "jumper"
    clothes: tuple = (0.022, 0.036, 0.075)
    top: tuple = (0.60, 0.56, 0.50)  # below a blazer
    opening: float = 0.090  # m from the middle to a blazer's edge, at the throat
    collar: float = 0.008  # m by which a blazer is higher than the top below it; negative: lower
    arms_down: float = 36  # degrees by which the arms are lowered, which the base mesh spreads
    neckline: float = -0.030  # m, from the collar bone's top to the edge of the cloth in front
    wall: str = "studio"
    wall_light: tuple = (1.0, 1.0, 1.0)  # by which the lamps of the room multiply its blue, green and red
    # name, position, size, watts, colour of each lamp; all point at the head; those whose name begins with hair light nothing else
    lamps: tuple = (
        ("key", (-0.85, -1.25, 1.25), (0.8, 0.8), 24, (1, 0.955, 0.90)),
        ("fill", (1.1, -1.2, 0.75), (1.2, 1.2), 5.5, (0.90, 0.95, 1)),
        ("rim left", (-0.9, 0.75, 1.05), (0.35, 0.9), 5, (0.85, 0.92, 1)),
        ("rim right", (0.95, 0.7, 1.05), (0.35, 0.9), 6, (1, 0.93, 0.85)),
        ("below", (0, -0.9, 0.15), (0.9, 0.3), 2.2, (1, 0.93, 0.88)),
        ("above", (0, 0.25, 1.65), (0.6, 0.4), 4.0, (1, 1, 1)),
    )
    # of the idle loop: the first frames of the blinks, and the gaze, which jumps between targets (first frame, x, y in pixels)
    blinks: tuple = (31, 92, 158)
    glances: tuple = ((0, 0.0, 0.0), (48, 0.9, -0.2), (70, 0.0, 0.0), (118, -0.8, 0.3), (140, 0.1, 0.0))
    expression: dict = field(default_factory=dict)  # instead of these parts of RESTING_FACE

    def resting_face(self):
        return RESTING_FACE | self.expression


PEOPLE = {
    "iris": Person(
        title="Iris, a rendered presenter",
        identity={
            "macrodetails/caucasian-female-young": 0.55,
            "macrodetails/asian-female-young": 0.25,
            "macrodetails/african-female-young": 0.20,
            **FEMALE,
            "head/head-oval": 0.35,
            "head/head-fat-decr": 0.15,
            "head/head-scale-vert-decr": 0.10,
            "head/head-age-incr": 0.12,
            **both("eyes/eye-scale-incr", 0.5),
            **both("eyes/eye-height2-incr", 0.3),
            "mouth/mouth-angles-up": 0.3,
            "mouth/mouth-scale-horiz-incr": 0.1,
            "mouth/mouth-lowerlip-volume-incr": 0.2,
            "mouth/mouth-upperlip-volume-incr": 0.15,
            **both("cheek/cheek-bones-incr", 0.2),
            "nose/nose-scale-horiz-decr": 0.15,
            "nose/nose-width3-decr": 0.2,
            "chin/chin-width-decr": 0.1,
            "neck/neck-scale-horiz-decr": 0.25,
            "neck/neck-scale-vert-decr": 0.55,
            "forehead/forehead-scale-vert-decr": 0.35,
            "torso/measure-shoulder-dist-decr": 0.5,
            **both("arms/upperarm-shoulder-muscle-decr", 0.8),
            **both("arms/upperarm-fat-decr", 0.6),
            "asym/asym-brown-1-l": 0.25,
            "asym/asym-eye-3-r": 0.15,
            "asym/asym-jaw-1-r": 0.12,
            "asym/asym-nose-1-l": 0.15,
        },
        skin=((0.55, 0.300, 0.205), (0.50, 0.235, 0.155), (0.42, 0.18, 0.11)),
        lips=((0.37, 0.095, 0.095), (0.43, 0.135, 0.125)),
        gloss=0.36,
        roughness=(0.42, 0.62),
        freckles=0.8,
        scalp=(0.075, 0.040, 0.024),
        blush=0.34,
        eye_shadow=0.35,
        eye_liner=0.7,
        melanin=0.68,
        highlights=0.30,
        brow_width=1.0,
        brow_arch=0.66,
        brow_height=0.0192,
        cornea=1.6,
        lash_length=0.8,
        lashes=210,
        lash_radius=0.00006,
        expression={f"mouthSmile{side}": 0.26 for side in ("Left", "Right")}
        | {f"cheekSquint{side}": 0.16 for side in ("Left", "Right")}
        | {f"eyeSquint{side}": 0.16 for side in ("Left", "Right")}
        | {f"eyeBlink{side}": 0.09 for side in ("Left", "Right")},
        lamps=(
            ("key", (-1.05, -1.15, 1.20), (1.3, 1.3), 24, (1, 0.95, 0.89)),
            ("fill", (1.2, -1.2, 0.70), (1.4, 1.4), 4.6, (0.90, 0.95, 1)),
            ("rim left", (-0.9, 0.75, 1.05), (0.5, 0.9), 4.5, (0.88, 0.93, 1)),
            ("rim right", (0.95, 0.75, 1.10), (0.5, 0.9), 6.5, (1, 0.92, 0.82)),
            ("below", (0, -0.9, 0.15), (0.9, 0.4), 1.3, (1, 0.93, 0.88)),
            ("catch", (-0.42, -1.5, 1.05), (0.30, 0.30), 6.0, (1, 0.97, 0.93)),
            ("above", (0, 0.25, 1.65), (0.6, 0.5), 4.5, (1, 0.98, 0.95)),
            ("hair beside the neck", (0, -1.0, 0.45), (0.5, 0.3), 4.0, (1, 0.95, 0.90)),
        ),
        # Uneven, also there and back; she blinks as she looks elsewhere.
        blinks=(22, 61, 167),
        glances=(
            (0, 0.0, 0.0), (25, 0.9, -0.2), (50, 0.1, 0.1), (64, -0.7, 0.2), (98, 0.0, 0.0), (124, -1.3, 0.4), (149, 0.2, -0.1),
            (170, 0.0, 0.0),
        ),  # fmt: skip
        outfit="blazer",
        clothes=(0.018, 0.050, 0.060),
        arms_down=50,
    ),
    "theo": Person(
        title="Theo, a rendered presenter",
        size=0.92,
        identity={
            "macrodetails/caucasian-male-young": 0.45,
            "macrodetails/asian-male-young": 0.15,
            "macrodetails/african-male-young": 0.40,
            **MALE,
            "head/head-rectangular": 0.15,
            "head/head-age-incr": 0.35,
            "chin/chin-width-incr": 0.15,
            "head/head-fat-decr": 0.20,
            "neck/neck-scale-vert-decr": 0.4,
            "neck/neck-scale-horiz-decr": 0.5,
            "neck/neck-scale-depth-decr": 0.3,
            "forehead/forehead-scale-vert-decr": 0.60,
            "nose/nose-width1-decr": 0.3,
            "nose/nose-width2-decr": 0.25,
            "nose/nose-width3-decr": 0.35,
            "nose/nose-hump-incr": 0.12,
            **both("eyes/eye-scale-incr", 0.75),
            **both("eyes/eye-height2-incr", 0.3),
            **both("cheek/cheek-bones-incr", 0.3),
            **both("ears/ear-wing-decr", 0.5),
            **both("eyes/eye-eyefold-down", 0.3),
            "mouth/mouth-lowerlip-volume-incr": 0.25,
            "mouth/mouth-upperlip-volume-incr": 0.2,
            "torso/measure-shoulder-dist-decr": 1.0,
            **both("arms/upperarm-shoulder-muscle-decr", 0.8),
            **both("arms/upperarm-fat-decr", 0.8),
            **both("arms/upperarm-muscle-decr", 0.7),
            "asym/asym-brown-2-r": 0.25,
            "asym/asym-eye-1-l": 0.15,
            "asym/asym-jaw-2-l": 0.15,
            "asym/asym-nose-2-r": 0.2,
        },
        skin=((0.36, 0.180, 0.112), (0.31, 0.140, 0.085), (0.23, 0.092, 0.052)),
        lips=((0.27, 0.095, 0.08), (0.30, 0.115, 0.098)),
        freckles=0.25,
        gloss=0.34,
        roughness=(0.46, 0.64),
        blush=0.16,
        eye_shadow=0.12,
        eye_liner=0.20,
        beard=0.50,
        iris=((0.020, 0.010, 0.005), (0.075, 0.035, 0.014)),
        hair="quiff",
        melanin=0.86,
        brow_width=1.1,
        brow_arch=0.55,
        brow_height=0.0195,
        cornea=1.6,
        expression={"eyeBlinkLeft": 0.02, "eyeBlinkRight": 0.02, "eyeSquintLeft": 0.10, "eyeSquintRight": 0.10},
        lash_length=0.7,
        lash_radius=0.00006,
        lamps=(
            ("key", (1.05, -1.15, 1.15), (0.9, 0.9), 27, (1, 0.94, 0.86)),
            ("fill", (-1.2, -1.2, 0.70), (1.4, 1.4), 3.8, (0.90, 0.95, 1)),
            ("rim left", (-0.9, 0.75, 1.05), (0.5, 0.9), 7.0, (1, 0.90, 0.78)),
            ("rim right", (0.95, 0.75, 1.10), (0.5, 0.9), 6.0, (1, 0.88, 0.74)),
            ("below", (0, -0.9, 0.15), (0.9, 0.4), 1.6, (1, 0.93, 0.88)),
            ("catch", (0.42, -1.5, 1.05), (0.30, 0.30), 6.0, (1, 0.97, 0.93)),
            ("above", (0, 0.25, 1.65), (0.6, 0.5), 5.0, (1, 0.98, 0.95)),
        ),
        outfit="blazer",
        clothes=(0.030, 0.036, 0.055),
        neckline=-0.020,
        opening=0.060,
        collar=-0.010,
        top=(0.52, 0.55, 0.60),
        arms_down=54,
        wall="shelves",
    ),
    # Not shipped: the guest, whose film tests what is trained on films.
    "guest": Person(
        title="A guest",
        size=0.93,
        identity={
            "macrodetails/caucasian-male-old": 0.45,
            "macrodetails/caucasian-male-young": 0.55,
            **MALE,
            "head/head-square": 0.30,
            "head/head-fat-incr": 0.20,
            "head/head-age-incr": 0.45,
            "chin/chin-cleft-incr": 0.30,
            "chin/chin-prominent-incr": 0.20,
            "mouth/mouth-scale-horiz-incr": 0.20,
            "mouth/mouth-laugh-lines-in": 0.30,
            "mouth/mouth-upperlip-volume-decr": 0.20,
            "nose/nose-hump-incr": 0.35,
            "nose/nose-scale-vert-incr": 0.10,
            "neck/neck-scale-vert-decr": 0.4,
            "forehead/forehead-scale-vert-decr": 0.20,
            **both("eyes/eye-scale-incr", 0.3),
            "asym/asym-jaw-1-r": 0.25,
            "asym/asym-nose-1-l": 0.25,
        },
        skin=((0.53, 0.29, 0.21), (0.47, 0.22, 0.15), (0.36, 0.15, 0.095)),
        lips=((0.33, 0.12, 0.105), (0.37, 0.145, 0.125)),
        blush=0.30,
        eye_shadow=0.10,
        eye_liner=0.15,
        beard=0.32,
        iris=((0.020, 0.035, 0.050), (0.075, 0.130, 0.170)),
        hair="short",
        melanin=0.32,
        redness=0.15,
        brow_width=1.35,
        brow_arch=0.5,
        expression={"mouthSmileLeft": 0.10, "mouthSmileRight": 0.10, "eyeBlinkLeft": 0.05, "eyeBlinkRight": 0.05},
        lash_length=0.6,
        clothes=(0.10, 0.12, 0.16),
        wall="plain",
        lamps=(
            ("window", (-1.3, -0.8, 0.95), (1.0, 1.4), 30, (0.86, 0.93, 1)),
            ("room", (1.1, -1.0, 0.9), (1.0, 1.0), 6.0, (1, 0.93, 0.85)),
            ("above", (0, 0.2, 1.6), (0.6, 0.4), 3.0, (1, 1, 1)),
        ),
    ),
}
# The same room in the evening, and with little light: each minute of the film has another light (film.py).
PEOPLE["guest-evening"] = replace(
    PEOPLE["guest"],
    wall_light=(0.55, 0.72, 0.92),
    lamps=(
        ("lamp", (1.0, -0.9, 1.05), (0.5, 0.5), 22, (1, 0.80, 0.58)),
        ("ceiling", (0, -0.6, 1.8), (1.0, 1.0), 10, (1, 0.86, 0.70)),
        ("screen", (0, -1.3, 0.35), (0.6, 0.4), 2.0, (0.85, 0.92, 1)),
    ),
)
PEOPLE["guest-dim"] = replace(
    PEOPLE["guest"],
    wall_light=(0.42, 0.40, 0.38),
    lamps=(
        ("window", (-1.2, -0.6, 1.1), (0.8, 1.2), 7.0, (0.80, 0.90, 1)),
        ("screen", (0.3, -1.3, 0.6), (0.8, 0.5), 6.0, (0.88, 0.94, 1)),
        ("lamp", (0.9, 0.7, 1.0), (0.3, 0.6), 4.0, (1, 0.82, 0.62)),
    ),
)
NAME = os.environ.get("PERSON", "iris")
if NAME not in PEOPLE:
    raise SystemExit(f"PERSON={NAME}: no such person. Choose one of {', '.join(PEOPLE)}.")
PERSON = PEOPLE[NAME]
