# SPDX-License-Identifier: MPL-2.0
"""A blazer over a plain top: the whole body, inflated and made anew as one surface that bridges the armpits, with folds.

As with the jumper (clothes.py), what is not cloth is cut away by the shaders.
"""

import bpy
import clothes
import face
import numpy as np
from face import faces, link, parts, points, subdivide
from mathutils import Vector, noise
from nodes import plain
from people import PERSON

LOW, HIGH = 0.30, clothes.COLLAR + 0.05  # m, the part that is kept
CELL = 0.006  # m, of the new surface
BUTTON, THROAT = 0.383, 0.528  # m, heights between which the blazer is open
RIDGE = -0.018  # m, depth from which the cloth is the back's
NAPE = 0.040  # m by which the blazer's back is lower than the top
BESIDE_NECK = 0.085  # m from the middle, from which the back is as high as the front
NOTCH = 0.470  # m, height at which collar and lapel meet
ARMPIT = np.array([0.150, -0.03, 0.425])


def draped(gap, smoothing):
    """Vertices and faces around the body at a distance that bridges what is narrower."""
    body = faces[parts == "body"]
    used = np.unique(body[body >= 0])
    renumber = np.full(len(points), -1)
    renumber[used] = np.arange(len(used))
    around = points + clothes.outward_normals(parts == "body") * gap
    data = bpy.data.meshes.new("draped")
    data.from_pydata(around[used].tolist(), [], [[int(renumber[i]) for i in f if i >= 0] for f in body])
    item = link(bpy.data.objects.new("draped", data))
    remesh = item.modifiers.new("fuse", "REMESH")
    remesh.mode, remesh.voxel_size = "VOXEL", CELL
    smooth = item.modifiers.new("smooth", "SMOOTH")
    smooth.factor, smooth.iterations = 0.5, smoothing
    made = item.evaluated_get(bpy.context.evaluated_depsgraph_get()).data
    where = np.empty(3 * len(made.vertices), np.float32)
    made.vertices.foreach_get("co", where)
    corners = np.empty(len(made.loops), np.int32)
    made.loops.foreach_get("vertex_index", corners)
    bpy.data.objects.remove(item)
    return where.reshape(-1, 3).astype(float), corners.reshape(-1, 4)


def folds(where):
    """Height of the cloth's folds: they run from the armpits over chest and sleeves, and around the arms."""
    side = np.abs(where[:, 0])
    bent = np.array([noise.noise(Vector(p * 9)) for p in where]) * 2.2
    uneven = 0.5 + 0.5 * np.array([noise.noise(Vector(p * 14 + 7)) for p in where])
    dx, dz = side - ARMPIT[0], where[:, 2] - ARMPIT[2]
    reach = np.hypot(dx, dz)
    from_armpit = np.sin(np.arctan2(dz, -dx) * 7.5 + bent) * np.exp(-((reach - 0.035) / 0.055) ** 2)
    from_armpit = from_armpit * np.clip(0.3 - where[:, 1] / 0.06, 0, 1)  # in front: the outline stays calm
    sleeve = np.clip((side - 0.150) / 0.03, 0, 1)
    around = np.sin(where[:, 2] * 150 + side * 90 + bent * 1.6) * sleeve * np.clip((0.44 - where[:, 2]) / 0.05, 0, 1)
    return uneven * (0.0040 * from_armpit + 0.0013 * around) + 0.0010 * bent / 2.2


def add_layer(name, gap, smoothing, graph, relief=1.0):
    where, corners = draped(gap, smoothing)
    middle = where[corners].mean(1)
    corners = corners[(middle[:, 2] > LOW) & (middle[:, 2] < HIGH)]
    used, corners = np.unique(corners, return_inverse=True)
    where, corners = where[used], corners.reshape(-1, 4)
    out = np.zeros_like(where)
    a, b, c, d = (where[corners[:, i]] for i in range(4))
    for i in range(4):
        np.add.at(out, corners[:, i], np.cross(c - a, d - b))
    where = where + face.normalized(out + 1e-12) * (folds(where) * relief)[:, None]
    data = bpy.data.meshes.new(name)
    data.from_pydata(where.tolist(), [], corners.tolist())
    data.polygons.foreach_set("use_smooth", [True] * len(data.polygons))
    data.materials.append(graph.material)
    item = link(bpy.data.objects.new(name, data))
    subdivide(item, 1)
    return item


def woven(name, colour, contrast, scale):
    """Cloth of mixed threads."""
    graph = plain(name, colour, 0.85, specular=0.15, sheen=0.04)
    where = graph.object_coordinates()
    threads = graph.ramp(graph.noise(scale, 3, where), 0.35, 0.65)
    dark, light = (tuple(c * (1 + s * contrast) for c in colour) for s in (-1, 1))
    graph.set(Base_Color=graph.mix(threads, dark, light))
    graph.bump(graph.noise(scale * 1.6, 2, where), 0.25)
    return graph


def coordinates(graph):
    """Distance from the middle, depth and height of what is shaded."""
    split = graph.node("ShaderNodeSeparateXYZ")
    graph.connect(graph.object_coordinates(), split.inputs[0])
    return graph.math("ABSOLUTE", split.outputs[0]), split.outputs[1], split.outputs[2]


def beside_opening(graph):
    """m from the edge of the open front, outwards."""
    aside, _, height = coordinates(graph)
    return graph.math("SUBTRACT", aside, graph.ramp(height, BUTTON, THROAT, 0.0, PERSON.opening))


def add_blazer():
    top = woven("top", PERSON.top, 0.05, 900)
    top.set(Alpha=clothes.below_neckline(top))
    add_layer("top", 0.004, 4, top, 0.4)

    cloth = woven("blazer", PERSON.clothes, 0.22, 900)
    behind = cloth.math("GREATER_THAN", coordinates(cloth)[1], RIDGE)
    outside = cloth.math("GREATER_THAN", beside_opening(cloth), 0.0)
    high = clothes.below_neckline(cloth, -PERSON.collar)
    in_front = cloth.math("MULTIPLY", outside, high)
    # Lower behind the neck, where the camera would look into the dark between it and the cloth.
    aside = cloth.math("GREATER_THAN", coordinates(cloth)[0], BESIDE_NECK)
    as_high = cloth.math("MULTIPLY", aside, high)
    at_back = cloth.math("MULTIPLY", behind, cloth.math("MAXIMUM", as_high, clothes.below_neckline(cloth, NAPE)))
    cloth.set(Alpha=cloth.math("MAXIMUM", cloth.math("MULTIPLY", in_front, cloth.math("SUBTRACT", 1.0, behind)), at_back))
    add_layer("blazer", 0.011, 14, cloth)

    lapel = woven("lapels", tuple(1.12 * c for c in PERSON.clothes), 0.22, 900)
    beside = beside_opening(lapel)
    height = lapel.math("SUBTRACT", coordinates(lapel)[2], lapel.math("MULTIPLY", beside, 0.35))
    below = lapel.ramp(height, BUTTON, NOTCH, 0.004, 0.052)
    width = lapel.mix(lapel.math("GREATER_THAN", height, NOTCH), below, (0.024, 0.024, 0.024))
    width = lapel.mix(lapel.math("GREATER_THAN", height, NOTCH + 0.006), width, (0.038, 0.038, 0.038))
    inside = lapel.math("MULTIPLY", lapel.math("LESS_THAN", beside, width), lapel.math("GREATER_THAN", beside, -0.002))
    in_front = lapel.math("LESS_THAN", coordinates(lapel)[1], RIDGE)
    lapel.set(Alpha=lapel.math("MULTIPLY", lapel.math("MULTIPLY", inside, in_front), clothes.below_neckline(lapel, -PERSON.collar - 0.002)))
    add_layer("lapels", 0.0150, 14, lapel, 0.8)
