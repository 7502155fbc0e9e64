# SPDX-License-Identifier: MPL-2.0
"""Avatar folders of every layout, read for the reference."""

import csv
import json
import tomllib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

FPS = 25
"""Frames a second of every avatar."""

Rect = tuple[int, int, int, int]
"""x, y, width, height."""


@dataclass(frozen=True)
class Avatar:
    """Where everything of an avatar lies, whichever the layout of its folder."""

    frames: list[Path]
    rects: list[Rect]
    audio_encoder: Path | None
    """None for generators that hear the mel spectrogram itself."""
    generator: Path
    faces: list[Path] | None = None
    """Ready-made network inputs (face, masked face), one per frame."""
    masked: list[Path] | None = None
    parsing: list[Path] | None = None
    """Pictures that say by colour where nothing may be painted, one per frame."""
    alpha: list[Path] | None = None
    """Grey pictures that say how opaque each pixel is, one per frame; the frames themselves are opaque then."""
    background: Path | None = None
    """What such frames show behind the person."""
    style: str | None = None
    """None: the one that goes with what the generator hears."""
    border: int | None = None
    """None, as for the paste: the style's."""
    paste: str | None = None
    context: str = "window"
    windows: str = "mel-frames"
    """Where mel windows may start: a key of features.GRIDS."""
    ping_pong: bool = True
    """Forward and backward for ever; otherwise forward once, then the last frame is held."""
    first_frame: int = 0

    def picture_index(self, frame: int) -> int:
        """Returns which avatar frame is shown as the given video frame."""
        last = len(self.frames) - 1
        frame += self.first_frame
        if not self.ping_pong:
            return min(frame, last)
        if last == 0:
            return 0
        position = frame % (2 * last)
        return min(position, 2 * last - position)


def load_avatar(folder: Path) -> Avatar:
    """Reads an avatar folder of any of the three layouts."""
    if (folder / "avatar.toml").exists():
        return load_own(folder)
    if (folder / "cache" / "crop_rectangles.json").exists():
        return load_digital_clone(folder)
    if (folder / "landmarks").is_dir():
        return load_synctalk(folder)
    raise ValueError(f"{folder}: neither avatar.toml, cache/crop_rectangles.json nor landmarks/ is there")


def numbered(folder: Path, first: int) -> list[Path]:
    """Returns the pictures first, first + 1, ... of a folder, as far as they go."""
    found = {int(p.stem): p for p in folder.iterdir() if p.suffix in (".jpg", ".png", ".webp") and p.stem.isdigit()}
    pictures = []
    while first + len(pictures) in found:
        pictures.append(found[first + len(pictures)])
    if not pictures:
        raise ValueError(f"{folder}: no picture {first}.jpg, .png or .webp")
    return pictures


def load_own(folder: Path) -> Avatar:
    """Reads the project's own layout, described by avatar.toml."""
    description = tomllib.loads((folder / "avatar.toml").read_text(encoding="utf-8"))
    if description["format"] != 1:
        raise ValueError(f"{folder}: format {description['format']} is unknown")
    if description.get("fps", FPS) != FPS:
        raise ValueError(f"{folder}: only {FPS} fps is supported")
    frames = numbered(folder / description["frames"], 0)
    if "crop" in description:
        rects = [tuple(description["crop"])] * len(frames)
    else:
        rects = read_crops(folder / description["crops"], len(frames))
    face, models = description.get("face", {}), description["models"]

    def pictures(table: dict, key: str) -> list[Path] | None:
        return numbered(folder / table[key], 0) if key in table else None

    return Avatar(
        frames=frames,
        rects=rects,
        audio_encoder=folder / models["audio_encoder"] if "audio_encoder" in models else None,
        generator=folder / models["generator"],
        faces=pictures(face, "faces"),
        masked=pictures(face, "masked"),
        parsing=pictures(description, "parsing"),
        alpha=pictures(description, "alpha"),
        background=folder / description["background"] if "background" in description else None,
        style=face.get("style"),
        border=face.get("border"),
        paste=face.get("paste"),
        context=description.get("audio", {}).get("context", "window"),
        windows=description.get("audio", {}).get("windows", "mel-frames"),
        first_frame=description.get("first_frame", 0),
    )


def read_crops(path: Path, count: int) -> list[Rect]:
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    rects = {int(r["frame"]): (int(r["x"]), int(r["y"]), int(r["width"]), int(r["height"])) for r in rows}
    return [rects[frame] for frame in range(count)]


def load_synctalk(folder: Path) -> Avatar:
    """Reads a SyncTalk_2D dataset folder."""
    frames = numbered(folder / "full_body_img", 0)
    return Avatar(
        frames=frames,
        rects=[landmark_rect(folder / "landmarks" / f"{frame.stem}.lms") for frame in frames],
        audio_encoder=folder / "models" / "audio_encoder.onnx",
        generator=folder / "models" / "generator.onnx",
        parsing=numbered(folder / "parsing", 0) if (folder / "parsing").is_dir() else None,
        first_frame=min(1, len(frames) - 1),  # the public script steps before it shows the first frame
    )


def landmark_rect(path: Path) -> Rect:
    """Returns the square between the ears, from the brows down. Coordinates are truncated before anything else."""
    points = np.loadtxt(path).astype(np.int32)
    x, y, side = points[1][0], points[52][1], points[31][0] - points[1][0]
    return int(x), int(y), int(side), int(side)


def load_digital_clone(folder: Path) -> Avatar:
    """Reads a digital-clone package; its ready-made network inputs are used as they are."""
    frames = numbered(folder / "full_body_img", 1)
    rectangles = json.loads((folder / "cache" / "crop_rectangles.json").read_text(encoding="utf-8"))
    corners = [rectangles[str(i)]["rect"] for i in range(len(frames))]
    ready = (folder / "rois_320").is_dir() and (folder / "model_inputs").is_dir()
    return Avatar(
        frames=frames,
        rects=[(x1, y1, x2 - x1, y2 - y1) for x1, y1, x2, y2 in corners],
        audio_encoder=folder / "models" / "audio_encoder.onnx",
        generator=folder / "models" / "generator.onnx",
        faces=numbered(folder / "rois_320", 1) if ready else None,
        masked=numbered(folder / "model_inputs", 1) if ready else None,
        style="synctalk",
        ping_pong=False,
    )
