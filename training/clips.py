# SPDX-License-Identifier: MPL-2.0
"""The clips of a rendered person, as data: states that last, and gestures that are played once.

Motion is written as keys (frame, value) for each field of motion.Pose, relative to the pose of the first frame of the
idle loop: degrees and pixels.  Between keys it is monotonic, and it stops where it turns round, so keys
are the turning points of a movement.  It also stops at the first and the last key, before and after which
the value is that of the key.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Clip:
    frames: int
    use: str  # idle, listening, thinking, speaking, gesture or emphasis, as in the manifest
    play: str  # once, loop or there-and-back
    motion: dict  # {field of Pose: keys}
    glances: tuple = ()  # the gaze jumps: (first frame, x, y), in pixels
    blinks: tuple = ()  # first frames
    expression: str = ""  # one of expressions.py
    strength: tuple = ()  # its keys, 0 to 1
    mouth: str = "painted"  # or its own


CLIPS = {
    # Her weight moves to the other foot while she breathes faster than in the first loop; two blinks follow each other.
    "idle-2": Clip(
        frames=54,
        use="idle",
        play="there-and-back",
        motion={
            "yaw": ((0, 0), (21, 1.6), (39, 0.5), (53, 0.8)),
            "pitch": ((0, 0), (13, 0.5), (29, -0.3), (43, 0.6), (53, 0.3)),
            "roll": ((0, 0), (25, -1.2), (43, -0.8), (53, -1.0)),
            "sway": ((0, 0), (29, 4.0), (53, 3.2)),
            "breath": ((0, 0), (18, 1.2), (36, -0.3), (53, 1.1)),
        },
        glances=((17, 1.2, 0.2), (33, -0.3, 0.0), (46, 0.0, 0.0)),
        blinks=(13, 21, 43),
    ),
    "listening": Clip(
        frames=46,
        use="listening",
        play="there-and-back",
        motion={
            "yaw": ((0, 0), (20, 0.5), (45, 0.3)),
            "pitch": ((0, 0), (13, 0.1), (18, 1.7), (24, 0.2), (29, 1.0), (36, 0.2), (45, 0.4)),
            "roll": ((0, 0), (22, 1.3), (45, 1.5)),
            "sway": ((0, 0), (24, -1.5), (45, -1.8)),
            "breath": ((0, 0), (24, 0.9), (45, -0.2)),
        },
        blinks=(37,),
        expression="brows",
        strength=((4, 0), (16, 0.2)),
    ),
    "thinking": Clip(
        frames=40,
        use="thinking",
        play="there-and-back",
        motion={
            "yaw": ((0, 0), (3, 0), (16, 2.5), (30, 2.9), (39, 2.7)),
            "pitch": ((0, 0), (3, 0), (15, -1.6), (29, -2.0), (39, -1.8)),
            "roll": ((0, 0), (5, 0), (20, -1.0), (39, -1.3)),
            "sway": ((0, 0), (20, 2.0), (39, 2.4)),
            "breath": ((0, 0), (22, 1.1), (39, 0.2)),
        },
        expression="aside",
        strength=((5, 0), (6, 1)),  # while the eyes are closed: people blink when they look elsewhere
        blinks=(3,),
    ),
    "nod": Clip(
        frames=19,
        use="gesture",
        play="once",
        motion={
            "pitch": ((0, 0), (3, -0.7), (7, 3.2), (10, 0.5), (13, 1.9), (17, 0)),
            "breath": ((0, 0), (7, -1.0), (17, 0)),
        },
        blinks=(4,),
    ),
    "shake": Clip(
        frames=25,
        use="gesture",
        play="once",
        motion={
            "yaw": ((0, 0), (5, 2.9), (10, -2.0), (15, 2.2), (20, -0.9), (24, 0)),
            "roll": ((0, 0), (5, -0.4), (10, 0.4), (15, -0.3), (24, 0)),
            "pitch": ((0, 0), (8, 0.5), (18, 0.4), (23, 0)),
            "sway": ((0, 0), (6, -1.2), (11, 1.0), (16, -0.9), (24, 0)),
        },
        blinks=(2,),
    ),
    "brows": Clip(
        frames=17,
        use="gesture",
        play="once",
        motion={"pitch": ((0, 0), (5, -1.0), (9, -0.9), (15, 0)), "breath": ((0, 0), (6, 0.6), (15, 0))},
        expression="brows",
        strength=((0, 0), (4, 1), (9, 1), (15, 0)),
    ),
    "greet": Clip(
        frames=22,
        use="gesture",
        play="once",
        motion={
            "pitch": ((0, 0), (5, -1.4), (8, -1.3), (13, 2.6), (20, 0)),
            "roll": ((0, 0), (12, 0.8), (20, 0)),
            "breath": ((0, 0), (5, 0.7), (13, -0.6), (20, 0)),
        },
        expression="brows",
        strength=((0, 0), (4, 0.8), (8, 0.8), (13, 0)),
        blinks=(11,),
    ),
    # The next two underline a stressed word while she speaks: small, and over before the next.
    "stress-nod": Clip(
        frames=13,
        use="emphasis",
        play="once",
        motion={"pitch": ((0, 0), (2, -0.3), (5, 1.5), (11, 0)), "breath": ((0, 0), (5, -0.4), (11, 0))},
    ),
    "stress-brows": Clip(
        frames=14,
        use="emphasis",
        play="once",
        motion={"pitch": ((0, 0), (4, -0.5), (7, -0.4), (12, 0))},
        expression="brows",
        strength=((0, 0), (4, 0.5), (7, 0.5), (12, 0)),
    ),
    "smile": Clip(
        frames=30,
        use="gesture",
        play="once",
        motion={
            "pitch": ((0, 0), (10, 0.9), (17, 0.7), (27, 0)),
            "roll": ((0, 0), (11, -1.1), (17, -1.0), (27, 0)),
            "sway": ((0, 0), (13, 1.2), (27, 0)),
        },
        expression="smile",
        strength=((0, 0), (8, 1), (17, 1), (28, 0)),
        mouth="own",
    ),
}


def manifest(avatar):
    """The tables of avatar.toml for those clips that are in the avatar's folder."""
    tables = []
    for name, clip in CLIPS.items():
        folder = f"clips/{name}"
        if (avatar / folder / "crops.csv").exists():
            keys = {"frames": f"{folder}/frames", "crops": f"{folder}/crops.csv", "alpha": f"{folder}/alpha"}
            keys |= {"use": clip.use, "play": clip.play}
            keys |= {"mouth": clip.mouth} if clip.mouth != "painted" else {}
            tables.append("\n".join([f"\n[clips.{name}]", *(f'{key} = "{value}"' for key, value in keys.items()), ""]))
    return "".join(tables)
