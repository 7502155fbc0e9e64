# SPDX-License-Identifier: MPL-2.0
"""Finds the face in each frame of a folder and writes SyncTalk_2D's landmark files: landmarks.py FRAMES OUT FIRST COUNT

Reads FRAMES/FIRST.jpg to COUNT-1, writes OUT/N.lms (110 lines "x y") where there is exactly one face, and prints a line of
JSON a frame. Always there: "frame", "faces" (how many were found), and "picture", the frame in 16 x 9 pixels. Where a file
was written:

    left, right, top   of the face's square, in pixels
    yaw                how far the head is turned aside, in degrees
    opening            distance between the lips, as a share of that between the outer corners of the eyes
    sharpness          variance of the Laplacian of the face in 128 x 128 grey pixels
    mouth              the lower half of the face in 16 x 12 pixels, turned and scaled by eyes and nose

Thumbnails are RGB, in hexadecimal. What they mean for a frame is for the program that reads them to say.
"""

import json
import sys
from pathlib import Path

import cv2
import numpy as np

# Numbers of MediaPipe's 468 mesh points. "Left" and "right" are those of the picture.
#
# SyncTalk_2D's own detector gives 110 points, of which the method uses three: 1 and 31 (the face's edges at the height
# of the ears) and 52 (between the eyes). Those are chosen with care. The others follow the order of the 98-point WFLW
# layout, which that detector's begins like, and are an approximation for tools that draw them.
LEFT_EDGE, RIGHT_EDGE, BETWEEN_THE_EYES = 234, 454, 168
LEFT_TEMPLE, RIGHT_TEMPLE = 127, 356
JAW = [LEFT_EDGE, 93, 132, 58, 172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397, 288, 361, 323, RIGHT_EDGE]
LEFT_BROW = [70, 63, 105, 66, 107, 55, 65, 52, 53]
RIGHT_BROW = [336, 296, 334, 293, 300, 283, 282, 295, 285]
NOSE = [8, BETWEEN_THE_EYES, 195, 4, 98, 97, 2, 326, 327]
LEFT_EYE = [33, 160, 159, 158, 133, 153, 145, 163]
RIGHT_EYE = [362, 385, 386, 387, 263, 390, 374, 380]
OUTER_LIPS = [61, 40, 37, 0, 267, 270, 291, 321, 314, 17, 84, 91]
INNER_LIPS = [78, 81, 13, 311, 308, 402, 14, 178]
# Pupils (the middle of the lids), then cheeks and forehead for the points beyond the 98.
REST = [159, 386, 50, 280, 101, 330, 205, 425, 103, 332, 67, 297, 151, 10]
# What a closed or open mouth does not move: outer corners of the eyes, and where the nose meets the lip.
EYES, NOSE_BASE = (33, 263), 2
# The middle of the lips, inside.
UPPER_LIP, LOWER_LIP = 13, 14

PICTURE, MOUTH, FACE = (16, 9), (16, 12), (128, 128)  # sizes of thumbnails: width, height
# Where the two eyes and the base of the nose are in the thumbnail of the mouth, of which the eyes lie above it.
ANCHORS = np.float32([[2, -8], [14, -8], [8, 1]])


def along(points, count):
    """Returns `count` points at equal distances along a line of points, both ends among them."""
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    at = np.concatenate([[0], np.cumsum(steps)])
    wanted = np.linspace(0, at[-1], count)
    return np.stack([np.interp(wanted, at, points[:, axis]) for axis in (0, 1)], axis=1)


def layout(mesh):
    """Returns the 110 points of a mesh in the picture's plane."""
    mesh = mesh[:, :2]
    jaw = [mesh[[LEFT_TEMPLE]], along(mesh[JAW], 31), mesh[[RIGHT_TEMPLE]]]
    others = [LEFT_BROW, RIGHT_BROW, NOSE, LEFT_EYE, RIGHT_EYE, OUTER_LIPS, INNER_LIPS, REST]
    points = np.concatenate([*jaw, *(mesh[part] for part in others)])
    assert points.shape == (110, 2), points.shape
    return points


def distance(mesh, one, other):
    return float(np.linalg.norm(mesh[one] - mesh[other]))


def thumbnail(rgb, size):
    return cv2.resize(rgb, size, interpolation=cv2.INTER_AREA).tobytes().hex()


def described(mesh, rgb):
    """Returns what the report says of a face beside its square."""
    points = np.float32(mesh[[*EYES, NOSE_BASE], :2])
    # Four times as large, then averaged: warping alone would pick single pixels.
    larger = tuple(4 * side for side in MOUTH)
    mouth = cv2.warpAffine(rgb, cv2.getAffineTransform(points, 4 * ANCHORS), larger, borderMode=cv2.BORDER_REPLICATE)
    (left, top), (right, bottom) = np.clip(mesh[:, :2].min(0), 0, None).astype(int), mesh[:, :2].max(0).astype(int)
    face = rgb[top : bottom + 1, left : right + 1]
    sharpness = 0.0
    if face.size:
        grey = cv2.resize(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY), FACE, interpolation=cv2.INTER_AREA)
        sharpness = float(cv2.Laplacian(grey, cv2.CV_64F).var())
    across = mesh[RIGHT_EDGE] - mesh[LEFT_EDGE]
    return {
        "yaw": round(float(np.degrees(np.arctan2(across[2], across[0]))), 1),
        "opening": round(distance(mesh, UPPER_LIP, LOWER_LIP) / max(distance(mesh, *EYES), 1e-6), 4),
        "sharpness": round(sharpness, 1),
        "mouth": thumbnail(mouth, MOUTH),
    }


def main():
    frames, out, first, count = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    # Near faces first; those that are small in the picture need the other detector.
    near, far = FaceDetector(), FaceDetector(far=True)
    follow = FaceMesh()
    for n in range(first, count):
        rgb = cv2.cvtColor(cv2.imread(str(frames / f"{n}.jpg")), cv2.COLOR_BGR2RGB)
        faces = near.find(rgb) or far.find(rgb)
        report = {"frame": n, "faces": len(faces), "picture": thumbnail(rgb, PICTURE)}
        if len(faces) == 1:
            mesh = follow.find(rgb, faces[0])
            if mesh is None:  # It was followed to where it is no more.
                mesh = follow.find(rgb, faces[0])
            if mesh is None:
                report["faces"] = 0
            else:
                points = np.floor(layout(mesh)).astype(int)
                (out / f"{n}.lms").write_text("".join(f"{x} {y}\n" for x, y in points))
                report |= {"left": int(points[1, 0]), "right": int(points[31, 0]), "top": int(points[52, 1])}
                report |= described(mesh, rgb)
        print(json.dumps(report), flush=True)


main()
