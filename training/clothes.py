"""A blazer over a plain top: offset copies of the torso, cut to shape by their shaders."""

import math

import bpy
import face
import numpy as np
from face import NECK, face_centres, faces, link, points, subdivide, visible
from mathutils import Vector
from mathutils.bvhtree import BVHTree
from nodes import plain

COLLAR = NECK[2]
# The blazer's opening: half its width (m) against height above the collar.
OPENING_HEIGHT = COLLAR + np.array([-0.34, -0.20, -0.10, -0.03, 0.05])
OPENING = np.array([0.0, 0.020, 0.046, 0.066, 0.074])


def outward_normals():
    normals = np.zeros_like(points)
    for corners in faces[visible]:
        corners = corners[corners >= 0]
        a, b, c = points[corners[:3]]
        normals[corners] += np.cross(b - a, c - a)
    return normals / (np.linalg.norm(normals, axis=1, keepdims=True) + 1e-12)


def fabric(name, colour, roughness=0.75, scale=2600, relief=0.25, sheen=0.0):
    graph = plain(name, colour, roughness, specular=0.25, sheen=sheen)
    graph.bump(graph.noise(scale, 2, graph.object_coordinates()), relief)
    return graph


def cut(graph, keep):
    """Make the cloth invisible where keep(x, y, z) is 0."""
    split = graph.node("ShaderNodeSeparateXYZ")
    graph.connect(graph.object_coordinates(), split.inputs[0])
    graph.set(Alpha=keep(graph, *split.outputs))


def opening_width(graph, z):
    """OPENING as a shader curve."""
    curve = graph.node("ShaderNodeFloatCurve")
    dots = curve.mapping.curves[0].points
    across = (OPENING_HEIGHT - OPENING_HEIGHT[0]) / (OPENING_HEIGHT[-1] - OPENING_HEIGHT[0])
    up = OPENING / (OPENING[-1] + 1e-9)
    dots[0].location, dots[1].location = (across[0], up[0]), (across[-1], up[-1])
    for x, y in zip(across[1:-1], up[1:-1]):
        dots.new(x, y)
    curve.mapping.update()
    graph.connect(graph.ramp(z, float(OPENING_HEIGHT[0]), float(OPENING_HEIGHT[-1])), curve.inputs[1])
    return graph.ramp(curve.outputs[0], 0, 1, 0.0, float(OPENING[-1]))


def keep_blazer(graph, x, y, z):
    aside = graph.math("ABSOLUTE", x)
    in_front = graph.math("LESS_THAN", y, float(NECK[1] + 0.012))
    in_opening = graph.math("MULTIPLY", in_front, graph.math("LESS_THAN", aside, opening_width(graph, z)))
    # The edge stays low behind the neck: a standing collar shows its dark inside.
    beyond = graph.math("MAXIMUM", graph.math("SUBTRACT", aside, 0.068), 0.0)
    edge = graph.math("ADD", graph.math("MULTIPLY", beyond, 1.6), float(COLLAR - 0.002))
    return graph.math("MULTIPLY", graph.math("LESS_THAN", z, edge), graph.math("SUBTRACT", 1.0, in_opening))


def keep_top(graph, x, y, z):
    """A round neckline."""
    curve = graph.math("MULTIPLY", graph.math("MULTIPLY", x, x), 7.0)
    slope = graph.math("MULTIPLY", graph.math("ADD", y, 0.06), 0.45)
    edge = graph.math("ADD", curve, graph.math("ADD", slope, float(COLLAR - 0.042)))
    narrow = graph.math("LESS_THAN", graph.math("ABSOLUTE", x), 0.095)
    return graph.math("MULTIPLY", narrow, graph.math("LESS_THAN", z, edge))


def add_shell(name, offset, normals, material, smoothing, thickness):
    torso = visible & (face_centres[:, 2] < COLLAR + 0.045)
    item, _ = face.add_mesh(name, torso, points + normals * offset)
    smooth = item.modifiers.new("smooth", "SMOOTH")
    smooth.factor, smooth.iterations = 0.5, smoothing
    solid = item.modifiers.new("thickness", "SOLIDIFY")
    solid.thickness, solid.offset = thickness, 1
    subdivide(item, 2)
    item.data.materials.append(material)
    return item


def add_lapel(side, blazer_surface, material):
    """A strip along the opening, draped over the blazer by ray casts and then smoothed."""
    rows, columns = 60, 11
    u = np.linspace(0, 1, rows)
    height = np.interp(u, [0, 1], [COLLAR + 0.012, COLLAR - 0.33])
    inner = np.interp(height, OPENING_HEIGHT, OPENING) - 0.004
    width = np.interp(
        u,
        [0, 0.06, 0.20, 0.335, 0.34, 0.385, 0.39, 0.60, 1],  # the notch is at 0.34 to 0.39
        [0.010, 0.020, 0.034, 0.044, 0.026, 0.026, 0.062, 0.046, 0.002],
    )
    across = np.linspace(0, 1, columns)
    x = inner[:, None] + width[:, None] * across
    z = height[:, None] + width[:, None] * 0.30 * across
    y = np.empty_like(x)
    for i in range(rows):
        for j in range(columns):
            hit = blazer_surface.ray_cast(Vector((side * x[i, j], -1, z[i, j])), Vector((0, 1, 0)))[0]
            y[i, j] = hit[1] if hit is not None else -0.05
    for _ in range(6):
        y[1:-1] = (y[:-2] + y[2:] + 2 * y[1:-1]) / 4
        y[:, 1:-1] = (y[:, :-2] + y[:, 2:] + 2 * y[:, 1:-1]) / 4
    y -= 0.006 + 0.004 * np.sin(math.pi * across)
    grid = np.stack([side * x, y, z], -1).reshape(-1, 3)
    first = [i * columns + j for i in range(rows - 1) for j in range(columns - 1)]
    data = bpy.data.meshes.new("lapel")
    data.from_pydata(grid.tolist(), [], [(k, k + 1, k + columns + 1, k + columns) for k in first])
    data.polygons.foreach_set("use_smooth", [True] * len(data.polygons))
    item = link(bpy.data.objects.new("lapel", data))
    solid = item.modifiers.new("thickness", "SOLIDIFY")
    solid.thickness, solid.offset = 0.003, 0
    subdivide(item, 1)
    item.data.materials.append(material)


def add_clothes():
    blazer_cloth = fabric("blazer", (0.022, 0.036, 0.075))
    cut(blazer_cloth, keep_blazer)
    top_cloth = fabric("top", (0.55, 0.53, 0.50), 0.6, 1800, 0.12, 0.1)
    cut(top_cloth, keep_top)
    normals = outward_normals()
    add_shell("top", 0.004, normals, top_cloth.material, 6, 0.002)
    blazer = add_shell("blazer", 0.0125, normals, blazer_cloth.material, 14, 0.004)
    blazer_surface = BVHTree.FromObject(blazer, bpy.context.evaluated_depsgraph_get())
    lapel_cloth = fabric("lapel", (0.024, 0.040, 0.082)).material
    for side in (1, -1):
        add_lapel(side, blazer_surface, lapel_cloth)
