# SPDX-License-Identifier: MPL-2.0
"""The 3D position of each part of the still: OWN/still/depth.npz, for moving the head in the picture (motion.py).

`where` [FRAME_H / GRID, FRAME_W / GRID, 3]: the point visible at the centre of every cell, in metres; NaN for the background.
"""

import bpy
import numpy as np
from common import FRAME_H, FRAME_W, GRID
from mathutils import Vector
from mathutils.bvhtree import BVHTree

# Their shaders hide what is above the neckline; the depth of the body beneath is accurate enough.
CUT_CLOTH = ("jumper", "band", "top", "blazer", "lapels")


def rays(camera):
    """Origin and directions [rows, columns, 3] of the camera rays through the centre of every cell."""
    x = (np.arange(FRAME_W // GRID) + 0.5) * GRID - FRAME_W / 2
    y = (np.arange(FRAME_H // GRID) + 0.5) * GRID - FRAME_H / 2
    pixel = camera.data.sensor_width / camera.data.lens / FRAME_W
    across, down = np.meshgrid(x * pixel, y * pixel)
    view = np.stack([across, -down, -np.ones_like(across)], -1)
    return np.array(camera.matrix_world.translation), view @ np.array(camera.matrix_world.to_3x3()).T


def seen(scene, strands):
    """Visible points on meshes and hair, [rows, columns, 3]."""
    bpy.context.view_layer.update()
    camera = scene.camera
    start, ways = rays(camera)
    depsgraph = bpy.context.evaluated_depsgraph_get()
    trees = []
    for item in scene.objects:
        if item.type == "MESH" and item.name not in CUT_CLOTH:
            trees.append((BVHTree.FromObject(item, depsgraph), item.matrix_world, item.matrix_world.inverted()))
    depth = np.full(ways.shape[:2], np.inf)  # in units of `ways`
    for tree, to_world, to_item in trees:
        local_start = to_item @ Vector(start)
        for row, column in np.ndindex(depth.shape):
            way = Vector(ways[row, column])
            hit = tree.ray_cast(local_start, to_item.to_3x3() @ way)[0]
            if hit is not None:
                distance = ((to_world @ hit) - Vector(start)).dot(way) / way.dot(way)
                depth[row, column] = min(depth[row, column], distance)
    for item in strands:
        attribute = item.data.attributes["position"].data
        points = np.empty(len(attribute) * 3, np.float32)
        attribute.foreach_get("vector", points)
        view = (points.reshape(-1, 3) - start) @ np.array(camera.matrix_world.to_3x3())
        scale = camera.data.lens / camera.data.sensor_width * FRAME_W
        column = ((view[:, 0] / -view[:, 2] * scale + FRAME_W / 2) / GRID).astype(int)
        row = ((view[:, 1] / view[:, 2] * scale + FRAME_H / 2) / GRID).astype(int)
        inside = (row >= 0) & (row < depth.shape[0]) & (column >= 0) & (column < depth.shape[1])
        np.minimum.at(depth, (row[inside], column[inside]), -view[inside, 2])
    where = start + ways * depth[..., None]
    where[~np.isfinite(depth)] = np.nan
    return where


def write(scene, strands, neck, eyes, path):
    camera = scene.camera
    np.savez(
        path,
        where=seen(scene, strands).astype(np.float32),
        neck=neck,
        eyes=eyes,
        camera=np.array(camera.matrix_world),
        focal=camera.data.lens / camera.data.sensor_width * FRAME_W,
    )
