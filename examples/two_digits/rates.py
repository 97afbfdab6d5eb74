"""Draws the search for learning rates."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from panels import PLAIN, panels
from runs import Report

CHOSEN = "#d55e00"
RANGE = 8.0  # points of accuracy below the best of all that are drawn to scale


def draw_rates(report: Report) -> Figure:
    """Accuracy against learning rate, a panel a rule."""
    searches = {search["rule"]: search for search in report.searches}
    top = 100 * max(max(search["accuracies"]) for search in report.searches)

    def draw(axis: Axes, search: dict[str, Any]) -> None:
        draw_search(axis, search, top - RANGE)
        axis.set_ylim(top - 1.08 * RANGE, top + 0.12 * RANGE)

    return panels(
        searches,
        draw,
        "learning rate",
        "accuracy, %",
        sharex=False,
        sharey=True,
    )


def draw_search(axis: Axes, search: dict[str, Any], floor: float) -> None:
    """The accuracy of each rate; those under the floor lie on it, with their number."""
    rates, accuracies = np.array(search["rates"]), 100 * np.array(search["accuracies"])
    axis.plot(rates, np.maximum(accuracies, floor), color=PLAIN, linewidth=1)
    for rate, accuracy in zip(rates, accuracies, strict=True):
        chosen = rate == search["chosen"]
        axis.plot(
            rate,
            max(accuracy, floor),
            marker="o" if accuracy >= floor else "v",
            markersize=5 if chosen else 3.5,
            color=CHOSEN if chosen else PLAIN,
            linestyle="none",
            label="chosen" if chosen else None,
        )
        if accuracy < floor:
            axis.annotate(
                f"{accuracy:.0f}",
                (rate, floor),
                (0, 4),
                textcoords="offset points",
                fontsize=6.5,
                color="#3d434d",
                ha="center",
            )
    axis.set_xscale("log")
    axis.set_xticks(rates, [shortest(rate) for rate in rates])
    axis.minorticks_off()
    axis.set_xlim(rates[0] / 1.6, rates[-1] * 1.6)


def shortest(rate: float) -> str:
    """0.03, 3e-4."""
    return f"{rate:g}" if rate >= 0.01 else f"{rate:.0e}".replace("e-0", "e-")
