# SPDX-License-Identifier: MPL-2.0
"""The pictures of docs/performance.md, drawn from the figures of targets.py."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import LogLocator, NullLocator

plt.rcParams.update({"font.size": 15, "axes.spines.top": False, "axes.spines.right": False})

STAGES = {
    "sound": ("resampling", "mel", "encoder"),
    "picture of the avatar": ("decode",),
    "generator": ("generator",),
    "compositing": ("compositing",),
}
COLOURS = ["#4c78a8", "#f2b447", "#8a8f98", "#c44e52"]


def draw_stages(avatars: dict[str, dict[str, dict[str, float]]], path: Path) -> None:
    """Draws milliseconds a frame on one core: avatars, who painted, and step."""
    figure, axes = plt.subplots(1, len(avatars), figsize=(13, 6.5), layout="constrained")
    for axis, (avatar, columns) in zip(axes, avatars.items()):
        bottom = np.zeros(len(columns))
        for (stage, steps), colour in zip(STAGES.items(), COLOURS):
            height = np.array([sum(parts.get(step, 0) for step in steps) for parts in columns.values()])
            names = [name.replace(", ", "\n") for name in columns]
            axis.bar(names, height, 0.65, bottom=bottom, color=colour, label=stage)
            bottom += height
        for x, total in enumerate(bottom):
            axis.text(x, total, f"{total:.1f}", ha="center", va="bottom")
        axis.set_title(avatar)
        axis.set_ylabel("ms a frame, one core")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles[::-1], labels[::-1], loc="outside lower center", ncols=len(STAGES), frameon=False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def draw_roofline(machine: dict[str, float], networks: dict[str, dict], path: Path) -> None:
    """Draws what one core can do at most, and where the networks are."""
    # The graphs as they came, and what int8 made of them; the table has the others.
    networks = {name: row for name, row in networks.items() if row["kind"] == "int8" or "as it came" in name}
    figure, axis = plt.subplots(figsize=(12, 8), layout="constrained")
    colours = {"fp32": COLOURS[0], "int8": COLOURS[3]}
    x = np.geomspace(1, 100, 400)
    for kind, colour in colours.items():
        axis.plot(x, np.minimum(x * machine["bandwidth"], machine[kind]), color=colour, linewidth=2.5)
        axis.text(x[-1], machine[kind] * 1.03, f"{kind}: {machine[kind]:.0f} GMAC/s", color=colour, ha="right", va="bottom")
    axis.text(1.1, machine["bandwidth"], f"memory: {machine['bandwidth']:.1f} GB/s", va="top")
    highest = max(row["rate"] for name, row in networks.items() if name.startswith("full-size int8") and row["bytes"])
    for name, row in networks.items():
        if not row["bytes"]:
            # What its own kernels move is not known.
            axis.axhline(row["rate"], color=colours[row["kind"]], linestyle="--")
            axis.text(1.1, row["rate"] * 1.03, f"{name}: {row['rate']:.0f} GMAC/s", va="bottom")
            continue
        point = (row["macs"] / row["bytes"], row["rate"])
        axis.plot(*point, "o", markersize=11, color=colours[row["kind"]])
        # The two of float32 are neighbours, and so are the parts of one network: their names go to different sides.
        is_left = name.startswith("full-size fp32")
        is_upper = name.startswith("full-size int8") and row["rate"] == highest
        height = 6 if is_upper else -16 if row["kind"] == "int8" else -5
        side = {"ha": "right", "xytext": (-12, height)} if is_left else {"ha": "left", "xytext": (12, height)}
        axis.annotate(name, point, textcoords="offset points", **side)
    axis.set(xscale="log", yscale="log", xlabel="MAC per byte that the nodes read and write", ylabel="GMAC/s, one core")
    slowest = min(row["rate"] for row in networks.values())
    axis.set_ylim(min(slowest, machine["bandwidth"]) / 2, machine["int8"] * 1.6)
    for values in (axis.xaxis, axis.yaxis):
        values.set_major_locator(LogLocator(subs=(1, 2, 5)))
        values.set_major_formatter("{x:g}")
        values.set_minor_locator(NullLocator())
    axis.grid(alpha=0.3)
    figure.savefig(path, dpi=110)
    plt.close(figure)
