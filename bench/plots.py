"""The plots of docs/performance.md: SVG, the same bytes from the same figures."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

mpl.use("svg")
import matplotlib.pyplot as plt

STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "gramstep",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e2e8f0",
    "axes.axisbelow": True,
}
Curves = dict[int, list[tuple[int, float]]]  # by K, over N


def save(figure: plt.Figure, path: Path) -> None:
    """Writes a figure without the date."""
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, metadata={"Date": None}, bbox_inches="tight")
    plt.close(figure)


def fractions(path: Path, panels: dict[str, Curves], says: str) -> None:
    """The fraction of the floor over N, a line a K, a panel a stage."""
    with mpl.rc_context(STYLE):
        figure, axes = plt.subplots(1, len(panels), figsize=(4 * len(panels), 3.2), sharey=True)
        tasks = sorted({k for curves in panels.values() for k in curves})
        colours = plt.get_cmap("viridis")([i / max(1, len(tasks) - 0.5) for i in range(len(tasks))])
        for axis, (title, curves) in zip(axes, panels.items(), strict=True):
            axis.axhline(1, color="#94a3b8", linewidth=1)
            for k, points in sorted(curves.items()):
                colour = colours[tasks.index(k)]
                axis.semilogx(*zip(*sorted(points), strict=True), "o-", ms=3, color=colour, label=k)
            axis.minorticks_off()
            axis.set(title=title, xlabel="parameters N", ylim=(0, 1.2))
        axes[0].set_ylabel(says)
        lines = axes[-1].get_legend_handles_labels()
        figure.legend(*lines, title="K", loc="center left", bbox_to_anchor=(0.91, 0.5))
        save(figure, path)


def speed_ups(path: Path, bars: list[tuple[str, float]]) -> None:
    """How many times as long each peer takes."""
    with mpl.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(7, 0.5 + 0.28 * len(bars)))
        labels = [label for label, _ in bars]
        values = [value for _, value in bars]
        rows = range(len(bars))
        axis.barh(rows, values, color=["#0f766e" if v >= 1 else "#b45309" for v in values])
        for row, value in zip(rows, values, strict=True):
            axis.text(max(value, 1) * 1.05, row, f"{value:.3g}", va="center")
        axis.axvline(1, color="#334155", linewidth=1)
        axis.set(xscale="log", xlabel="times as long as gramstep takes")
        axis.set_yticks(rows, labels)
        axis.set_xlim(min(0.8, *values) * 0.9, max(values) * 2)
        axis.invert_yaxis()
        save(figure, path)
