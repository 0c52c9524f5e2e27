"""Plots of the results: CPU per event by client, and by amount of work."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib import pyplot as plt

from tests.bench.clients import CLIENTS
from tests.bench.plan import GROWTH, Run, Turn

if TYPE_CHECKING:
    from pathlib import Path

mpl.use("svg")
mpl.rcParams.update({"svg.hashsalt": "speed", "font.size": 8, "axes.spines.top": False, "axes.spines.right": False})


def draw(found: Turn, path: Path) -> None:
    """Write the plots to one SVG file."""
    figure, axes = plt.subplots(1, 1 + len(GROWTH), figsize=(12, 3.6), width_ratios=[2, 1, 1, 1], layout="constrained")
    names = [name for name in CLIENTS if Run("burst", name) in found][::-1]
    costs = [found[Run("burst", name)]["cpu"] for name in names]
    colors = ["tab:orange" if name.startswith("ours") else "tab:gray" for name in names]
    axes[0].bar_label(axes[0].barh(names, costs, color=colors), fmt="%.3g", padding=2)
    axes[0].set(title="CPU per event until delivered, us", xscale="log")
    for axis, (what, runs) in zip(axes[1:], GROWTH.items(), strict=True):
        numbers, costs = [run.number for run in runs], [found[run]["cpu"] for run in runs]
        axis.plot(numbers, costs, "o-", color="tab:orange", clip_on=False)
        # On a linear axis, a constant cost per attribute is a straight line.
        axis.set(title=f"by {what}", xscale="linear" if what == "attributes" else "log", xlabel=what)
        axis.set_ylim(bottom=0)
    figure.savefig(path, metadata={"Date": None})
