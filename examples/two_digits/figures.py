"""Draws the figures of a report."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.typing import RcKeyType

from runs import Method, Report, window_centres, windows

COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9")
LINES = ("-", "--", ":", "-.")
PLAIN = "#8a8f98"  # the first aggregator where colours tell the others
WINDOWS = 60  # points of a curve, columns of the heat map

STYLE: dict[RcKeyType, Any] = {
    "font.size": 10,
    "font.family": "sans-serif",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#8a8f98",
    "axes.labelcolor": "#3d434d",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.grid": True,
    "grid.color": "#e8eaee",
    "xtick.color": "#3d434d",
    "ytick.color": "#3d434d",
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}


def draw_samples(report: Report) -> Figure:
    """Images that nothing was trained on, with what is in them."""
    side = report.samples["side"]
    images = np.array(report.samples["images"]).reshape(-1, side, side)
    labels = list(zip(*report.samples["labels"].values(), strict=True))
    figure = Figure(figsize=(9, 1.45))
    axes = figure.subplots(1, len(images))
    for axis, image, label in zip(axes, images, labels, strict=True):
        axis.imshow(image, cmap="gray_r", vmin=0, vmax=1)
        axis.set_title(" and ".join(map(str, label)), loc="center", weight="normal")
        axis.set_axis_off()
    return figure


def draw_losses(report: Report) -> Figure:
    """Training loss of each task: the mean over seeds, in windows of steps."""
    figure = Figure(figsize=(9, 4))
    axes = figure.subplots(1, len(report.tasks), sharey=True)
    for task, (axis, name) in enumerate(zip(axes, report.tasks, strict=True)):
        for method, course in report.courses.items():
            values = windows(course.losses[:, :, task], WINDOWS).mean(axis=0)
            axis.plot(
                window_centres(course.losses.shape[1], len(values)),
                values,
                color=COLOURS[report.rules.index(method.rule) % len(COLOURS)],
                linewidth=2.2 - 0.3 * min(report.rules.index(method.rule), 4),  # none hides another
                linestyle=LINES[report.aggregators.index(method.aggregator) % len(LINES)],
                label=str(method),
            )
        axis.set(title=f"{name} digit", xlabel="step", yscale="log")
    axes[0].set_ylabel("cross-entropy of the training batch")
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(report.rules))
    return figure


def draw_conflicts(report: Report) -> Figure:
    """Share of the steps with a negative cosine, a panel a rule; the band spans the seeds."""
    figure = Figure(figsize=(9, 3))
    axes = figure.subplots(1, len(report.rules), sharey=True, squeeze=False)[0]
    for axis, rule in zip(axes, report.rules, strict=True):
        for index, aggregator in enumerate(report.aggregators):
            conflicts = report.courses[Method(rule, aggregator)].conflicts
            values = 100 * windows(conflicts, WINDOWS // 3)
            colour = PLAIN if index == 0 else COLOURS[index - 1]
            at = window_centres(conflicts.shape[1], values.shape[1])
            axis.fill_between(
                at, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.2, linewidth=0
            )
            axis.plot(at, values.mean(axis=0), color=colour, label=aggregator)
        axis.set(title=rule, xlabel="step", ylim=(0, 100))
    axes[0].set_ylabel("steps in conflict, %")
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(names))
    return figure


def draw_cosines(report: Report) -> Figure:
    """The cosine of the task gradients over time: a row a method, the mean over seeds."""
    methods = list(report.courses)
    rows = [windows(report.courses[method].cosines, WINDOWS).mean(axis=0) for method in methods]
    limit = max(float(np.nanpercentile(np.abs(rows), 98)), 1e-3)  # one extreme pales all others
    steps = report.courses[methods[0]].cosines.shape[1]
    figure = Figure(figsize=(9, 0.9 + 0.32 * len(methods)))
    axis = figure.subplots()
    image = axis.imshow(
        np.array(rows),
        cmap="RdBu",
        vmin=-limit,
        vmax=limit,
        aspect="auto",
        interpolation="nearest",
        extent=(0, steps, len(methods) - 0.5, -0.5),
    )
    axis.set_yticks(range(len(methods)), [str(method) for method in methods])
    axis.set_xlabel("step")
    axis.grid(False)
    bar = figure.colorbar(image, ax=axis, pad=0.01, extend="both")
    bar.set_label("cosine")
    bar.outline.set_visible(False)
    return figure


FIGURES = {
    "samples": draw_samples,
    "losses": draw_losses,
    "conflicts": draw_conflicts,
    "cosines": draw_cosines,
}
