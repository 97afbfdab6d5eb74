"""Draws docs/toy.png: how ten methods fare on the two-task toy, from the Nash-MTL paper's starts.

python python_check/draw_toy.py [FILE]
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np

mpl.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from gramstep_c import named
from toy import FLOOR, NASH, front, losses, shortfall, train

METHODS = {
    "Mean": "Mean",
    "PCGrad": "PCGrad",
    "CAGrad": "CAGrad(c=0.4)",
    "UPGrad": "UPGrad",
    "Aligned-MTL": "AlignedMTL",
    "MGDA": "MGDA",
    "IMTL-G": "IMTLG",
    "Nash-MTL": "NashMTL",
    "FairGrad": "FairGrad",
    "FAMO": named("FAMO", gamma=0, min_losses=FLOOR),
}
COLUMNS = 5
EVERY = 50  # steps from one point of a drawn trajectory to the next
REACHED = 0.05  # of the losses
INK, FAINT, FRONT = "#222222", "#8a8a8a", "#d1495b"


def sum_of_losses(points: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """A grid of positions, and what the mean descends on there."""
    grid = np.linspace(-11, 11, points)
    f = np.array([[NASH.factor * a + b for a, b in (losses(x, y) for x in grid)] for y in grid])
    return grid, f


def draw(axes: Axes, aggregator: str, pareto: np.ndarray) -> int:
    """All starts' trajectories, dark to bright as time goes; returns how many reach the front."""
    reached = 0
    for start in NASH.starts:
        path = np.vstack([start, train(aggregator, NASH, start, every=EVERY)])
        pieces = np.stack([path[:-1], path[1:]], axis=1)
        lines = LineCollection(pieces, cmap="viridis", linewidths=1.8, capstyle="round")
        lines.set_array(np.linspace(0, 1, len(pieces)))
        lines.set_rasterized(True)
        axes.add_collection(lines)
        arrives = shortfall(*path[-1], pareto) < REACHED
        reached += arrives
        axes.plot(*start, "o", color=INK, markersize=4, zorder=5)
        face = "white" if not arrives else FRONT
        axes.plot(
            *path[-1], "o", color=FRONT, markerfacecolor=face, markersize=5, markeredgewidth=1.3
        )
    return reached


def main(file: Path) -> None:
    plt.rcParams |= {"font.size": 9, "axes.edgecolor": FAINT, "text.color": INK}
    rows = len(METHODS) // COLUMNS
    figure, grid = plt.subplots(
        rows, COLUMNS, figsize=(11, 5.1), sharex=True, sharey=True, layout="constrained"
    )
    pareto = front()
    positions, height = sum_of_losses()
    for axes, (title, aggregator) in zip(grid.flat, METHODS.items(), strict=True):
        axes.contour(positions, positions, height, 14, colors="#d9d9d9", linewidths=0.6)
        axes.plot(*pareto.T, color=FRONT, linewidth=2.5, solid_capstyle="round", zorder=4)
        reached = draw(axes, aggregator, pareto)
        axes.set_title(f"{title}   {reached} of {len(NASH.starts)}", fontsize=10)
        axes.set(xlim=(-11, 11), ylim=(-11, 11), aspect="equal", xticks=[], yticks=[])
    figure.get_layout_engine().set(h_pad=0.08)
    figure.supxlabel(
        "The two-task toy, and from how many of five starts a method reaches its Pareto front, the "
        "red line. Black dots are starts, colours run from start to end,\nfilled ends are on the "
        "front, hollow ends are not. Adam, 35,000 steps; the first loss is multiplied by 0.1.",
        fontsize=9,
        color=INK,
    )
    figure.savefig(file, dpi=110)


if __name__ == "__main__":
    here = Path(__file__).resolve().parent
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else here.parent / "docs" / "toy.png")
