# SPDX-License-Identifier: MPL-2.0
"""A fine-knit jumper: offset copies of the torso, cut at the neckline by their shaders.

The neckline is a plane that rises to the nape, where the cloth lies close to the neck, so that the inside
of the collar is not visible.
"""

import face
import numpy as np
from face import NECK, face_centres, faces, points, subdivide, visible
from nodes import plain
from people import PERSON

COLLAR = NECK[2]
SLOPE = 0.62  # of the neckline, towards the nape
FRONT = float(NECK[1] - 0.055)  # where the neck meets the chest, along y
BAND = 0.016  # m, height of the ribbed band at the edge


def outward_normals(selection):
    normals = np.zeros_like(points)
    for corners in faces[selection]:
        corners = corners[corners >= 0]
        a, b, c = points[corners[:3]]
        normals[corners] += np.cross(b - a, c - a)
    return normals / (np.linalg.norm(normals, axis=1, keepdims=True) + 1e-12)


def knit(name, colour, ribs):
    """Cloth with fine relief: rows of stitches, or upright ribs for the band."""
    graph = plain(name, colour, 0.85, specular=0.15, sheen=0.35)
    where = graph.object_coordinates()
    wave = graph.node("ShaderNodeTexWave", wave_type="BANDS", bands_direction="X" if ribs else "Z")
    graph.connect(where, wave.inputs["Vector"])
    wave.inputs["Scale"].default_value = 95 if ribs else 150
    wave.inputs["Distortion"].default_value = 0.6
    height = graph.math("ADD", wave.outputs["Fac"], graph.math("MULTIPLY", graph.noise(2400, 2, where), 0.8))
    graph.bump(height, 0.45 if ribs else 0.22)
    return graph


def below_neckline(graph, drop=0.0):
    """1 below the neckline, 0 above it; `drop` lowers it."""
    split = graph.node("ShaderNodeSeparateXYZ")
    graph.connect(graph.object_coordinates(), split.inputs[0])
    x, y, z = split.outputs
    rise = graph.math("MULTIPLY", graph.math("SUBTRACT", y, FRONT), SLOPE)
    aside = graph.math("MULTIPLY", graph.math("MULTIPLY", x, x), 2.2)
    edge = graph.math("ADD", graph.math("ADD", rise, aside), float(COLLAR + PERSON.neckline - drop))
    return graph.math("LESS_THAN", z, edge)


def add_shell(name, offset, normals, graph, smoothing, thickness):
    torso = visible & (face_centres[:, 2] < COLLAR + 0.06)
    item, _ = face.add_mesh(name, torso, points + normals * offset)
    smooth = item.modifiers.new("smooth", "SMOOTH")
    smooth.factor, smooth.iterations = 0.5, smoothing
    solid = item.modifiers.new("thickness", "SOLIDIFY")
    solid.thickness, solid.offset = thickness, 0
    subdivide(item, 2)
    item.data.materials.append(graph.material)
    return item


def add_jumper():
    normals = outward_normals(visible)
    cloth = knit("jumper", PERSON.clothes, ribs=False)
    cloth.set(Alpha=below_neckline(cloth))
    add_shell("jumper", 0.0055, normals, cloth, 6, 0.002)
    band = knit("band", tuple(0.9 * c for c in PERSON.clothes), ribs=True)
    above = band.math("SUBTRACT", 1.0, below_neckline(band, BAND))
    band.set(Alpha=band.math("MULTIPLY", below_neckline(band, -0.001), above))
    add_shell("band", 0.0072, normals, band, 6, 0.003)
