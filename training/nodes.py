# SPDX-License-Identifier: MPL-2.0
"""Short names for building Blender shader graphs."""

import bpy


class Graph:
    """The node tree of a new material."""

    def __init__(self, name):
        self.material = bpy.data.materials.new(name)
        self.material.use_nodes = True
        self.tree = self.material.node_tree
        self.principled = self.tree.nodes["Principled BSDF"]

    def node(self, kind, **settings):
        node = self.tree.nodes.new(kind)
        for name, value in settings.items():
            setattr(node, name, value)
        return node

    def connect(self, value, socket):
        """Links a socket, or sets a number or colour as the default value of `socket`."""
        if isinstance(value, bpy.types.NodeSocket):
            self.tree.links.new(value, socket)
        elif isinstance(value, tuple):
            socket.default_value = (*value, 1)[: len(socket.default_value)]
        else:
            socket.default_value = value

    def set(self, **inputs):
        """Sets inputs of the Principled BSDF; underscores stand for spaces."""
        for name, value in inputs.items():
            self.connect(value, self.principled.inputs[name.replace("_", " ")])

    def math(self, operation, a, b=0.0):
        node = self.node("ShaderNodeMath", operation=operation)
        self.connect(a, node.inputs[0])
        self.connect(b, node.inputs[1])
        return node.outputs[0]

    def mix(self, amount, a, b):
        node = self.node("ShaderNodeMix", data_type="RGBA")
        node.clamp_factor = True
        for index, value in ((0, amount), (6, a), (7, b)):
            self.connect(value, node.inputs[index])
        return node.outputs[2]

    def ramp(self, value, low, high, to_low=0.0, to_high=1.0):
        """Linear from (low, high) to (to_low, to_high), clamped."""
        node = self.node("ShaderNodeMapRange")
        for index, number in enumerate((value, low, high, to_low, to_high)):
            self.connect(number, node.inputs[index])
        return node.outputs[0]

    def noise(self, scale, detail, where):
        node = self.node("ShaderNodeTexNoise")
        node.inputs["Scale"].default_value = scale
        node.inputs["Detail"].default_value = detail
        self.connect(where, node.inputs["Vector"])
        return node.outputs[0]

    def image(self, path):
        node = self.node("ShaderNodeTexImage")
        node.image = bpy.data.images.load(str(path), check_existing=True)
        node.image.colorspace_settings.name = "Non-Color"
        return node.outputs[0]

    def attribute(self, name, output="Fac"):
        return self.node("ShaderNodeAttribute", attribute_name=name).outputs[output]

    def object_coordinates(self):
        return self.node("ShaderNodeTexCoord").outputs["Object"]

    def bump(self, height, strength, distance=0.0006):
        node = self.node("ShaderNodeBump")
        node.inputs["Strength"].default_value = strength
        node.inputs["Distance"].default_value = distance
        self.connect(height, node.inputs["Height"])
        self.set(Normal=node.outputs[0])


def plain(name, colour, roughness, specular=0.5, scatter=0.0, coat=0.0, sheen=0.0):
    graph = Graph(name)
    graph.set(Base_Color=colour, Roughness=roughness, Specular_IOR_Level=specular)
    graph.set(Coat_Weight=coat, Coat_Roughness=0.05, Sheen_Weight=sheen)
    if scatter:
        graph.principled.subsurface_method = "BURLEY"
        graph.set(Subsurface_Weight=1.0, Subsurface_Radius=(1.0, 0.5, 0.3), Subsurface_Scale=scatter)
    return graph
