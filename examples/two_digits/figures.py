"""Draws the figures of a report."""

from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.typing import RcKeyType

from differences import draw_aggregators, draw_rules
from panels import PLAIN, panels
from rates import draw_rates
from runs import Array, Method, Report, window_centres, windows

COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9")  # a task each
WINDOWS = 60  # columns of the heat map
POINTS = 20  # of a curve

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


def over_steps(
    report: Report,
    methods: list[Method],
    draw: Callable[[Axes, Method], None],
    ylabel: str,
    share: bool,
) -> Figure:
    """A panel a method, in the table's order."""
    items = {report.title(method, "\n"): method for method in methods}
    return panels(items, draw, "step", ylabel, sharex=True, sharey=share)


def curve(axis: Axes, values: Array, colour: str, label: str | None, band: bool = True) -> None:
    """The mean over seeds of [seeds, steps] in windows of steps; the band spans the seeds."""
    means = windows(values, POINTS)
    at = window_centres(values.shape[1], means.shape[1])
    if band:
        low, high = means.min(axis=0), means.max(axis=0)
        axis.fill_between(at, low, high, color=colour, alpha=0.2, linewidth=0)
    axis.plot(at, means.mean(axis=0), color=colour, linewidth=1.3, label=label)
    axis.set_xlim(0, values.shape[1])


def compared(report: Report) -> list[Method]:
    """The methods in whose panels the reference is drawn; it alone, if there is no other."""
    others = [method for method in report.methods if method.aggregator != report.reference]
    return others or report.methods


def draw_losses(report: Report) -> Figure:
    """Training loss of each task, and the reference's in grey."""
    limits = range_of([windows(course.losses, POINTS) for course in report.courses.values()])

    def draw(axis: Axes, method: Method) -> None:
        reference = report.courses[Method(method.rule, report.reference)].losses
        for task in range(len(report.tasks)):
            label = report.reference if task == 0 else None
            curve(axis, reference[:, :, task], PLAIN, label, band=False)
        for task, name in enumerate(report.tasks):
            losses = report.courses[method].losses[:, :, task]
            curve(axis, losses, COLOURS[task % len(COLOURS)], f"{name} digit")
        axis.set_yscale("log")
        axis.set_ylim(*limits)

    return over_steps(report, compared(report), draw, "cross-entropy", share=True)


def range_of(values: list[Array]) -> tuple[float, float]:
    """The least and the largest of what is known and positive, with some room for a log axis."""
    flat = np.concatenate([value.ravel() for value in values])
    known = flat[np.isfinite(flat) & (flat > 0)]
    return (0.8 * known.min(), 1.25 * known.max()) if known.size else (0.1, 10.0)


def draw_weights(report: Report) -> Figure:
    """The weights over time, for methods that change them; each panel has its own scale."""

    def draw(axis: Axes, method: Method) -> None:
        weights = report.courses[method].weights
        for task, name in enumerate(report.tasks):
            curve(axis, weights[:, :, task], COLOURS[task % len(COLOURS)], f"{name} digit")
        low, high = axis.get_ylim()
        room = max(0.0, 0.1 * abs(low + high) / 2 - (high - low)) / 2  # a hair is no mountain
        axis.set_ylim(low - room, high + room)
        axis.locator_params(axis="y", nbins=4)

    return over_steps(report, moving_weights(report), draw, "weight", share=False)


def moving_weights(report: Report) -> list[Method]:
    """The methods whose weights are not the same in every step."""
    return [
        method
        for method in report.methods
        if np.ptp(np.nan_to_num(report.courses[method].weights), axis=(0, 1)).max() > 0
    ]


def draw_conflicts(report: Report) -> Figure:
    """Share of the steps with a negative cosine, and the reference's in grey."""

    def draw(axis: Axes, method: Method) -> None:
        reference = report.courses[Method(method.rule, report.reference)].conflicts
        curve(axis, 100 * reference, PLAIN, report.reference, band=False)
        curve(axis, 100 * report.courses[method].conflicts, COLOURS[0], "the method")
        axis.set_ylim(0, 100)

    return over_steps(report, compared(report), draw, "steps in conflict, %", share=True)


def draw_cosines(report: Report) -> Figure:
    """The cosine of the task gradients over time: a row a method, the mean over seeds."""
    methods = report.methods
    rows = [windows(report.courses[method].cosines, WINDOWS).mean(axis=0) for method in methods]
    known = np.abs(rows)[np.isfinite(rows)]  # the scale: one extreme pales all others
    limit = max(float(np.percentile(known, 98)), 1e-3) if known.size else 1.0
    steps = report.courses[methods[0]].cosines.shape[1]
    figure = Figure(figsize=(9, 0.9 + 0.26 * len(methods)))
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
    axis.set_yticks(range(len(methods)), [report.title(method) for method in methods])
    axis.set_xlabel("step")
    axis.grid(False)
    bar = figure.colorbar(image, ax=axis, pad=0.01, extend="both")
    bar.set_label("cosine")
    bar.outline.set_visible(False)
    return figure


def figures_of(report: Report) -> dict[str, Callable[[Report], Figure]]:
    """The figures of which there is something to draw."""
    wanted = {
        "samples": (draw_samples, True),
        "rules": (draw_rules, len(report.rules) > 1),
        "rates": (draw_rates, bool(report.searches)),
        "aggregators": (draw_aggregators, len(report.aggregators) > 1),
        "weights": (draw_weights, bool(moving_weights(report))),
        "conflicts": (draw_conflicts, True),
        "losses": (draw_losses, True),
        "cosines": (draw_cosines, True),
    }
    return {name: draw for name, (draw, drawn) in wanted.items() if drawn}
