# SPDX-License-Identifier: MPL-2.0
"""Render Iris with Blender's Cycles (pip package bpy, Python 3.11).

    python render.py still      # OWN/still/still.png: 1280 x 720, mouth closed, no background; depth.npz beside it,
                                # and hair.png: only the hair
    python render.py blinks     # OWN/still/blink_0.png ...: the eye box, open ... closed
    python render.py closed     # OWN/still/closed.png: the mouth box at rest (in a separate process: after other boxes
                                # the render noise differs, and parts that did not move would seem to)
    python render.py expressions  # OWN/expressions/smile.png ...: the face box in each of expressions.py, and rest.png
    python render.py learn      # OWN/learn/0000.png ...: the mouth box for every state that the painter is trained on
    python render.py truth      # OWN/truth/0000.png ...: the same for held-out speech
    python render.py film       # OWN/film/0000.png ...: the same for the film of film.py, and OWN/check; OWN/surface.npz
    python render.py sheet      # OWN/shapes.png: all basic mouth shapes, for inspection

Finished pictures are kept, so `learn` and `truth` can be interrupted and resumed.  The render seed is
constant, so that the noise cancels when boxes are compared.
"""

import argparse
import math
import os
import time

import bpy
import depth
import mouth
import numpy as np
from common import BLINKS, BOX_H, BOX_W, BOX_X, BOX_Y, EYES_BOX, FRAME_H, FRAME_W, OWN, WORK
from expressions import EXPRESSIONS, FACE_BOX
from people import NAME, PERSON

MOUTH_BOX = (BOX_X, BOX_Y, BOX_W, BOX_H)


def build():
    """The whole scene; returns the hair, which box renders hide."""
    import blazer
    import clothes
    import face
    import hair
    import hairstyles

    body, body_vertices = face.add_body()
    face.add_mouth_parts()
    face.add_eyes()
    {"jumper": clothes.add_jumper, "blazer": blazer.add_blazer}[PERSON.outfit]()
    skull = hair.Skull()
    face.store(body, "scalp", hair.scalp_mask(skull, face.points[body_vertices]))
    material = hair.hair_material("hair", PERSON.melanin, PERSON.redness, 0.27, 0.45, PERSON.highlights)
    strands = [hairstyles.add_hair(skull, material, PERSON.hair)]
    hair.add_brows(body_vertices)
    face.followers.append(hair.Lashes().follow)
    add_lights(face.scene, strands)
    add_camera(face.scene)
    set_up_cycles(face.scene)
    return face, strands


def aim(item, place, at):
    from mathutils import Vector

    item.location = place
    item.rotation_euler = (Vector(at) - Vector(place)).to_track_quat("-Z", "Y").to_euler()


def add_lights(scene, strands):
    """The lamps of the person; one whose name begins with "hair" lights only the strands."""
    head = (0, -0.12, 0.655)
    only_hair = bpy.data.collections.new("hair")
    for item in strands:
        only_hair.objects.link(item)
    for name, place, size, watts, colour in PERSON.lamps:
        light = bpy.data.lights.new(name, "AREA")
        light.shape = "RECTANGLE"
        light.size, light.size_y = size
        light.energy, light.color = watts, colour
        item = bpy.data.objects.new(name, light)
        scene.collection.objects.link(item)
        aim(item, place, head)
        if name.startswith("hair"):
            item.light_linking.receiver_collection = only_hair
    scene.world = bpy.data.worlds.new("world")
    scene.world.use_nodes = True
    sky = scene.world.node_tree.nodes["Background"]
    sky.inputs[0].default_value = (0.30, 0.33, 0.38, 1)
    sky.inputs[1].default_value = 0.28


def add_camera(scene):
    camera = bpy.data.cameras.new("camera")
    camera.lens, camera.sensor_width = 96, 36
    scene.camera = bpy.data.objects.new("camera", camera)
    scene.collection.objects.link(scene.camera)
    aim(scene.camera, (0, -2.05, 0.655), (0, 0, 0.592))


def set_up_cycles(scene):
    scene.render.engine = "CYCLES"
    cycles = scene.cycles
    cycles.device = "CPU"
    cycles.use_adaptive_sampling, cycles.adaptive_threshold = True, 0.02
    cycles.use_denoising, cycles.denoiser = True, "OPENIMAGEDENOISE"
    cycles.denoising_input_passes, cycles.denoising_prefilter = "RGB_ALBEDO_NORMAL", "FAST"
    cycles.max_bounces, cycles.diffuse_bounces = 3, 2
    cycles.glossy_bounces = cycles.transmission_bounces = 1
    cycles.transparent_max_bounces = 64  # hair and cut cloth
    cycles.caustics_reflective = cycles.caustics_refractive = False
    scene.cycles_curves.shape, scene.cycles_curves.subdivisions = "RIBBONS", 2
    render = scene.render
    render.threads_mode, render.threads = "FIXED", os.cpu_count()
    render.use_persistent_data = True
    render.resolution_x, render.resolution_y = FRAME_W, FRAME_H
    render.film_transparent = True
    render.image_settings.file_format, render.image_settings.color_mode = "PNG", "RGBA"
    view = scene.view_settings
    view.view_transform, view.look, view.exposure = "AgX", "AgX - Medium High Contrast", 0.28


def let_light_into_hair(scene):
    """More bounces and a denoiser that keeps strands apart: too slow for hundreds of boxes, which have no hair."""
    cycles = scene.cycles
    cycles.max_bounces, cycles.glossy_bounces, cycles.transmission_bounces = 8, 4, 6
    cycles.denoising_prefilter = "ACCURATE"


def render(scene, path, samples, box=None):
    """Render the frame or a box (x, y, width, height) of it; the file appears once it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scene.cycles.samples = samples
    scene.render.use_border = scene.render.use_crop_to_border = box is not None
    if box:
        x, y, width, height = box
        scene.render.border_min_x, scene.render.border_max_x = x / FRAME_W, (x + width) / FRAME_W
        scene.render.border_min_y, scene.render.border_max_y = 1 - (y + height) / FRAME_H, 1 - y / FRAME_H
    part = path.with_name("part-" + path.name)
    scene.render.filepath = str(part)
    begun = time.time()
    bpy.ops.render.render(write_still=True)
    os.replace(part, path)
    print(f"{path.name}: {time.time() - begun:.1f} s", flush=True)


def hold_out_all_but(scene, items):
    """All else becomes transparent, but hides what is behind it."""
    for item in scene.objects:
        item.is_holdout = item not in items


def hide(items):
    for item in items:
        item.hide_render = True


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    whats = ["still", "blinks", "closed", "expressions", "learn", "truth", "film", "sheet"]
    parser.add_argument("what", choices=whats)
    parser.add_argument("--samples", type=int, help="a pixel (32 for the still, 12 blinks and expressions, 4 mouths)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="one, where two of these run at once")
    arguments = parser.parse_args()
    face, strands = build()
    scene = face.scene
    scene.render.threads = arguments.threads
    if arguments.what == "still":
        face.pose({})
        let_light_into_hair(scene)
        render(scene, OWN / "still" / "still.png", arguments.samples or 32)
        hold_out_all_but(scene, strands)
        render(scene, OWN / "still" / "hair.png", 16)
        depth.write(scene, strands, face.NECK, face.irises(), OWN / "still" / "depth.npz")
        return
    hide(strands)  # 60,000 curves would take half the render time of a small box without changing it
    if arguments.what == "blinks":
        for number, closed in enumerate(BLINKS):
            face.pose({"eyeBlinkLeft": closed, "eyeBlinkRight": closed})
            render(scene, OWN / "still" / f"blink_{number}.png", arguments.samples or 12, EYES_BOX)
    elif arguments.what == "expressions":
        render_expressions(face, arguments.samples or 12)
    elif arguments.what == "closed":
        face.pose({})
        render(scene, OWN / "still" / "closed.png", arguments.samples or 4, MOUTH_BOX)
    elif arguments.what in ("learn", "truth"):
        render_mouths(face, np.load(WORK / "poses.npz")[arguments.what], OWN / arguments.what, arguments.samples or 4)
    elif arguments.what == "film":
        write_surface(face)
        plan = np.load(WORK / NAME.split("-")[0] / "film.npz")
        light = plan["lights"].tolist().index(NAME)
        for part, folder in (("rendered", "film"), ("checked", "check")):
            render_mouths(face, plan[part][light], OWN / folder, arguments.samples or 4)
    else:
        make_sheet(face, arguments.samples or 4)


def render_mouths(face, states, folder, samples):
    for number, state in enumerate(states):
        path = folder / f"{number:04}.png"
        if not path.exists():
            face.pose(mouth.face_shapes(state))
            render(face.scene, path, samples, MOUTH_BOX)
            print(f"{number + 1} of {len(states)}", end="\r", flush=True)


def write_surface(face):
    """The subdivided skin, teeth and tongue, and how each unit of the mouth moves them: OWN/surface.npz, for warp.py.

    Subdivision is linear in the vertices, so the surface of a state is the sum of the surfaces of its units.
    """

    def surfaces():
        graph = bpy.context.evaluated_depsgraph_get()
        for item, _ in face.posed:
            yield item.evaluated_get(graph).data

    def vertices():
        found = []
        for data in surfaces():
            where = np.empty(3 * len(data.vertices), np.float32)
            data.vertices.foreach_get("co", where)
            found.append(where.reshape(-1, 3))
        return np.concatenate(found)

    face.pose({})
    rest = vertices()
    moved = []
    for unit in np.eye(mouth.N_UNITS):
        face.pose(mouth.face_shapes(unit))
        moved.append(vertices() - rest)
    quads, first = [], 0  # the skin's come first
    for data in surfaces():
        corners = np.empty(len(data.loops), np.int32)
        data.loops.foreach_get("vertex_index", corners)
        quads.append(corners.reshape(-1, 4) + first)  # subdivided faces have four corners
        first += len(data.vertices)
    np.savez(OWN / "surface.npz", rest=rest, moved=np.stack(moved), quads=np.concatenate(quads), skin_quads=len(quads[0]))


def render_expressions(face, samples):
    """All of them, because the render noise is that of `rest` only within one process."""
    face.pose({})
    render(face.scene, OWN / "expressions" / "rest.png", samples, FACE_BOX)
    for name, expression in EXPRESSIONS.items():
        face.pose(expression.shapes, expression.eyes)
        render(face.scene, OWN / "expressions" / f"{name}.png", samples, FACE_BOX)


def make_sheet(face, samples):
    from PIL import Image

    columns = 5
    sheet = Image.new("RGB", (BOX_W * columns, BOX_H * math.ceil(len(mouth.SHAPES) / columns)), (120, 140, 155))
    for number, name in enumerate(mouth.SHAPES):
        path = OWN / "shapes" / f"{name}.png"
        face.pose(mouth.face_shapes(mouth.shape_vector(name)))
        render(face.scene, path, samples, MOUTH_BOX)
        picture = Image.open(path)
        sheet.paste(picture, (number % columns * BOX_W, number // columns * BOX_H), picture)
    sheet.save(OWN / "shapes.png")


if __name__ == "__main__":
    main()
