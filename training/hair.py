# SPDX-License-Identifier: MPL-2.0
"""Hair, eyebrows and lashes as render curves."""

import math

import bpy
import face
import numpy as np
from face import EYE_HEIGHT, EYES, face_centres, link, normalized, points, texture, texture_faces, visible
from mathutils import Vector
from nodes import Graph, plain
from people import PERSON
from PIL import Image

# Elevation of the hairline (degrees) by azimuth from the face (degrees), the same on both sides.
HAIRLINE_AZIMUTH = np.radians([0, 18, 35, 50, 62, 74, 84, 96, 110, 130, 150, 180])
HAIRLINE = np.radians([31, 32, 32, 26, 12, -7, -15, 6, -12, -30, -36, -38])


def add_curves(name, strands, radii, material, shade=None):
    """strands [count, points, 3], radii [count, points], shade [count]: how light each is, 0 to 1."""
    curves = bpy.data.hair_curves.new(name)
    curves.add_curves([strands.shape[1]] * len(strands))
    curves.attributes["position"].data.foreach_set("vector", strands.astype("f").ravel())
    radius = curves.attributes.get("radius") or curves.attributes.new("radius", "FLOAT", "POINT")
    radius.data.foreach_set("value", radii.astype("f").ravel())
    if shade is not None:
        curves.attributes.new("shade", "FLOAT", "CURVE").data.foreach_set("value", shade.astype("f"))
    curves.materials.append(material)
    return link(bpy.data.objects.new(name, curves))


def hair_material(name, melanin, redness, roughness, radial_roughness, highlights=0.0):
    """highlights: how much less melanin the lightest strands have, and all of them at their tips."""
    graph = Graph(name)
    material, tree = graph.material, graph.tree
    tree.nodes.remove(graph.principled)
    shader = graph.node("ShaderNodeBsdfHairPrincipled")
    shader.parametrization = "MELANIN"
    settings = {"Melanin": melanin, "Melanin Redness": redness, "Roughness": roughness}
    settings |= {"Radial Roughness": radial_roughness, "Random Color": 0.35, "Random Roughness": 0.1}
    for name_, value in settings.items():
        shader.inputs[name_].default_value = value
    if highlights:
        along = graph.node("ShaderNodeHairInfo").outputs["Intercept"]
        light = graph.math("ADD", graph.attribute("shade"), graph.ramp(along, 0.2, 1.0, -0.30, 0.15))
        graph.connect(graph.math("SUBTRACT", melanin, graph.math("MULTIPLY", light, highlights)), shader.inputs["Melanin"])
    tree.links.new(shader.outputs[0], tree.nodes["Material Output"].inputs[0])
    return material


class Skull:
    """The head as a radius for every direction from its centre, without the ears."""

    AZIMUTHS, ELEVATIONS = 180, 90

    def __init__(self):
        ears = np.asarray(Image.open(face.TEXTURES / "mpfb_ears.jpg").convert("L"))
        middles = np.clip([texture[f[f >= 0]].mean(0) for f in texture_faces], 0, 1)
        column = np.minimum(2047, (middles[:, 0] * 2048).astype(int))
        row = np.minimum(2047, ((1 - middles[:, 1]) * 2048).astype(int))
        tree = face.surface(visible & (ears[row, column] <= 60) & (face_centres[:, 2] > face.NECK[2] + 0.02))
        body = points[np.unique(face.faces[visible][face.faces[visible] >= 0])]
        upper = body[body[:, 2] > EYE_HEIGHT - 0.03]
        self.centre = np.array([0, (upper[:, 1].min() + upper[:, 1].max()) / 2 + 0.008, EYE_HEIGHT + 0.022])
        self.table = self._smooth(self._fill(self._cast(tree)))

    def _cast(self, tree):
        azimuth = np.linspace(-math.pi, math.pi, self.AZIMUTHS, endpoint=False)
        elevation = np.linspace(-math.pi / 2, math.pi / 2, self.ELEVATIONS)
        table = np.full((self.ELEVATIONS, self.AZIMUTHS), np.nan)
        for i, e in enumerate(elevation):
            for j, a in enumerate(azimuth):
                way = np.array([math.sin(a) * math.cos(e), -math.cos(a) * math.cos(e), math.sin(e)])
                hit = tree.ray_cast(Vector(self.centre + way * 0.3), Vector(-way), 0.3)[0]
                if hit is not None:
                    table[i, j] = (np.array(hit) - self.centre) @ way
        return np.where(table < 0.05, np.nan, table)

    @staticmethod
    def _neighbours(table):
        above, below = np.vstack([table[:1], table[:-1]]), np.vstack([table[1:], table[-1:]])
        return np.stack([np.roll(table, 1, 1), np.roll(table, -1, 1), above, below])

    def _fill(self, table):
        """Rays through the ears hit nothing: extrapolate the surroundings into the holes."""
        for _ in range(60):
            holes = np.isnan(table)
            if not holes.any():
                break
            around = self._neighbours(table)
            known = ~np.isnan(around)
            mean = np.where(known, around, 0).sum(0) / np.maximum(known.sum(0), 1)
            table[holes] = np.where(known.any(0), mean, np.nan)[holes]
        return table

    def _smooth(self, table):
        for _ in range(2):
            table = (table * 2 + self._neighbours(table).sum(0)) / 6
        return table

    def radius(self, way):
        azimuth, elevation = self.angles(way)
        x = (azimuth + math.pi) / (2 * math.pi) * self.AZIMUTHS
        y = (elevation + math.pi / 2) / math.pi * (self.ELEVATIONS - 1)
        x0, y0 = np.floor(x).astype(int), np.clip(np.floor(y).astype(int), 0, self.ELEVATIONS - 2)
        fx, fy = x - x0, y - y0

        def at(i, j):
            return self.table[np.clip(i, 0, self.ELEVATIONS - 1), j % self.AZIMUTHS]

        lower = at(y0, x0) * (1 - fx) + at(y0, x0 + 1) * fx
        upper = at(y0 + 1, x0) * (1 - fx) + at(y0 + 1, x0 + 1) * fx
        return lower * (1 - fy) + upper * fy

    @staticmethod
    def angles(way):
        return np.arctan2(way[..., 0], -way[..., 1]), np.arcsin(np.clip(way[..., 2], -1, 1))


def scalp_mask(skull, where):
    """Per vertex: 1 under the hair, 0 on the face."""
    azimuth, elevation = skull.angles(normalized(where - skull.centre))
    line = np.interp(np.abs(azimuth), HAIRLINE_AZIMUTH, HAIRLINE)
    return np.clip((elevation - line - 0.03) / 0.10, 0, 1) * (where[:, 2] > face.NECK[2] + 0.02)


def hairline(azimuth):
    return np.interp(np.abs(azimuth), HAIRLINE_AZIMUTH, HAIRLINE)


def scalp_points(skull, rng, count):
    """Directions of hair roots: uniform over the scalp, thinning out along an irregular hairline instead of a hard edge."""
    way = normalized(rng.normal(size=(count * 5, 3)))
    azimuth, elevation = skull.angles(way)
    ragged = 0.020 * np.sin(azimuth * 23) + 0.014 * np.sin(azimuth * 61 + 1)
    above = elevation - hairline(azimuth) - ragged
    temples = np.exp(-(((np.abs(azimuth) - np.radians(58)) / np.radians(24)) ** 2))
    density = np.clip(0.5 + above / (0.09 + 0.10 * temples), 0, 1) ** 1.5
    return way[rng.random(len(way)) < density][:count]


def tangent(vector, normal):
    """The tangential component of `vector`, normalized."""
    return normalized(vector - normal * (vector * normal).sum(-1, keepdims=True))


def grow(skull, way, direction, length, steps, bend, lift):
    """Strands that grow step by step from the skull without entering it.

    `bend(at, away, along, heading)` is added to the heading at every step: `at` are the points, `away` the
    directions from the centre of the skull, `along` runs from 0 at the root to 1, `heading` is the heading so far.
    `lift` is the height above the skin, per strand.
    """
    at = skull.centre + way * (skull.radius(way) - 0.0005)[:, None]
    heading, strands = direction, [at]
    step = (length / (steps - 1))[:, None]
    for i in range(1, steps):
        along = i / (steps - 1)
        away = normalized(at - skull.centre)
        heading = normalized(heading + bend(at, away, along, heading))
        at = at + heading * step
        way = normalized(at - skull.centre)
        distance = np.linalg.norm(at - skull.centre, axis=1)
        least = skull.radius(way) + lift * min(1, i / 3)
        inside = (distance < least) & (skull.angles(way)[1] > np.radians(-38))
        at = np.where(inside[:, None], skull.centre + way * least[:, None], at)
        strands.append(at)
    return np.stack(strands, axis=1)


def gather(strands, way, rng, locks, amount):
    """Pull strands towards the nearest of a few guides, most at the tips, so that the hair forms locks."""
    guides = rng.choice(len(way), locks, replace=False)
    nearest = np.concatenate([(part @ way[guides].T).argmax(1) for part in np.array_split(way, 40)])
    along = np.linspace(0, 1, strands.shape[1])[None, :, None]
    pull = amount * along**1.3 * rng.uniform(0.5, 1.2, (len(way), 1, 1))
    return strands + (strands[guides[nearest]] - strands) * np.clip(pull, 0, 0.9)


def add_brows(body_vertices):
    rng = np.random.default_rng(11)
    tree = face.surface(visible)
    t = np.linspace(0, 1, 6)
    roots, shapes, radii = [], [], []
    for side in (-1, 1):
        for _ in range(int(560 * PERSON.brow_width)):
            u = rng.uniform(0, 1)  # along the brow, from the nose outwards
            arch = 0.0060 * math.sin(min(u / 0.68, 1) * math.pi / 2) - 0.0085 * max(0, u - 0.66) / 0.34
            middle = EYE_HEIGHT + PERSON.brow_height + PERSON.brow_arch * arch
            half = 0.0036 * PERSON.brow_width * (1 - 0.72 * max(0, u - 0.45) / 0.55) * (0.75 + 0.25 * min(1, u / 0.15))
            z = middle + rng.uniform(-1, 1) * half
            hit, normal, _, _ = tree.ray_cast(Vector((side * (0.0125 + u * 0.0385), -1, z)), Vector((0, 1, 0)))
            if hit is None:
                continue
            normal = np.array(normal)
            normal = normal if normal[1] < 0 else -normal
            angle = np.interp(u, [0, 0.12, 0.35, 0.7, 1], [82, 58, 32, 6, -22]) + rng.normal(0, 9)
            angle = math.radians(angle) - (z - middle) / half * 0.28
            along = np.array([side * math.cos(angle), 0, math.sin(angle)])
            along = normalized(along - normal * (along @ normal))
            length = rng.uniform(0.0055, 0.0085) * (1 if u > 0.08 else 0.8)
            roots.append(np.array(hit) - normal * 0.0003)
            shapes.append(along * (t * length)[:, None] + normal * (np.sin(t * math.pi * 0.8) * 0.0007)[:, None])
            radii.append(0.00007 * (1 - 0.75 * t))
    roots, shapes = np.array(roots), np.array(shapes)
    material = hair_material("brows", min(0.95, PERSON.melanin + 0.12), PERSON.redness, 0.35, 0.5)
    item = add_curves("brows", roots[:, None] + shapes, np.array(radii), material)

    # Every hair follows the four vertices nearest to its root.
    distance = ((points[body_vertices][None] - roots[:, None]) ** 2).sum(-1)
    nearest = np.argpartition(distance, 4, axis=1)[:, :4]
    weight = 1 / (np.take_along_axis(distance, nearest, 1) + 1e-8)
    weight /= weight.sum(1, keepdims=True)
    nearest = body_vertices[nearest]

    def follow(moved):
        shift = ((moved - points)[nearest] * weight[..., None]).sum(1)
        strands = (roots + shift)[:, None] + shapes
        item.data.attributes["position"].data.foreach_set("vector", strands.astype("f").ravel())
        item.data.update_tag()

    face.followers.append(follow)


class Lashes:
    ROWS = (("1", 60, 0.0030), ("2", PERSON.lashes, 0.0052 * PERSON.lash_length))  # lower and upper lid: hairs and their length

    def __init__(self):
        rng = np.random.default_rng(13)
        self.rows = []
        for side in "lr":
            for row, count, length in self.ROWS:
                along = np.sort(rng.uniform(0.03, 0.97, count))
                lengths = length * rng.uniform(0.75, 1.1, count)
                self.rows.append((side, row, face.lash_roots(side, row), along, lengths, rng.normal(0, 0.10, count)))
        strands, radii = self.build(points)
        self.item = add_curves("lashes", strands, radii, plain("lashes", (0.012, 0.008, 0.006), 0.5).material)

    def build(self, moved):
        t = np.linspace(0, 1, 7)
        strands, radii = [], []
        for side, row, vertices, along, lengths, tilt in self.rows:
            edge = moved[vertices]
            arc = np.r_[0, np.cumsum(np.linalg.norm(np.diff(edge, axis=0), axis=1))]
            roots = np.stack([np.interp(along, arc / arc[-1], edge[:, i]) for i in range(3)], -1)
            up = 1 if row == "2" else -1
            outwards = normalized(roots - EYES[side][0])
            across = np.interp(along, [0, 1], [-1, 1])
            lean = [across * 0.55 + tilt * 0.5, np.full(len(along), -0.5), np.full(len(along), 0.10 * up)]
            start = normalized(outwards + np.stack(lean, -1))
            bend = np.stack([across * 0.2, np.zeros(len(along)), np.full(len(along), 1.05 * up)], -1)
            length = lengths[:, None, None]
            strands.append(
                (roots - outwards * 0.0002)[:, None]
                + start[:, None] * t[None, :, None] * length * 0.8
                + bend[:, None] * (t**2.2)[None, :, None] * length * 0.55
            )
            radii.append(np.repeat((PERSON.lash_radius if up > 0 else 0.00005) * (1 - 0.8 * t)[None], len(along), 0))
        return np.concatenate(strands), np.concatenate(radii)

    def follow(self, moved):
        strands = self.build(moved)[0]
        self.item.data.attributes["position"].data.foreach_set("vector", strands.astype("f").ravel())
        self.item.data.update_tag()
