# SPDX-License-Identifier: MPL-2.0
"""Pictures: what the generator is shown, how what it draws is put back, and what is behind."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from avatar_folders import Rect

# The processor maker's primitives inside some builds of OpenCV round one pixel in 25 differently. OpenCV's own code
# gives the same picture on every machine.
if hasattr(cv2, "ipp"):
    cv2.ipp.setUseIPP(False)


def read_picture(path: Path) -> np.ndarray:
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        raise ValueError(f"{path}: not a picture that OpenCV can read")
    return picture


def read_frame(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Returns a picture's colours as they are stored, and its alpha channel if it has one."""
    if path.suffix != ".jpg":
        picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if picture is not None and picture.ndim == 3 and picture.shape[2] == 4 and picture.dtype == np.uint8:
            return picture[..., :3].copy(), picture[..., 3]
    return read_picture(path), None


def read_mask(path: Path) -> np.ndarray:
    picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if picture is None or picture.ndim != 2 or picture.dtype != np.uint8:
        raise ValueError(f"{path}: not a grey picture of 8 bits")
    return picture


def resize(image: np.ndarray, width: int, height: int, interpolation: int = cv2.INTER_CUBIC) -> np.ndarray:
    return cv2.resize(image, (width, height), interpolation=interpolation)


def cut(frame: np.ndarray, rect: Rect) -> np.ndarray:
    x, y, width, height = rect
    if x < 0 or y < 0 or width < 1 or height < 1 or x + width > frame.shape[1] or y + height > frame.shape[0]:
        raise ValueError(f"crop {rect} is not inside a frame of {frame.shape[1]} x {frame.shape[0]}")
    return frame[y : y + height, x : x + width]


def face_crop(
    frame: np.ndarray, rect: Rect, size: int, border: int, interpolation: int = cv2.INTER_CUBIC
) -> np.ndarray:
    """Returns the face at the network's size, without the border that surrounds it."""
    whole = size + 2 * border
    return resize(cut(frame, rect), whole, whole, interpolation)[border : border + size, border : border + size]


def hide_mouth(face: np.ndarray) -> np.ndarray:
    """Returns the face with the mouth rectangle blacked: x, y, width, height, as SyncTalk_2D calls OpenCV."""
    size = face.shape[0]
    return cv2.rectangle(face.copy(), (5, 5, size - 10, size - 15), (0, 0, 0), -1)


def hide_lower_half(face: np.ndarray) -> np.ndarray:
    """Returns the face with its lower half blacked, as Wav2Lip does."""
    masked = face.copy()
    masked[face.shape[0] // 2 :] = 0
    return masked


def network_input(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Returns 6 x S x S: the planes B, G, R of two pictures, each value / 255. SyncTalk_2D's have the face first."""
    planes = np.concatenate([first.transpose(2, 0, 1), second.transpose(2, 0, 1)])
    return planes.astype(np.float32) / 255.0


def to_picture(output: np.ndarray) -> np.ndarray:
    """Returns the network's output as an 8 bit picture. It truncates, as the public scripts do."""
    return np.clip(np.nan_to_num(output) * 255, 0, 255).astype(np.uint8).transpose(1, 2, 0)


def paste_inner(
    frame: np.ndarray, rect: Rect, face: np.ndarray, border: int, interpolation: int = cv2.INTER_CUBIC
) -> None:
    """Puts the drawn face into the resized crop, all but its border, and that crop back over the frame."""
    x, y, width, height = rect
    size = face.shape[0]
    crop = resize(cut(frame, rect), size + 2 * border, size + 2 * border, interpolation)
    crop[border : border + size, border : border + size] = face
    frame[y : y + height, x : x + width] = resize(crop, width, height, interpolation)


def paste_full(
    frame: np.ndarray, rect: Rect, face: np.ndarray, border: int, interpolation: int = cv2.INTER_CUBIC
) -> None:
    """Stretches the drawn face over the whole rectangle, as the digital-clone and Wav2Lip scripts do."""
    x, y, width, height = rect
    frame[y : y + height, x : x + width] = resize(face, width, height, interpolation)


PASTES = {"inner": paste_inner, "full": paste_full}

KEPT_COLOURS = ((0, 0, 255), (255, 255, 255))
"""Colours of a parsing picture, BGR, under which nothing is painted: the body and the background."""


def keep_unpainted(frame: np.ndarray, original: np.ndarray, rect: Rect, parsing: np.ndarray) -> None:
    """Puts the original's pixels back where the parsing picture has exactly one of the kept colours."""
    x, y, width, height = rect
    region = cut(parsing, rect)
    kept = np.zeros((height, width), bool)
    for colour in KEPT_COLOURS:
        kept |= (region == colour).all(axis=2)
    frame[y : y + height, x : x + width][kept] = cut(original, rect)[kept]


Colour = tuple[int, int, int]
"""Blue, green, red."""


def blend(colours: np.ndarray, alpha: np.ndarray, background: Colour) -> np.ndarray:
    """Returns H x W x 3 colours laid over a background by their H x W alpha, rounded in whole numbers."""
    weight = alpha[..., np.newaxis].astype(np.int64)
    return ((colours * weight + np.array(background) * (255 - weight) + 127) // 255).astype(np.uint8)


FAINTEST = 16
"""Below this alpha no colour can be told from the noise, and the pixel is left as it is."""


def take_out(colours: np.ndarray, alpha: np.ndarray, behind: np.ndarray) -> np.ndarray:
    """Returns H x W x 3 colours without the picture behind them, which is mixed in by their H x W alpha."""
    weight = alpha[..., np.newaxis].astype(np.int64)
    share = colours * np.int64(255) - behind * (255 - weight)
    freed = np.clip(np.floor(share / np.maximum(weight, 1) + 0.5), 0, 255).astype(np.uint8)
    return np.where((weight >= FAINTEST) & (weight < 255), freed, colours)


@dataclass(frozen=True)
class Style:
    """How a family of networks wants its pictures made and its faces put back."""

    border: int
    paste: str
    interpolation: int
    hide: Callable[[np.ndarray], np.ndarray]
    masked_first: bool

    def network_input(self, face: np.ndarray, masked: np.ndarray) -> np.ndarray:
        return network_input(masked, face) if self.masked_first else network_input(face, masked)


STYLES = {
    "synctalk": Style(4, "inner", cv2.INTER_CUBIC, hide_mouth, masked_first=False),
    "ultralight": Style(4, "inner", cv2.INTER_LINEAR, hide_mouth, masked_first=False),
    "wav2lip": Style(0, "full", cv2.INTER_LINEAR, hide_lower_half, masked_first=True),
}

STYLE_OF = {"ave": "synctalk", "hubert": "synctalk", "hubert of 8 frames": "ultralight", "mel": "wav2lip"}
"""The style that goes with what a generator hears."""
