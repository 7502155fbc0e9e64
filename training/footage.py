# SPDX-License-Identifier: MPL-2.0
"""Training pictures from filmed footage: a folder in the layout of SyncTalk_2D.

`full_body_img/N.jpg`, `landmarks/N.lms` (N from 0, 25 per second) and `aud.wav`, as `lipsync new` makes it from a
video; frames that `frames.csv` (frame,use,reason) says are not to be used are left out.

In a film the mouth is already moving.  What the painter shall repaint is a mouth at rest, as in the frames of the
loop; so each frame gets its *reference*: the same frame with the lips of another frame of the film, one in which they
are closed, the head is held alike and the light is the same.  That mouth is warped into place by what moves above it,
and fitted to the light around it.  So the painter sees the person's own skin, and keeps what it need not change.
"""

import csv
import wave
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import cv2
import mel
import numpy as np
from common import NET_MARGIN, NET_SIDE, read_wav, resample

HELD_SHARE = 0.08  # share of the film that is held out, in stretches spread over it
HELD_FRAMES = 50  # of a stretch
APART = 12  # frames on both sides of a stretch that are not trained on either
MOST_FRAMES = 7500  # kept in memory: five minutes, spread over a longer film
SCENE = 500  # frames that are kept together of a longer film
LEAST_FRAMES = 250
MARGIN = 12  # pixels around the box that are kept, so that warping it never samples outside
MOST_WIDTH, MOST_HEIGHT = 256, 208  # of the box: what the painter can paint at 0.55 GMAC
GROW = 14  # pixels around lips, chin and jaw that speech moves as well
SOFT = 6.0  # pixels: softness of the edge of the hole
REFERENCES = 2  # closed mouths for each frame
CLOSED_SHARE = 0.04  # at least this share of the frames counts as closed
SILENT = 4  # frames before and after a closed mouth in which it is closed as well, if possible
CLOSED = 2.5  # pixels of the network's picture by which lips may be farther apart than when they are shut
THUMB = 2  # pixels of the network's picture in one of a thumbnail
THUMB_TOP = -96  # of the network's picture: thumbnails show the eyes as well

# Numbers of landmarks.
LOWER_JAW = slice(8, 25)
NOSE_BASE = (55, 56, 57, 58, 59)
OUTER_LIPS = slice(76, 88)
INNER_LIPS = ((89, 95), (90, 94), (91, 93))  # upper, lower


class Unusable(SystemExit):
    """The film cannot be used; the message tells a user why, and the remedy."""


def face_rectangle(landmarks):
    """(x, y, side) of the face square from a file of 110 landmarks, as SyncTalk_2D crops it."""
    points = read_landmarks(landmarks)
    left, right, top = int(points[1, 0]), int(points[31, 0]), int(points[52, 1])
    return left, top, right - left


def read_landmarks(path):
    try:
        points = np.array([line.split() for line in path.read_text().splitlines()], float)
    except (OSError, ValueError):
        points = np.zeros(0)
    if points.shape != (110, 2):
        raise Unusable(f"{path}: does not hold 110 lines of two numbers. Make the data set of the film again")
    return points


def network_picture(frame, rectangle):
    """The face as the network gets it, 320 x 320."""
    x, y, side = rectangle
    crop = frame[max(y, 0) : y + side, max(x, 0) : x + side]
    whole = NET_SIDE + 2 * NET_MARGIN
    crop = cv2.resize(crop, (whole, whole), interpolation=cv2.INTER_CUBIC)
    return crop[NET_MARGIN:-NET_MARGIN, NET_MARGIN:-NET_MARGIN]


def in_network(points, rectangle):
    """Points of the frame in the network's picture."""
    x, y, side = rectangle
    return (points + 0.5 - [x, y]) * (NET_SIDE + 2 * NET_MARGIN) / side - NET_MARGIN - 0.5


def thumbnail(frame, rectangle, bottom):
    """Grey picture of the face above `bottom` (in the network's picture), at half its scale."""
    x, y, side = rectangle
    scale = side / (NET_SIDE + 2 * NET_MARGIN)
    size = NET_SIDE // THUMB, (bottom - THUMB_TOP) // THUMB
    left, top = (NET_MARGIN + THUMB / 2) * scale + x - 0.5, (THUMB_TOP + NET_MARGIN + THUMB / 2) * scale + y - 0.5
    to_frame = np.array([[THUMB * scale, 0, left], [0, THUMB * scale, top]])
    grey = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)
    return cv2.warpAffine(grey, to_frame, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE)


def opening(points):
    """Distance of the lips in landmarks [..., 110, 2] (mean of three places)."""
    return np.mean([points[..., lower, 1] - points[..., upper, 1] for upper, lower in INNER_LIPS], axis=0)


def hole_of(points, box):
    """What speech moves: 1 inside lips, chin and jaw of a frame (landmarks in the network's picture), [height, width]."""
    left, top, width, height = box
    mask = np.zeros((height, width), np.uint8)
    outline = np.concatenate([points[LOWER_JAW], points[list(NOSE_BASE)], points[OUTER_LIPS]])
    hull = cv2.convexHull((outline - [left, top]).round().astype(np.int32))
    cv2.fillConvexPoly(mask, hull, 1)
    mask = cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * GROW + 1, 2 * GROW + 1)))
    edge = 3 * int(SOFT) // 2 + 4  # the border of the box is never changed
    mask[:edge] = mask[-edge:] = 0
    mask[:, :edge] = mask[:, -edge:] = 0
    return cv2.GaussianBlur(mask.astype(np.float32), (0, 0), SOFT)


def box_around(points):
    """(x, y, width, height) in the network's picture: what speech moves in nearly all frames, as far as it can be painted."""
    lips = points[:, OUTER_LIPS]
    chin = np.percentile(points[:, LOWER_JAW, 1].max(1), 98) + GROW + 2 * SOFT
    top = np.percentile(points[:, 57, 1], 2) - GROW - 2 * SOFT
    height = int(np.clip(-(-(chin - top) // 16) * 16, 112, MOST_HEIGHT))
    middle = np.median(lips[..., 0])
    reach = np.percentile(np.abs(points[:, LOWER_JAW, 0] - middle), 98) + GROW + 2 * SOFT
    width = int(np.clip(-(-2 * reach // 16) * 16, 160, MOST_WIDTH))
    left = int(np.clip(round(middle - width / 2), MARGIN, NET_SIDE - MARGIN - width))
    # Where not all fits, the lips matter most.
    top = min(top, np.percentile(lips[..., 1], 1) - 2 * SOFT - 8) if height < MOST_HEIGHT else max(top, chin - height)
    return left, int(np.clip(round(top), MARGIN, NET_SIDE - MARGIN - height)), width, height


def held_out(count):
    """Which of so many frames are held out, and which may be trained on: two arrays of booleans."""
    length = min(HELD_FRAMES, count // 12)
    stretches = max(1, round(HELD_SHARE * count / length))
    held, learn = np.zeros(count, bool), np.ones(count, bool)
    for number in range(stretches):
        start = int((number + 0.6) * count / stretches) - length // 2
        held[start : start + length] = True
        learn[max(0, start - APART) : start + length + APART] = False
    return held, learn


class Match(NamedTuple):
    """A closed mouth for a frame: the frame that it is taken from, and where each pixel comes from (affine, [2, 3])."""

    source: int
    place: np.ndarray


class Matcher:
    """Finds how a face has moved between two thumbnails, from what is above the mouth."""

    STEP = 4

    def __init__(self, shape, bottom):
        self.rows, self.columns = np.mgrid[: shape[0] : self.STEP, : shape[1] : self.STEP]
        at = np.stack([self.columns.ravel(), self.rows.ravel()], 1) + 0.5
        self.at = at * THUMB - 0.5 + [0, THUMB_TOP]  # in the network's picture
        self.basis = np.concatenate([self.at / NET_SIDE, np.ones((len(at), 1))], 1)

    def __call__(self, frame, source):
        finder = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
        flow = finder.calc(frame, source, None)[:: self.STEP, :: self.STEP].reshape(-1, 2) * THUMB
        # Skin without texture says little about where it is.
        dx, dy = cv2.Sobel(frame, cv2.CV_32F, 1, 0), cv2.Sobel(frame, cv2.CV_32F, 0, 1)
        detail = cv2.GaussianBlur(dx * dx + dy * dy, (0, 0), 3)[:: self.STEP, :: self.STEP].ravel()
        sure = detail / (detail + np.median(detail) * 4)
        weight = sure
        for _ in range(4):  # eyelids and brows that move on their own lose their weight
            weighted = self.basis * weight[:, None]
            solution = np.linalg.lstsq(weighted.T @ self.basis, weighted.T @ flow, rcond=None)[0]
            miss = np.linalg.norm(flow - self.basis @ solution, axis=1)
            weight = sure / (1 + (miss / max(0.3, np.median(miss))) ** 2) ** 2
        place = np.concatenate([solution[:2].T / NET_SIDE + np.eye(2), solution[2:].T], 1)
        return place.astype(np.float32)


class Footage:
    """The frames of a film in memory, each with the parts that training needs.

    report(done, of): called while frames are read and matched
    Raises Unusable with a sentence for the user.
    """

    def __init__(self, folder, report=lambda done, of: None, threads=2):
        self.folder = folder
        try:
            audio, rate = read_wav(folder / "aud.wav")
        except (EOFError, ValueError, wave.Error):
            raise Unusable(f"{folder}/aud.wav: is no 16-bit WAV file. Make the data set of the film again") from None
        self.audio = resample(audio, rate, mel.SAMPLE_RATE)
        self.numbers = self._usable()
        count = len(self.numbers)
        if count < LEAST_FRAMES:
            raise Unusable(
                f"{folder}: {count} frames with sound can be used; at least {LEAST_FRAMES} (10 s) are needed, "
                "and three minutes are good. Film longer"
            )
        total = 2 * count
        self.marks = np.stack([read_landmarks(folder / "landmarks" / f"{n}.lms") for n in self.numbers])
        self.rectangles = [(int(p[1, 0]), int(p[52, 1]), int(p[31, 0]) - int(p[1, 0])) for p in self.marks]
        self.points = np.stack([in_network(p, r) for p, r in zip(self.marks, self.rectangles)])
        self.opening = opening(self.points)
        self.box = box_around(self.points)
        bottom = int(np.median(self.points[:, 57, 1])) // (4 * THUMB) * 4 * THUMB
        left, top, width, height = np.array(self.box) + np.array([-1, -1, 2, 2]) * MARGIN
        self.boxes = np.empty((count, height, width, 3), np.uint8)
        self.thumbs = np.empty((count, (bottom - THUMB_TOP) // THUMB, NET_SIDE // THUMB), np.uint8)

        def read(at):
            frame = cv2.imread(str(folder / "full_body_img" / f"{self.numbers[at]}.jpg"))
            if frame is None:
                path = folder / "full_body_img" / f"{self.numbers[at]}.jpg"
                raise Unusable(f"{path}: cannot be read. Make the data set of the film again")
            self.boxes[at] = network_picture(frame, self.rectangles[at])[top : top + height, left : left + width]
            self.thumbs[at] = thumbnail(frame, self.rectangles[at], bottom)

        with ThreadPoolExecutor(threads) as pool:
            for done, _ in enumerate(pool.map(read, range(count))):
                report(done, total)
            self.held, self.learn = held_out(count)
            self._find_closed()
            matcher = Matcher(self.thumbs.shape[1:], bottom)
            candidates = self._alike()

            def match(at):
                return [Match(int(source), matcher(self.thumbs[at], self.thumbs[source])) for source in candidates[at]]

            self.matches = []
            for done, found in enumerate(pool.map(match, range(count))):
                self.matches.append(found)
                report(count + done, total)
        self.x, self.y = (grid.astype(np.float32) for grid in np.meshgrid(np.arange(self.box[2]), np.arange(self.box[3])))

    def _usable(self):
        """Numbers of the frames that have landmarks and sound and that frames.csv does not exclude."""
        folder = self.folder
        numbers = sorted(int(path.stem) for path in (folder / "full_body_img").glob("*.jpg"))
        sounding = len(self.audio) * mel.FPS // mel.SAMPLE_RATE
        table = folder / "frames.csv"
        refused = set()
        if table.exists():
            with table.open() as file:
                refused = {int(row["frame"]) for row in csv.DictReader(file) if row["use"].strip() != "1"}
        numbers = [n for n in numbers if n < sounding and n not in refused and (folder / "landmarks" / f"{n}.lms").exists()]
        numbers = np.array(numbers, int)
        if len(numbers) > MOST_FRAMES:  # scenes spread over the film, in which neighbours stay neighbours
            scenes = np.array_split(numbers, -(-len(numbers) // SCENE))
            chosen = np.linspace(0, len(scenes) - 1, MOST_FRAMES // SCENE).round().astype(int)
            numbers = np.concatenate([scenes[at] for at in chosen])
        return numbers

    def _find_closed(self):
        """Which frames show closed lips; `rest` is the landmarks' distance then."""
        smooth = cv2.blur(self.opening[None].astype(np.float32), (3, 1))[0]
        self.rest = float(np.percentile(smooth, 3))
        self.closed = smooth < self.rest + CLOSED
        usable = np.flatnonzero(self.learn)
        least = max(20, int(CLOSED_SHARE * len(usable)))
        # Lips at rest, as in the loop, rather than pressed together for a p.
        for silent in (2 * SILENT, SILENT, 0):
            resting = cv2.erode(self.closed[None].astype(np.uint8), np.ones((1, 2 * silent + 1)))[0] > 0
            if resting[usable].sum() >= least:
                self.sources = usable[resting[usable]]
                return
        self.sources = np.sort(usable[np.argsort(smooth[usable])[:least]])

    def _alike(self):
        """For each frame, the closed mouths whose head and light are most like its own."""
        small = np.stack([cv2.resize(t, (20, 18), interpolation=cv2.INTER_AREA).astype(np.float32).ravel() for t in self.thumbs])
        level = small.mean(1, keepdims=True)
        small = np.concatenate([(small - level) / (small.std(1, keepdims=True) + 4), level / 40], 1)
        sources = self.sources[:: max(1, len(self.sources) // 1500)]
        chosen = []
        norms = (small[sources] ** 2).sum(1)
        for at in range(len(small)):
            distance = norms - 2 * small[sources] @ small[at]
            distance = np.where(np.abs(sources - at) < 2, np.inf, distance)
            chosen.append(sources[np.argsort(distance)[:REFERENCES]])
        return chosen

    def __str__(self):
        return f"{self.learn.sum()} frames to learn, {self.held.sum()} held out, {self.closed.sum()} with closed lips"

    def wanted(self, at):
        return self.boxes[at, MARGIN:-MARGIN, MARGIN:-MARGIN]

    def hole(self, at, source=None):
        """What is exchanged in a frame: where its lips and jaw are, and where those of the source come to lie."""
        mask = hole_of(self.points[at], self.box)
        return mask if source is None else np.maximum(mask, hole_of(self.points[source], self.box))

    def reference(self, at, which=0):
        """The box of a frame with closed lips, uint8 BGR."""
        source, place = self.matches[at][which]
        left, top = self.box[:2]
        x, y = self.x + left, self.y + top
        maps = [place[row, 0] * x + place[row, 1] * y + place[row, 2] + MARGIN - corner for row, corner in ((0, left), (1, top))]
        lips = cv2.remap(self.boxes[source], *maps, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE).astype(np.float32)
        frame = self.wanted(at).astype(np.float32)
        hole = self.hole(at, source)
        return np.clip(fitted(lips, frame, hole) + 0.5, 0, 255).astype(np.uint8)

    def change(self):
        """How much each pixel differs from its reference, [height, width]."""
        some = np.flatnonzero(self.learn & ~self.closed)
        some = some[:: max(1, len(some) // 120)]
        return np.mean([np.abs(self.wanted(at).astype(np.float32) - self.reference(at)).mean(2) for at in some], axis=0)


def fitted(lips, frame, hole):
    """`frame` with `lips` where the hole is, in the light of what surrounds it."""
    size = hole.shape[1] // 4, hole.shape[0] // 4
    around = cv2.resize((1 - hole) ** 2, size, interpolation=cv2.INTER_AREA)[..., None] + 1e-4
    miss = cv2.resize(frame - lips, size, interpolation=cv2.INTER_AREA) * around
    light = sum(cv2.GaussianBlur(miss, (0, 0), s) / s for s in (3, 9, 24))
    light /= sum(cv2.GaussianBlur(around, (0, 0), s) / s for s in (3, 9, 24))[..., None]
    light = cv2.resize(light, hole.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return frame + hole[..., None] * (lips + light - frame)
