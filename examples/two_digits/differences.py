"""Draws how far each method's accuracy lies from the reference's, with the intervals."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from runs import Method, Report, points

VERDICTS: dict[
    str, tuple[str, dict[str, Any]]
] = {  # of a comparison: what it is called, and how it is drawn
    "shown": (
        "shown, all comparisons together",
        {"color": "#d55e00", "markerfacecolor": "#d55e00"},
    ),
    "hint": ("a hint: this interval alone", {"color": "#d55e00", "markerfacecolor": "white"}),
    "nothing_told": ("not told apart", {"color": "#5b6472", "markerfacecolor": "#5b6472"}),
}


def draw_differences(report: Report) -> Figure:
    """A row a method and a panel a task: the mean, its 95 % interval, and each seed as a dot."""
    methods = [method for method in report.methods if method.aggregator != report.reference]
    if not methods:
        figure = Figure(figsize=(9, 0.6))
        figure.text(0.5, 0.5, "one aggregator: nothing to compare", ha="center", color="#5b6472")
        return figure
    figure = Figure(figsize=(9, 1.1 + 0.24 * len(methods)))
    axes = figure.subplots(1, len(report.tasks), sharey=True, sharex=True)
    limit = limit_of(report)
    for axis, task in zip(axes, report.tasks, strict=True):
        for row, method in enumerate(methods):
            draw_row(axis, row, report, method, task, limit)
        axis.axvline(0, color="#1c2128", linewidth=0.8, zorder=0)
        axis.set(title=f"{task} digit", xlim=(-limit, limit), ylim=(len(methods) - 0.4, -0.6))
        axis.set_xlabel(f"accuracy − that of {report.reference}, points")
    axes[0].set_yticks(range(len(methods)), [report.title(method) for method in methods])
    marks = [
        Line2D([], [], marker="o", markersize=5, linewidth=1.6, label=label, **style)
        for label, style in VERDICTS.values()
    ]
    figure.legend(handles=marks, loc="outside upper center", ncols=len(marks), fontsize=9)
    return figure


def limit_of(report: Report) -> float:
    """Half the width of the axis: nine intervals in ten fit; one extreme must not flatten all."""
    reaches = [
        abs(entry["difference"]) + (entry["half_width"] or 0)
        for entry in report.summary["aggregator_comparisons"]
    ]
    return max(1.15 * 100 * float(np.percentile(reaches, 90)), 0.5)


def draw_row(axis: Axes, row: int, report: Report, method: Method, task: str, limit: float) -> None:
    comparison = report.comparison(method, task)
    assert comparison is not None
    mean, half_width = 100 * comparison["difference"], 100 * (comparison["half_width"] or 0)
    style = VERDICTS[comparison["verdict"]][1]
    if abs(mean) > limit:
        edge = limit if mean > 0 else -limit
        axis.annotate(
            f"{points(comparison['difference'])} ± {half_width:.1f}",
            (edge, row),
            (0.62 * edge, row),
            arrowprops={"arrowstyle": "->", "color": style["color"]},
            color=style["color"],
            fontsize=8,
            va="center",
            ha="center",
        )
        return
    reference = Method(method.rule, report.reference)
    seeds = 100 * (report.accuracies(method, task) - report.accuracies(reference, task))
    axis.plot(seeds, np.full(len(seeds), row + 0.3), ".", color="#8a8f98", markersize=3.5)
    axis.plot(
        [mean - half_width, mean + half_width], [row, row], color=style["color"], linewidth=1.6
    )
    axis.plot(mean, row, "o", markersize=5, **style)
