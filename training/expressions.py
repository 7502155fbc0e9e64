# SPDX-License-Identifier: MPL-2.0
"""Expressions that clips show, as data: render.py renders each at its full strength."""

from dataclasses import dataclass

FACE_BOX = (496, 96, 288, 368)  # x, y, width, height


def both(**weights):
    """The same weight for the left and the right side."""
    return {name + side: weight for name, weight in weights.items() for side in ("Left", "Right")}


@dataclass(frozen=True)
class Expression:
    shapes: dict  # {face shape: weight}, added to the resting face
    eyes: tuple = (0.0, 0.0)  # degrees that the eyes turn, to her left and up
    height: int = 208  # rows of FACE_BOX that it changes; these end above the mouth, which keeps every pixel of the still


EXPRESSIONS = {
    "brows": Expression({"browInnerUp": 1.3} | both(browOuterUp=1.3, eyeWide=0.5)),
    # More of eyeSquint would push the eyeballs through the lower lids.
    "smile": Expression(
        both(mouthSmile=0.65, mouthDimple=0.2, cheekSquint=0.5, eyeSquint=0.1),
        height=FACE_BOX[3],
    ),
    "aside": Expression(
        both(eyeLookUp=0.9, eyeWide=0.4, browOuterUp=0.3)
        | {"eyeLookOutLeft": 0.6, "eyeLookInRight": 0.6, "browInnerUp": 0.3},
        eyes=(17.0, 13.0),
    ),
}
