"""Draws how far accuracies lie from the reference's, with the intervals."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from runs import Array, Method, Report, points

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


def draw_aggregators(report: Report) -> Figure:
    """Every aggregator beside the reference, rule by rule."""
    rows = {report.title(m): m for m in report.methods if m.aggregator != report.reference}
    return draw_differences(report, "aggregator", rows, report.reference)


def draw_rules(report: Report) -> Figure:
    """Every rule beside the reference, with the reference aggregator."""
    rules = [e["rule"] for e in report.rule_entries if e["rule"] != report.reference_rule]
    rows = {rule: Method(rule, report.reference) for rule in rules}
    return draw_differences(report, "rule", rows, report.reference_rule)


def draw_differences(
    report: Report, family: str, methods: dict[str, Method], reference: str
) -> Figure:
    """A row a method and a panel a task: the mean, its 95 % interval, and each seed as a dot."""
    figure = Figure(figsize=(9, 1.1 + 0.24 * len(methods)))
    axes = figure.subplots(1, len(report.tasks), sharey=True, sharex=True)
    limit = limit_of(report.summary[f"{family}_comparisons"])
    for axis, task in zip(axes, report.tasks, strict=True):
        for row, method in enumerate(methods.values()):
            comparison = report.comparison(family, method, task)
            assert comparison is not None
            draw_row(axis, row, comparison, seeds_of(report, comparison), limit)
        axis.axvline(0, color="#1c2128", linewidth=0.8, zorder=0)
        axis.set(title=f"{task} digit", xlim=(-limit, limit), ylim=(len(methods) - 0.4, -0.6))
        axis.set_xlabel(f"accuracy − that of {reference}, points")
    axes[0].set_yticks(range(len(methods)), list(methods))
    marks = [
        Line2D([], [], marker="o", markersize=5, linewidth=1.6, label=label, **style)
        for label, style in VERDICTS.values()
    ]
    figure.legend(handles=marks, loc="outside upper center", ncols=len(marks), fontsize=9)
    return figure


def seeds_of(report: Report, comparison: dict[str, Any]) -> Array:
    """The differences that a comparison is about, a value a seed."""
    method = Method(comparison["rule"], comparison["aggregator"])
    reference = Method(comparison["reference_rule"], comparison["reference_aggregator"])
    task = comparison["task"]
    return report.accuracies(method, task) - report.accuracies(reference, task)


def limit_of(comparisons: list[dict[str, Any]]) -> float:
    """Half the width of the axis: nine intervals in ten fit; one extreme must not flatten all."""
    reaches = [abs(entry["difference"]) + (entry["half_width"] or 0) for entry in comparisons]
    return max(1.15 * 100 * float(np.percentile(reaches, 90)), 0.5)


def draw_row(axis: Axes, row: int, comparison: dict[str, Any], seeds: Array, limit: float) -> None:
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
    axis.plot(100 * seeds, np.full(len(seeds), row + 0.3), ".", color="#8a8f98", markersize=3.5)
    axis.plot(
        [mean - half_width, mean + half_width], [row, row], color=style["color"], linewidth=1.6
    )
    axis.plot(mean, row, "o", markersize=5, **style)
